defmodule Foundation.MABEAM.Coordination.AdaptiveTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination.Adaptive
  alias Foundation.MABEAM.Core
  alias Foundation.MABEAM.Core.Optimizer

  @ab %{options: [:a, :b]}
  @arms %{
    all: %{protocol: :unanimity},
    most: %{protocol: :majority, opts: [quorum: 1]},
    few: %{protocol: :sampled, problem: %{epsilon: 0.3, seed: 1}}
  }

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
    {:ok, agents: for(n <- 1..20, do: start("v#{n}", %{vote: {:say, if(n == 1, do: :b, else: :a)}}))}
  end

  defp rounds(name, count, agents, opts) do
    for _ <- 1..count do
      case Adaptive.coordinate(name, agents, @ab, opts) do
        {:ok, round} -> round
        {:error, {_reason, round}} -> round
      end
    end
  end

  test "learns which protocol is worth what it costs", %{agents: agents} do
    :ok = Adaptive.new(:vote, @arms, price: %{messages: 0.04}, range: {-1, 1})
    # Unanimity never comes about; of the others the sample needs fewer messages.
    played = rounds(:vote, 120, agents, utility: fn outcome -> if outcome.decision == :a, do: 1, else: 0 end)
    late = Enum.drop(played, 60)
    assert Enum.count(late, &(&1.arm == :few)) > 30
    assert Core.get_variable(:vote) == {:ok, :few}
    assert {:ok, %{best: :few, told: 120}} = Adaptive.status(:vote)
    failed = Enum.find(played, &(&1.arm == :all))
    assert {failed.utility, failed.cost, failed.reward} == {0, 0.8, -0.8}
    assert failed.outcome.detail.tally == %{a: 19, b: 1}
    assert {:ok, [%{tried: _, reward: _, why: :best_mean} | _]} = Optimizer.history(:vote)
    assert :ok = Adaptive.delete(:vote, :system)
    assert {:error, :not_found} = Adaptive.coordinate(:vote, agents, @ab, utility: fn _ -> 1 end)
  end

  test "learns parameters, and the other way when the price is another", %{agents: agents} do
    arms = %{few: %{protocol: :sampled, problem: %{epsilon: 0.45, seed: 1}}, all: %{protocol: :majority}}
    worth = fn outcome -> outcome.confidence end
    :ok = Adaptive.new(:free, arms, range: {0, 1})
    rounds(:free, 40, agents, utility: worth)
    :ok = Adaptive.new(:dear, arms, price: %{messages: 0.2}, range: {-4, 1})
    rounds(:dear, 40, agents, utility: worth)
    {:ok, free} = Adaptive.status(:free)
    {:ok, dear} = Adaptive.status(:dear)
    assert dear.best == :few
    assert free.told == 40 and dear.told == 40
  end

  test "does not learn from what was no round", %{agents: agents} do
    :ok = Adaptive.new(:vote, %{one: %{protocol: :none}, two: %{protocol: :none}})

    assert {:error, {:unknown_protocol, :none}} =
             Adaptive.coordinate(:vote, agents, @ab, utility: fn _ -> 1 end)

    :ok = Adaptive.new(:odd, %{one: %{protocol: :majority}})

    assert {:error, {:bad_utility, :much}} =
             Adaptive.coordinate(:odd, agents, @ab, utility: fn _ -> :much end)

    assert_raise RuntimeError, fn ->
      Adaptive.coordinate(:odd, agents, @ab, utility: fn _ -> raise "no" end)
    end

    assert {:ok, %{told: 0, open: 0}} = Adaptive.status(:odd)
    assert {:ok, %{told: 0, open: 0}} = Adaptive.status(:vote)

    assert {:ok, %{utility: 2, reward: 1}} =
             Adaptive.coordinate(:odd, agents, @ab, utility: {__MODULE__, :judge})
  end

  def judge(_outcome), do: 2

  test "refuses what is no arm" do
    for bad <- [
          %{},
          [],
          %{a: 1},
          %{a: %{protocol: "x"}},
          %{a: %{protocol: :majority, opts: 1}},
          %{a: %{protocol: self()}}
        ] do
      assert {:error, {:invalid, %{field: :arms}}} = Adaptive.new(:bad, bad)
    end

    assert {:error, {:invalid, %{field: :price}}} = Adaptive.new(:bad, @arms, price: %{love: 1})
    assert {:error, {:invalid, %{field: :range}}} = Adaptive.new(:bad, @arms, range: {1, 1})
    assert {:error, {:invalid, %{field: :method}}} = Adaptive.new(:bad, @arms, method: :magic)
    assert {:error, :not_found} = Core.get_variable(:bad)
    assert_raise ArgumentError, fn -> Adaptive.new(:bad, @arms, speed: 1) end
    :ok = Core.register_variable(name: :plain)
    assert {:error, :not_adaptive} = Adaptive.coordinate(:plain, [:a], @ab, utility: &judge/1)
    assert_raise ArgumentError, ~r/utility/, fn -> Adaptive.coordinate(:plain, [:a], @ab, []) end
  end
end
