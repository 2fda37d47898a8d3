defmodule Foundation.Cluster.MdnsNodesTest do
  # Real nodes that know nothing of each other, and real multicast on this host.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Cluster.Strategy.Mdns
  alias Foundation.{MdnsNodes, PeerNodes}

  defp peers(count) do
    peers = PeerNodes.start(count, app: false, connect: false)
    on_exit(fn -> PeerNodes.stop(peers) end)
    peers
  end

  defp start(%{peer: peer}, config) do
    {:ok, pid} = :peer.call(peer, MdnsNodes, :start, [config])
    pid
  end

  defp call(%{peer: peer}, module, function, args), do: :peer.call(peer, module, function, args)
  defp others(peer), do: peer |> call(:erlang, :nodes, [[:visible]]) |> Enum.sort()
  defp counts(peer, pid), do: peer |> call(Mdns, :stats, [pid]) |> elem(1) |> Map.get(:counts)

  test "five nodes find each other" do
    port = MdnsNodes.port()
    peers = peers(5)
    for peer <- peers, do: start(peer, port: port)
    all = peers |> Enum.map(& &1.node) |> Enum.sort()

    for peer <- peers, do: assert_eventually(others(peer) == all -- [peer.node], 15_000)
  end

  test "a node with another secret, or of another cluster, is left alone and counted" do
    port = MdnsNodes.port()
    [a, b, c] = peers(3)
    pid = start(a, port: port, secret: "one")
    start(b, port: port, secret: "two")
    start(c, port: port, secret: "one", cluster: "another")

    assert_eventually(
      match?(%{wrong_proof: n, other_cluster: m} when n > 0 and m > 0, counts(a, pid)),
      15_000
    )

    assert {:ok, %{nodes: [], strangers: [{name, "default"}]}} = call(a, Mdns, :stats, [pid])
    assert name == Atom.to_string(b.node)
    assert others(a) == []
  end

  test "a goodbye is heard, and neither it nor a killed node ends a connection" do
    port = MdnsNodes.port()
    [a, b, c] = peers(3)
    pid = start(a, port: port)
    leaving = start(b, port: port)
    start(c, port: port)
    both = Enum.sort([b.node, c.node])
    known = fn -> a |> call(Mdns, :stats, [pid]) |> elem(1) |> Map.get(:nodes) end
    assert_eventually(known.() == Enum.map(both, &Atom.to_string/1), 15_000)
    assert_eventually(others(a) == both, 15_000)

    :ok = call(b, GenServer, :stop, [leaving])
    assert_eventually(known.() == [Atom.to_string(c.node)], 15_000)
    assert others(a) == both

    os_pid = call(c, System, :pid, [])
    {_, 0} = System.cmd("kill", ["-9", os_pid])
    assert_eventually(others(a) == [b.node], 15_000)
    assert known.() == [Atom.to_string(c.node)]
  end

  test "a node hears its own announcement, and shows its secret to nobody" do
    port = MdnsNodes.port()
    [a] = peers(1)
    pid = start(a, port: port, secret: "a-secret-of-ours")
    assert_eventually(counts(a, pid).own > 0, 15_000)
    state = call(a, :sys, :get_state, [pid])
    refute inspect(state, limit: :infinity) =~ "a-secret-of-ours"
    refute inspect(call(a, :sys, :get_status, [pid]), limit: :infinity) =~ "a-secret-of-ours"
  end

  test "a process that crashes says goodbye, and its node is found again" do
    port = MdnsNodes.port()
    [a, b] = peers(2)
    [watching, crashing] = [start(a, port: port), start(b, port: port)]
    known = fn -> a |> call(Mdns, :stats, [watching]) |> elem(1) |> Map.get(:nodes) end
    assert_eventually(known.() == [Atom.to_string(b.node)], 15_000)
    call(b, Process, :exit, [crashing, :kill])
    assert_eventually(known.() == [], 15_000)
    start(b, port: port)
    assert_eventually(known.() == [Atom.to_string(b.node)], 15_000)
  end
end
