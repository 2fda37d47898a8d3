defmodule Foundation.MABEAM.Coordination.LargeVotesTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination
  alias Foundation.MABEAM.Coordination.{Averaging, Hierarchical}

  @ab %{question: "which?", options: [:a, :b]}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  defp voters(count, choice), do: start_many(count, fn n -> %{vote: {:say, choice.(n)}} end)
  defp third(n), do: if(rem(n, 3) == 0, do: :b, else: :a)

  describe "hierarchical" do
    test "groups count, the root adds up" do
      agents = voters(250, &third/1) ++ [start(:shy), start(:odd, %{vote: {:say, :z}}), :nobody]
      assert {:ok, vote} = Hierarchical.vote(agents, @ab, group: 60)
      assert vote.decision == :a
      assert vote.tally == %{a: 167, b: 83}
      assert {vote.votes, vote.abstained, vote.groups, vote.nodes, vote.messages} == {250, 1, 5, 1, 253}
      assert vote.failed == %{:not_found => 1, {:invalid, :no_option} => 1}
      assert_in_delta vote.confidence, 167 / 250, 1.0e-9

      assert {:error, {:no_majority, %{decision: nil, tally: %{a: 167}}}} =
               Hierarchical.vote(agents, Map.put(@ab, :threshold, {3, 4}))

      assert {:error, {:no_quorum, %{votes: 0}}} = Hierarchical.vote([:shy, :no, :none], @ab)
      assert {:error, {:no_votes, %{abstained: 1}}} = Hierarchical.vote([:shy], @ab)
      assert {:error, {:invalid, _}} = Hierarchical.vote(agents, %{options: []})
      assert_raise ArgumentError, ~r/agents/, fn -> Hierarchical.vote([:a | :b], @ab) end
      assert_raise ArgumentError, ~r/group/, fn -> Hierarchical.vote([:a], @ab, group: 0) end
    end

    test "in one session, with a tally of each group" do
      agents = voters(25, &third/1)
      assert {:ok, outcome} = Coordination.coordinate(:hierarchical, agents, Map.put(@ab, :group, 10))
      assert outcome.detail.tally == %{a: 17, b: 8}
      assert outcome.detail.groups == [%{a: 7, b: 3}, %{a: 7, b: 3}, %{a: 3, b: 2}]

      assert {:error, {{:invalid, _}, _}} =
               Coordination.coordinate(:hierarchical, agents, Map.put(@ab, :group, 0))
    end

    test "a group that stalls does not keep the others" do
      agents =
        voters(20, fn _ -> :a end) ++ [start(:slow, %{vote: {:stall, 60_000}}, callback_timeout: 30_000)]

      assert {:ok, %{votes: 20, failed: %{timeout: 1}}} =
               Hierarchical.vote(agents, @ab, timeout: 2_000, group: 10)
    end

    @tag :slow
    test "ten thousand agents" do
      agents = voters(10_000, &third/1)
      assert {:ok, vote} = Hierarchical.vote(agents, @ab, timeout: 30_000)
      assert {vote.tally, vote.groups, vote.failed} == {%{a: 6_667, b: 3_333}, 20, %{}}
      assert {:ok, vote} = Averaging.vote(agents, @ab, timeout: 30_000, steps: 1)
      assert {vote.decision, vote.count, vote.shares} == {:a, 10_000, %{a: 0.6667, b: 0.3333}}
    end
  end

  describe "sampled" do
    test "asks few, and says how sure it is" do
      agents = voters(1_000, fn n -> if rem(n, 10) == 0, do: :b, else: :a end)
      problem = Map.merge(@ab, %{epsilon: 0.1, delta: 0.01, seed: 5})
      assert {:ok, outcome} = Coordination.coordinate(:sampled, agents, problem)
      assert outcome.decision == :a
      assert outcome.confidence == 0.99
      assert outcome.messages == outcome.detail.asked and outcome.messages < 300
      assert outcome.detail.low > 0.5 and outcome.detail.low <= 0.9 and outcome.detail.high >= 0.9
      # The lot is the seed's.
      assert {:ok, again} = Coordination.coordinate(:sampled, agents, problem)
      assert again.answers == outcome.answers
      assert {:ok, other} = Coordination.coordinate(:sampled, agents, %{problem | seed: 6})
      refute Map.keys(other.answers) == Map.keys(outcome.answers)
    end

    test "does not decide what it cannot know" do
      agents = voters(600, fn n -> if rem(n, 2) == 0, do: :b, else: :a end)
      problem = Map.merge(@ab, %{epsilon: 0.1, delta: 0.05, seed: 1})
      assert {:error, {:too_close, outcome}} = Coordination.coordinate(:sampled, agents, problem)
      assert outcome.detail.low < 0.5 and outcome.detail.high > 0.5
      few = Enum.take(agents, 9)
      # All of them are asked, and it is certain.
      assert {:ok, %{decision: :a, confidence: 1.0, messages: 9}} =
               Coordination.coordinate(:sampled, few, problem)

      assert {:error, {:no_majority, _}} =
               Coordination.coordinate(:sampled, few, Map.put(problem, :threshold, 0.9))
    end

    test "draws others for those who do not answer" do
      silent = for n <- 1..100, do: start("shy-#{n}")
      agents = voters(300, fn _ -> :a end) ++ silent
      problem = Map.merge(@ab, %{epsilon: 0.15, delta: 0.05, seed: 2})
      assert {:ok, outcome} = Coordination.coordinate(:sampled, agents, problem)
      assert outcome.rounds > 1
      assert outcome.detail.asked > map_size(outcome.answers)

      assert {:error, {:no_votes, _}} = Coordination.coordinate(:sampled, silent, problem)

      for bad <- [%{delta: 0}, %{epsilon: 1.0}, %{threshold: 2}, %{seed: -1}, %{options: [1 | 2]}] do
        assert {:error, {{:invalid, _}, _}} =
                 Coordination.coordinate(:sampled, agents, Map.merge(problem, bad))
      end
    end
  end
end
