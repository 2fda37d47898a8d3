defmodule Foundation.Cluster.MdnsLanTest do
  # Hosts of a network of their own, with real multicast between them.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Cluster.Strategy.Mdns
  alias Foundation.{Lan, MdnsNodes}

  unless Lan.available?(), do: @moduletag(skip: "network namespaces need root and iproute2")

  setup context do
    lan = Lan.start(Map.get(context, :hosts, 2), multicast: Map.get(context, :multicast, true))
    on_exit(fn -> Lan.stop(lan) end)
    %{lan: lan}
  end

  defp start(%{peer: peer}, config \\ []) do
    {:ok, pid} = :peer.call(peer, MdnsNodes, :start, [config])
    pid
  end

  defp visible(%{peer: peer}), do: peer |> :peer.call(:erlang, :nodes, [[:visible]]) |> Enum.sort()
  defp stats(%{peer: peer}, pid), do: peer |> :peer.call(Mdns, :stats, [pid]) |> elem(1)

  @tag hosts: 3
  test "nodes on three hosts find each other, on the port of mDNS itself", %{lan: lan} do
    nodes = for {host, n} <- Enum.with_index(lan.hosts, 1), do: Lan.node(host, :"n#{n}@#{lan.prefix}#{n}")
    Enum.each(nodes, &start/1)
    all = nodes |> Enum.map(& &1.node) |> Enum.sort()
    for node <- nodes, do: assert_eventually(visible(node) == all -- [node.node], 20_000)
  end

  test "hosts whose names nobody resolves are known by what they announce", %{lan: lan} do
    [one, two] = lan.hosts
    a = Lan.node(one, :"a@first-of-these")
    b = Lan.node(two, :"b@second-of-these")
    start(a, add_hosts: false)
    pid = start(b, add_hosts: false)
    assert_eventually(stats(b, pid).nodes == ["a@first-of-these"], 20_000)
    assert visible(b) == []

    # The same again, introduced.
    :ok = :peer.call(b.peer, GenServer, :stop, [pid])
    start(b)
    # A question that is lost is asked again, each time after twice as long.
    assert_eventually(visible(b) == [a.node], 40_000)
    assert_eventually(visible(a) == [b.node], 40_000)
  end

  test "a host that was cut off is found when the cable is back", %{lan: lan} do
    [one, two] = lan.hosts
    Lan.ip(two, "link set eth0 down")
    a = Lan.node(one, :"a@#{lan.prefix}1")
    b = Lan.node(two, :"b@#{lan.prefix}2")
    pid = start(a)
    start(b)
    assert_eventually(stats(a, pid).counts.own > 0, 20_000)
    assert stats(a, pid).nodes == []
    Lan.ip(two, "link set eth0 up")
    assert_eventually(visible(a) == [b.node], 30_000)
  end

  test "a host on two networks finds the nodes of both, and is found", %{lan: lan} do
    other = Lan.start(1)
    on_exit(fn -> Lan.stop(other) end)
    [one, two] = lan.hosts
    Lan.connect(other, two, 9, "eth1")
    a = Lan.node(one, :"a@#{lan.prefix}1")
    b = Lan.node(two, :"b@#{lan.prefix}2")
    c = Lan.node(hd(other.hosts), :"c@#{other.prefix}1")
    [pid, _, far] = Enum.map([b, a, c], &start/1)
    assert_eventually(stats(b, pid).nodes == ["a@#{lan.prefix}1", "c@#{other.prefix}1"], 20_000)
    assert_eventually(stats(c, far).nodes == ["b@#{lan.prefix}2"], 20_000)
  end

  test "IPv6 alone is enough to be found, and an interface can be left out", %{lan: lan} do
    [one, two] = lan.hosts
    for {host, n} <- [{one, 1}, {two, 2}], do: Lan.ip(host, "addr del #{lan.prefix}#{n}/24 dev eth0")
    a = Lan.node(one, :"a@first.of.these")
    b = Lan.node(two, :"b@second.of.these")
    pid = start(a, interfaces: ["lo"])
    start(b)
    assert_eventually(stats(a, pid).counts.own > 0, 20_000)
    assert stats(a, pid).nodes == []
    :ok = :peer.call(a.peer, GenServer, :stop, [pid])
    pid = start(a, interfaces: ["eth0"])
    assert_eventually(stats(a, pid).nodes == ["b@second.of.these"], 20_000)
  end
end
