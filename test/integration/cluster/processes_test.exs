defmodule Foundation.Cluster.ProcessesTest do
  # Foundation.send/2 and start_process/3 over three nodes; how a node gets its name, and what happens when it gets none.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ClusterNodes, as: Nodes

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    %{group: group}
  end

  test "processes are started elsewhere and found wherever they are", %{group: group} do
    [a, b, c] = peers = Nodes.boot_all(group, 3, env: [cluster: :local_epmd])
    assert_eventually(Nodes.all_see_all?(peers), 15_000)
    start = fn opts -> Nodes.call(a, Foundation, :start_process, [Agent, &Map.new/0, opts]) end

    assert {:ok, pid} = start.(node: Nodes.name(b), name: :store)
    assert node(pid) == Nodes.name(b)
    assert Nodes.call(b, Process, :whereis, [:store]) == pid
    assert {:error, {:name_taken, :store}} = start.(node: Nodes.name(b), name: :store)
    assert {:error, {:unreachable, :nobody@nowhere}} = start.(node: :nobody@nowhere)

    assert {:error, _} =
             Nodes.call(a, Foundation, :start_process, [Agent, :no_function, [node: Nodes.name(c)]])

    # Found by name from everywhere.
    for peer <- peers do
      assert :ok = Nodes.call(peer, Foundation, :send, [:store, {:get, self()}])
      assert {:ok, ^pid} = Nodes.call(peer, Foundation.Cluster.Place, :whereis, [:store])
    end

    assert {:error, :not_found} = Nodes.call(a, Foundation, :send, [:nobody, :hello])
    assert :ok = Nodes.call(a, Foundation, :send, [{:store, Nodes.name(b)}, :hello])
    assert Nodes.call(c, :global, :register_name, ["any term", pid]) == :yes
    # The names of two nodes come together a moment after the nodes do.
    assert_eventually(Nodes.call(a, Foundation.Cluster.Place, :whereis, ["any term"]) == {:ok, pid}, 15_000)
    assert {:ok, ^pid} = Nodes.call(a, Foundation.Cluster.Place, :whereis, [{:global, "any term"}])
    # A service of the registry of one node.
    assert {:ok, events} = Nodes.call(a, Foundation.Cluster.Place, :whereis, [:event_store])
    assert events == Nodes.call(a, Process, :whereis, [Foundation.Services.EventStore]) or is_pid(events)

    # It comes back under its name, for it did not end as it should.
    Nodes.call(b, Process, :exit, [pid, :kill])
    assert_eventually(Nodes.call(b, Process, :whereis, [:store]) not in [nil, pid])

    # Work for the schedulers of two nodes: the third is chosen.
    for peer <- [a, c], do: {:ok, _} = Nodes.call(peer, Foundation.ClusterProbe, :burn, [64])
    chosen = for _ <- 1..5, do: elem(start.(distribute: true), 1) |> node()
    assert Enum.count(chosen, &(&1 == Nodes.name(b))) >= 4
    Enum.each(peers, &Nodes.stop/1)
  end

  test "a name of one's own, with and without host; a taken one keeps the application from starting", %{
    group: group
  } do
    a = Nodes.boot(group, env: [cluster: :local_epmd, cluster_options: [name: "mine"]])
    assert Nodes.name(a) |> to_string() =~ ~r/\Amine@[^.]+\z/
    b = Nodes.boot(group, env: [cluster: {:static, nodes: []}, cluster_options: [name: :"full@127.0.0.1"]])
    assert Nodes.name(b) == :"full@127.0.0.1"

    c = Nodes.boot(group, start: false, env: [cluster: :local_epmd, cluster_options: [name: :mine]])

    assert {:error, {:foundation, {{:distribution, {:mine, _}}, _}}} =
             Nodes.call(c, Application, :ensure_all_started, [:foundation])

    refute Nodes.call(c, Process, :whereis, [Foundation.Supervisor])
    # And the application can be asked again, for something else.
    Nodes.call(c, Application, :put_env, [:foundation, :cluster_options, []])
    assert {:ok, _} = Nodes.call(c, Application, :ensure_all_started, [:foundation])
    assert_eventually(Nodes.all_see_all?([a, c]), 15_000)
    Enum.each([a, b, c], &Nodes.stop/1)
  end

  test "in a release the name is the release's, and SIGTERM drains", %{group: group} do
    a = Nodes.boot(group, os_env: [{"RELEASE_NAME", "shop"}], env: [cluster: :local_epmd])
    assert Nodes.name(a) |> to_string() =~ ~r/\Ashop-[0-9a-f]{12}@/
    handlers = Nodes.call(a, :gen_event, :which_handlers, [:erl_signal_server])
    assert [Foundation.Cluster.Signal.Handler | _] = handlers
    Nodes.call(a, Foundation.Cluster, :stop, [])

    refute Foundation.Cluster.Signal.Handler in Nodes.call(a, :gen_event, :which_handlers, [
             :erl_signal_server
           ])

    assert Enum.any?(handlers, &(&1 == :erl_signal_handler))
    Nodes.stop(a)
  end
end
