defmodule Foundation.Cluster.DnsTest do
  # A name server of our own answers, or does not.
  use ExUnit.Case, async: true
  import Foundation.Eventually

  alias Foundation.Cluster.Strategy.{DNSPoll, Kubernetes, Resolver, State}
  alias Foundation.DnsServer

  @zone %{
    {"app.internal", :a} => [{10, 0, 0, 1}, {10, 0, 0, 2}],
    {"app.internal", :aaaa} => [{0xFD00, 0, 0, 0, 0, 0, 0, 1}],
    {"four.internal", :a} => [{10, 0, 0, 3}],
    {"other.internal", :cname} => ["app.internal"],
    {"srv.internal", :srv} => [{10, 50, 0, ~c"pod-0.srv.internal"}, {10, 50, 0, ~c"pod-1.srv.internal"}],
    {"svc.here.svc.cluster.local", :srv} => [{0, 50, 0, ~c"pod-0.svc.here.svc.cluster.local"}],
    {"headless.here.svc.cluster.local", :a} => [{10, 0, 0, 4}],
    "gone.internal" => :nxdomain,
    "broken.internal" => :servfail,
    "closed.internal" => :refused,
    "silent.internal" => :silent
  }

  setup do
    %{server: DnsServer.start(@zone)}
  end

  defp options(context, more),
    do:
      Keyword.merge([nameservers: context.server.nameservers, timeout: 15_000, retries: 1, search: []], more)

  defp discover(context, more) do
    config = options(context, Keyword.put_new(more, :node_basename, "it"))

    context
    |> Map.get(:strategy, DNSPoll)
    |> apply(:discover, [%State{topology: :dns, config: config, meta: context[:meta]}])
  end

  test "addresses of both families become nodes", context do
    assert {:ok, nodes, _} = discover(context, query: "app.internal")
    assert Enum.sort(nodes) == [:"it@10.0.0.1", :"it@10.0.0.2", :"it@fd00::1"]
    assert {:ok, [:"it@10.0.0.3"], _} = discover(context, query: "four.internal.")
    assert {:ok, [:"it@fd00::1"], _} = discover(context, query: "app.internal", record: :aaaa)
    assert {:ok, nodes, _} = discover(context, query: "OTHER.internal")
    assert length(nodes) == 3
  end

  test "service records name their hosts", context do
    assert {:ok, nodes, _} = discover(context, query: "srv.internal", record: :srv)
    assert Enum.sort(nodes) == [:"it@pod-0.srv.internal", :"it@pod-1.srv.internal"]
    assert {:ok, [], _} = discover(context, query: "app.internal", record: :srv)
  end

  test "tells apart who does not know, who fails, who refuses and who is silent", context do
    for {name, reason} <- [gone: :nxdomain, broken: :servfail, closed: :refused, silent: :timeout] do
      query = "#{name}.internal"
      timeout = if reason == :timeout, do: 150, else: 15_000
      assert {:error, {:dns, ^query, ^reason}, _} = discover(context, query: query, timeout: timeout)
    end

    {:ok, socket} = :gen_udp.open(0, ip: {127, 0, 0, 1})
    {:ok, closed} = :inet.port(socket)
    :gen_udp.close(socket)
    nobody = [nameservers: [{{127, 0, 0, 1}, closed}], timeout: 150, retries: 1, search: []]
    assert {:error, reason} = Resolver.lookup("app.internal", :a, nobody)
    assert reason in [:timeout, :refused, {:dns, :econnrefused}]
    assert {:error, :invalid_name} = Resolver.lookup("no such name", :a, nobody)
  end

  test "an answer too long for a datagram is asked for over TCP", _context do
    many = for n <- 1..200, do: {10, 1, 0, n}
    server = DnsServer.start(%{{"many.internal", :a} => many})

    assert {:ok, found} =
             Resolver.lookup("many.internal", :a, nameservers: server.nameservers, search: [], timeout: 15_000)

    assert Enum.sort(found) == many
  end

  test "a name is tried below the search domains", context do
    options = options(context, []) |> Keyword.put(:search, ["nowhere", "internal"])
    assert {:ok, [{10, 0, 0, 3}]} = Resolver.lookup("four", :a, options)
    assert {:error, :nxdomain} = Resolver.lookup("four.", :a, options)
  end

  test "a kind of records that fails keeps its last nodes", %{server: server} = context do
    assert {:ok, _, state} = discover(context, query: "app.internal")
    DnsServer.zone(server, %{{"app.internal", :a} => [{10, 0, 0, 7}], {"app.internal", :aaaa} => :servfail})
    assert {:ok, nodes, state} = DNSPoll.discover(state)
    assert Enum.sort(nodes) == [:"it@10.0.0.7", :"it@fd00::1"]

    DnsServer.zone(server, %{"app.internal" => :servfail})
    assert {:error, {:dns, "app.internal", :servfail}, ^state} = DNSPoll.discover(state)
    DnsServer.zone(server, %{{"app.internal", :a} => [{10, 0, 0, 8}]})
    assert {:ok, [:"it@10.0.0.8"], _} = DNSPoll.discover(state)
  end

  test "says which option is missing", context do
    assert {:error, {:invalid_option, {:query, nil}}} = discover(context, [])

    assert {:error, {:invalid_option, {:node_basename, ""}}} =
             discover(context, query: "x", node_basename: "")

    assert_raise ArgumentError, ~r/record: \[:mx\]/, fn -> discover(context, query: "x", record: :mx) end
  end

  test "a resolver function, as in libcluster, is asked instead", context do
    assert {:ok, [:"it@10.9.9.9"]} = discover(context, query: "x", resolver: fn "x" -> [{10, 9, 9, 9}] end)
  end

  test "headless services of Kubernetes, by address and by name", context do
    config = options(context, service: "headless", application_name: "it", search: [])
    config = Keyword.put(config, :search, ["here.svc.cluster.local"])
    assert {:ok, [:"it@10.0.0.4"], state} = Kubernetes.DNS.discover(%State{topology: :k8s, config: config})
    assert state.config == config

    config = options(context, service: "svc", namespace: "here", application_name: "it")

    assert {:ok, [:"it@pod-0.svc.here.svc.cluster.local"]} =
             Kubernetes.DNSSRV.discover(%State{topology: :k8s, config: config})

    config = options(context, service: "none", namespace: "here", application_name: "it")
    name = "none.here.svc.cluster.local."

    assert {:error, {:dns, ^name, :nxdomain}} =
             Kubernetes.DNSSRV.discover(%State{topology: :k8s, config: config})
  end

  test "libcluster's resolvers for headless services", _context do
    addresses = fn ~c"headless" -> {:ok, {:hostent, ~c"headless", [], :inet, 4, [{10, 0, 0, 5}]}} end
    config = [service: "headless", application_name: "it", resolver: addresses]
    assert {:ok, [:"it@10.0.0.5"]} = Kubernetes.DNS.discover(%State{topology: :k8s, config: config})

    names = fn ~c"svc.ns.svc.cluster.local." ->
      {:ok, {:hostent, ~c"svc", [], :srv, 1, [{0, 50, 0, ~c"p.svc"}]}}
    end

    config = [service: "svc", namespace: "ns", application_name: "it", resolver: names]
    assert {:ok, [:"it@p.svc"]} = Kubernetes.DNSSRV.discover(%State{topology: :k8s, config: config})
    failing = Keyword.put(config, :resolver, fn _ -> {:error, :timeout} end)
    assert {:error, {:dns, _, :timeout}} = Kubernetes.DNSSRV.discover(%State{topology: :k8s, config: failing})
  end

  test "the loop keeps the nodes while the name server fails, and follows it when it is back", context do
    listed = for n <- 1..2, do: :"it@10.0.0.#{n}"
    config = options(context, query: "app.internal", node_basename: "it", polling_interval: 20, record: :a)
    told = fn what -> {__MODULE__, :told, [self(), what]} end

    state = %State{
      topology: :dns_loop,
      config: config,
      connect: told.(:connect),
      disconnect: told.(:disconnect),
      list_nodes: {__MODULE__, :listed, [listed]}
    }

    start_supervised!({DNSPoll, [state]})
    assert_eventually(DnsServer.asked(context.server) > 1)

    for failure <- [:servfail, :nxdomain] do
      DnsServer.zone(context.server, %{"app.internal" => failure})
      asked = DnsServer.asked(context.server)
      assert_eventually(DnsServer.asked(context.server) > asked)
      refute_received {:disconnect, _}
    end

    DnsServer.zone(context.server, %{{"app.internal", :a} => [{10, 0, 0, 2}, {10, 0, 0, 3}]})
    assert_receive {:disconnect, :"it@10.0.0.1"}, 15_000
    assert_receive {:connect, :"it@10.0.0.3"}, 5_000
    refute_received {:disconnect, :"it@10.0.0.2"}
  end

  def told(test, what, node) do
    send(test, {what, node})
    true
  end

  def listed(nodes), do: nodes
end
