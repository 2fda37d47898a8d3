defmodule Foundation.Cluster.DoctorLanTest do
  # Faults of the network itself, on hosts of their own.
  use ExUnit.Case, async: false

  alias Foundation.Cluster.Doctor
  alias Foundation.Lan

  unless Lan.available?(), do: @moduletag(skip: "network namespaces need root and iproute2")

  setup do
    lan = Lan.start(2)
    on_exit(fn -> Lan.stop(lan) end)
    [one, two] = lan.hosts
    %{lan: lan, one: one, two: two}
  end

  defp node_on(lan, host, n), do: Lan.node(host, :"n#{n}@#{lan.prefix}#{n}")

  defp causes(%{peer: peer}, opts, status \\ :error) do
    {_, findings} = :peer.call(peer, Doctor, :run, [opts], 60_000)
    for %{status: ^status} = f <- findings, do: {f.check, f.cause}
  end

  test "31. no network interface has multicast", %{lan: lan, one: one} do
    Lan.ip(one, "link set eth0 multicast off")
    node = node_on(lan, one, 1)
    assert {:multicast, :no_multicast_interface} in causes(node, cluster: :mdns)
    Lan.ip(one, "link set eth0 multicast on")
    refute :multicast in Keyword.keys(causes(node, cluster: :mdns))
  end

  test "32. the host joins no multicast group", %{lan: lan, one: one} do
    node = node_on(lan, one, 1)
    Lan.sysctl(one, "net/ipv4/igmp_max_memberships", 0)
    assert {:multicast, :multicast_blocked} in causes(node, cluster: :mdns)
  end

  test "33. the cable is out", %{lan: lan, one: one} do
    node = node_on(lan, one, 1)
    Lan.ip(one, "link set eth0 down")
    assert {:interfaces, :loopback_alone} in causes(node, [], :warning)
    assert {:peer, :epmd_unreachable} in causes(node, nodes: [:"n2@#{lan.prefix}2"])
  end

  test "34. packets to the other host are dropped", %{lan: lan, one: one, two: two} do
    [a, b] = [node_on(lan, one, 1), node_on(lan, two, 2)]
    Lan.ip(two, "route add blackhole #{lan.prefix}1/32")
    assert causes(a, nodes: [b.node]) == [peer: :epmd_unreachable]
    Lan.ip(two, "route del blackhole #{lan.prefix}1/32")
    assert causes(a, nodes: [b.node]) == []
  end
end
