defmodule Foundation.MABEAM.HierarchicalNodesTest do
  # A vote in a tree over real nodes, of which one is killed in the middle.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.{MABEAM, MabeamAgents, PeerNodes, RealNode}
  alias Foundation.MABEAM.Coordination.Hierarchical

  @moduletag timeout: 120_000
  @ab %{question: "which?", options: [:a, :b]}

  setup do
    {:ok, _} = MABEAM.start()
    peers = PeerNodes.start(2, env: [test_mode: false, mabeam: true])

    on_exit(fn ->
      MabeamAgents.stop()
      PeerNodes.leave(peers)
    end)

    {:ok, peers: peers}
  end

  defp voters(nil, ids, script), do: for(id <- ids, do: MabeamAgents.start(id, script))

  defp voters(peer, ids, script),
    do:
      for(id <- ids, do: RealNode.call(peer, MabeamAgents, :start, [id, script, [callback_timeout: 60_000]]))

  defp ids(prefix, count), do: for(n <- 1..count, do: "#{prefix}#{n}")

  test "each node counts its own, and one that is lost is counted as lost", %{peers: [one, two]} do
    voters(nil, ids("here", 10), %{vote: {:say, :a}})
    voters(one, ids("one", 20), %{vote: {:say, :b}})
    voters(two, ids("two", 15), %{vote: {:say, :a}})
    agents = ids("here", 10) ++ ids("one", 20) ++ ids("two", 15)

    assert {:ok, vote} = Hierarchical.vote(agents, @ab, group: 8)
    assert {vote.decision, vote.tally, vote.nodes} == {:a, %{a: 25, b: 20}, 3}
    assert vote.groups == 2 + 3 + 2
    assert vote.messages == 45

    voters(two, ids("slow", 5), %{vote: {:stall, 30_000}})
    agents = agents ++ ids("slow", 5)
    voting = Task.async(fn -> Hierarchical.vote(agents, @ab, timeout: 20_000, quorum: 30) end)
    assert_eventually(RealNode.call(two, MABEAM.Coordination, :running_sessions, []) > 0, 10_000)
    RealNode.kill(two)
    assert {:ok, vote} = Task.await(voting, 30_000)
    assert {vote.decision, vote.tally, vote.failed} == {:b, %{a: 10, b: 20}, %{node_failed: 20}}
  end
end
