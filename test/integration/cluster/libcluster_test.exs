defmodule Foundation.Cluster.LibclusterTest do
  # Configurations and strategies written for libcluster, as they stand.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ClusterNodes, as: Nodes
  alias Foundation.ClusterProbe, as: Probe

  setup do
    group = Nodes.group()
    b = Nodes.boot(group, name: :"b#{Nodes.unique()}", env: [cluster: {:static, nodes: []}])
    on_exit(fn -> Nodes.stop_group(group) end)
    on_exit(fn -> Nodes.stop(b) end)
    %{group: group, b: b, name: Nodes.name(b)}
  end

  defp start(group, env) do
    peer = Nodes.boot(group, name: :"a#{Nodes.unique()}", env: env)
    on_exit(fn -> Nodes.stop(peer) end)
    peer
  end

  test "a strategy that polls, with its errors and its leaving", %{group: group, name: name} do
    topologies = [
      mine: [strategy: LibclusterStyle.Polling, config: [source: :test_source, polling_interval: 50]]
    ]

    a = start(group, cluster: topologies, test_source: [name], cluster_options: [leave_after: 200])
    {:ok, _} = Nodes.call(a, Probe, :start, [])
    assert_eventually(name in Nodes.nodes(a))
    assert Nodes.call(a, Foundation, :cluster_info, []).members[name].found_by == [:mine]
    assert :ok = Nodes.call(a, Foundation.Cluster, :await_ready, [[timeout: 5_000]])

    Nodes.call(a, Application, :put_env, [:foundation, :test_source, []])
    assert_eventually({:left, name, {:given_up, :mine}} in Nodes.call(a, Probe, :events, []))
    Nodes.call(a, Application, :put_env, [:foundation, :test_source, [name]])
    assert_eventually(name in Nodes.nodes(a))
  end

  test "a strategy that looks once, and what it did not reach is tried again", %{group: group, name: name} do
    later = :"later#{Nodes.unique()}@127.0.0.1"

    a =
      start(group,
        libcluster_topologies: [one: [strategy: LibclusterStyle.Once, config: [hosts: [name, later]]]]
      )

    assert_eventually(name in Nodes.nodes(a))
    assert Nodes.call(a, Foundation, :cluster_info, []).strategies[:one].status == :done

    [short, _] = later |> to_string() |> String.split("@")
    c = Nodes.boot(group, name: String.to_atom(short), env: [cluster: {:static, nodes: []}])
    assert_eventually(later in Nodes.nodes(a), 15_000)
    Nodes.stop(c)
  end

  test "libcluster's own names, and calls of one's own", %{group: group, name: name} do
    topologies = [
      example: [
        strategy: Cluster.Strategy.Epmd,
        config: [hosts: [name]],
        connect: {Probe, :connect, [:extra]},
        list_nodes: {:erlang, :nodes, [:connected]}
      ]
    ]

    a = start(group, cluster: topologies)
    assert_eventually(name in Nodes.nodes(a))
    assert Nodes.call(a, Application, :get_env, [:foundation, :test_connected]) == {:extra, name}

    assert Nodes.call(a, Foundation, :cluster_info, []).strategies[:example].module ==
             Foundation.Cluster.Strategy.Epmd
  end

  test "`cluster: true` takes the topologies of libcluster's own configuration", %{group: group, name: name} do
    a = Nodes.boot(group, name: :"a#{Nodes.unique()}", start: false, env: [cluster: true])
    topologies = [local: [strategy: Cluster.Strategy.LocalEpmd]]
    Nodes.call(a, Application, :put_env, [:libcluster, :topologies, topologies])
    {:ok, _} = Nodes.call(a, Application, :ensure_all_started, [:foundation])
    assert_eventually(name in Nodes.nodes(a))
    assert [:local] = a |> Nodes.call(Foundation, :cluster_info, []) |> Map.fetch!(:strategies) |> Map.keys()
    Nodes.stop(a)
  end

  test "where libcluster is there, its struct is what its strategies get", %{group: group, name: name} do
    # A libcluster of the same names in a directory of its own, in front of ours.
    directory = Path.join(group.directory, "libcluster/ebin")
    File.mkdir_p!(directory)

    compiled =
      ExUnit.CaptureIO.with_io(:stderr, fn ->
        Code.compile_string("""
        defmodule Cluster.Strategy.State do
          defstruct topology: nil, connect: nil, disconnect: nil, list_nodes: nil, meta: :theirs, config: [], newer: 1
        end
        """)
      end)

    {[{module, beam}], _} = compiled
    File.write!(Path.join(directory, "#{module}.beam"), beam)
    :code.purge(module)
    :code.load_file(module)

    a = Nodes.boot(group, name: :"a#{Nodes.unique()}", start: false)
    true = Nodes.call(a, :code, :add_patha, [String.to_charlist(directory)])
    topology = Foundation.Cluster.Config.topology(:one, LibclusterStyle.Once, hosts: [name])
    state = Nodes.call(a, Foundation.Cluster.Keeper, :initial_state, [topology])
    assert %{__struct__: Cluster.Strategy.State, newer: 1, topology: :one} = state
    own = Foundation.Cluster.Config.topology(:two, Foundation.ClusterStrategies.Told, [])

    assert %Foundation.Cluster.Strategy.State{} =
             Nodes.call(a, Foundation.Cluster.Keeper, :initial_state, [own])

    assert Nodes.call(a, Foundation.Cluster.Compat, :twice?, [])
    refute Foundation.Cluster.Compat.twice?()
    Nodes.stop(a)
  end
end
