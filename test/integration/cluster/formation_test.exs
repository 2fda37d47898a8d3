defmodule Foundation.Cluster.FormationTest do
  # Real nodes find each other, lose each other, and come back.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ClusterNodes, as: Nodes
  alias Foundation.ClusterProbe, as: Probe

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    %{group: group}
  end

  defp events(peer), do: Nodes.call(peer, Probe, :events, [])
  defp info(peer), do: Nodes.call(peer, Foundation.Cluster, :info, [])
  defp up?(peer, node), do: node in Nodes.nodes(peer)

  test "five nodes that were told nothing but `cluster: true` all see all", %{group: group} do
    peers = Nodes.boot_all(group, 5, env: [cluster: true])
    assert_eventually(Nodes.all_see_all?(peers), 10_000)

    for peer <- peers do
      assert :ok = Nodes.call(peer, Foundation.Cluster, :await_ready, [[quorum: 5, timeout: 1_000]])
      assert Nodes.call(peer, Foundation.Cluster, :size, []) == 5
      assert Nodes.call(peer, :erlang, :get_cookie, []) == String.to_atom(group.cookie)
    end

    # Short names, each its own.
    names = Enum.map(peers, &Nodes.name/1)
    assert Enum.uniq(names) == names
    assert Enum.all?(names, &(to_string(&1) =~ ~r/\Afoundation-[0-9a-f]{12}@[^.]+\z/))
    Enum.each(peers, &Nodes.stop/1)
  end

  test "nothing starts, and no name is given, without the key", %{group: group} do
    peer = Nodes.boot(group)
    refute Nodes.call(peer, Node, :alive?, [])
    refute info(peer).running
    assert Nodes.nodes(peer) == [:nonode@nohost]
    assert Nodes.call(peer, Foundation.Cluster, :await_ready, [[quorum: 1]]) == {:error, :not_running}
    assert Nodes.call(peer, Foundation.Cluster, :drain, [[]]) == {:error, :not_running}
    refute Nodes.call(peer, Foundation.Cluster, :draining?, [])

    # And a running application can begin at any time.
    assert :ok = Nodes.call(peer, Foundation, :start_cluster, [:local_epmd])
    assert Nodes.call(peer, Foundation, :start_cluster, [:gossip]) == {:error, :already_started}
    assert Nodes.call(peer, Node, :alive?, [])
    assert :ok = Nodes.call(peer, Foundation.Cluster, :stop, [])
    refute Nodes.call(peer, Foundation, :cluster_info, []).running
    assert :ok = Nodes.call(peer, Foundation, :start_cluster, [:local_epmd])
    Nodes.stop(peer)
  end

  test "a killed node is unreachable, then has left, and is a member again when it is back", %{group: group} do
    name = :"b#{Nodes.unique()}@127.0.0.1"
    options = [cluster_options: [down_after: 500]]
    a = Nodes.boot(group, name: :a, env: [cluster: {:static, nodes: [name]}] ++ options)
    {:ok, _} = Nodes.call(a, Probe, :start, [])
    [short, _] = name |> to_string() |> String.split("@")
    b = Nodes.boot(group, name: String.to_atom(short), env: [cluster: {:static, nodes: []}])
    assert_eventually(up?(a, name))
    Nodes.kill(b)

    assert_eventually(Enum.any?(events(a), &match?({:left, ^name, _}, &1)))
    refute up?(a, name)
    assert [{:joined, ^name, _}, {:unreachable, ^name, why}, {:left, ^name, why}] = events(a)

    b = Nodes.boot(group, name: String.to_atom(short), env: [cluster: {:static, nodes: []}])
    assert_eventually(up?(a, name))
    assert {:joined, ^name, {:found_by, [:static]}} = List.last(events(a))
    Enum.each([a, b], &Nodes.stop/1)
  end

  test "a node that is back before `down_after` never left, and its new life is told of", %{group: group} do
    short = :"b#{Nodes.unique()}"
    name = :"#{short}@127.0.0.1"
    env = [cluster: {:static, nodes: [name]}, cluster_options: [down_after: 20_000]]
    a = Nodes.boot(group, name: :a, env: env)
    {:ok, _} = Nodes.call(a, Probe, :start, [])
    b = Nodes.boot(group, name: short, env: [cluster: :local_epmd])
    assert_eventually(up?(a, name))
    assert_eventually(info(a).members[name].state == :up)
    Nodes.kill(b)
    assert_eventually(info(a).members[name].state == :unreachable)
    b = Nodes.boot(group, name: short, env: [cluster: :local_epmd])
    assert_eventually(List.last(events(a)) == {:joined, name, :restarted})

    assert [:joined, :unreachable, :reachable, :left, :joined] = Enum.map(events(a), &elem(&1, 0))
    assert {:left, name, :restarted} in events(a)
    seqs = a |> Nodes.call(Probe, :raw, []) |> Enum.map(& &1.seq)
    assert seqs == Enum.to_list(hd(seqs)..List.last(seqs))
    Enum.each([a, b], &Nodes.stop/1)
  end

  test "a cluster that is stopped says goodbye, which needs no waiting", %{group: group} do
    env = [cluster: :local_epmd, cluster_options: [down_after: 60_000]]
    [a, b] = peers = Nodes.boot_all(group, 2, env: env)
    {:ok, _} = Nodes.call(a, Probe, :start, [])
    assert_eventually(Nodes.all_see_all?(peers))
    name = Nodes.name(b)
    :ok = Nodes.call(b, Foundation.Cluster, :stop, [])
    assert_eventually({:left, name, {:goodbye, :stopped}} in events(a))

    # Telemetry has the same.
    {:ok, metrics} = Nodes.call(a, Foundation.Telemetry, :get_metrics, [])

    assert %{joined: %{measurements: %{size: 2}}, left: %{measurements: %{size: 1}}} =
             metrics.foundation.cluster

    Enum.each(peers, &Nodes.stop/1)
  end

  test "membership that crashes finds everything again and tells nobody twice", %{group: group} do
    [a, b] = peers = Nodes.boot_all(group, 2, env: [cluster: :local_epmd])
    {:ok, _} = Nodes.call(a, Probe, :start, [])
    assert_eventually(Nodes.all_see_all?(peers))
    old = Nodes.call(a, Process, :whereis, [Foundation.Cluster.Membership])
    Nodes.call(a, Process, :exit, [old, :kill])
    assert_eventually(Nodes.call(a, Process, :whereis, [Foundation.Cluster.Membership]) not in [nil, old])
    assert Nodes.all_see_all?(peers)
    name = Nodes.name(b)
    Nodes.kill(b)
    assert_eventually(match?([{:joined, ^name, _}, {:unreachable, ^name, _}], events(a)))
    Nodes.stop(a)
  end

  test "another cookie is not let in, and costs ever less", %{group: group} do
    a = Nodes.boot(group, env: [cluster: :local_epmd])
    b = Nodes.boot(group, cookie: "other", env: [cluster: :local_epmd])
    other = Nodes.name(b)
    assert_eventually(other in info(a).strategies[:local_epmd].nodes, 10_000)
    assert info(a).size == 1

    assert {:error, {:timeout, %{size: 1, wanted: 2}}} =
             Nodes.call(a, Foundation.Cluster, :await_ready, [[quorum: 2, timeout: 300]])

    Enum.each([a, b], &Nodes.stop/1)
  end

  test "a majority of what was found", %{group: group} do
    missing = for n <- 1..2, do: :"gone#{n}@127.0.0.1"
    b = Nodes.boot(group, name: :"b#{Nodes.unique()}", env: [cluster: {:static, nodes: []}])
    name = Nodes.name(b)
    a = Nodes.boot(group, name: :"a#{Nodes.unique()}", env: [cluster: {:static, nodes: [name | missing]}])

    await = fn -> Nodes.call(a, Foundation.Cluster, :await_ready, [[timeout: 100]]) end
    assert_eventually(await.() == {:error, {:timeout, %{size: 2, wanted: 3, waiting_for: []}}}, 15_000)

    c = Nodes.boot(group, name: :gone1, env: [cluster: {:static, nodes: []}])
    assert :ok = Nodes.call(a, Foundation.Cluster, :await_ready, [[timeout: 15_000]])
    Enum.each([a, b, c], &Nodes.stop/1)
  end
end
