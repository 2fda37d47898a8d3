defmodule Foundation.Distributed.Discovery.WeightsTest do
  use ExUnit.Case, async: true

  alias Foundation.Distributed.Discovery.{Load, Weights}

  test "equal weights need no table" do
    assert Weights.new([]) == nil
    assert Weights.new([3, 3, 3]) == nil
  end

  test "shares add up to the weights, for any weights" do
    for seed <- 1..300 do
      :rand.seed(:exsss, {seed, 3, 4})
      weights = for _ <- 1..(1 + :rand.uniform(30)), do: :rand.uniform(1_000)

      with {shares, others} <- Weights.new(weights) do
        n = length(weights)
        one = 0x40000000
        at = fn i -> {elem(shares, i), elem(others, i)} end

        got =
          Enum.reduce(0..(n - 1), %{}, fn i, got ->
            {own, other} = at.(i)
            got |> Map.update(i, own, &(&1 + own)) |> Map.update(other, one - own, &(&1 + one - own))
          end)

        for {weight, i} <- Enum.with_index(weights) do
          wanted = weight * n * one / Enum.sum(weights)
          assert_in_delta Map.get(got, i, 0), wanted, n + 1, "seed #{seed}"
        end
      end
    end
  end

  test "picks come out in proportion" do
    weights = Weights.new([1, 2, 7])
    :rand.seed(:exsss, {1, 2, 3})
    counts = Enum.frequencies(for _ <- 1..20_000, do: Weights.pick(weights))
    for {i, share} <- [{0, 0.1}, {1, 0.2}, {2, 0.7}], do: assert_in_delta(counts[i] / 20_000, share, 0.02)
  end

  describe "load" do
    test "a slow call counts at once, fast ones and time bring it down" do
      load = Load.new()
      second = 1_000_000_000
      assert Load.cost(load, 0, 1) == 0.0
      Load.begin(load)
      assert Load.cost(load, 0, 1) == 1.0e9
      Load.finish(load, :success, 1_000_000, 1)
      assert_in_delta Load.cost(load, 1, 1), 1.0e6, 1
      Load.begin(load)
      Load.finish(load, :success, 50_000_000, 2)
      assert_in_delta Load.cost(load, 2, 1), 5.0e7, 100
      assert_in_delta Load.cost(load, 2, 10), 5.0e6, 100
      Load.begin(load)
      assert_in_delta Load.cost(load, 2, 1), 1.0e8, 200
      Load.finish(load, :success, 1_000_000, 10 * second)
      assert Load.cost(load, 10 * second, 1) < 2.1e7
      assert Load.cost(load, 500 * second, 1) <= 1.0
    end

    test "failures in a row, their share, and being set aside" do
      load = Load.new()
      for n <- 1..3, do: assert({Load.begin(load), Load.finish(load, :failure, 1, n)} == {:ok, n})
      assert Load.failing(load) > 200_000
      refute Load.aside?(load, 0)
      Load.set_aside(load, 0)
      refute Load.aside?(load, 1)
      assert Load.aside?(load, 0)
      Load.set_aside(load, -5)
      assert Load.aside?(load, -6)
      Load.take_back(load)
      assert {Load.begin(load), Load.finish(load, :failure, 1, 4)} == {:ok, 1}
      assert Load.window(load) == {0, 4}
      assert Load.window(load) == {0, 0}
      assert %{in_flight: 0, calls: 4, failed: 4, ejected: false} = Load.view(load, 0)
    end
  end
end
