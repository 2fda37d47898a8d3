defmodule Foundation.Distributed.GoodbyeTest do
  # A goodbye is believed, whatever is still under way of who said it: nodes are OS processes, and the fabric of :ai is all
  # that is between them.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.{Channels, Clusters, Fabric, Topology}
  alias Foundation.FabricPeers, as: Peers

  @moduletag timeout: 120_000

  @secret "the secret of the cluster ai"
  @loopback [bind: {127, 0, 0, 1}, advertise: {{127, 0, 0, 1}, 0}]

  setup_all do
    stays = Peers.start(:stays, fabric: [cluster: :ai, secret: @secret] ++ @loopback)
    goes = Peers.start(:goes, fabric: [cluster: :app, secret: "app"] ++ @loopback)
    on_exit(fn -> Enum.each([stays, goes], &Peers.stop/1) end)
    %{stays: stays, goes: goes}
  end

  defp rpc(node, module, function, arguments \\ []), do: Peers.rpc(node, module, function, arguments, 60_000)

  defp join(goes, stays) do
    {:ok, %{address: address}} = rpc(stays, Fabric, :info)
    assert :ok = rpc(goes, Clusters, :join, [:ai, [secret: @secret, seeds: [address], fabric: @loopback]])
    member? = fn -> Enum.any?(rpc(stays, Topology, :members), &(&1.node == goes.node)) end
    assert_eventually(rpc(goes, Fabric, :nodes, [:ai]) == [stays.node] and member?.(), 15_000)
    assert_eventually(rpc(stays, Fabric, :nodes) == [goes.node], 15_000)
  end

  test "who leaves right after it sent is gone, and back when it joins again", %{stays: stays, goes: goes} do
    for round <- 1..8 do
      join(goes, stays)
      # The first message of its channels: their links are being opened while the goodbye is said.
      for channel <- [:data, :gossip, :events] do
        target = {:nobody, stays.node}
        assert :ok = rpc(goes, Channels, :send_message, [channel, target, round, [cluster: :ai]])
      end

      assert :ok = rpc(goes, Clusters, :leave, [:ai])
      assert_eventually(rpc(stays, Fabric, :nodes) == [], 5_000)
    end

    # Of all the lives it had, the last one is known, and it is over.
    {:ok, %{peers: peers}} = rpc(stays, Fabric, :info)
    assert [{_name, _boot, _address, false}] = peers
    assert {:error, :unreachable} = rpc(stays, Channels, :send_message, [:data, {:nobody, goes.node}, :hello])
  end
end
