defmodule Foundation.Distributed.TopologiesGuideTest do
  # The guide's code, run on one of three nodes.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed.{Fabric, Topology}
  alias Foundation.FabricPeers, as: Peers

  @moduletag timeout: 120_000

  test "the Elixir of guides/topologies.md runs" do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    nodes = [first | others] = for n <- 1..3, do: Peers.start("topologies_guide#{n}", fabric: true)
    on_exit(fn -> Enum.each(nodes, &Peers.stop/1) end)
    for other <- others, do: true = Peers.connect(first, other)
    assert_eventually(Enum.all?(nodes, &(length(Peers.rpc(&1, Fabric, :nodes, [])) == 2)), 10_000)
    assert_eventually(Enum.all?(nodes, &(length(Peers.rpc(&1, Topology, :members, [])) == 2)), 10_000)
    assert Peers.rpc(first, Foundation.Guide, :run, [Path.expand("guides/topologies.md")], 60_000) > 5
  end
end
