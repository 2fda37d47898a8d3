defmodule Foundation.ServiceMesh.BudgetTest do
  use ExUnit.Case, async: true

  alias Foundation.ServiceMesh.Budget

  @settings %{retry_ratio: 0.2, retries_per_second: 10, retry_burst: 5}

  test "a burst, then a share of the calls, then some a second" do
    budget = Budget.new(@settings, 0)
    take = fn now -> Budget.withdraw(budget, @settings, now) end
    assert for(_ <- 1..6, do: take.(0)) == [true, true, true, true, true, false]
    for _ <- 1..10, do: Budget.deposit(budget, @settings)
    assert for(_ <- 1..3, do: take.(0)) == [true, true, false]
    assert for(_ <- 1..3, do: take.(200)) == [true, true, false]
    assert %{allowed: 9, refused: 3} = Budget.view(budget)
  end

  test "in any order of calls, retries and time it gives no more than it promises" do
    for seed <- 1..200 do
      :rand.seed(:exsss, {seed, 1, 2})
      budget = Budget.new(@settings, 0)

      {calls, now, taken} =
        Enum.reduce(1..300, {0, 0, 0}, fn _, {calls, now, taken} ->
          case :rand.uniform(3) do
            1 ->
              Budget.deposit(budget, @settings)
              {calls + 1, now, taken}

            2 ->
              {calls, now + :rand.uniform(40), taken}

            3 ->
              {calls, now, if(Budget.withdraw(budget, @settings, now), do: taken + 1, else: taken)}
          end
        end)

      assert taken <= 5 + 0.2 * calls + 10 * now / 1_000, "seed #{seed}"
    end
  end

  test "callers at the same time take each token once" do
    settings = %{@settings | retries_per_second: 0, retry_burst: 1_000}
    budget = Budget.new(settings, 0)

    taken =
      1..8
      |> Task.async_stream(fn _ -> Enum.count(1..500, fn _ -> Budget.withdraw(budget, settings, 0) end) end)
      |> Enum.reduce(0, fn {:ok, n}, sum -> sum + n end)

    assert taken == 1_000
  end
end
