defmodule Foundation.Distributed.BroadcastNodesTest do
  # Broadcasts on channels by every way, between real nodes that only the fabric connects.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed.{Channels, Fabric, Topology}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor

  @moduletag timeout: 120_000

  setup do
    nodes = for n <- 1..5, do: Peers.start("broadcast#{n}", fabric: [topology: :hyparview])
    on_exit(fn -> Enum.each(nodes, &Peers.stop/1) end)
    for node <- tl(nodes), do: Peers.introduce(node, hd(nodes))
    assert_eventually(Enum.all?(nodes, &known?/1), 20_000)
    %{nodes: nodes, sinks: for(node <- nodes, do: {node, Peers.rpc(node, Visitor, :subscribe, [:events])})}
  end

  defp known?(node) do
    links = Peers.rpc(node, Topology, :links, [])
    length(Peers.rpc(node, Fabric, :nodes, [])) == 4 and links != [] and Enum.all?(links, &elem(&1, 1))
  end

  defp kept({node, pid}), do: Peers.rpc(node, Visitor, :kept, [pid])

  test "each way reaches the subscribers of every node, once", %{nodes: [first | _], sinks: sinks} do
    large = :binary.copy("x", 100_000)

    ways =
      for via <- [:direct, :staged, :tree, :auto],
          urgency <- [:normal, :urgent],
          do: [via: via, urgency: urgency]

    for options <- ways do
      assert :ok = Peers.rpc(first, Channels, :broadcast, [:events, {:small, options}, options])
      assert :ok = Peers.rpc(first, Channels, :broadcast, [:events, {large, options}, options])
    end

    for sink <- sinks do
      assert_eventually(length(kept(sink)) == 2 * length(ways), 10_000)
      messages = for {:foundation_channel, :events, from, {_body, options}} <- kept(sink), do: {from, options}
      expected = for options <- ways, _ <- 1..2, do: {first.node, options}
      assert Enum.sort(messages) == Enum.sort(expected)
    end
  end

  test "gossip and what the overlay does not take", %{nodes: [first | _], sinks: sinks} do
    assert :ok = Peers.rpc(first, Channels, :broadcast, [:events, :whisper, [via: :gossip]])
    # In so small a cluster everyone is a neighbour's neighbour.
    for sink <- sinks, do: assert_eventually(match?([_], kept(sink)), 5_000)
    assert :ok = Peers.rpc(first, Channels, :gossip, [:hum])
    assert {:error, :unknown_channel} = Peers.rpc(first, Channels, :broadcast, [:none, :x, [via: :tree]])
    assert {:error, :unknown_channel} = Peers.rpc(first, Channels, :broadcast, [:none, :x, [via: :staged]])
    huge = :binary.copy("x", 1_000_000)
    assert {:error, {:too_large, max}} = Peers.rpc(first, Channels, :broadcast, [:events, huge, [via: :tree]])
    assert max in 100_000..300_000
  end

  test "when a node that passes on dies, the rest of its group is told all the same, once", context do
    %{nodes: [first, frozen | _], sinks: sinks} = context
    pid = Peers.rpc(frozen, System, :pid, [])
    {_, 0} = System.cmd("kill", ["-STOP", pid])

    # It is the first of its group in half of them.
    for n <- 1..16, do: assert(:ok = Peers.rpc(first, Channels, :broadcast, [:events, n, [via: :staged]]))
    others = List.delete_at(sinks, 1)
    for sink <- others, do: assert_eventually(length(kept(sink)) >= 16, 20_000)
    # Now what it passes on comes late.
    {_, 0} = System.cmd("kill", ["-CONT", pid])
    assert_eventually(length(kept(Enum.at(sinks, 1))) == 16, 20_000)
    assert :ok = Peers.rpc(first, Channels, :broadcast, [:events, :last, [via: :staged]])

    for sink <- sinks do
      assert_eventually(:last in messages(sink), 20_000)
      assert Enum.sort(messages(sink)) == Enum.to_list(1..16) ++ [:last]
    end
  end

  defp messages(sink), do: for({:foundation_channel, :events, _from, message} <- kept(sink), do: message)
end
