defmodule Foundation.Cluster.DrainTest do
  # A node is emptied and leaves, by a call and by SIGTERM, and nobody takes it back before it says so.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Cluster
  alias Foundation.ClusterNodes, as: Nodes
  alias Foundation.ClusterProbe, as: Probe

  setup context do
    group = Nodes.group()
    env = [cluster: :local_epmd, cluster_options: context[:options] || []]
    peers = Nodes.boot_all(group, 3, env: env)
    assert_eventually(Nodes.all_see_all?(peers), 15_000)
    {:ok, _} = Nodes.call(hd(peers), Probe, :start, [])

    on_exit(fn ->
      Enum.each(peers, &Nodes.stop/1)
      Nodes.stop_group(group)
    end)

    %{group: group, peers: peers}
  end

  defp events(peer), do: Nodes.call(peer, Probe, :events, [])

  test "the cluster sees the drain, the work ends, the node leaves and stays away", %{
    peers: [a, b, c],
    group: group
  } do
    name = Nodes.name(b)
    file = Path.join(group.directory, "work")
    :ok = Nodes.call(b, Probe, :hold, [:work, file])
    drain = Task.async(fn -> Nodes.call(b, Cluster, :drain, [[reason: :upgrade, timeout: 10_000]]) end)

    for peer <- [a, b, c], do: assert_eventually(Nodes.call(peer, Cluster, :draining?, [name]))
    assert Nodes.call(b, Cluster, :draining?, [])
    assert {:ok, %{status: :draining}} = Nodes.call(b, Foundation.HealthCheck, :run, [])
    refute Nodes.call(a, Cluster, :draining?, [])
    # It is a member still, and gets no new work.
    assert name in Nodes.nodes(a)

    {:ok, pid} = Nodes.call(a, Foundation, :start_process, [Agent, &Map.new/0, [distribute: true]])
    assert node(pid) in [Nodes.name(a), Nodes.name(c)]

    assert_eventually(Nodes.call(b, Process, :whereis, [:work]))
    Nodes.call(b, Kernel, :send, [:work, :done])
    assert Task.await(drain) == :ok
    assert File.read!(file) == "finished"

    assert_eventually({:left, name, {:goodbye, :upgrade}} in events(a))
    assert {:draining, name, :upgrade} in events(a)
    refute Enum.any?(events(a), &match?({:unreachable, _, _}, &1))
    # Its epmd entry is there to be found, and the others' too: nobody connects.
    :ok = Nodes.call(b, Cluster.Connector, :retry_all, [])
    assert Nodes.call(a, Cluster.Connector, :connect, [:test, name]) == :ignored
    assert Nodes.call(b, Cluster.Connector, :connect, [:test, Nodes.name(a)]) == :ignored
    assert Nodes.nodes(b) == [name]

    assert :ok = Nodes.call(b, Cluster, :resume, [])
    assert {:ok, %{status: :healthy}} = Nodes.call(b, Foundation.HealthCheck, :run, [])
    assert_eventually(Nodes.all_see_all?([a, b, c]), 15_000)
    refute Nodes.call(a, Cluster, :draining?, [name])
    refute Nodes.call(b, Cluster, :draining?, [])
  end

  test "what is not done at the deadline is ended", %{peers: [a, b, _c], group: group} do
    name = Nodes.name(b)
    :ok = Nodes.call(b, Probe, :hold, [:late, Path.join(group.directory, "late")])
    assert {:error, {:deadline, [:late]}} = Nodes.call(a, Cluster, :drain, [[node: name, timeout: 200]])
    refute File.exists?(Path.join(group.directory, "late"))
    assert_eventually({:left, name, {:goodbye, :drain}} in events(a))
  end

  test "a second drain waits for the first, and a drain that is taken back does not end in leaving",
       context do
    %{peers: [a, b, c], group: group} = context
    name = Nodes.name(b)
    :ok = Nodes.call(b, Probe, :hold, [:work, Path.join(group.directory, "twice")])
    drain = fn -> Task.async(fn -> Nodes.call(b, Cluster, :drain, [[timeout: 10_000]]) end) end
    first = drain.()
    assert_eventually(Nodes.call(b, Process, :whereis, [:work]))
    second = drain.()
    assert_eventually(Nodes.call(b, Probe, :within, [Cluster.Drain]) == 2)
    assert :ok = Nodes.call(b, Cluster, :resume, [])
    assert {:ok, %{status: :healthy}} = Nodes.call(b, Foundation.HealthCheck, :run, [])
    assert_eventually(not Nodes.call(a, Cluster, :draining?, [name]))
    assert Task.await(second) == {:error, :resumed}
    Nodes.call(b, Kernel, :send, [:work, :done])
    assert Task.await(first) == {:error, :resumed}
    assert Nodes.all_see_all?([a, b, c])

    assert_eventually(Nodes.call(b, Process, :whereis, [:work]) == nil)
    [third, fourth] = [drain.(), drain.()]
    assert_eventually(Nodes.call(b, Process, :whereis, [:work]))
    assert_eventually(Nodes.call(b, Probe, :within, [Cluster.Drain]) == 2)
    Nodes.call(b, Kernel, :send, [:work, :done])
    assert Task.await_many([third, fourth]) == [:ok, :ok]
    assert Nodes.call(b, Cluster, :drain, [[]]) == :ok
    assert_eventually(name not in Nodes.nodes(a))
  end

  test "a connection that is made all the same is closed again", %{peers: [a, b, _c]} do
    name = Nodes.name(b)
    :ok = Nodes.call(b, Cluster, :drain, [[]])
    assert_eventually(name not in Nodes.nodes(a))
    Nodes.call(a, :net_kernel, :connect_node, [name])
    assert_eventually(name not in Nodes.call(a, Node, :list, []))
    assert_eventually(name not in Nodes.nodes(a))
  end

  @tag options: [drain_on_sigterm: true, drain_timeout: 10_000]
  test "SIGTERM drains before the runtime stops", %{peers: [a, b, _c], group: group} do
    name = Nodes.name(b)
    file = Path.join(group.directory, "sigterm")
    :ok = Nodes.call(b, Probe, :hold, [:work, file])
    system = Nodes.pid_of_system(b)
    Process.monitor(b)
    {_, 0} = System.cmd("kill", ["-TERM", system])

    assert_eventually(Nodes.call(a, Cluster, :draining?, [name]))
    assert_eventually(Nodes.call(b, Process, :whereis, [:work]))
    assert Nodes.call(b, Application, :started_applications, []) |> List.keymember?(:foundation, 0)
    Nodes.call(b, Kernel, :send, [:work, :done])

    assert_receive {:DOWN, _, :process, ^b, _}, 10_000
    assert File.read!(file) == "finished"
    assert {:draining, name, :sigterm} in events(a)
    assert_eventually({:left, name, {:goodbye, :sigterm}} in events(a))
    refute File.exists?("/proc/#{system}")
  end

  @tag options: [drain_on_sigterm: true, drain_timeout: 300]
  test "SIGTERM waits no longer than the deadline", %{peers: [a, b, _c], group: group} do
    name = Nodes.name(b)
    :ok = Nodes.call(b, Probe, :hold, [:work, Path.join(group.directory, "never")])
    Process.monitor(b)
    {_, 0} = System.cmd("kill", ["-TERM", Nodes.pid_of_system(b)])
    assert_receive {:DOWN, _, :process, ^b, _}, 10_000
    assert_eventually({:left, name, {:goodbye, :sigterm}} in events(a))
    refute File.exists?(Path.join(group.directory, "never"))
  end

  test "without the option, and outside of a release, SIGTERM is the runtime's alone", %{peers: [a, b, _c]} do
    refute Foundation.Cluster.Signal.Handler in Nodes.call(a, :gen_event, :which_handlers, [
             :erl_signal_server
           ])

    name = Nodes.name(b)
    Process.monitor(b)
    {_, 0} = System.cmd("kill", ["-TERM", Nodes.pid_of_system(b)])
    assert_receive {:DOWN, _, :process, ^b, _}, 10_000
    assert_eventually({:left, name, {:goodbye, :stopped}} in events(a))
  end
end
