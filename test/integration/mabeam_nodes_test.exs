defmodule Foundation.MABEAM.NodesTest do
  # Agents on real nodes, one of which is killed, frozen or cut off.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.{MABEAM, MabeamAgents, PeerNodes, RealNode}
  alias Foundation.MABEAM.{AgentRegistry, Comms, Coordination, Core}
  require Foundation.Distributed.Context, as: Context

  @moduletag timeout: 120_000
  @ab %{question: "which?", options: [:a, :b]}

  setup do
    {:ok, _} = MABEAM.start()
    peers = PeerNodes.start(2, env: [test_mode: false, mabeam: true])

    on_exit(fn ->
      MabeamAgents.stop()
      PeerNodes.leave(peers)
    end)

    {:ok, peers: peers, nodes: Enum.map(peers, & &1.node)}
  end

  defp start_on(peer, id, script \\ %{}, attributes \\ []),
    do: RealNode.call(peer, MabeamAgents, :start, [id, script, attributes])

  test "requests, events and searches find agents where they are", %{peers: [one, two], nodes: nodes} do
    Process.register(self(), :nodes_test)
    MabeamAgents.start(:here, %{event: {:tell, {:nodes_test, node()}}}, capabilities: [:c])
    start_on(one, :there, %{event: {:tell, {:nodes_test, node()}}}, capabilities: [:c])
    start_on(two, "far", %{vote: {:say, :a}})

    assert {:ok, {:done, {1, :x}}} = Comms.request(:there, {:task, :x})
    assert {:ok, {:vote, :a}} = Comms.request("far", {:vote, nil})
    assert {:error, :not_found} = Comms.request(:nowhere, {:task, 1})
    assert AgentRegistry.find_agents(capabilities: [:c], node: :all) == [:here, :there]
    assert AgentRegistry.list_agents(hd(nodes)) == [:there]

    assert :ok = Comms.notify(:there, 1)
    assert_receive {:heard, :there, 1}, 5_000
    assert {:ok, %{told: 2, refused: none}} = Comms.broadcast([capabilities: [:c]], 2)
    assert none == %{}
    for id <- [:here, :there], do: assert_receive({:heard, ^id, 2}, 5_000)
    assert {:ok, %{told: 2, refused: %{lost: :not_found}}} = Comms.multicast([:here, :there, :lost], 3)

    :ok = RealNode.call(one, Comms, :subscribe, [:there, "news"])
    assert {:ok, %{local: 0}} = Comms.publish_event("news", 4)
    assert_receive {:heard, :there, 4}, 5_000

    # An agent that has moved away is asked for again.
    :ok = RealNode.call(one, AgentRegistry, :deregister_agent, [:there])
    assert {:error, :not_found} = Comms.request(:there, {:task, 1})
    start_on(two, :there)
    assert {:ok, {:done, {1, 1}}} = Comms.request(:there, {:task, 1})
  end

  test "a vote over three nodes counts them all, in one trace", %{peers: [one, two]} do
    MabeamAgents.start(:a, %{vote: {:say, :a}})
    start_on(one, :b, %{vote: {:say, :b}})
    start_on(two, :c, %{vote: {:say, :b}})
    start_on(two, :d, %{vote: {:spend, %{tokens: 5}, :b}})

    Context.with_global_context %{user: 7} do
      assert {:ok, outcome} = Coordination.coordinate(:majority, [:a, :b, :c, :d], @ab)
      assert {outcome.decision, map_size(outcome.answers), outcome.cost.tokens} == {:b, 4, 5}
      assert outcome.trace_id == Context.trace_id()
      {:ok, %{hops: hops, unreachable: []}} = Context.hops(outcome.trace_id)

      assert hops |> Enum.filter(&(&1.kind == :agent)) |> Enum.map(& &1.name) |> Enum.sort() == [
               :a,
               :b,
               :c,
               :d
             ]

      assert hops |> Enum.map(& &1.node) |> Enum.uniq() |> length() == 3
    end
  end

  test "agents that vanish with their node are told of at once, and the rest decide", %{peers: [one, two]} do
    for n <- 1..3, do: MabeamAgents.start("near-#{n}", %{vote: {:say, :a}})
    start_on(one, :slow, %{vote: {:stall, 60_000}}, callback_timeout: :infinity)
    start_on(two, :there, %{vote: {:say, :a}})
    agents = ["near-1", "near-2", "near-3", :slow, :there]
    {:ok, id} = Coordination.coordinate(:majority, agents, @ab, timeout: 60_000, async: true)
    assert_eventually(match?({:ok, %{waiting_for: [:slow]}}, Coordination.status(id)), 10_000)
    RealNode.kill(one)
    assert {:ok, outcome} = Coordination.await(id, 20_000)
    assert {outcome.decision, outcome.failures} == {:a, %{slow: :down}}
    assert {:error, reason} = Comms.request(:slow, {:task, 1})
    assert reason in [:unreachable, :not_found]
    assert {:error, :not_found} = Comms.request(:slow, {:task, 1})
  end

  test "a frozen node costs a vote its round and no more", %{peers: [one, _two]} do
    MabeamAgents.start(:a, %{vote: {:say, :a}})
    MabeamAgents.start(:b, %{vote: {:say, :a}})
    start_on(one, :frozen, %{vote: {:say, :b}})
    assert {:ok, :pong} = ping(:frozen)
    os_pid = RealNode.os_pid(one)
    RealNode.signal(os_pid, "STOP")

    {us, result} =
      :timer.tc(fn -> Coordination.coordinate(:majority, [:a, :b, :frozen], @ab, timeout: 2_000) end)

    RealNode.signal(os_pid, "CONT")
    assert {:ok, %{decision: :a, failures: %{frozen: :timeout}}} = result
    assert us < 4_000_000
    # It is there again.
    assert_eventually(match?({:ok, %{decision: :a, failures: f}} when f == %{}, vote()), 20_000)
  end

  defp ping(id), do: with(:ok <- Comms.ping(id, 5_000), do: {:ok, :pong})
  defp vote, do: Coordination.coordinate(:majority, [:a, :b, :frozen], @ab, timeout: 2_000)

  test "a shared variable is changed on any node and the same on all", %{peers: peers} do
    variable = [name: :links, type: :topology, conflict: :crdt]
    :ok = Core.register_variable(variable)
    for peer <- peers, do: :ok = RealNode.call(peer, Core, :register_variable, [variable])
    :ok = Core.subscribe(:links)
    [one, two] = peers
    {:ok, _} = RealNode.call(one, Core, :update_variable, [:links, %{a: [], b: [:a]}, :ann])
    assert_receive {:mabeam_variable, :links, %{value: %{a: [], b: [:a]}}}, 10_000
    assert_eventually(RealNode.call(two, Core, :get_variable, [:links]) == {:ok, %{a: [], b: [:a]}}, 10_000)
    # Two nodes add different agents at the same time: both stay.
    there = Task.async(fn -> RealNode.call(two, MabeamAgents, :add_part, [:links, :d, [:a]]) end)
    {:ok, _} = MabeamAgents.add_part(:links, :c, [:b])
    Task.await(there)
    all = {:ok, %{a: [], b: [:a], c: [:b], d: [:a]}}
    assert_eventually(Core.get_variable(:links) == all, 10_000)
    assert_eventually(RealNode.call(one, Core, :get_variable, [:links]) == all, 10_000)
  end
end
