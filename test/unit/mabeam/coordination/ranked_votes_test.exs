defmodule Foundation.MABEAM.Coordination.RankedVotesTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  # An agent for each kind of ballot, with as much weight as there were voters.
  defp electorate(ballots) do
    for {{_count, ranking}, n} <- Enum.with_index(ballots), do: start("v#{n}", %{vote: {:say, ranking}})
    weights = for {{count, _}, n} <- Enum.with_index(ballots), into: %{}, do: {"v#{n}", count}
    {Map.keys(weights), weights}
  end

  defp held(protocol, ballots, options, more \\ %{}) do
    {agents, weights} = electorate(ballots)
    problem = Map.merge(%{options: options, weights: weights}, more)
    result = Coordination.coordinate(protocol, agents, problem, quorum: 1)
    Enum.each(agents, &MABEAM.AgentRegistry.deregister_agent/1)
    result
  end

  # Schulze 2011, example 1: 45 voters, E before A before C before B before D.
  @schulze [
    {5, ~w(A C B E D)},
    {5, ~w(A D E C B)},
    {8, ~w(B E D A C)},
    {3, ~w(C A B E D)},
    {7, ~w(C A E B D)},
    {2, ~w(C B A D E)},
    {7, ~w(D C E B A)},
    {8, ~w(E B A D C)}
  ]

  # The mayor of Burlington, Vermont, 2009, three candidates, as tabulated by Smith and Gierzynski: Kiss won the run-off,
  # Montroll would have beaten each of the others.
  @burlington [
    {1332, [:montroll, :kiss, :wright]},
    {767, [:montroll, :wright, :kiss]},
    {455, [:montroll]},
    {2043, [:kiss, :montroll, :wright]},
    {371, [:kiss, :wright, :montroll]},
    {568, [:kiss]},
    {1513, [:wright, :montroll, :kiss]},
    {495, [:wright, :kiss, :montroll]},
    {1289, [:wright]}
  ]

  # The capital of Tennessee, the standard example of textbooks.
  @tennessee [
    {42, [:memphis, :nashville, :chattanooga, :knoxville]},
    {26, [:nashville, :chattanooga, :knoxville, :memphis]},
    {15, [:chattanooga, :knoxville, :nashville, :memphis]},
    {17, [:knoxville, :chattanooga, :nashville, :memphis]}
  ]

  test "condorcet: Schulze's own example" do
    assert {:ok, outcome} = held(:condorcet, @schulze, ~w(A B C D E))
    assert outcome.decision == "E"
    assert outcome.detail.ranking == [["E"], ["A"], ["C"], ["B"], ["D"]]
    assert outcome.detail.condorcet == nil
    assert outcome.detail.preferences[{"A", "B"}] == 20
    assert outcome.detail.preferences[{"B", "A"}] == 25
    # Its narrowest comparison, with C, it loses.
    assert_in_delta outcome.confidence, 21 / 45, 1.0e-9
  end

  test "Burlington 2009: the run-off strikes out who beats the others" do
    options = [:kiss, :montroll, :wright]
    assert {:ok, %{decision: :montroll} = schulze} = held(:condorcet, @burlington, options)
    assert schulze.detail.condorcet == :montroll
    assert schulze.detail.preferences[{:montroll, :kiss}] == 4067
    assert schulze.detail.preferences[{:kiss, :montroll}] == 3477
    assert {:ok, %{decision: :kiss} = run_off} = held(:instant_runoff, @burlington, options)
    assert [first, last] = run_off.detail.counts

    assert first == %{
             counts: %{kiss: 2982, montroll: 2554, wright: 3297},
             exhausted: 0,
             eliminated: :montroll
           }

    assert last == %{counts: %{kiss: 4314, wright: 4064}, exhausted: 455, eliminated: nil}
    assert_in_delta run_off.confidence, 4314 / 8378, 1.0e-9
  end

  test "Tennessee: Nashville by comparison, Knoxville by run-off" do
    options = [:memphis, :nashville, :chattanooga, :knoxville]
    assert {:ok, %{decision: :nashville}} = held(:condorcet, @tennessee, options)
    assert {:ok, %{decision: :knoxville} = run_off} = held(:instant_runoff, @tennessee, options)
    assert Enum.map(run_off.detail.counts, & &1.eliminated) == [:chattanooga, :nashville, nil]
    assert List.last(run_off.detail.counts).counts == %{knoxville: 58, memphis: 42}
  end

  test "ties are broken as the problem says" do
    ballots = [{1, [:a, :b]}, {1, [:b, :a]}]

    for protocol <- [:condorcet, :instant_runoff] do
      assert {:ok, %{decision: :b} = outcome} = held(protocol, ballots, [:b, :a])
      assert outcome.detail.winners == [:b, :a]

      assert {:error, {:tie, %{detail: %{winners: [:b, :a]}}}} =
               held(protocol, ballots, [:b, :a], %{tie: :none})

      lots = for seed <- 1..20, do: elem(held(protocol, ballots, [:b, :a], %{tie: {:seed, seed}}), 1).decision
      assert Enum.sort(Enum.uniq(lots)) == [:a, :b]
      assert {:ok, %{decision: same}} = held(protocol, ballots, [:b, :a], %{tie: {:seed, 1}})
      assert same == hd(lots)
    end
  end

  test "what is no ranking does not count, and says so" do
    bad = [[:a, :a], [:z], [], :a, [:a | :b], nil, %{}, [[:a]], "a", [1.0]]
    for {vote, n} <- Enum.with_index(bad), do: start("bad#{n}", %{vote: {:say, vote}})
    start(:good, %{vote: {:say, [:b]}})
    agents = [:good | for(n <- 0..(length(bad) - 1), do: "bad#{n}")]

    for protocol <- [:condorcet, :instant_runoff] do
      assert {:ok, outcome} = Coordination.coordinate(protocol, agents, %{options: [:a, :b, 1]}, quorum: 1)
      assert outcome.decision == :b
      assert map_size(outcome.failures) == length(bad)
      assert Enum.all?(outcome.failures, fn {_, why} -> why == {:invalid, :not_a_ranking} end)

      start(:shy)
      assert {:error, {:no_votes, _}} = Coordination.coordinate(protocol, [:shy], %{options: [:a]})
      :ok = MABEAM.AgentRegistry.deregister_agent(:shy)

      for wrong <- [
            %{tie: :best},
            %{weights: %{v: 0}},
            %{weights: [1]},
            %{options: [:a | :b]},
            %{tie: {:seed, -1}}
          ] do
        assert {:error, {{:invalid, _}, _}} =
                 Coordination.coordinate(protocol, [:good], Map.merge(%{options: [:a]}, wrong))
      end
    end
  end
end
