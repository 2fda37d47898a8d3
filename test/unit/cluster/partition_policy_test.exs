defmodule Foundation.Distributed.PartitionPolicyTest do
  # Which side works on. The rule that matters is checked over every way to split every small cluster.
  use ExUnit.Case, async: true

  alias Foundation.Distributed.Partitions.Policy

  defp view(here, lost, boots \\ %{}), do: %{here: here, lost: lost, boots: boots}
  defp side(policy, here, lost, boots \\ %{}), do: policy |> Policy.decide(view(here, lost, boots)) |> elem(0)

  test "without losses all is well, whatever the policy" do
    for policy <- [:none, :majority, :oldest, {:quorum, 9}, {:referee, :x@y}],
        do: assert(Policy.decide(policy, view([:a], [])) == {:active, :whole})
  end

  test "majority, and the tie" do
    assert side(:majority, [:a, :b], [:c]) == :active
    assert side(:majority, [:c], [:a, :b]) == :paused
    assert side(:majority, [:a, :d], [:b, :c]) == :active
    assert side(:majority, [:b, :c], [:a, :d]) == :paused
  end

  test "quorum, oldest, referee, none" do
    assert side({:quorum, 2}, [:a, :b], [:c, :d]) == :active
    assert side({:quorum, 3}, [:a, :b], [:c, :d]) == :paused
    boots = %{a: 30, b: 10, c: 20}
    assert side(:oldest, [:b], [:a, :c], boots) == :active
    assert side(:oldest, [:a, :c], [:b], boots) == :paused
    # What never said its age is younger than what did; without any ages names decide.
    assert side(:oldest, [:a, :c], [:b], %{c: 5}) == :active
    assert side(:oldest, [:a], [:b]) == :active
    assert side({:referee, :c}, [:c], [:a, :b]) == :active
    assert side({:referee, :c}, [:a, :b], [:c]) == :paused
    assert side(:none, [:a], [:b, :c, :d]) == :active
  end

  test "of all ways to split a cluster in two, none leaves both sides at work, and one always is but for a quorum" do
    for size <- 2..8 do
      all = Enum.map(1..size, &:"n#{&1}")
      boots = Map.new(all, &{&1, :erlang.phash2(&1)})

      for bits <- 1..(Integer.pow(2, size) - 2) do
        {here, there} = split(all, bits)

        for policy <- [:majority, :oldest, {:referee, :n2}] do
          sides = [side(policy, here, there, boots), side(policy, there, here, boots)]
          assert Enum.sort(sides) == [:active, :paused]
        end

        quorum = {:quorum, div(size, 2) + 1}
        sides = [side(quorum, here, there), side(quorum, there, here)]
        assert Enum.count(sides, &(&1 == :active)) <= 1
      end
    end
  end

  defp split(all, bits) do
    all
    |> Enum.with_index()
    |> Enum.split_with(fn {_, n} -> Bitwise.band(Bitwise.bsr(bits, n), 1) == 1 end)
    |> then(fn {a, b} -> {Enum.map(a, &elem(&1, 0)), Enum.map(b, &elem(&1, 0))} end)
  end
end
