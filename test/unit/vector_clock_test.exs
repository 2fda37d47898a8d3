defmodule Foundation.VectorClockTest do
  use ExUnit.Case, async: true

  alias Foundation.VectorClock

  doctest VectorClock

  test "a clock is ordered by what it knows" do
    a = VectorClock.new(a: 1)
    b = VectorClock.increment(a, :b)
    c = VectorClock.increment(a, :c)

    assert VectorClock.compare(a, a) == :equal
    assert VectorClock.compare(a, b) == :before
    assert VectorClock.compare(b, a) == :after
    assert VectorClock.compare(b, c) == :concurrent
    assert VectorClock.descends?(b, a) and not VectorClock.descends?(a, b)
    assert VectorClock.descends?(a, a)
  end

  test "merging gives the least clock that descends from both" do
    clocks = for a <- 0..2, b <- 0..2, c <- 0..2, do: VectorClock.new(a: a, b: b, c: c)

    for one <- clocks, other <- clocks do
      merged = VectorClock.merge(one, other)
      assert merged == VectorClock.merge(other, one)
      assert VectorClock.descends?(merged, one) and VectorClock.descends?(merged, other)
      assert VectorClock.merge(merged, one) == merged

      for bound <- clocks, VectorClock.descends?(bound, one), VectorClock.descends?(bound, other) do
        assert VectorClock.descends?(bound, merged)
      end
    end
  end

  test "parties are any terms, and what is no count is refused" do
    clock = VectorClock.new() |> VectorClock.increment({:node, 1}) |> VectorClock.increment(self())
    assert VectorClock.get(clock, {:node, 1}) == 1
    assert VectorClock.get(clock, self()) == 1
    assert_raise ArgumentError, ~r/the count of :a/, fn -> VectorClock.new(a: -1) end
  end
end
