defmodule Foundation.Distributed.RelayNodesTest do
  # Real nodes, each an OS process, that only the fabric connects: clients that are linked to servers alone.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed
  alias Foundation.Distributed.{Channels, Fabric, Topology}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor

  @moduletag timeout: 120_000

  setup do
    roles = [:server, :server, :client, :client]

    nodes =
      for {role, n} <- Enum.with_index(roles) do
        topology = [start: :client_server, role: role]
        channels = [strict: [reliability: :ordered]]
        Peers.start("relay#{n}", fabric: [topology: topology, channels: channels])
      end

    on_exit(fn -> Enum.each(nodes, &Peers.stop/1) end)
    for node <- tl(nodes), do: Peers.introduce(node, hd(nodes))
    assert_eventually(Enum.all?(nodes, &(length(Peers.rpc(&1, Fabric, :nodes, [])) == 3)), 20_000)
    [_, _ | clients] = nodes

    linked = fn ->
      Enum.all?(clients, &match?([{_, true}, {_, true}], Peers.rpc(&1, Topology, :links, [])))
    end

    assert_eventually(linked.(), 20_000)
    %{servers: Enum.take(nodes, 2), clients: clients}
  end

  defp info(node), do: node |> Peers.rpc(Fabric, :info, []) |> elem(1)
  defp relaying(nodes), do: nodes |> Enum.map(&info(&1).relaying) |> Enum.sum()
  defp kept(peer, pid), do: Peers.rpc(peer, Visitor, :kept, [pid])

  test "a client calls a client, and servers carry it", %{servers: servers, clients: [a, b]} do
    pid = Peers.rpc(b, Visitor, :start, [:callee])
    large = :binary.copy("0123456789", 50_000)

    for request <- [:hello, large] do
      assert {:ok, ^request} =
               Peers.rpc(a, Distributed, :call, [:coordination, {:callee, b.node}, {:echo, request}])
    end

    assert {:error, :noproc} = Peers.rpc(a, Distributed, :call, [:coordination, {:nobody, b.node}, :hello])
    assert :ok = Peers.rpc(a, Channels, :send_message, [:data, pid, :acknowledged, [ack: true]])
    assert kept(b, pid) == [:acknowledged]
    assert relaying(servers) > 0
    assert info(a).circuits > 0 and relaying([a, b]) == 0
  end

  test "order is kept, and a large message is no hindrance", %{clients: [a, b]} do
    pid = Peers.rpc(b, Visitor, :start, [:relayed_order])
    assert :ok = Peers.rpc(a, Visitor, :send_mixed, [:strict, {:relayed_order, b.node}, 300])
    assert_eventually(length(kept(b, pid)) == 300, 20_000)
    assert Enum.map(kept(b, pid), &elem(&1, 0)) == Enum.to_list(1..300)
    assert Enum.all?(kept(b, pid), fn {n, body} -> body == Visitor.body(n) end)
  end

  test "when the server between dies the other carries on, and nothing is lost or doubled", context do
    %{servers: servers, clients: [a, b]} = context
    pid = Peers.rpc(b, Visitor, :start, [:survivor])
    stream = Peers.rpc(a, Visitor, :stream, [:strict, {:survivor, b.node}])
    assert_eventually(length(kept(b, pid)) > 50, 10_000)
    [dying | _] = Enum.sort_by(servers, &(-info(&1).relaying))
    system = Peers.rpc(dying, System, :pid, [])
    before = length(kept(b, pid))
    {_, 0} = System.cmd("kill", ["-KILL", system])
    assert_eventually(length(kept(b, pid)) > before + 200, 20_000)
    sent = Peers.rpc(a, Visitor, :stop_stream, [stream])
    assert_eventually(length(kept(b, pid)) == sent, 20_000)
    assert kept(b, pid) == Enum.to_list(1..sent)
  end
end
