defmodule LlmEvaluationTest do
  # One ledger, one store of events.
  use ExUnit.Case, async: false

  alias Foundation.MABEAM.Economics
  alias LlmEvaluation.Report

  @tag timeout: 120_000
  test "stops when the budget is spent, goes on with more, and has one result an item" do
    seed = System.unique_integer([:positive]) + System.os_time()

    first = LlmEvaluation.run(items: 200, seed: seed, budget: "0.008")
    assert first.before == 0
    assert [{:budget_spent, refused}] = Map.to_list(first.failed)
    # Those that were under way, and no more.
    assert refused in 1..48
    assert first.evaluated in 10..150
    assert first.audit == 0
    spent = first.results |> Enum.map(& &1.cost) |> Enum.sum()
    assert first.left == Economics.units("0.008") - spent
    # Less than the highest price of a call.
    assert first.left in 0..400

    second = LlmEvaluation.run(items: 200, seed: seed, budget: "5")
    assert second.before == first.evaluated
    assert second.before + second.evaluated == 200
    assert second.failed == %{}
    assert second.results |> Enum.map(& &1.item) |> Enum.sort() == Enum.to_list(1..200)
    # What had a result has the same one.
    assert first.results -- second.results == []

    right = Enum.count(second.results, & &1.correct)
    assert right in 150..200
    assert second |> Report.render() |> IO.iodata_to_binary() =~ "200 of 200 items have a result"
  end
end
