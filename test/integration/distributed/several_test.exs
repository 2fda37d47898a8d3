defmodule Foundation.Distributed.SeveralTest do
  # What is about "the cluster", asked of one that the node has joined besides its main one: nodes are OS processes, and
  # the fabric of :ai is all that is between them.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Cluster
  alias Foundation.ClusterProbe, as: Probe
  alias Foundation.Distributed.{Clusters, Fabric, Topology, Work}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.{RealNode, WorkSteps}

  @moduletag timeout: 120_000

  @secret "the secret of the cluster ai"
  @loopback [bind: {127, 0, 0, 1}, advertise: {{127, 0, 0, 1}, 0}]
  @allow [
    {WorkSteps, :square, 1},
    {WorkSteps, :slow_square, 2},
    {WorkSteps, :words, 1},
    {WorkSteps, :sum, 2},
    {String, :to_integer, 1},
    {Function, :identity, 1}
  ]

  # In :app and, by each test, in :ai; and two for which :ai is the main cluster, one of them with a cluster of
  # Distributed Erlang besides.
  setup_all do
    both = Peers.start(:both, fabric: [cluster: :app, secret: "app"] ++ @loopback)
    ai = ai(:ai, cluster: {:static, nodes: []})
    two = ai(:two, fabric: [peers: [peer(ai)]])
    on_exit(fn -> Enum.each([both, ai, two], &Peers.stop/1) end)
    assert_eventually(rpc(ai, Fabric, :nodes) == [two.node], 10_000)
    %{both: both, ai: ai, two: two}
  end

  # Whom a test before killed, :ai takes for a member until its silence is noticed.
  setup %{both: both, ai: ai, two: two} = context do
    assert_eventually({rpc(ai, Fabric, :nodes), rpc(two, Fabric, :nodes)} == {[two.node], [ai.node]}, 30_000)
    unless context[:alone], do: join(both, [ai, two])
    on_exit(fn -> rpc(both, Clusters, :leave, [:ai]) end)
    :ok
  end

  defp ai(name, options) do
    {fabric, env} = Keyword.pop(options, :fabric, [])

    Peers.start(name,
      fabric: [cluster: :ai, secret: @secret] ++ @loopback ++ fabric,
      env: [clusters: %{ai: [secret: @secret, allow: @allow]}] ++ env
    )
  end

  defp rpc(node, module, function, arguments \\ []), do: Peers.rpc(node, module, function, arguments, 60_000)

  defp address(node, options \\ []) do
    {:ok, %{address: address}} = rpc(node, Fabric, :info, [options])
    address
  end

  defp peer(node) do
    [_, port] = String.split(address(node), ":")
    {node.node, {127, 0, 0, 1}, String.to_integer(port)}
  end

  defp entry(seeds, more \\ []), do: Keyword.merge([secret: @secret, seeds: seeds, fabric: @loopback], more)

  defp join(node, others, more \\ []) do
    assert :ok = rpc(node, Clusters, :join, [:ai, entry(Enum.map(others, &address/1), more)])
    names = Enum.map(others, & &1.node)
    assert_eventually(names -- rpc(node, Fabric, :nodes, [:ai]) == [], 15_000)
    # Only of whom membership knows a goodbye is understood.
    member? = fn other -> Enum.any?(rpc(other, Topology, :members), &(&1.node == node.node)) end
    assert_eventually(Enum.all?(others, member?), 15_000)
  end

  # What a function raises there.
  defp raised(node, module, function, arguments) do
    rpc(node, module, function, arguments)
  rescue
    error -> Exception.message(error)
  catch
    _, reason -> inspect(reason)
  end

  test "a joined cluster says how it stands, as the main one does", %{both: both, ai: ai, two: two} do
    info = rpc(both, Foundation, :cluster_info, [[cluster: :ai]])
    main = rpc(both, Foundation, :cluster_info)
    assert Map.keys(info) == Map.keys(main)
    assert info.nodes == Enum.sort([both.node, ai.node, two.node])
    assert {info.running, info.size, info.draining, info.strategies} == {true, 3, false, %{}}
    assert %{state: :up, since: since, draining: false, found_by: []} = info.members[ai.node]
    assert since >= 0
    # Of the main one by its name; of none by any other.
    assert rpc(both, Foundation, :cluster_info, [[cluster: :app]]) == main
    assert rpc(both, Foundation, :cluster_info, [[cluster: :no_such]]) == {:error, :not_joined}
    assert raised(both, Foundation, :cluster_info, [[cluster: "ai"]]) =~ "a cluster's name, an atom"
  end

  test "a member that does not answer is unreachable", %{both: both, two: two} do
    os_pid = RealNode.os_pid(two)
    on_exit(fn -> System.cmd("kill", ["-CONT", os_pid], stderr_to_stdout: true) end)
    state = fn -> rpc(both, Foundation, :cluster_info, [[cluster: :ai]]).members[two.node] end
    :ok = RealNode.signal(os_pid, "STOP")
    assert_eventually(state.() == nil or state.().state == :unreachable, 10_000)
    :ok = RealNode.signal(os_pid, "CONT")
    assert_eventually(match?(%{state: :up}, state.()), 20_000)
  end

  @tag :alone
  test "who waits for a cluster waits for that one", %{both: both, ai: ai, two: two} do
    await = fn options -> rpc(both, Cluster, :await_ready, [options]) end
    assert await.(cluster: :ai) == {:error, :not_joined}
    nobody = "127.0.0.1:#{Foundation.ClusterNodes.free_port()}"
    assert :ok = rpc(both, Clusters, :join, [:ai, entry([nobody])])

    assert {:error, {:timeout, %{size: 1, wanted: 2, waiting_for: []}}} =
             await.(cluster: :ai, quorum: 2, timeout: 100)

    assert {:error, {:timeout, %{size: 1, wanted: 2}}} = await.(cluster: :ai, timeout: 100)
    assert :ok = rpc(both, Clusters, :leave, [:ai])

    assert :ok = rpc(both, Clusters, :join, [:ai, entry([address(ai), address(two), nobody])])
    assert await.(cluster: :ai, timeout: 20_000) == :ok
    assert await.(cluster: :ai, quorum: 3, timeout: 20_000) == :ok
    assert length(rpc(both, Fabric, :nodes, [:ai])) == 2
  end

  @tag :alone
  test "nobody is a majority while the seeds cannot be asked", %{both: both} do
    nobody = "127.0.0.1:#{Foundation.ClusterNodes.free_port()}"
    assert :ok = rpc(both, Clusters, :join, [:ai, entry([nobody])])
    seeds = Foundation.Distributed.Fabric.Scope.process(:ai, Clusters.Seeds)
    :ok = rpc(both, :sys, :suspend, [seeds])

    assert {:error, {:timeout, %{size: 1, waiting_for: [:seeds]}}} =
             rpc(both, Cluster, :await_ready, [[cluster: :ai, timeout: 100]])

    :ok = rpc(both, :sys, :resume, [seeds])

    assert {:error, {:timeout, %{size: 1, wanted: 2, waiting_for: []}}} =
             rpc(both, Cluster, :await_ready, [[cluster: :ai, timeout: 100]])
  end

  test "a drain empties the node for one cluster, and leaves that one alone", %{both: both, ai: ai, two: two} do
    :ok = rpc(both, Probe, :hold, [:ai_work, nil, [cluster: :ai]])
    :ok = rpc(both, Probe, :hold, [:app_work, nil, [cluster: :app]])
    test = self()
    drain = fn -> send(test, {:drained, rpc(both, Cluster, :drain, [[cluster: :ai, timeout: 20_000]])}) end
    spawn_link(drain)

    # Who has :ai for its main cluster sees it as those do that have joined it.
    for node <- [ai, two], do: assert_eventually(rpc(node, Cluster, :draining?, [both.node]), 5_000)
    assert rpc(both, Cluster, :draining?, [both.node, [cluster: :ai]])
    refute rpc(both, Cluster, :draining?)
    assert_eventually(is_pid(rpc(both, Process, :whereis, [:ai_work])))
    assert rpc(both, Process, :whereis, [:app_work]) == nil
    assert %{draining: true} = rpc(both, Foundation, :cluster_info, [[cluster: :ai]])
    assert {:ok, run} = rpc(both, Work, :run, [1..4, {WorkSteps, :square, []}, [cluster: :ai]])
    refute is_map_key(run.nodes, both.node)
    refute_received {:drained, _}

    rpc(both, Kernel, :send, [:ai_work, :done])
    assert_receive {:drained, :ok}, 10_000
    assert rpc(both, Clusters, :joined) == []
    assert_eventually(rpc(ai, Fabric, :nodes) == [two.node], 10_000)
    assert is_reference(rpc(both, Fabric, :handle))
    assert rpc(both, Cluster, :draining?, [both.node, [cluster: :ai]])
    assert rpc(both, Cluster, :drain, [[cluster: :ai]]) == :ok
    assert rpc(both, Foundation, :cluster_info, [[cluster: :ai]]) == {:error, :not_joined}

    assert :ok = rpc(both, Cluster, :resume, [[cluster: :ai]])
    assert_eventually(length(rpc(both, Fabric, :nodes, [:ai])) == 2, 15_000)
    refute rpc(both, Cluster, :draining?, [both.node, [cluster: :ai]])
    assert_eventually(not rpc(ai, Cluster, :draining?, [both.node]), 10_000)
    :ok = rpc(both, Cluster, :on_drain, [:ai_work, nil, [cluster: :ai]])

    assert rpc(both, Cluster, :drain, [[cluster: :no_such]]) == {:error, :not_joined}
    assert rpc(both, Cluster, :resume, [[cluster: :no_such]]) == {:error, :not_joined}
    refute rpc(both, Cluster, :draining?, [both.node, [cluster: :no_such]])
    assert raised(both, Cluster, :drain, [[cluster: :ai, node: ai.node]]) =~ "in the main cluster only"
  end

  test "a drain that is taken back does not go on, and its deadline ends it", %{both: both, ai: ai} do
    :ok = rpc(both, Probe, :hold, [:held, nil, [cluster: :ai]])
    test = self()
    spawn_link(fn -> send(test, rpc(both, Cluster, :drain, [[cluster: :ai, timeout: 20_000]])) end)
    assert_eventually(rpc(ai, Cluster, :draining?, [both.node]), 5_000)
    assert :ok = rpc(both, Cluster, :resume, [[cluster: :ai]])
    assert_eventually(not rpc(ai, Cluster, :draining?, [both.node]), 5_000)
    rpc(both, Kernel, :send, [:held, :done])
    assert_receive {:error, :resumed}, 10_000
    assert rpc(both, Clusters, :joined) == [:ai]

    assert rpc(both, Cluster, :drain, [[cluster: :ai, timeout: 200]]) == {:error, {:deadline, [:held]}}
    assert rpc(both, Clusters, :joined) == []
    :ok = rpc(both, Cluster, :on_drain, [:held, nil, [cluster: :ai]])
    # Joined anew instead.
    join(both, [ai])
    refute rpc(both, Cluster, :draining?, [both.node, [cluster: :ai]])
  end

  test "a node that drains in its main cluster is seen to from where that one was joined", %{
    both: both,
    ai: ai
  } do
    draining = fn -> rpc(both, Cluster, :draining?, [ai.node, [cluster: :ai]]) end
    assert rpc(ai, Cluster, :drain, [[timeout: 5_000]]) == :ok
    on_exit(fn -> rpc(ai, Cluster, :resume) end)
    assert_eventually(draining.())
    assert {:ok, run} = rpc(both, Work, :run, [1..20, {WorkSteps, :square, []}, [cluster: :ai]])
    refute is_map_key(run.nodes, ai.node)

    assert {:error, :no_nodes} =
             rpc(both, Work, :run, [[1], {WorkSteps, :square, []}, [cluster: :ai, nodes: [ai.node]]])

    assert :ok = rpc(ai, Cluster, :resume)
    assert_eventually(not draining.())
  end

  test "one drain takes the node out of every cluster", %{both: both, ai: ai} do
    assert rpc(both, Cluster, :drain, [[cluster: :all]]) == :ok
    assert rpc(both, Clusters, :joined) == []
    assert_eventually(both.node not in rpc(ai, Fabric, :nodes), 10_000)
    assert :ok = rpc(both, Cluster, :resume, [[cluster: :all]])
    assert rpc(both, Clusters, :joined) == [:ai]
    assert :ok = rpc(both, Clusters, :leave, [:ai])
    assert rpc(both, Cluster, :drain, [[cluster: :all]]) == {:error, :not_running}
  end

  @tag :alone
  test "SIGTERM drains a node out of clusters that it has joined", %{ai: ai, two: two} do
    file = Path.join(System.tmp_dir!(), "several_#{System.unique_integer([:positive])}_#{System.pid()}")
    on_exit(fn -> File.rm(file) end)
    env = [clusters: %{ai: entry([address(ai)])}, cluster_options: [drain_on_sigterm: true]]
    one = Peers.start(:one, fabric: false, env: env)
    on_exit(fn -> Peers.stop(one) end)
    assert_eventually(one.node in rpc(ai, Fabric, :nodes), 10_000)
    :ok = rpc(one, Probe, :hold, [:work, file, [cluster: :ai]])
    Process.monitor(one.peer)
    :ok = RealNode.signal(RealNode.os_pid(one), "TERM")
    assert_eventually(rpc(ai, Cluster, :draining?, [one.node]), 10_000)
    assert_eventually(is_pid(rpc(one, Process, :whereis, [:work])))
    rpc(one, Kernel, :send, [:work, :done])
    peer = one.peer
    assert_receive {:DOWN, _, :process, ^peer, _}, 15_000
    assert File.read!(file) == "finished"
    assert_eventually(rpc(ai, Fabric, :nodes) == [two.node], 10_000)
  end

  test "work is spread over a joined cluster, as its nodes allow", %{both: both, ai: ai, two: two} do
    run = fn items, worker, options -> rpc(both, Work, :run, [items, worker, [cluster: :ai] ++ options]) end
    assert {:ok, done} = run.(1..200, {WorkSteps, :slow_square, [5]}, [])
    assert Enum.map(done.results, fn {:ok, {_node, square}} -> square end) == Enum.map(1..200, &(&1 * &1))
    assert Enum.sort(Map.keys(done.nodes)) == Enum.sort([both.node, ai.node, two.node])
    # Each was done where it is said to have been.
    assert Enum.frequencies_by(done.results, fn {:ok, {node, _}} -> node end) == done.nodes

    others = [nodes: [ai.node, two.node]]
    assert {:error, :no_nodes} = run.([1], {System, :halt, []}, others)
    assert {:ok, own} = run.([1, -2], {Kernel, :abs, []}, [])
    assert {own.results, Map.keys(own.nodes)} == {[ok: 1, ok: 2], [both.node]}
    assert Enum.sort(own.lost_nodes) == Enum.sort([{ai.node, :not_allowed}, {two.node, :not_allowed}])

    assert {:ok, %{results: results}} = run.(["1", "one"], {String, :to_integer, []}, others)
    assert results == [ok: 1, error: {:exit, :failed}]
    assert {:ok, %{results: [error: :not_plain]}} = run.([self()], {Function, :identity, []}, others)

    assert {:ok, %{results: [error: :timeout]}} =
             run.([1], {WorkSteps, :slow_square, [60_000]}, [item_timeout: 100] ++ others)

    assert run.([1], {WorkSteps, :square, []}, nodes: [:no@such]) == {:error, :no_nodes}

    assert rpc(both, Work, :run, [[1], {WorkSteps, :square, []}, [cluster: :no_such]]) ==
             {:error, :not_joined}

    assert {:ok, _} = rpc(both, Work, :run, [[1], {WorkSteps, :square, []}, [cluster: :app]])

    assert raised(both, Work, :run, [[1], &WorkSteps.square/1, [cluster: :ai]]) =~
             "{module, function, arguments}"
  end

  test "a map and reduction over a joined cluster", %{both: both, ai: ai, two: two} do
    lines = for n <- 1..30, do: "word#{rem(n, 3)} and more"
    mapper = {WorkSteps, :words, []}
    options = [cluster: :ai, nodes: [ai.node, two.node]]
    arguments = [lines, mapper, {WorkSteps, :sum, []}, options]
    counts = %{"and" => 30, "more" => 30, "word0" => 10, "word1" => 10, "word2" => 10}
    assert rpc(both, Foundation.Distributed, :map_reduce, arguments) == {:ok, counts}
    assert rpc(both, Work, :map_reduce, [lines, mapper, {WorkSteps, :sum, []}]) == {:ok, counts}

    assert {:error, {:failed, [{7, {:exit, :failed}}]}} =
             rpc(both, Work, :map_reduce, [["a b", 7], mapper, {WorkSteps, :sum, []}, options])

    assert {:error, {:failed, [{[1], {:no_pairs, [1]}}]}} =
             rpc(both, Work, :map_reduce, [[[1]], {Function, :identity, []}, {WorkSteps, :sum, []}, options])

    assert rpc(both, Work, :map_reduce, [lines, mapper, {Enum, :count, []}, options]) == {:error, :no_nodes}

    assert raised(both, Work, :map_reduce, [lines, mapper, &WorkSteps.sum/2, options]) =~
             "{module, function, arguments}"
  end

  test "a node that is killed meanwhile loses nothing, and one that comes has its part", %{both: both, ai: ai} do
    three = ai(:three, fabric: [peers: [peer(ai)]])
    on_exit(fn -> Peers.stop(three) end)
    assert_eventually(three.node in rpc(both, Fabric, :nodes, [:ai]), 15_000)
    test = self()
    options = [cluster: :ai, concurrency: 2]
    arguments = [1..600, {WorkSteps, :slow_square, [100]}, options]
    spawn_link(fn -> send(test, {:run, Peers.rpc(both, Work, :run, arguments, 100_000)}) end)
    # Its runner stands on the coordinator's node.
    assert_eventually(length(rpc(both, WorkSteps, :runners)) == 4)
    RealNode.kill(three)
    four = ai(:four, fabric: [peers: [peer(ai)]])
    on_exit(fn -> Peers.stop(four) end)
    assert_receive {:run, {:ok, run}}, 60_000
    assert Enum.map(run.results, fn {:ok, {_node, square}} -> square end) == Enum.map(1..600, &(&1 * &1))
    assert [{lost, _reason}] = run.lost_nodes
    assert lost == three.node
    assert run.reassigned > 0
    assert run.nodes[four.node] > 0
    assert_eventually(rpc(both, WorkSteps, :runners) == [])
  end

  test "the doctor looks at one cluster", %{both: both, ai: ai, two: two} do
    doctor = fn options -> rpc(both, Cluster, :doctor, [options]) end

    causes = fn {_verdict, findings} ->
      for %{status: status, cause: cause} <- findings, status != :ok, do: cause
    end

    # Those of the tests before may take a moment to be gone.
    assert_eventually(causes.(doctor.(cluster: :ai)) == [], 15_000)
    assert {:ok, findings} = doctor.(cluster: :ai)
    assert_eventually(rpc(both, Fabric, :nodes, [:ai]) == Enum.sort([ai.node, two.node]), 15_000)
    assert Enum.any?(findings, &(&1.check == :members and &1.says =~ "other members of ai are up"))
    assert causes.(doctor.(cluster: :ai, nodes: [:no@such])) == [:not_linked]
    # The main one by its name; what is no cluster is read as a configuration, as ever.
    assert {:problems, [%{cause: :invalid_config} | _]} = doctor.(cluster: :no_such)
    assert Enum.any?(elem(doctor.(cluster: :app), 1), &(&1.check == :distribution))

    :ok = rpc(both, Clusters, :leave, [:ai])
    assert causes.({:problems, []}) == []
    nobody = "127.0.0.1:#{Foundation.ClusterNodes.free_port()}"
    :ok = rpc(both, Clusters, :join, [:ai, entry([nobody])])
    assert causes.(doctor.(cluster: :ai)) == [:alone, :nothing_there]
    :ok = rpc(both, Clusters, :leave, [:ai])
    :ok = rpc(both, Clusters, :join, [:ai, entry([], topology: false)])
    assert causes.(doctor.(cluster: :ai)) == [:no_strategy, :alone]
    :ok = rpc(both, Clusters, :leave, [:ai])

    # With another secret neither believes the other.
    :ok = rpc(both, Clusters, :join, [:ai, entry([address(ai)], secret: "quite another secret")])
    found = causes.(doctor.(cluster: :ai))
    assert :no_member in found and :alone in found
    [_, port] = String.split(address(ai), ":")
    to_ai = [ai.node, {127, 0, 0, 1}, String.to_integer(port), [cluster: :ai]]
    :ok = rpc(both, Fabric, :add_peer, to_ai)

    rpc(both, Foundation.Distributed.Channels, :send_message, [
      :data,
      {:nobody, ai.node},
      :x,
      [cluster: :ai, ack: true, timeout: 2_000]
    ])

    # Where the other one listens it is counted.
    refused = fn -> rpc(ai, Clusters.Refused, :findings, [elem(rpc(ai, Fabric, :info), 1).refused]) end
    assert_eventually(Enum.any?(refused.(), &(&1.cause in [:refused_gone, :refused_stranger])))

    assert :ok = rpc(both, Cluster, :drain, [[cluster: :ai]])
    assert causes.(doctor.(cluster: :ai)) == [:draining]
  end
end
