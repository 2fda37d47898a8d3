defmodule Foundation.Cluster.ConsulTest do
  use ExUnit.Case, async: true

  alias Foundation.{ApiServer, ConsulApi, HttpServer}
  alias Foundation.Cluster.Strategy.{Consul, State}

  @instances [
    %{service: "web", node: "n1", address: "10.0.0.1", tags: ["blue"]},
    %{service: "web", node: "n2", address: "10.0.0.2", service_address: "10.8.0.2", tags: ["green"]},
    %{service: "web", node: "n3", address: "10.0.0.3", passing: false, tags: ["blue"]},
    %{service: "web", node: "n4", address: "10.0.0.4", dc: "dc2"},
    %{service: "db", node: "n5", address: "10.0.0.5"}
  ]

  setup do
    %{server: ApiServer.start(ConsulApi.api(instances: @instances, datacenters: ["dc1", "dc2"]))}
  end

  defp discover(context, more \\ []) do
    config = Keyword.merge([base_url: context.server.url, service_name: "web", node_basename: "it"], more)

    with {:ok, nodes} <- Consul.discover(%State{topology: :consul, config: config}),
         do: nodes |> Enum.map(&(&1 |> Atom.to_string() |> String.replace("it@10.", ""))) |> Enum.sort()
  end

  test "instances whose checks pass", context do
    assert discover(context) == ["0.0.1", "8.0.2"]

    assert [%{path: "/v1/health/service/web", query: %{"passing" => "true"}}] =
             ApiServer.requests(context.server)
  end

  test "each of the endpoints, by our names and by those of libcluster_consul", context do
    all = ["0.0.1", "0.0.3", "8.0.2"]
    assert discover(context, list_using: [:health]) == all
    assert discover(context, list_using: [Cluster.Strategy.Consul.Health]) == all

    assert discover(context, list_using: [{Cluster.Strategy.Consul.Health, passing: true}]) ==
             all -- ["0.0.3"]

    assert discover(context, list_using: [Cluster.Strategy.Consul.Catalog]) == all
    assert discover(context, list_using: [:catalog], dc: "dc2") == ["0.0.4"]
    assert discover(context, list_using: [Cluster.Strategy.Consul.Agent]) == Enum.sort(["0.0.4" | all])
    assert discover(context, list_using: [:catalog, :agent]) == Enum.sort(["0.0.4" | all])

    assert {:error, {:invalid_option, {:list_using, NoSuch.Thing}}} =
             discover(context, list_using: [NoSuch.Thing])
  end

  test "several datacenters", context do
    all = ["0.0.1", "0.0.3", "0.0.4", "8.0.2"]
    assert discover(context, list_using: [multisite: [datacenters: :all, endpoints: [:catalog]]]) == all

    multisite =
      {Cluster.Strategy.Consul.Multisite, datacenters: ["dc2"], endpoints: [Cluster.Strategy.Consul.Health]}

    assert discover(context, list_using: [multisite]) == ["0.0.4"]
    assert {:error, {:consul, 500, "No path to datacenter"}} = discover(context, dc: "dc3")
  end

  test "tags and name templates", context do
    assert discover(context, tag: "blue") == ["0.0.1"]
    assert discover(context, service: [name: "web", tag: "green"]) == ["8.0.2"]
    assert discover(context, service: [name: "web", tag: "blue"], list_using: [:agent]) == ["0.0.1", "0.0.3"]
    template = "<%= node_basename %>-<%=dc%>@<%= ip %>.node"
    assert discover(context, node_name_template: template, dc: "dc2") == ["it-dc2@10.0.0.4.node"]
  end

  test "a token is sent, and missing or wrong ones are told", context do
    ApiServer.answer_with(context.server, ConsulApi.api(instances: @instances, token: "right"))
    assert discover(context, access_token: "right") == ["0.0.1", "8.0.2"]
    assert {:error, {:consul, 403, "ACL not found"}} = discover(context, access_token: "wrong")
    assert {:error, {:consul, 403, "Permission denied" <> _}} = discover(context)
  end

  test "failures are errors, and a service that nobody offers is none", context do
    assert discover(context, service_name: "nobody") == []
    ApiServer.answer_with(context.server, ConsulApi.api(instances: @instances, no_leader: true))
    assert {:error, {:consul, 500, "No cluster leader"}} = discover(context)

    for {answer, error} <- [
          {{200, "null"}, :no_list},
          {{200, "[{"}, :not_json},
          {{:truncated, "[]"}, :closed},
          {:slow, :timeout}
        ] do
      ApiServer.answer_with(context.server, fn _ -> answer end)
      timeout = if error == :timeout, do: 300, else: 15_000
      assert {answer, discover(context, timeout: timeout)} == {answer, {:error, error}}
    end

    assert {:error, {:invalid_option, {:service_name, nil}}} = discover(context, service_name: nil)
    ApiServer.stop(context.server)
    assert {:error, {:connect, :econnrefused}} = discover(context)
  end

  test "over TLS, verified" do
    {certificate, cacerts} = HttpServer.certificates()
    server = ApiServer.start(ConsulApi.api(instances: @instances), ssl: certificate)
    ca = Path.join(ApiServer.service_account(cacerts), "ca.crt")
    assert discover(%{server: server}, cacertfile: ca) == ["0.0.1", "8.0.2"]
    assert {:error, {:tls, :unknown_ca}} = discover(%{server: server})
  end
end
