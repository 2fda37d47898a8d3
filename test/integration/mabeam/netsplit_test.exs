defmodule Foundation.MABEAM.NetsplitTest do
  # Votes while the cluster is in two parts: who cannot be reached has not voted, and what was decided is decided once.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.MABEAM.Coordination
  alias Foundation.MabeamAgents

  @moduletag timeout: 240_000
  @ab %{question: "which?", options: [:a, :b]}

  setup do
    cluster =
      Nodes.start(3,
        durable: false,
        coordination: [expect: 3, session_ms: 1_500],
        env: [mabeam: [placement: [down_after: 100]]]
      )

    on_exit(fn -> Nodes.stop(cluster) end)
    {:ok, cluster: cluster, names: Nodes.placing(cluster)}
  end

  defp on(cluster, node, module, function, arguments),
    do: Nodes.rpc(cluster, node, module, function, arguments, 60_000)

  defp vote(cluster, node, agents, opts),
    do: on(cluster, node, Coordination, :coordinate, [:majority, agents, @ab, opts])

  defp all_wait(cluster, nodes, key),
    do: for(node <- nodes, do: assert_eventually(on(cluster, node, MabeamAgents, :waits?, [key]), 20_000))

  test "who is on the other side has not voted: no quorum there, or a decision that says who is missing",
       context do
    %{cluster: cluster, names: [a, b, c] = names} = context

    agents =
      [one, two, three] = MabeamAgents.start_each(cluster, names, "voter", fn _ -> %{vote: {:say, :a}} end)

    assert {:ok, %{decision: :a, failures: none}} = vote(cluster, a, agents, [])
    assert none == %{}

    # In the middle of a vote: all have been asked, none has answered.
    waiting =
      MabeamAgents.start_each(cluster, names, "waits", fn _ ->
        %{vote: {:say, {MabeamAgents, :waits, [:middle, :b]}}}
      end)

    {:ok, id} = vote(cluster, a, waiting, async: true, timeout: 60_000, quorum: 1)
    all_wait(cluster, names, :middle)
    :ok = Nodes.split(cluster, [[a], [b, c]])

    assert_eventually(
      match?({:ok, %{waiting_for: ["waits-0"]}}, on(cluster, a, Coordination, :status, [id])),
      20_000
    )

    for node <- names, do: on(cluster, node, MabeamAgents, :go, [:middle])
    assert {:ok, outcome} = on(cluster, a, Coordination, :await, [id, 20_000])
    assert {outcome.decision, outcome.answers} == {:b, %{"waits-0" => {:vote, :b}}}
    assert outcome.failures == %{"waits-1" => :down, "waits-2" => :down}

    # Begun while they are apart.
    assert {:error, {:no_quorum, outcome}} = vote(cluster, a, agents, [])
    assert {Map.keys(outcome.answers), Map.keys(outcome.failures)} == {[one], [two, three]}
    assert outcome.detail == %{present: 1, needed: 2}
    assert {:ok, outcome} = vote(cluster, c, agents, [])
    assert {outcome.decision, Map.keys(outcome.failures)} == {:a, [one]}
    assert outcome.failures[one] in [:not_found, :unreachable, :down]

    :ok = Nodes.heal(cluster)
    assert_eventually(match?({:ok, %{failures: none}} when none == %{}, vote(cluster, a, agents, [])), 20_000)
  end

  test "a durable vote whose coordinator is cut off has one outcome, for both sides, when they meet again",
       context do
    %{cluster: cluster, names: names} = context

    agents =
      MabeamAgents.start_each(cluster, names, "waits", fn _ ->
        %{vote: {:say, {MabeamAgents, :waits, [:durable, :b]}}}
      end)

    opts = [durable: true, async: true, timeout: 90_000, quorum: 1]
    {:ok, id} = vote(cluster, hd(names), agents, opts)
    all_wait(cluster, names, :durable)
    {:ok, %{status: :running, node: coordinator}} = on(cluster, hd(names), Coordination, :status, [id])
    rest = names -- [coordinator]
    :ok = Nodes.split(cluster, [[coordinator], rest])
    # The side that was cut off decides for itself, at once; it has no majority to put it down with.
    on(cluster, coordinator, MabeamAgents, :go, [:durable])
    near = hd(rest)

    moved = fn ->
      match?(
        {:ok, %{status: :running, node: node}} when node != coordinator,
        on(cluster, near, Coordination, :status, [id])
      )
    end

    assert_eventually(moved.(), 30_000)
    assert {:error, reason} = on(cluster, coordinator, Coordination, :await, [id, 500])
    assert reason in [:no_leader, :timeout, :busy]
    for node <- rest, do: on(cluster, node, MabeamAgents, :go, [:durable])
    assert {:ok, outcome} = result = on(cluster, near, Coordination, :await, [id, 60_000])
    far = "waits-#{Enum.find_index(names, &(&1 == coordinator))}"
    # It is what came of the side with the majority.
    assert Enum.sort(Map.keys(outcome.answers)) == agents -- [far]
    assert Map.keys(outcome.failures) == [far]

    :ok = Nodes.heal(cluster)

    for node <- names,
        do: assert_eventually(on(cluster, node, Coordination, :await, [id, 1_000]) == result, 30_000)

    assert {:error, :not_found} = on(cluster, coordinator, Coordination, :cancel, [id])
    assert on(cluster, coordinator, Coordination, :await, [id]) == result

    for node <- names,
        do: assert_eventually(on(cluster, node, Coordination, :running_sessions, []) == 0, 20_000)
  end
end
