defmodule Foundation.MABEAM.Coordination.AssignmentTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{AgentRegistry, Coordination}
  alias Foundation.MABEAM.Coordination.Assignment

  doctest Assignment

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  # The most pairs, and of those the least sum, by trying all.
  defp best([], _left), do: {0, 0}

  defp best([row | rows], left) do
    without = best(rows, left)

    for column <- left, cost = Enum.at(row, column), reduce: without do
      found ->
        {pairs, sum} = best(rows, left -- [column])
        Enum.min_by([found, {pairs + 1, sum + cost}], fn {pairs, sum} -> {-pairs, sum} end)
    end
  end

  test "the least sum of the most pairs, as by trying all" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..150 do
      {rows, columns} = {:rand.uniform(6), :rand.uniform(6)}
      cell = fn -> if :rand.uniform(5) == 1, do: nil, else: :rand.uniform(41) - 21 end
      matrix = for _ <- 1..rows, do: for(_ <- 1..columns, do: cell.())
      {pairs, sum} = best(matrix, Enum.to_list(0..(columns - 1)))

      for method <- [:hungarian, :auction] do
        assert {:ok, found} = Assignment.matrix(matrix, method: method)
        used = Enum.reject(found.columns, &is_nil/1)
        assert {length(used), found.cost} == {pairs, sum}
        assert used == Enum.uniq(used)
        chosen = for {row, column} <- Enum.zip(matrix, found.columns), column != nil, do: Enum.at(row, column)
        assert Enum.sum(chosen) == sum
      end
    end
  end

  test "by name" do
    costs = %{report: %{ann: 9, bob: 2}, index: %{ann: 4, bob: 3}, paint: %{}}
    assert {:ok, plan} = Assignment.solve(costs)
    assert plan == %{pairs: %{report: :bob, index: :ann}, unassigned: [:paint], cost: 6, gap: 0}
    assert {:ok, %{pairs: %{}, unassigned: [], cost: 0}} = Assignment.solve(%{})
    assert {:ok, %{unassigned: [:a]}} = Assignment.solve(%{a: %{}})
  end

  test "only to who can" do
    tasks = %{parse: %{needs: [:elixir], work: 3}, draw: %{needs: [:svg]}, sing: %{needs: [:voice]}}

    agents = %{
      ann: %{capabilities: [:elixir, :svg], rate: 2, slots: 2},
      bob: %{capabilities: [:elixir], rate: 3}
    }

    assert {:ok, %{pairs: %{parse: :ann, draw: :ann}, unassigned: [:sing], cost: 8}} =
             Assignment.allocate(tasks, agents)

    start(:ann, %{}, capabilities: [:elixir, :svg])
    start(:bob, %{}, capabilities: [:elixir])
    assert {:ok, %{pairs: %{parse: :bob, draw: :ann}}} = Assignment.allocate(tasks, [:ann, :bob])
    assert {:error, {:not_found, :cec}} = Assignment.allocate(tasks, [:ann, :cec])
    many = %{t: %{needs: Enum.map(1..129, &{:skill, &1})}}
    assert {:error, {:too_large, :capabilities}} = Assignment.allocate(many, agents)
    assert {:ok, %{unassigned: [:t]}} = Assignment.allocate(%{t: %{}}, %{})
  end

  test "refuses what is no matrix" do
    for bad <- [:x, [[1], [1, 2]], [1], [[1] | 2], [[1.5]], [[:a]], [[2 ** 70]]] do
      assert_raise ArgumentError, ~r/rows/, fn -> Assignment.matrix(bad) end
    end

    for bad <- [%{a: 1}, [], %{a: %{b: 1.0}}],
        do: assert_raise(ArgumentError, ~r/costs/, fn -> Assignment.solve(bad) end)

    assert_raise ArgumentError, ~r/method/, fn -> Assignment.matrix([[1]], method: :magic) end
    assert_raise ArgumentError, ~r/option/, fn -> Assignment.matrix([[1]], speed: 1) end
    assert_raise ArgumentError, ~r/tasks/, fn -> Assignment.allocate(%{a: %{work: :much}}, %{}) end
  end

  describe "the protocol" do
    test "gives out what agents bid for" do
      start(:ann, %{bid: {:say, %{a: 1, b: 2}}})
      start(:bob, %{bid: {:say, %{a: 2, b: 10}}})
      start(:shy)
      start(:liar, %{bid: {:say, %{a: 0.5}}})
      start(:fool, %{bid: {:say, %{z: 1}}})
      agents = [:ann, :bob, :shy, :liar, :fool]
      assert {:ok, outcome} = Coordination.coordinate(:assignment, agents, %{tasks: %{a: 1, b: 2, c: 3}})
      assert outcome.decision == %{pairs: %{a: :bob, b: :ann}, cost: 4, unassigned: [:c]}
      assert_in_delta outcome.confidence, 2 / 3, 1.0e-9
      assert outcome.abstentions == [:shy]
      assert %{liar: {:invalid, :not_a_bid}, fool: {:invalid, :not_a_bid}} = outcome.failures

      worth = %{tasks: %{a: 1, b: 2}, goal: :most_worth}

      assert {:ok, %{decision: %{pairs: %{a: :ann, b: :bob}, cost: 11}}} =
               Coordination.coordinate(:assignment, agents, worth)

      assert {:error, {:no_bids, _}} = Coordination.coordinate(:assignment, [:shy, :liar], %{tasks: %{a: 1}})

      for bad <- [
            %{},
            %{tasks: []},
            %{tasks: %{}},
            %{tasks: %{a: 1}, slots: 0},
            %{tasks: %{a: 1}, goal: :fun}
          ] do
        assert {:error, {{:invalid, _}, _}} = Coordination.coordinate(:assignment, [:ann], bad)
      end
    end

    test "has them done, and by another when one fails" do
      start(:ann, %{bid: {:say, %{a: 1, b: 1, c: 1}}, task: {:raise, "no"}})
      start(:bob, %{bid: {:say, %{a: 5, b: 6, c: 7}}})
      problem = %{tasks: %{a: :first, b: :second, c: :third}, slots: 3, execute: true}
      assert {:ok, outcome} = Coordination.coordinate(:assignment, [:ann, :bob], problem)
      assert outcome.decision.pairs == %{a: :bob, b: :bob, c: :bob}
      assert outcome.decision.cost == 18
      assert outcome.decision.results == %{a: {1, :first}, b: {2, :second}, c: {3, :third}}
      assert outcome.confidence == 1.0
      assert [{:a, :ann, {:crashed, _}}, {:b, :ann, _}, {:c, :ann, _}] = outcome.detail.passed

      start(:cec, %{bid: {:say, %{a: 1}}, task: {:throw, :no}})

      assert {:error, {:none_done, %{detail: %{passed: [_]}}}} =
               Coordination.coordinate(:assignment, [:cec], %{tasks: %{a: 1}, execute: true})
    end

    test "what nobody else has a slot for stays undone" do
      start(:ann, %{bid: {:say, %{a: 1}}, task: :die}, restart: :temporary)
      start(:bob, %{bid: {:say, %{a: 5, b: 1}}})
      problem = %{tasks: %{a: 1, b: 2}, execute: true}
      assert {:ok, outcome} = Coordination.coordinate(:assignment, [:ann, :bob], problem, timeout: 2_000)
      assert outcome.decision.pairs == %{b: :bob}
      assert outcome.decision.unassigned == [:a]
      assert [{:a, :ann, _why}] = outcome.detail.passed
      assert AgentRegistry.list_agents() |> Enum.sort() == [:ann, :bob]
    end
  end
end
