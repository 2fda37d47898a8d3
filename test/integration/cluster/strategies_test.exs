defmodule Foundation.Cluster.StrategiesTest do
  # What strategies say, and what the cluster makes of it; the ones that ask epmd.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ClusterNodes, as: Nodes
  alias Foundation.ClusterProbe, as: Probe
  alias Foundation.ClusterStrategies.{Fragile, Told}

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    %{group: group}
  end

  defp told(peer, answer), do: Nodes.call(peer, Application, :put_env, [:foundation, :test_told, answer])
  defp events(peer), do: Nodes.call(peer, Probe, :events, [])
  defp info(peer), do: Nodes.call(peer, Foundation.Cluster, :info, [])
  defp up?(peer, node), do: node in Nodes.nodes(peer)

  describe "a strategy that" do
    setup %{group: group} do
      b = Nodes.boot(group, name: :"b#{Nodes.unique()}", env: [cluster: {:static, nodes: []}])
      name = Nodes.name(b)

      env = [cluster: Told, test_told: {:ok, [name]}, cluster_options: [leave_after: 2_000]]
      a = Nodes.boot(group, name: :"a#{Nodes.unique()}", env: env)
      {:ok, _} = Nodes.call(a, Probe, :start, [])
      assert_eventually(up?(a, name))
      on_exit(fn -> Enum.each([a, b], &Nodes.stop/1) end)
      %{a: a, b: b, name: name}
    end

    test "answers with an error keeps its nodes", %{a: a, name: name} do
      for error <- [{:error, :api_down}, :raise] do
        told(a, error)
        rounds = info(a).strategies[Told].rounds
        assert_eventually(info(a).strategies[Told].failures > 0)
        assert_eventually(info(a).strategies[Told].rounds > rounds + 1)
        assert info(a).strategies[Told].nodes == [name]
        assert up?(a, name)
        told(a, {:ok, [name]})
        assert_eventually(info(a).strategies[Told].error == nil)
      end

      assert [{:joined, ^name, _}] = events(a)
    end

    test "no longer has a node takes it out after `leave_after`, not before", %{a: a, name: name} do
      told(a, {:ok, []})
      assert_eventually(info(a).members[name].found_by == [])
      # It is found again in time.
      told(a, {:ok, [name]})
      assert_eventually(info(a).members[name].found_by == [Told])
      assert [{:joined, ^name, _}] = events(a)

      told(a, {:ok, []})
      assert_eventually({:left, name, {:given_up, Told}} in events(a))
      assert_eventually(name not in Nodes.call(a, Node, :list, []))
      told(a, {:ok, [name]})
      assert_eventually(up?(a, name))
    end
  end

  test "what one strategy gives up another may still want", %{group: group} do
    b = Nodes.boot(group, name: :"b#{Nodes.unique()}", env: [cluster: {:static, nodes: []}])
    name = Nodes.name(b)

    env = [
      cluster: [
        told: [strategy: Told],
        static: [strategy: Foundation.Cluster.Strategy.Static, config: [nodes: [name]]]
      ],
      test_told: {:ok, [name]},
      cluster_options: [leave_after: 100]
    ]

    a = Nodes.boot(group, name: :"a#{Nodes.unique()}", env: env)
    {:ok, _} = Nodes.call(a, Probe, :start, [])
    assert_eventually(info(a).members[name][:found_by] == [:static, :told])
    told(a, {:ok, []})
    assert_eventually(info(a).members[name].found_by == [:static])
    # It would have left by now, were it given up.
    rounds = info(a).strategies[:told].rounds
    assert_eventually(info(a).strategies[:told].rounds > rounds + 6)
    assert up?(a, name)
    assert [{:joined, ^name, _}] = events(a)
    Enum.each([a, b], &Nodes.stop/1)
  end

  test "a strategy that does not start is tried again, and disturbs no other", %{group: group} do
    b = Nodes.boot(group, name: :"b#{Nodes.unique()}", env: [cluster: {:static, nodes: []}])
    name = Nodes.name(b)
    env = [cluster: [Fragile, {:static, nodes: [name]}], test_fragile: :crash]
    a = Nodes.boot(group, name: :"a#{Nodes.unique()}", env: env)
    assert_eventually(up?(a, name))
    assert %{status: :restarting, error: {:raised, RuntimeError, _}} = info(a).strategies[Fragile]
    Nodes.call(a, Application, :put_env, [:foundation, :test_fragile, :error])
    assert_eventually(info(a).strategies[Fragile].error == :not_yet)
    Nodes.call(a, Application, :put_env, [:foundation, :test_fragile, :run])
    assert_eventually(info(a).strategies[Fragile].status == :running, 10_000)
    assert_eventually(info(a).strategies[Fragile].error == nil)
    Enum.each([a, b], &Nodes.stop/1)
  end

  test "hosts whose epmd is asked, and the file of hosts", %{group: group} do
    b = Nodes.boot(group, name: :"b#{Nodes.unique()}", env: [cluster: {:static, nodes: []}])
    name = Nodes.name(b)
    a = Nodes.boot(group, name: :"a#{Nodes.unique()}", env: [cluster: {:epmd, hosts: ["127.0.0.1"]}])
    assert_eventually(up?(a, name))

    File.write!(Path.join(group.directory, ".hosts.erlang"), "'127.0.0.1'.\n")
    matching = [cluster: {:erlang_hosts, name_match: ~r/^b/, polling_interval: 100}]
    c = Nodes.boot(group, name: :"c#{Nodes.unique()}", env: matching, args: ["-connect_all", "false"])
    assert_eventually(up?(c, name))
    assert info(c).strategies[:erlang_hosts].nodes == [name]

    File.rm!(Path.join(group.directory, ".hosts.erlang"))
    assert_eventually(match?({:hosts_file, _}, info(c).strategies[:erlang_hosts].error))
    assert up?(c, name)
    Enum.each([a, b, c], &Nodes.stop/1)
  end

  test "an epmd that dies takes nobody along", %{group: group} do
    env = [cluster: {:local_epmd, polling_interval: 50}, cluster_options: [leave_after: 100]]
    [a, _] = peers = Nodes.boot_all(group, 2, env: env)
    assert_eventually(Nodes.all_see_all?(peers), 10_000)
    {:ok, _} = Nodes.call(a, Probe, :start, [])
    assert Nodes.kill_epmd(group)
    assert_eventually(match?({:epmd, _}, info(a).strategies[:local_epmd].error), 10_000)
    assert_eventually(info(a).strategies[:local_epmd].failures > 2, 10_000)
    assert Nodes.all_see_all?(peers)
    assert [{:joined, _, _}] = events(a)
    Enum.each(peers, &Nodes.stop/1)
  end

  test "two that connect to each other at the same moment do not fight", %{group: group} do
    peers =
      for name <- [:a, :b],
          do: Nodes.boot(group, name: :"#{name}#{Nodes.unique()}", env: [cluster: {:static, nodes: []}])

    [{a, a_name}, {b, b_name}] = pairs = Enum.map(peers, &{&1, Nodes.name(&1)})
    for {peer, _} <- pairs, do: {:ok, _} = Nodes.call(peer, Probe, :start, [])

    for round <- 1..15 do
      others = [{a, b_name}, {b, a_name}]

      answers =
        others
        |> Enum.map(fn {peer, other} ->
          Task.async(fn -> Nodes.call(peer, Foundation.Cluster.Connector, :connect, [:test, other]) end)
        end)
        |> Task.await_many(20_000)

      assert answers == [true, true]
      assert_eventually(Nodes.all_see_all?(peers))
      # One connection was made: nobody was seen to come and go.
      for {peer, other} <- others do
        assert_eventually(Enum.count(events(peer), &match?({:joined, ^other, _}, &1)) == round)
        assert Enum.count(events(peer), &match?({:unreachable, ^other, _}, &1)) == 0
        Nodes.call(peer, Foundation.Cluster.Strategy, :release, [%{topology: :test}, [other]])
      end

      :ok = Nodes.call(b, Foundation.Cluster.Drain, :part, [{:given_up, :test}])
      for {peer, _} <- pairs, do: assert_eventually(Nodes.call(peer, Node, :list, []) == [])
      for {peer, name} <- pairs, do: assert_eventually(Nodes.nodes(peer) == [name])
    end

    Enum.each(peers, &Nodes.stop/1)
  end
end
