defmodule Foundation.Config.MergeTest do
  # What becomes of values that were set on both sides of a split.
  use ExUnit.Case, async: true

  alias Foundation.Config.Shared.Merge

  defp entry(value, at, more \\ []) do
    Map.merge(%{value: value, at: at, author: :me, node: :a@h, side: 1, base: :missing}, Map.new(more))
  end

  test "the latest wins, of the same time that of the node that sorts last" do
    entries = [entry(:old, 1), entry(:new, 2, node: :b@h), entry(:older, 0)]
    assert Merge.latest(entries).value == :new
    assert %{value: :new, at: 3, node: :b@h} = Merge.resolve(:timestamp_wins, entries)
    assert Merge.resolve(:timestamp_wins, [entry(:x, 5, node: :z@h), entry(:y, 5)]).value == :x
  end

  test "the side with most nodes wins, though it is not the latest" do
    entries = [entry(:many, 1, side: 3), entry(:few, 9, side: 2)]
    assert %{value: :many, at: 10} = Merge.resolve(:majority_wins, entries)
    assert Merge.resolve(:majority_wins, [entry(:a, 1, side: 2), entry(:b, 2, side: 2)]).value == :b
  end

  test "maps and lists are merged with what was before the split" do
    base = {:ok, %{keep: 1, gone: 2, both: 3, list: [:a, :b], deep: %{x: 1, y: 1}}}

    one = %{keep: 1, both: 4, list: [:a, :b, :c], deep: %{x: 2, y: 1}, mine: true}
    other = %{keep: 1, gone: 2, both: 5, list: [:b, :d], deep: %{x: 1, y: 3}}
    entries = [entry(one, 1, base: base), entry(other, 2, base: base, node: :b@h)]
    merged = Merge.resolve(:intelligent_merge, entries).value
    assert merged == %{keep: 1, both: 5, list: [:b, :d, :c], deep: %{x: 2, y: 3}, mine: true}
  end

  test "what was changed and removed at once is as it was changed" do
    base = {:ok, %{a: 1, b: 1}}
    entries = [entry(%{a: 2, b: 1}, 1, base: base), entry(%{}, 2, base: base)]
    assert Merge.resolve(:intelligent_merge, entries).value == %{a: 2}
  end

  test "where nothing was before, everything is kept" do
    entries = [entry(%{a: [1]}, 1), entry(%{a: [2], b: 1}, 2)]
    assert Merge.resolve(:intelligent_merge, entries).value == %{a: [2, 1], b: 1}
    assert Merge.resolve(:intelligent_merge, [entry(1, 1), entry([2], 2)]).value == [2]
    assert Merge.resolve(:intelligent_merge, [entry([1 | 2], 1), entry([3], 2)]).value == [3]
  end

  test "every node comes to the same, in whatever order it knows of them" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..300, strategy <- Merge.strategies() do
      base = value(2)

      entries =
        for n <- 1..:rand.uniform(4),
            do: entry(value(2), :rand.uniform(3), node: :"n#{n}@h", side: :rand.uniform(3), base: {:ok, base})

      resolved = Merge.resolve(strategy, entries)
      assert Merge.resolve(strategy, Enum.shuffle(entries)) == resolved
      assert Enum.all?(entries, &(resolved.at > &1.at))
      unless Merge.conflict?(entries), do: assert(resolved.value == hd(entries).value)
    end
  end

  defp value(0), do: :rand.uniform(3)

  defp value(depth) do
    case :rand.uniform(3) do
      1 -> :rand.uniform(3)
      2 -> for _ <- 1..:rand.uniform(3), do: :rand.uniform(4)
      3 -> for key <- Enum.take_random([:a, :b, :c], 2), into: %{}, do: {key, value(depth - 1)}
    end
  end
end
