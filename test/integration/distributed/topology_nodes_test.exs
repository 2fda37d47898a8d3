defmodule Foundation.Distributed.TopologyNodesTest do
  # Real nodes, each an OS process, that only the fabric connects.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.{Broadcast, Channels, Fabric, Routing, Topology}
  alias Foundation.FabricPeers

  @moduletag timeout: 120_000

  setup context do
    count = Map.get(context, :nodes, 4)
    nodes = for n <- 1..count, do: FabricPeers.start("overlay#{n}", fabric: [topology: :full_mesh])
    on_exit(fn -> for node <- nodes, do: stop(node) end)
    for node <- tl(nodes), do: FabricPeers.introduce(node, hd(nodes))
    assert_eventually(Enum.all?(nodes, &(length(members(&1)) == count - 1)), 10_000)
    %{nodes: nodes}
  end

  defp stop(%{peer: peer}) do
    :peer.stop(peer)
  catch
    :exit, _ -> :ok
  end

  defp rpc(node, module, function, arguments \\ []),
    do: FabricPeers.rpc(node, module, function, arguments)

  defp members(node), do: rpc(node, Topology, :members)
  defp info(node), do: node |> rpc(Topology, :info) |> elem(1)

  test "nodes that know one address know everyone, and channels reach them", %{nodes: nodes} do
    for node <- nodes do
      others = for other <- nodes, other != node, do: other.node
      assert node |> members() |> Enum.map(& &1.node) |> Enum.sort() == Enum.sort(others)
      assert_eventually(Enum.sort(rpc(node, Fabric, :nodes)) == Enum.sort(others), 5_000)
    end

    [_, second, third | _] = nodes
    target = {Foundation.Distributed.Fabric.Relay, third.node}
    assert :ok = rpc(second, Channels, :send_message, [:data, target, :hello, [ack: true]])
  end

  test "a switch changes every node, and each broadcast arrives once", %{nodes: [first | _] = nodes} do
    sinks = for node <- nodes, do: {node, spawn_sink(node, :news)}

    for topology <- [:hyparview, :client_server, :pub_sub, :full_mesh] do
      assert :ok = rpc(first, Topology, :switch_topology, [topology, [settled: true]])

      assert_eventually(
        Enum.all?(nodes, &match?(%{topology: ^topology, settled: true}, info(&1))),
        25_000
      )

      assert :ok = rpc(first, Broadcast, :publish, [:news, {:now, topology}])
      expected = {:foundation_broadcast, :news, first.node, {:now, topology}}
      for {node, sink} <- tl(sinks), do: assert_eventually(count(node, sink, expected) == 1, 5_000)
    end

    {node, sink} = List.last(sinks)
    assert length(messages(node, sink)) == 4
    assert {:error, {:topology, :full_mesh}} = rpc(first, Topology, :switch_topology, [:pub_sub, :hyparview])
    assert :ok = rpc(first, Foundation.BEAM.Distribution, :switch_topology, [:full_mesh, :hyparview])
  end

  test "a frozen node is seen in less than two seconds, and seen again", %{nodes: nodes} do
    {frozen, others} = List.pop_at(nodes, 2)
    pid = rpc(frozen, System, :pid)
    {_, 0} = System.cmd("kill", ["-STOP", pid])
    start = System.monotonic_time(:millisecond)

    try do
      gone = fn -> Enum.all?(others, fn node -> frozen.node not in Enum.map(members(node), & &1.node) end) end
      assert_eventually(gone.(), 10_000)
      took = System.monotonic_time(:millisecond) - start
      # The bound for a quiet machine is 2 s; several suites may share this one.
      assert took < 4_000
    after
      {_, 0} = System.cmd("kill", ["-CONT", pid])
    end

    assert_eventually(Enum.all?(nodes, &(length(members(&1)) == 3)), 10_000)
  end

  test "a node that stops its fabric has left, and one that is killed is down", %{nodes: nodes} do
    [first, leaving, killed | _] = nodes
    watcher = spawn_sink(first, nil)
    :ok = rpc(first, Topology, :subscribe, [watcher])

    :ok = rpc(leaving, Application, :stop, [:foundation])
    assert_eventually(count(first, watcher, {:foundation_member, :left, leaving.node}) == 1, 5_000)

    pid = rpc(killed, System, :pid)
    {_, 0} = System.cmd("kill", ["-KILL", pid])
    down = {:foundation_member, {:down, :silent}, killed.node}
    assert_eventually(count(first, watcher, down) == 1, 10_000)
  end

  test "switches under load lose no acknowledged message", %{nodes: [first, second | _]} do
    sink = spawn_sink(second, nil)
    true = rpc(second, Process, :register, [sink, :topology_sink])
    target = {:topology_sink, second.node}

    for {topology, round} <- Enum.with_index([:hyparview, :client_server, :full_mesh]) do
      :ok = rpc(first, Topology, :switch_topology, [topology])

      for n <- 1..100,
          do:
            assert(
              :ok = rpc(first, Channels, :send_message, [:coordination, target, {round, n}, [ack: true]])
            )
    end

    assert_eventually(length(messages(second, sink)) >= 300, 5_000)
    assert messages(second, sink) == for(round <- 0..2, n <- 1..100, do: {round, n})
  end

  test "what is measured is of real links, and advice follows the workload", %{nodes: [first | _] = nodes} do
    analyze = fn -> first |> rpc(Topology, :analyze_performance) |> elem(1) end
    assert_eventually(analyze.().rtt_us != nil, 10_000)
    analysis = analyze.()
    assert analysis.nodes == length(nodes)
    assert analysis.rtt_us.median > 0 and analysis.rtt_us.median < 1_000_000
    assert map_size(analysis.peers) == length(nodes) - 1

    assert {:ok, advice} = rpc(first, Topology, :optimize_for_workload, [:low_latency])
    assert advice.best == :full_mesh and length(advice.estimates) == 4

    others = for node <- tl(nodes), do: node.node
    assert {:ok, ranked} = rpc(first, Routing, :rank, [[first.node, :nobody@nowhere | others]])
    assert hd(ranked) == first.node and Enum.sort(tl(ranked)) == Enum.sort(others)
    assert_eventually(rpc(first, Routing, :route, [hd(others)]) == {:ok, :direct}, 5_000)
    assert {:ok, :unknown} = rpc(first, Routing, :route, [:nobody@nowhere])
  end

  # A process there that keeps what it is sent, subscribed to a topic.
  defp spawn_sink(node, topic) do
    sink = rpc(node, :erlang, :spawn, [:timer, :sleep, [:infinity]])
    if topic, do: :ok = rpc(node, Broadcast, :subscribe, [topic, sink])
    sink
  end

  defp messages(node, sink) do
    {:messages, messages} = rpc(node, Process, :info, [sink, :messages])
    messages
  end

  defp count(node, sink, message), do: Enum.count(messages(node, sink), &(&1 == message))
end
