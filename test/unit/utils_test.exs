defmodule Foundation.UtilsTest do
  use ExUnit.Case, async: true
  doctest Foundation.Utils

  alias Foundation.Utils

  # A struct that its own Inspect cannot show.
  @broken %{__struct__: Date, year: :no}

  test "ids are unique over processes, positive, and small enough for 64 bits" do
    ids =
      1..4
      |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..5_000, do: Utils.generate_id() end) end)
      |> Task.await_many()
      |> List.flatten()

    assert length(Enum.uniq(ids)) == 20_000
    assert Enum.all?(ids, &(&1 > 0 and &1 < 0x7FFFFFFFFFFFFFFF))
  end

  test "correlation ids are unique" do
    assert 1..1_000 |> Enum.uniq_by(fn _ -> Utils.generate_correlation_id() end) |> length() == 1_000
  end

  describe "truncate_if_large/2 shows" do
    test "the start of a string" do
      assert %{
               truncated: true,
               original_size: 2_006,
               preview: preview,
               timestamp: %DateTime{}
             } = Utils.truncate_if_large(String.duplicate("é", 1_000), 100)

      assert preview == String.duplicate("é", 100) <> "..."
    end

    test "ten items of a list, five pairs of a map, anything else inspected" do
      assert Utils.truncate_if_large(Enum.to_list(1..1_000), 100).preview ==
               Enum.map(1..10, &Integer.to_string/1)

      assert map_size(Utils.truncate_if_large(Map.new(1..1_000, &{&1, &1}), 100).preview) == 5
      assert Utils.truncate_if_large({String.duplicate("x", 1_000)}, 100).preview =~ ~s({"xxx)
    end

    test "what is no proper list, no text, no plain map" do
      improper = Enum.reduce(1..200, :end, &[&1 | &2])
      assert length(Utils.truncate_if_large(improper, 100).preview) == 10
      assert is_binary(Utils.truncate_if_large(:binary.copy(<<255>>, 200), 100).preview)

      assert is_binary(
               Utils.truncate_if_large(Map.put(@broken, :day, String.duplicate("x", 200)), 100).preview
             )
    end

    test "nothing else of what is just small enough" do
      size = Utils.deep_size("abcd")
      assert Utils.truncate_if_large("abcd", size) == "abcd"
      assert %{truncated: true} = Utils.truncate_if_large("abcd", size - 1)
      assert Utils.truncate_if_large(String.duplicate("x", 9_994)) == String.duplicate("x", 9_994)
      assert %{truncated: true} = Utils.truncate_if_large(String.duplicate("x", 9_995))
    end
  end

  test "safe_inspect/1 is bounded and total" do
    assert Utils.safe_inspect(Enum.to_list(1..1_000)) =~ "..."
    assert byte_size(Utils.safe_inspect(String.duplicate("x", 10_000))) < 200
    assert is_binary(Utils.safe_inspect(@broken))
  end

  test "nested values" do
    assert Utils.get_nested(%{a: 1}, []) == %{a: 1}
    assert Utils.get_nested(%{a: 1}, [:a, :b]) == nil
    assert Utils.get_nested(:no_map, [:a], 5) == 5
    assert Utils.put_nested(%{a: 1}, [], 2) == 2
    assert Utils.put_nested(%{a: 1}, [:a], 2) == %{a: 2}
    assert_raise FunctionClauseError, fn -> Utils.put_nested(%{a: 1}, [:a, :b], 2) end
    assert Utils.deep_merge(%{a: %{b: 1}}, %{a: 2}) == %{a: 2}
    assert Utils.deep_merge(%{a: 2}, %{a: %{b: 1}}) == %{a: %{b: 1}}
  end

  test "keys at any depth, structs untouched" do
    date = ~D[2025-01-01]
    assert Utils.atomize_keys(%{"name" => [%{"id" => date}], 1 => 2}) == %{1 => 2, name: [%{id: date}]}
    assert Utils.stringify_keys(%{"s" => 1, a: [%{b: date}]}) == %{"a" => [%{"b" => date}], "s" => 1}
    assert Utils.atomize_keys("value") == "value"
  end

  describe "retry/2" do
    test "calls again until it works, with pauses that double up to the greatest" do
      times = :ets.new(:times, [:public, :ordered_set])

      fun = fn ->
        :ets.insert(times, {System.unique_integer([:monotonic]), System.monotonic_time(:millisecond)})
        if :ets.info(times, :size) < 4, do: {:error, :busy}, else: {:ok, :done}
      end

      assert Utils.retry(fun, max_attempts: 5, base_delay: 10, max_delay: 20) == {:ok, :done}
      [a, b, c, d] = times |> :ets.tab2list() |> Enum.map(&elem(&1, 1))
      assert b - a >= 10 and c - b >= 20 and d - c >= 20
    end

    test "passes other values on and lets a raise out" do
      assert Utils.retry(fn -> 7 end) == {:ok, 7}
      assert_raise RuntimeError, fn -> Utils.retry(fn -> raise "no" end) end
    end
  end

  test "stats have the 1.x keys" do
    assert Utils.process_stats() |> Map.keys() |> Enum.sort() ==
             [:garbage_collection, :memory, :message_queue_len, :reductions, :status]

    assert Utils.system_stats() |> Map.keys() |> Enum.sort() ==
             [:atom_count, :memory, :process_count, :scheduler_count, :scheduler_online]
  end
end
