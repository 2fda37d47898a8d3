defmodule Foundation.Cluster.GossipTest do
  # Gossip over real multicast: on one host, between hosts, and with nodes that gossip as libcluster does.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Cluster.Strategy.Gossip.Packet
  alias Foundation.ClusterNodes, as: Nodes
  alias Foundation.{Lan, LibclusterGossip}

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    %{group: group, port: 20_000 + :rand.uniform(20_000)}
  end

  defp strategy(peer), do: Nodes.call(peer, Foundation.Cluster, :info, []).strategies[:gossip]

  defp stop_all(peers), do: Enum.each(peers, &Nodes.stop/1)

  test "nodes with one secret form a cluster, and those with another form theirs", %{group: group, port: port} do
    first = Nodes.boot_all(group, 2, env: [cluster: {:gossip, port: port, secret: "one"}])
    second = Nodes.boot_all(group, 2, env: [cluster: {:gossip, port: port, secret: "two"}])
    assert_eventually(Nodes.all_see_all?(first), 10_000)
    assert_eventually(Nodes.all_see_all?(second), 10_000)
    stop_all(first ++ second)
  end

  for secret <- [nil, "somepassword"], group <- [{233, 252, 1, 32}, {230, 1, 1, 251}] do
    test "a node that gossips as libcluster does, group #{:inet.ntoa(group)}, secret #{inspect(secret)}",
         context do
      %{group: group, port: port} = context
      config = [port: port, secret: unquote(secret)]
      ours = Nodes.boot(group, name: :"o#{Nodes.unique()}", env: [cluster: {:gossip, config}])
      theirs = Nodes.boot(group, name: :"t#{Nodes.unique()}", start: false)

      {:ok, _} =
        Nodes.call(theirs, LibclusterGossip, :start, [config ++ [group: unquote(Macro.escape(group))]])

      assert_eventually(Nodes.name(theirs) in Nodes.nodes(ours), 10_000)
      # And they find us by our packets alone: this one does not speak.
      third = Nodes.boot(group, name: :"q#{Nodes.unique()}", start: false)
      silent = config ++ [group: unquote(Macro.escape(group)), every: 3_600_000]
      {:ok, _} = Nodes.call(third, LibclusterGossip, :start, [silent])
      assert_eventually(Nodes.name(ours) in Nodes.call(third, Node, :list, []), 15_000)
      stop_all([ours, theirs, third])
    end
  end

  test "broadcast only", %{group: group, port: port} do
    config = [port: port, broadcast_only: true, multicast_addr: "127.255.255.255"]
    peers = Nodes.boot_all(group, 2, env: [cluster: {:gossip, config}])
    assert_eventually(Nodes.all_see_all?(peers), 15_000)
    stop_all(peers)
  end

  test "a named interface and a group of one's own", %{group: group, port: port} do
    config = [
      port: port,
      multicast_addr: "239.1.2.3",
      multicast_if: "127.0.0.1",
      if_addr: "0.0.0.0",
      multicast_ttl: 0
    ]

    peers = Nodes.boot_all(group, 2, env: [cluster: {:gossip, config}])
    assert_eventually(Nodes.all_see_all?(peers), 15_000)
    stop_all(peers)
  end

  test "what is wrong with the socket is reported, and tried again", %{group: group, port: port} do
    {:ok, taken} = :gen_udp.open(port, ip: {127, 0, 0, 1})
    config = [port: port, if_addr: "127.0.0.1"]
    peer = Nodes.boot(group, env: [cluster: {:gossip, config}])
    assert_eventually(match?(%{error: {:socket, :eaddrinuse}, status: :running}, strategy(peer)))
    :gen_udp.close(taken)
    assert_eventually(match?(%{error: nil}, strategy(peer)), 10_000)
    Nodes.stop(peer)

    peer = Nodes.boot(group, env: [cluster: {:gossip, multicast_addr: "not an address"}])

    assert_eventually(
      match?(%{error: {:socket, {:not_an_ipv4_address, {:multicast_addr, _}}}}, strategy(peer))
    )

    Nodes.stop(peer)

    peer = Nodes.boot(group, env: [cluster: {:gossip, secret: :atom}])
    assert_eventually(match?(%{status: :restarting}, strategy(peer)))
    Nodes.stop(peer)
  end

  test "a flood of strangers' packets makes neither atoms nor a queue, and gossip goes on", %{
    group: group,
    port: port
  } do
    peer = Nodes.boot(group, env: [cluster: {:gossip, port: port}])
    assert_eventually(match?(%{error: nil, rounds: rounds} when rounds > 1, strategy(peer)))
    before = Nodes.call(peer, :erlang, :system_info, [:atom_count])
    {:ok, socket} = :gen_udp.open(0, [:binary])

    for n <- 1..20_000 do
      packet =
        case rem(n, 3) do
          0 ->
            :rand.bytes(200)

          1 ->
            :binary.replace(
              Packet.encode(:"stranger_00000@nowhere.invalid", nil),
              "00000",
              String.pad_leading("#{n}", 5, "0")
            )

          2 ->
            "heartbeat::" <> <<131, 80, 0x7FFFFFFF::32, 1, 2, 3>>
        end

      :gen_udp.send(socket, {127, 0, 0, 1}, port, packet)
    end

    assert Nodes.call(peer, :erlang, :system_info, [:atom_count]) - before < 1_500
    other = Nodes.boot(group, env: [cluster: {:gossip, port: port}])
    assert_eventually(Nodes.all_see_all?([peer, other]), 20_000)
    stop_all([peer, other])
  end

  @lan Lan.available?()
  unless @lan, do: @tag(skip: "network namespaces are not permitted here")

  test "between hosts, with nodes of libcluster's in both of its groups" do
    lan = Lan.start(4)
    on_exit(fn -> Lan.stop(lan) end)
    # libcluster leaves the interface to the routing table.
    for host <- lan.hosts, do: Lan.ip(host, "route add default dev eth0")

    [a, b, new, old] =
      nodes = for {host, n} <- Enum.with_index(lan.hosts, 1), do: Lan.node(host, :"n#{n}@#{lan.prefix}#{n}")

    for node <- [a, b] do
      :ok = :peer.call(node.peer, Application, :put_env, [:foundation, :cluster, :gossip])
      {:ok, _} = :peer.call(node.peer, Application, :ensure_all_started, [:foundation], 20_000)
    end

    for {node, group} <- [{new, {233, 252, 1, 32}}, {old, {230, 1, 1, 251}}],
        do: {:ok, _} = :peer.call(node.peer, LibclusterGossip, :start, [[port: 45_892, group: group]])

    names = Enum.map(nodes, & &1.node)

    assert_eventually(
      Enum.all?([a, b], &(:peer.call(&1.peer, Foundation.Cluster, :nodes, []) == names)),
      15_000
    )

    # Each has been heard, not only reached through the others.
    assert_eventually(found(a) == [b.node, new.node, old.node], 15_000)
  end

  defp found(node), do: :peer.call(node.peer, Foundation.Cluster, :info, []).strategies[:gossip].nodes
end
