defmodule Foundation.Distributed.ClustersTest do
  # Nodes in one cluster and in several, each an OS process; those of the second cluster are connected by its fabric alone.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Cluster

  alias Foundation.Distributed.{
    Broadcast,
    Call,
    Channels,
    Clusters,
    Discovery,
    Fabric,
    Partitions,
    Routing,
    Topology,
    Via
  }

  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor
  alias Foundation.{ClusterNodes, RealNode}

  @moduletag timeout: 120_000

  @secret "the secret of the cluster ai"
  @loopback [bind: {127, 0, 0, 1}, advertise: {{127, 0, 0, 1}, 0}]

  # In the cluster :app alone; in both; and in :ai, which for this one is the main cluster.
  setup_all do
    app = Peers.start(:app, fabric: [cluster: :app, secret: "app"] ++ @loopback)
    both = Peers.start(:both, fabric: [cluster: :app, secret: "app"] ++ @loopback)

    ai =
      Peers.start(:ai,
        fabric: [cluster: :ai, secret: @secret, topology: :hyparview] ++ @loopback,
        env: [clusters: %{ai: [secret: @secret, allow: [{Enum, :sum, 1}, {Process, :sleep, 1}]]}]
      )

    on_exit(fn -> Enum.each([app, both, ai], &Peers.stop/1) end)
    Peers.introduce(both, app)
    assert_eventually(rpc(app, Fabric, :nodes) == [both.node], 10_000)
    %{app: app, both: both, ai: ai}
  end

  setup %{both: both} = context do
    unless context[:alone], do: join(both, context.ai)
    on_exit(fn -> rpc(both, Clusters, :leave, [:ai]) end)
    :ok
  end

  defp rpc(node, module, function, arguments \\ []), do: Peers.rpc(node, module, function, arguments)

  defp address(node, options \\ []) do
    {:ok, %{address: address}} = rpc(node, Fabric, :info, [options])
    address
  end

  defp join(node, seed, more \\ []) do
    entry = [secret: @secret, topology: :hyparview, seeds: [address(seed)], fabric: @loopback]
    assert :ok = rpc(node, Clusters, :join, [:ai, Keyword.merge(entry, more)])
    assert_eventually(seed.node in rpc(node, Fabric, :nodes, [:ai]), 10_000)
    assert_eventually(node.node in rpc(seed, Fabric, :nodes), 10_000)
  end

  test "a node is in both, and the others know nothing of each other", %{app: app, both: both, ai: ai} do
    assert rpc(both, Fabric, :nodes) == [app.node]
    assert rpc(both, Fabric, :nodes, [:ai]) == [ai.node]
    assert rpc(both, Fabric, :nodes, [:app]) == [app.node]
    assert rpc(app, Fabric, :nodes) == [both.node]
    assert rpc(ai, Fabric, :nodes) == [both.node]
    assert rpc(both, Clusters, :joined) == [:ai]
    assert rpc(both, Cluster, :clusters) == [:ai]
    assert rpc(both, Cluster, :nodes, [:ai]) == {:ok, Enum.sort(["#{ai.node}", "#{both.node}"])}
    assert {:ok, %{nodes: [_], strategies: %{}, refused: _}} = rpc(both, Clusters, :info, [:ai])
    assert rpc(both, :erlang, :nodes, [:connected]) == []
  end

  test "each has its topology", %{app: app, both: both} do
    assert rpc(both, Topology, :current_topology, [[cluster: :ai]]) == :hyparview
    assert rpc(both, Topology, :current_topology) == :full_mesh
    assert :ok = rpc(both, Topology, :switch_topology, [:client_server, [cluster: :ai, settled: true]])
    assert rpc(both, Topology, :current_topology, [[cluster: :ai]]) == :client_server
    assert rpc(both, Topology, :current_topology, [[cluster: :app]]) == :full_mesh
    assert rpc(app, Topology, :current_topology) == :full_mesh
  end

  test "messages go over the cluster that is named, and are heard in no other", %{
    app: app,
    both: both,
    ai: ai
  } do
    heard = for node <- [app, both, ai], do: {node, rpc(node, Visitor, :subscribe, [:events])}
    in_ai = rpc(both, Visitor, :start, [nil])
    :ok = rpc(both, Channels, :subscribe, [:events, [pid: in_ai, cluster: :ai]])

    assert :ok = rpc(both, Channels, :broadcast, [:events, :to_app])
    assert :ok = rpc(both, Channels, :broadcast, [:events, :to_ai, [cluster: :ai]])
    assert :ok = rpc(ai, Channels, :send_message, [:events, both.node, :from_ai, [ack: true]])
    assert :ok = rpc(app, Channels, :send_message, [:events, both.node, :from_app, [ack: true]])

    messages = fn node, pid ->
      for {_, :events, _, message} <- rpc(node, Visitor, :kept, [pid]), do: message
    end

    [{_, app_pid}, {_, both_pid}, {_, ai_pid}] = heard
    assert_eventually(messages.(app, app_pid) == [:to_app])
    assert_eventually(messages.(ai, ai_pid) == [:to_ai])
    assert_eventually(Enum.sort(messages.(both, both_pid)) == [:from_app, :to_app])
    assert_eventually(Enum.sort(messages.(both, in_ai)) == [:from_ai, :to_ai])

    target = {:nobody, ai.node}
    assert rpc(both, Channels, :send_message, [:data, target, :lost]) == {:error, :unreachable}
    assert rpc(both, Channels, :send_message, [:data, target, :hello, [cluster: :ai, ack: true]]) == :ok
    assert rpc(both, Channels, :send_message, [:data, target, :x, [cluster: :none]]) == {:error, :not_running}

    {:ok, rows} = rpc(both, Channels, :get_channel_metrics, [[cluster: :ai]])
    assert rows |> Enum.map(& &1.node) |> Enum.uniq() == ["#{ai.node}"]
    for {node, pid} <- [{both, in_ai} | heard], do: rpc(node, Visitor, :stop, [pid])
  end

  test "calls, names, services, topics and routes are of a cluster", %{app: app, both: both, ai: ai} do
    store = rpc(ai, Visitor, :start, [:ai_store])

    assert {:ok, :hello} =
             rpc(both, Call, :call, [:data, {:ai_store, ai.node}, {:echo, :hello}, [cluster: :ai]])

    via = {:via, Via, {:ai_store, ai.node, channel: :data, cluster: :ai}}
    assert rpc(both, GenServer, :call, [via, {:echo, 1}]) == 1

    :ok = rpc(ai, Discovery, :register_service, [:model, store, [capabilities: [:infer]]])
    found = fn node, criteria -> Enum.map(rpc(node, Discovery, :discover_services, [criteria]), & &1.pid) end
    assert_eventually(found.(both, service: :model, cluster: :ai) == [store])
    assert found.(both, service: :model) == []
    assert found.(app, service: :model) == []
    assert {:ok, [%{status: :up}]} = rpc(both, Discovery, :get_service_health, [:model, [cluster: :ai]])
    assert {:ok, 2} = rpc(both, Call, :call, [:data, {:service, :model}, {:echo, 2}, [cluster: :ai]])

    # One that is registered here in the other cluster is seen there, and here only in it.
    own = rpc(both, Visitor, :start, [nil])
    :ok = rpc(both, Discovery, :register_service, [:tool, own, [cluster: :ai]])
    assert_eventually(found.(ai, service: :tool) == [own])
    assert found.(app, service: :tool) == []

    :ok = rpc(both, Broadcast, :subscribe, [:topic, own, [cluster: :ai]])
    assert_eventually(published(ai, both, own), 10_000)
    assert {:ok, route} = rpc(both, Routing, :route, [ai.node, [cluster: :ai]])
    assert route == :direct or match?({:dial, _}, route)
    assert {:ok, :unknown} = rpc(both, Routing, :route, [ai.node])
    assert {:ok, [_]} = rpc(both, Routing, :rank, [[ai.node], [cluster: :ai]])
    for {node, pid} <- [{ai, store}, {both, own}], do: rpc(node, Visitor, :stop, [pid])
  end

  defp published(from, to, pid) do
    :ok = rpc(from, Broadcast, :publish, [:topic, :news])
    Enum.any?(rpc(to, Visitor, :kept, [pid]), &match?({:foundation_broadcast, :topic, _, :news}, &1))
  end

  test "processes of the library are reached only from their own cluster", %{app: app, both: both, ai: ai} do
    # The names of the main cluster's processes, as a node of the other would address them.
    pid = rpc(ai, Process, :whereis, [Foundation.Supervisor])
    fake = %{service: :fake, pid: pid, node: ai.node, capabilities: [], metadata: %{}}
    news = {:foundation_services, ai.node, [fake], []}
    target = {Discovery, both.node}
    assert :ok = rpc(ai, Channels, :send_message, [:events, target, news, [ack: true]])
    assert_eventually(length(rpc(both, Discovery, :discover_services, [[service: :fake, cluster: :ai]])) == 1)
    assert rpc(both, Discovery, :discover_services, [[service: :fake]]) == []

    for name <- [Foundation.Distributed.Fabric, Foundation.Services.EventStore] do
      assert {:error, :noproc} = rpc(ai, Call, :call, [:data, {name, both.node}, :hello, []])
    end

    assert {:error, :noproc} = rpc(ai, Call, :call, [:data, {:no_such_name, both.node}, :hello, []])
    assert rpc(app, Fabric, :nodes) == [both.node]
  end

  test "a stranger to one is refused, a member of the other too", %{app: app, both: both} do
    # Who has another secret does not believe us either, and goes before it has shown who it is.
    counts = fn -> elem(rpc(both, Clusters, :info, [:ai]), 1).refused end
    refused = fn -> counts.() |> Enum.map(&elem(&1, 1)) |> Enum.sum() end
    before = refused.()

    entry = [
      secret: "quite another secret",
      seeds: [address(both, cluster: :ai)],
      fabric: [topology: false] ++ @loopback
    ]

    assert {:error, {:invalid_config, _}} =
             rpc(app, Clusters, :join, [:ai, Keyword.put(entry, :fabric, topology: 1)])

    assert :ok = rpc(app, Clusters, :join, [:ai, entry])
    [_, port] = String.split(address(both, cluster: :ai), ":")
    :ok = rpc(app, Fabric, :add_peer, [both.node, {127, 0, 0, 1}, String.to_integer(port), [cluster: :ai]])
    options = [cluster: :ai, ack: true, timeout: 2_000]
    assert {:error, _} = rpc(app, Channels, :send_message, [:data, {:nobody, both.node}, :x, options])
    assert_eventually(refused.() > before)
    assert rpc(both, Fabric, :nodes, [:ai]) |> Enum.member?(app.node) == false
    assert rpc(both, Fabric, :nodes) == [app.node]
    assert :ok = rpc(app, Clusters, :leave, [:ai])
  end

  @tag :alone
  test "a split of one is noticed in it, and in no other", %{app: app, both: both, ai: ai} do
    entry = [secret: @secret, fabric: @loopback, partitions: [policy: :nonsense]]
    assert {:error, {:invalid_config, _}} = rpc(both, Clusters, :join, [:ai, entry])
    join(both, ai, partitions: [policy: :oldest, confirm_after: 200])
    watcher = rpc(both, Visitor, :start, [nil])
    :ok = rpc(both, Visitor, :watch_partitions, [watcher, :ai])
    status = fn -> rpc(both, Partitions, :status, [[cluster: :ai]]) end
    assert {:ok, %{state: :active, lost: [], here: here}} = status.()
    assert here == Enum.sort([ai.node, both.node])

    os_pid = RealNode.os_pid(ai)
    on_exit(fn -> System.cmd("kill", ["-CONT", os_pid], stderr_to_stdout: true) end)
    :ok = RealNode.signal(os_pid, "STOP")
    # The other side has run longer.
    assert_eventually(match?({:ok, %{state: :paused, lost: [_]}}, status.()), 15_000)
    refute rpc(both, Partitions, :active?, [[cluster: :ai]])
    assert rpc(both, Partitions, :active?)
    assert rpc(both, Fabric, :nodes) == [app.node]
    :ok = RealNode.signal(os_pid, "CONT")
    assert_eventually(match?({:ok, %{state: :active, lost: []}}, status.()), 20_000)
    assert rpc(both, Partitions, :active?, [[cluster: :ai]])

    events =
      for {:foundation_partition, %{cluster: :ai, event: event}} <- rpc(both, Visitor, :kept, [watcher]),
          do: event

    assert events == [:present, :split, :healed]
  end

  test "leaving one leaves the other alone", %{app: app, both: both, ai: ai} do
    handle = rpc(both, Fabric, :handle)
    assert :ok = rpc(both, Clusters, :leave, [:ai])
    assert {:error, :not_joined} = rpc(both, Clusters, :leave, [:ai])
    assert_eventually(rpc(ai, Fabric, :nodes) == [], 10_000)
    assert rpc(both, Fabric, :handle) == handle
    assert rpc(both, Fabric, :nodes) == [app.node]
    assert :ok = rpc(both, Channels, :send_message, [:data, {:nobody, app.node}, :hello, [ack: true]])
    assert {:error, :not_running} = rpc(both, Channels, :open, [:video, [cluster: :ai]])

    join(both, ai)
    assert {:error, :already_joined} = rpc(both, Clusters, :join, [:ai, [secret: @secret, fabric: @loopback]])
    assert :ok = rpc(both, Channels, :open, [:video, [cluster: :ai, lanes: 2]])

    # A fabric that dies comes back, and finds the others again.
    fabric = rpc(both, Process, :whereis, [:"Elixir.Foundation.Distributed.Fabric.ai"])
    true = rpc(both, Process, :exit, [fabric, :kill])
    assert_eventually(rpc(both, Fabric, :nodes, [:ai]) == [ai.node], 15_000)
    assert_eventually(rpc(ai, Fabric, :nodes) == [both.node], 15_000)
    assert rpc(both, Fabric, :handle) == handle
  end

  test "a joined cluster is called without a gateway, as its nodes allow", %{both: both, ai: ai} do
    call = fn target, options -> rpc(both, Cluster, :send_to_cluster, [:ai, target, options]) end
    assert call.({Enum, :sum, [[1, 2]]}, []) == {:ok, 3}
    assert call.({System, :halt, []}, []) == {:error, :not_allowed}
    assert call.({Enum, :sum, [self()]}, []) == {:error, :not_plain}
    assert call.({Enum, :sum, [1]}, []) == {:error, :failed}

    assert_eventually(busy(ai) == 0)
    assert call.({Process, :sleep, [60_000]}, timeout: 300) == {:error, :timeout}
    # Nobody waits any more, and it is ended there.
    assert_eventually(busy(ai) == 0)

    # Nor does anybody wait when the caller ends, or its node.
    target = {Process, :sleep, [600_000]}
    caller = rpc(both, Visitor, :send_in_vain, [:ai, target])
    assert_eventually(busy(ai) == 1)
    true = rpc(both, Process, :exit, [caller, :kill])
    assert_eventually(busy(ai) == 0)
    rpc(both, Visitor, :send_in_vain, [:ai, target])
    assert_eventually(busy(ai) == 1)
    :ok = rpc(both, Clusters, :leave, [:ai])
    assert_eventually(busy(ai) == 0)
  end

  # How many calls run there for others.
  defp busy(node),
    do: node |> rpc(:sys, :get_state, [Clusters.Member]) |> get_in([:calls, :by_monitor]) |> map_size()

  @tag :alone
  test "strategies find fabrics, and connect nobody", %{both: both} do
    port = ClusterNodes.free_port()
    fabric = [port: port, bind: {127, 0, 0, 1}]
    anywhere = [bind: {0, 0, 0, 0}]
    one = Peers.start(:one, fabric: false, env: [clusters: entry(fabric, {:static, nodes: [both.node]})])
    on_exit(fn -> Peers.stop(one) end)
    # On one host two cannot have the same port, so the other finds by mDNS where this one is.
    udp = Foundation.MdnsNodes.port()
    two = Peers.start(:two, fabric: false, env: [clusters: entry(anywhere, {:mdns, port: udp})])
    three = Peers.start(:three, fabric: false, env: [clusters: entry(anywhere, {:mdns, port: udp})])
    on_exit(fn -> Enum.each([two, three], &Peers.stop/1) end)

    assert_eventually(rpc(two, Fabric, :nodes, [:ai]) == [three.node], 15_000)
    assert_eventually(rpc(three, Fabric, :nodes, [:ai]) == [two.node], 15_000)
    assert {:ok, %{strategies: %{"ai/mdns": %{nodes: [node]}}}} = rpc(two, Clusters, :info, [:ai])
    assert node == three.node
    assert rpc(two, :erlang, :nodes, [:connected]) == []
    assert rpc(two, Foundation, :cluster_info).strategies == %{}

    # By the names of nodes, at the port that all have; on one host each needs an address of its own.
    %{ai: located} = entry([], {:static, nodes: [one.node]})
    assert {:error, {:invalid_config, %{expected: expected}}} = rpc(both, Clusters, :join, [:ai, located])
    assert expected =~ "a :port"
    %{ai: taken} = entry(fabric, {:static, nodes: [one.node]})
    assert {:error, {:transport, :eaddrinuse}} = rpc(both, Clusters, :join, [:ai, taken])
    %{ai: there} = entry([port: port, bind: {127, 0, 0, 2}], {:static, nodes: [one.node]})
    assert :ok = rpc(both, Clusters, :join, [:ai, there])
    assert_eventually(rpc(both, Fabric, :nodes, [:ai]) == [one.node], 10_000)
    assert {:ok, %{seeds: [], strategies: strategies}} = rpc(both, Clusters, :info, [:ai])
    assert %{"ai/static": %{nodes: [_], error: nil}} = strategies
    assert rpc(both, :erlang, :nodes, [:connected]) == []
  end

  defp entry(fabric, strategy), do: %{ai: [secret: @secret, strategy: strategy, fabric: fabric]}

  test "an application with a mistake in an entry does not start, and the mistake is named" do
    {peer, _} = RealNode.boot(name: :mistaken, start: false)
    on_exit(fn -> RealNode.stop(peer) end)

    for {options, key} <- [
          {[secret: @secret, strategy: :no_such_thing], "cluster:"},
          {[secret: @secret, strategy: :auto], "clusters: ai: strategy"},
          {[secret: @secret, topology: :no_such_thing], "clusters: ai: fabric"},
          {[secret: "short", topology: :full_mesh], "clusters: ai: secret"},
          {[topology: :full_mesh], "clusters: ai: topology"},
          {[secret: @secret, accept: ["short"], topology: :full_mesh], "clusters: ai: accept"},
          {[secret: @secret, seeds: ["nowhere"]], "clusters: ai: seeds"},
          {[secret: @secret, fabric: [secret: "another one of these"]], "clusters: ai: fabric"}
        ] do
      :ok = RealNode.call(peer, Application, :put_env, [:foundation, :clusters, %{ai: options}])

      assert {:error, {_, {{:invalid_config, problem}, _}}} =
               RealNode.call(peer, Application, :ensure_all_started, [:foundation]) |> wrapped()

      assert problem.key == key
      refute inspect(problem) =~ @secret
    end
  end

  defp wrapped({:error, {:foundation, {{:invalid_config, _} = problem, start}}}),
    do: {:error, {:foundation, {problem, start}}}

  defp wrapped(other), do: other
end
