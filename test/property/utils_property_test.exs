defmodule Foundation.UtilsPropertyTest do
  use ExUnit.Case, async: true
  alias Foundation.Utils

  defp check(type, fun), do: :proper.quickcheck(:proper.forall(type, fun), [:quiet, numtests: 200])
  defp any, do: :proper_types.any()
  defp key, do: :proper_types.oneof([:a, :b, :c])

  # Maps of maps, up to three deep.
  defp tree(0), do: :proper_types.integer()

  defp tree(depth) do
    :proper_types.oneof([
      :proper_types.integer(),
      map(depth)
    ])
  end

  defp map(depth \\ 3) do
    pairs = :proper_types.list({key(), :proper_types.lazy(fn -> tree(depth - 1) end)})
    :proper_types.bind(pairs, &Map.new/1, false)
  end

  test "truncation keeps what is small and bounds what is not" do
    assert check({any(), :proper_types.range(1, 200)}, fn {term, max} ->
             result = Utils.truncate_if_large(term, max)

             if :erlang.external_size(term) <= max,
               do: result === term,
               else: match?(%{truncated: true, original_size: size} when size > max, result)
           end) == true
  end

  test "any term is shown" do
    assert check(any(), fn term -> is_binary(Utils.safe_inspect(term)) and Utils.deep_size(term) > 0 end) ==
             true
  end

  test "a value put somewhere is found there, and the rest stays" do
    paths = :proper_types.non_empty(:proper_types.list(key()))

    assert check({map(), paths, :proper_types.integer()}, fn {map, path, value} ->
             if leaf_on_the_way?(map, path) do
               true
             else
               put = Utils.put_nested(map, path, value)
               others = for {key, kept} <- map, key != hd(path), into: %{}, do: {key, kept}
               Utils.get_nested(put, path) == value and Map.delete(put, hd(path)) == others
             end
           end) == true
  end

  defp leaf_on_the_way?(_map, [_last]), do: false

  defp leaf_on_the_way?(map, [key | rest]) do
    case Map.get(map, key, %{}) do
      next when is_map(next) -> leaf_on_the_way?(next, rest)
      _ -> true
    end
  end

  test "merging is idempotent, has the empty map as its unit, and lets the right side win" do
    assert check({map(), map()}, fn {a, b} ->
             merged = Utils.deep_merge(a, b)

             Utils.deep_merge(a, a) == a and Utils.deep_merge(a, %{}) == a and Utils.deep_merge(%{}, b) == b and
               Utils.deep_merge(merged, b) == merged
           end) == true
  end

  test "keys survive the way to strings and back" do
    assert check(map(), fn map -> map |> Utils.stringify_keys() |> Utils.atomize_keys() == map end) == true
  end

  test "atoms are never made" do
    before = :erlang.system_info(:atom_count)
    for n <- 1..10_000, do: Utils.atomize_keys(%{"no such atom #{n} #{System.unique_integer()}" => 1})
    # Far fewer than the names; other tests make some meanwhile.
    assert :erlang.system_info(:atom_count) - before < 5_000
  end

  test "durations and sizes show one number and a unit" do
    assert check(:proper_types.non_neg_integer(), fn n ->
             Utils.format_duration(n * 997) =~ ~r/^\d+(\.\d)?(ns|μs|ms|s)$/u and
               Utils.format_bytes(n * 997) =~ ~r/^\d+(\.\d)? (B|KB|MB|GB)$/
           end) == true
  end

  test "one line stays one line" do
    assert check(:proper_types.list(:proper_types.oneof([?a, ?\s, ?\n, ?\t, ?\r])), fn characters ->
             text = characters |> List.to_string() |> Utils.sanitize_string()
             not (text =~ ~r/[\n\t\r]|  |^ | $/)
           end) == true
  end
end
