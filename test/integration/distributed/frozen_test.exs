defmodule Foundation.Distributed.FrozenTest do
  # A real node that is frozen, under the default settings, among nodes that Distributed Erlang connects, which itself
  # would notice after a minute or more.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.{Fabric, Topology}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor
  alias Foundation.RealNode

  @moduletag timeout: 120_000

  test "a frozen node is declared gone by all others in seconds, and is back when it goes on" do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    nodes = [first | rest] = for n <- 1..4, do: Peers.start("frozen#{n}", fabric: [])
    on_exit(fn -> Enum.each(nodes, &Peers.stop/1) end)
    for node <- rest, do: true = Peers.connect(first, node)
    assert_eventually(Enum.all?(nodes, &(length(Peers.rpc(&1, Fabric, :nodes, [])) == 3)), 20_000)
    assert_eventually(Enum.all?(nodes, &(length(Peers.rpc(&1, Topology, :members, [])) == 3)), 20_000)

    # A node that is late itself gives others more time.
    health = fn node -> elem(Peers.rpc(node, Topology, :info, []), 1).health end
    assert_eventually(Enum.all?(nodes, &(health.(&1) == 0)), 20_000)
    {frozen, others} = List.pop_at(nodes, 1)
    watchers = for node <- others, do: {node, Peers.rpc(node, Visitor, :start, [nil])}
    for {node, pid} <- watchers, do: :ok = Peers.rpc(node, Topology, :subscribe, [pid])

    os_pid = RealNode.os_pid(frozen)
    on_exit(fn -> System.cmd("kill", ["-CONT", os_pid], stderr_to_stdout: true) end)
    started = System.monotonic_time(:millisecond)
    :ok = RealNode.signal(os_pid, "STOP")
    gone? = fn node -> frozen.node not in Peers.rpc(node, Fabric, :nodes, []) end
    assert_eventually(Enum.all?(others, gone?), 20_000)
    took = System.monotonic_time(:millisecond) - started

    # At most 2 s on a quiet machine, which `bench/cluster_bench.exs` measures; here other suites may run beside.
    assert took < 4_000, "it took #{took} ms"
    assert frozen.node in Peers.rpc(first, Node, :list, [])

    for {node, pid} <- watchers do
      news = Peers.rpc(node, Visitor, :kept, [pid])
      assert {:foundation_member, {:down, :silent}, frozen.node} in news
      # Nobody else was taken for dead.
      assert for({:foundation_member, {:down, _}, other} <- news, do: other) == [frozen.node]
    end

    :ok = RealNode.signal(os_pid, "CONT")
    assert_eventually(Enum.all?(nodes, &(length(Peers.rpc(&1, Fabric, :nodes, [])) == 3)), 20_000)
  end
end
