defmodule Foundation.Cluster.KubernetesTest do
  # The API is served over TLS as it is documented, and as it fails.
  use ExUnit.Case, async: true
  import Foundation.Eventually

  alias Foundation.{ApiServer, HttpServer, KubernetesApi}
  alias Foundation.Cluster.Strategy.{Kubernetes, State}

  @pods for n <- 1..5, do: %{ip: "10.1.0.#{n}", name: "pod-#{n}"}

  setup do
    {certificate, cacerts} = HttpServer.certificates()
    server = ApiServer.start(KubernetesApi.api(pods: @pods), ssl: certificate)
    account = ApiServer.service_account(cacerts)
    %{server: server, account: account}
  end

  defp state(context, more) do
    defaults = [
      kubernetes_master: context.server.url,
      kubernetes_service_account_path: context.account,
      kubernetes_selector: "app=it",
      kubernetes_node_basename: "it"
    ]

    %State{topology: :k8s, config: Keyword.merge(defaults, more)}
  end

  defp discover(context, more \\ []), do: context |> state(more) |> Kubernetes.discover()

  test "lists the ready addresses behind services", context do
    assert {:ok, nodes} = discover(context)
    assert Enum.sort(nodes) == for(n <- 1..5, do: :"it@10.1.0.#{n}")
    assert [request] = ApiServer.requests(context.server)
    assert request.path == "/api/v1/namespaces/here/endpoints"
    assert %{"labelSelector" => "app=it", "limit" => "500"} = request.query
    assert request.headers["authorization"] == "Bearer the-token"

    unready = List.update_at(@pods, 0, &Map.put(&1, :ready, false))
    ApiServer.answer_with(context.server, KubernetesApi.api(pods: unready))
    assert {:ok, nodes} = discover(context)
    assert Enum.sort(nodes) == for(n <- 2..5, do: :"it@10.1.0.#{n}")
  end

  test "lists pods, without those that have ended or have no address yet", context do
    pods = [
      %{ip: nil, name: "new", phase: "Pending"},
      %{ip: "10.1.0.9", name: "old", phase: "Succeeded"} | @pods
    ]

    ApiServer.answer_with(context.server, KubernetesApi.api(pods: pods))
    assert {:ok, nodes} = discover(context, kubernetes_ip_lookup_mode: :pods)
    assert Enum.sort(nodes) == for(n <- 1..5, do: :"it@10.1.0.#{n}")
  end

  test "names nodes by address, by DNS name and by host name", context do
    assert {:ok, [_ | _] = nodes} = discover(context, mode: :dns)
    assert :"it@10-1-0-1.here.pod.cluster.local" in nodes

    for kind <- [:endpoints, :pods] do
      options = [
        mode: :hostname,
        kubernetes_service_name: "svc",
        kubernetes_cluster_name: "mine",
        kubernetes_ip_lookup_mode: kind
      ]

      assert {:ok, nodes} = discover(context, options)
      assert :"it@pod-3.svc.here.svc.mine.local" in nodes
    end

    assert {:error, {:invalid_option, {:kubernetes_service_name, nil}}} = discover(context, mode: :hostname)
    assert {:error, {:invalid_option, {:mode, :nonsense}}} = discover(context, mode: :nonsense)
  end

  test "reads page after page", context do
    assert {:ok, nodes} = discover(context, page_size: 1)
    assert length(nodes) == 5
    queries = for request <- ApiServer.requests(context.server), do: request.query["continue"]
    assert queries == [nil, "1", "2"]
  end

  test "a list that changes under the pages is read again from its start, once", context do
    ApiServer.answer_with(context.server, KubernetesApi.api(pods: @pods, expired: true))

    assert {:error, {:kubernetes, 410, "The provided continue parameter is too old"}} =
             discover(context, page_size: 1)

    assert length(ApiServer.requests(context.server)) == 4
  end

  test "a selector that fits nobody gives nobody", context do
    assert {:ok, []} = discover(context, kubernetes_selector: "app=other")
  end

  test "a rotated token is read again", context do
    File.write!(Path.join(context.account, "token"), "stale")
    server = context.server

    # The account's token is written anew while the first request is under way.
    ApiServer.answer_with(server, fn request ->
      File.write!(Path.join(context.account, "token"), "the-token")
      KubernetesApi.api(pods: @pods).(request)
    end)

    assert {:ok, [_ | _]} = discover(context)
    assert [first, second] = ApiServer.requests(server)
    assert first.headers["authorization"] == "Bearer stale"
    assert second.headers["authorization"] == "Bearer the-token"

    File.write!(Path.join(context.account, "token"), "stale")
    ApiServer.answer_with(server, KubernetesApi.api(pods: @pods))
    assert {:error, {:kubernetes, 401, "Unauthorized"}} = discover(context)
    assert length(ApiServer.requests(server)) == 1
  end

  test "says who may not list what", context do
    ApiServer.answer_with(context.server, KubernetesApi.api(pods: @pods, forbidden: true))
    assert {:error, {:kubernetes, 403, "endpoints is forbidden" <> _}} = discover(context)
  end

  test "tells failures apart", context do
    for {answer, error} <- [
          {{500, "no JSON"}, {:kubernetes, 500, ""}},
          {{200, "{\"items\":[}"}, :not_json},
          {{200, "{\"kind\":\"Status\"}"}, :no_list},
          {{:truncated, ~s({"items":[])}, :closed},
          {:slow, :timeout},
          {{:drip, String.duplicate(" ", 1_000)}, :timeout},
          {{:endless, String.duplicate(" ", 1_000_000)}, :body_too_large}
        ] do
      ApiServer.answer_with(context.server, fn _ -> answer end)
      timeout = if error == :timeout, do: 500, else: 15_000
      assert {answer, discover(context, timeout: timeout)} == {answer, {:error, error}}
    end

    ApiServer.answer_with(context.server, fn _ -> :garbage end)
    assert {:error, _} = discover(context)
    ApiServer.stop(context.server)
    assert {:error, {:connect, :econnrefused}} = discover(context)
  end

  test "a certificate of another authority, or for another host, is refused", context do
    {_, others} = HttpServer.certificates()
    account = ApiServer.service_account(others)
    assert {:error, {:tls, :unknown_ca}} = discover(context, kubernetes_service_account_path: account)

    by_address = String.replace(context.server.url, "localhost", "127.0.0.1")
    assert {:error, {:tls, :handshake_failure}} = discover(context, kubernetes_master: by_address)
    assert ApiServer.requests(context.server) == []
  end

  test "says which option is missing", context do
    assert {:error, {:invalid_option, {:kubernetes_selector, nil}}} =
             discover(context, kubernetes_selector: nil)

    assert {:error, {:invalid_option, {:kubernetes_ip_lookup_mode, :x}}} =
             discover(context, kubernetes_ip_lookup_mode: :x)

    File.rm!(Path.join(context.account, "namespace"))
    assert {:error, {:service_account, "namespace", :enoent}} = discover(context)
    assert {:ok, [_ | _]} = discover(context, kubernetes_namespace: "here")
  end

  test "an answer that could exhaust the atoms is refused", context do
    pods =
      for n <- 0..10_001, do: %{ip: "10.#{div(n, 62_500)}.#{rem(div(n, 250), 250)}.#{rem(n, 250)}", name: "p"}

    ApiServer.answer_with(context.server, KubernetesApi.api(pods: pods))
    assert {:error, {:too_many_nodes, 10_002}} = discover(context, kubernetes_ip_lookup_mode: :pods)

    ApiServer.answer_with(
      context.server,
      KubernetesApi.api(pods: [%{ip: "10.1.0.1\\n@x", name: "p"}, hd(@pods)])
    )

    assert {:ok, [:"it@10.1.0.1"]} = discover(context)
  end

  # The loop, with every fault in turn: no node is given up, and the next good answer is followed.
  test "errors keep the nodes, and the next good answer is followed", context do
    test = self()
    mine = fn what -> {__MODULE__, :told, [test, what]} end

    state = %{
      state(context, polling_interval: 20)
      | connect: mine.(:connect),
        disconnect: mine.(:disconnect),
        list_nodes: {__MODULE__, :listed, [Enum.map(@pods, &:"it@#{&1.ip}")]}
    }

    start_supervised!({Kubernetes, [state]})
    assert_eventually(ApiServer.requests(context.server) != [])

    for answer <- [{500, ""}, {:truncated, "{"}] do
      ApiServer.answer_with(context.server, fn _ -> answer end)
      ApiServer.requests(context.server)
      assert_eventually(ApiServer.requests(context.server) != [])
      refute_received {:disconnect, _}
    end

    ApiServer.answer_with(context.server, KubernetesApi.api(pods: tl(@pods)))
    assert_receive {:disconnect, :"it@10.1.0.1"}, 10_000
    refute_received {:disconnect, _}
  end

  def told(test, what, node) do
    send(test, {what, node})
    true
  end

  def listed(nodes), do: nodes
end
