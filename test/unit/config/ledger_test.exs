defmodule Foundation.Config.LedgerTest do
  # What the cluster has agreed on, as a value.
  use ExUnit.Case, async: true

  alias Foundation.Config.Shared.Ledger

  defp how(more \\ []),
    do: Map.merge(%{kind: :update, at: 1_000, author: :me, node: :a@h, note: nil, limit: 100}, Map.new(more))

  defp advance!(ledger, pairs, more \\ []) do
    {:ok, ledger} = Ledger.advance(ledger, Ledger.put(ledger.values, pairs), how(more))
    ledger
  end

  test "each change is a version with its author, and nothing changed is none" do
    ledger = advance!(Ledger.new(), [{[:a, :b], 1}], author: "ann")
    assert %{version: 1, values: %{[:a, :b] => 1}} = ledger
    assert [%{version: 1, author: "ann", kind: :update, changes: [change]}] = ledger.entries
    assert change == %{path: [:a, :b], old: :missing, new: {:ok, 1}}
    assert Ledger.advance(ledger, Ledger.put(ledger.values, [{[:a, :b], 1}]), how()) == :same
  end

  test "no path leads to another" do
    ledger = advance!(Ledger.new(), [{[:s, :inner, :x], 1}, {[:s, :inner, :y], 2}, {[:s, :other], 3}])
    ledger = advance!(ledger, [{[:s, :inner], %{x: 9}}])
    assert ledger.values == %{[:s, :inner] => %{x: 9}, [:s, :other] => 3}
    ledger = advance!(ledger, [{[:s, :inner, :y], 4}])
    assert ledger.values == %{[:s, :inner] => %{x: 9, y: 4}, [:s, :other] => 3}
    assert {:ok, values} = Ledger.at(ledger, 1)
    assert values == %{[:s, :inner, :x] => 1, [:s, :inner, :y] => 2, [:s, :other] => 3}
  end

  test "reads a path, what is within it, and what is below it" do
    ledger = advance!(Ledger.new(), [{[:s, :inner], %{x: 1}}, {[:s, :other], nil}])
    assert Ledger.fetch(ledger, [:s, :inner]) == {:ok, %{x: 1}}
    assert Ledger.fetch(ledger, [:s, :inner, :x]) == {:ok, 1}
    assert Ledger.fetch(ledger, [:s]) == {:ok, %{inner: %{x: 1}, other: nil}}
    assert Ledger.fetch(ledger, []) == {:ok, %{s: %{inner: %{x: 1}, other: nil}}}
    assert Ledger.fetch(ledger, [:s, :other]) == {:ok, nil}
    for path <- [[:t], [:s, :inner, :z], [:s, :other, :x]], do: assert(Ledger.fetch(ledger, path) == :error)
    assert Ledger.fetch(Ledger.new(), []) == :error
  end

  test "every version that the history reaches comes back, none beyond, and times never go back" do
    {ledger, all} =
      Enum.reduce(1..20, {Ledger.new(), %{0 => %{}}}, fn n, {ledger, all} ->
        path = Enum.at([[:a], [:b], [:c, :d], [:c]], rem(n, 4))
        ledger = advance!(ledger, [{path, n}], at: 1_000 - n, limit: 10)
        {ledger, Map.put(all, n, ledger.values)}
      end)

    for version <- 10..20, do: assert(Ledger.at(ledger, version) == {:ok, all[version]})
    for version <- [-1, 0, 9, 21, :x], do: assert(Ledger.at(ledger, version) == :error)
    times = Enum.map(ledger.entries, & &1.at)
    assert times == Enum.sort(times, :desc)
  end

  test "the history is bounded by its size, and the newest change is always in it" do
    large = String.duplicate("x", 300_000)
    ledger = Enum.reduce(1..5, Ledger.new(), &advance!(&2, [{[:a], {&1, large}}]))
    assert [%{version: 5}] = ledger.entries
    assert Ledger.at(ledger, 4) |> elem(0) == :ok
    assert Ledger.at(ledger, 3) == :error
  end

  test "it is kept and comes back, and another format is said to be one" do
    ledger = advance!(Ledger.new(), [{[:a], 1}])
    assert Ledger.unpack(Ledger.pack(ledger)) == {:ok, ledger}
    assert Ledger.unpack({7, :x}) == {:error, {:format, 7}}
    assert Ledger.unpack(:x) == {:error, {:format, :x}}
  end
end
