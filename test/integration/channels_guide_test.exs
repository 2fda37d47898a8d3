defmodule Foundation.ChannelsGuideTest do
  # The guide's code, run on a node of its own beside another that has the processes it speaks of.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed.{Discovery, Fabric}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor

  @moduletag timeout: 120_000

  test "the Elixir of guides/channels.md runs" do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    [a, b] = [Peers.start(:channels_guide_a), Peers.start(:channels_guide_b)]
    on_exit(fn -> Enum.each([a, b], &Peers.stop/1) end)
    true = Peers.connect(a, b)

    for {one, other} <- [{a, b}, {b, a}],
        do: assert_eventually(other.node in Peers.rpc(one, Fabric, :nodes, []))

    store = Peers.rpc(b, Visitor, :start_store, [:store])
    :ok = Peers.rpc(b, Discovery, :register_service, [:store, store, [capabilities: [:durable]]])
    assert_eventually(Peers.rpc(a, Discovery, :discover_services, [[]]) != [])
    assert Peers.rpc(a, Foundation.Guide, :run, [Path.expand("guides/channels.md")]) > 15
  end
end
