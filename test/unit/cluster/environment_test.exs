defmodule Foundation.Cluster.EnvironmentTest do
  # What the surroundings say about where a node runs.
  use ExUnit.Case, async: true

  alias Foundation.Cluster.{Environment, Strategy}

  defp files(files), do: &Map.fetch(files, &1)

  defp detect(env, files \\ %{}, name \\ :error) do
    read = fn path -> with :error <- files(files).(path), do: {:error, :enoent} end
    Environment.detect(Map.put_new(env, "RELEASE_NAME", "shop"), read, fn -> name end)
  end

  defp strategies(place), do: Enum.map(place.topologies, & &1.module)

  @token %{"/var/run/secrets/kubernetes.io/serviceaccount/token" => "t"}
  @docker %{
    "/.dockerenv" => "",
    "/etc/resolv.conf" => "search lan\nnameserver 127.0.0.11\noptions ndots:0\n"
  }

  test "nowhere in particular: everything that works without configuration, side by side" do
    place = detect(%{})
    assert %{platform: :local, naming: :short} = place
    assert strategies(place) == [Strategy.Mdns, Strategy.Gossip, Strategy.LocalEpmd]
  end

  test "Kubernetes by its API" do
    env = %{"KUBERNETES_SERVICE_HOST" => "10.0.0.1", "POD_IP" => "10.1.2.3", "POD_NAMESPACE" => "prod"}
    assert %{platform: :kubernetes, naming: {:long, "10.1.2.3"}, topologies: [topology]} = detect(env, @token)
    assert topology.module == Strategy.Kubernetes
    assert topology.config[:kubernetes_selector] == "app=shop"
    assert topology.config[:kubernetes_node_basename] == "shop"
    assert topology.config[:kubernetes_namespace] == "prod"
    env = Map.put(env, "FOUNDATION_KUBERNETES_SELECTOR", "tier=web")
    assert %{topologies: [%{config: config}]} = detect(env, @token)
    assert config[:kubernetes_selector] == "tier=web"
  end

  test "Kubernetes by a headless service, which needs no token" do
    env = %{"KUBERNETES_SERVICE_HOST" => "10.0.0.1", "FOUNDATION_HEADLESS_SERVICE" => "shop-nodes"}
    assert %{platform: :kubernetes, topologies: [topology]} = detect(env)
    assert topology.module == Strategy.Kubernetes.DNS
    assert topology.config == [service: "shop-nodes", application_name: "shop"]
    # Neither token nor service: there is nothing to ask.
    assert detect(%{"KUBERNETES_SERVICE_HOST" => "10.0.0.1"}).platform == :local
  end

  test "Fly" do
    env = %{"FLY_APP_NAME" => "my-app", "FLY_PRIVATE_IP" => "fdaa::3"}
    assert %{platform: :fly, naming: {:long, "fdaa::3"}, topologies: [topology]} = detect(env)
    assert topology.module == Strategy.DNSPoll
    assert topology.config == [query: "my-app.internal", node_basename: "shop"]
  end

  test "Nomad, and Consul" do
    assert %{platform: :nomad, topologies: [topology]} =
             detect(%{"NOMAD_ALLOC_ID" => "1", "NOMAD_JOB_NAME" => "web", "NOMAD_HOST_IP" => "10.0.0.9"})

    assert topology.module == Strategy.Consul
    assert topology.config == [base_url: "http://10.0.0.9:8500", service_name: "web", node_basename: "shop"]

    env = %{
      "CONSUL_HTTP_ADDR" => "https://consul:8501",
      "CONSUL_HTTP_TOKEN" => "t",
      "CONSUL_SERVICE_NAME" => "w"
    }

    assert %{platform: :consul, topologies: [%{config: config}]} = detect(env)
    assert config[:base_url] == "https://consul:8501"
    assert config[:service_name] == "w"
    assert config[:token] == "t"
  end

  test "ECS" do
    env = %{
      "ECS_CONTAINER_METADATA_URI_V4" => "http://169.254.170.2/v4",
      "FOUNDATION_DNS_QUERY" => "web.prod.local"
    }

    assert %{platform: :ecs, topologies: [%{module: Strategy.DNSPoll, config: config}]} = detect(env)
    assert config[:query] == "web.prod.local"

    for env <- [Map.delete(env, "FOUNDATION_DNS_QUERY"), %{env | "FOUNDATION_DNS_QUERY" => ""}] do
      assert %{platform: :ecs, topologies: [%{module: Strategy.Ecs, config: config}]} = detect(env)
      assert config == [metadata_uri: "http://169.254.170.2/v4", node_basename: "shop"]
    end
  end

  test "a node is not named after an address that leads nowhere" do
    interface = fn address, flags -> {~c"eth", flags: flags, addr: address, netmask: {255, 255, 0, 0}} end
    metadata = interface.({169, 254, 172, 2}, [:up])
    own = interface.({10, 0, 0, 222}, [:up])
    loopback = interface.({127, 0, 0, 1}, [:up, :loopback])
    assert Environment.own_address([loopback, metadata, own]) == "10.0.0.222"
    assert Environment.own_address([loopback, metadata]) == "169.254.172.2"
    assert Environment.own_address([loopback]) == "127.0.0.1"
  end

  test "Docker Compose: the service's name is in the container's" do
    for own <- ["my-project-web-api-2.my-project_default", "my-project_web-api_2.my-project_default"] do
      place = detect(%{}, @docker, {:ok, own})
      assert %{platform: :docker_compose, topologies: [dns | _]} = place
      assert dns.config[:query] == "web-api"
      assert [Strategy.DNSPoll, Strategy.Mdns, Strategy.Gossip, Strategy.LocalEpmd] = strategies(place)
    end

    assert %{platform: :docker_compose, topologies: [dns | _]} =
             detect(%{"FOUNDATION_DNS_QUERY" => "app"}, @docker)

    assert dns.config[:query] == "app"
    # A container alone, or one whose name says nothing.
    assert detect(%{}, @docker).platform == :local
    assert detect(%{}, @docker, {:ok, "3f9ac2.bridge"}).platform == :local
    assert detect(%{}, Map.delete(@docker, "/.dockerenv"), {:ok, "p-web-1.p_default"}).platform == :local
  end

  test "names are made of addresses where nodes are found by addresses" do
    topology = &Foundation.Cluster.Config.topology(:t, &1, [])
    assert Environment.naming([topology.(Strategy.Gossip), topology.(Strategy.Static)]) == :short

    for module <- [Strategy.DNSPoll, Strategy.Kubernetes, Strategy.Consul, Strategy.Ecs, Strategy.Rancher] do
      assert {:long, address} = Environment.naming([topology.(Strategy.Gossip), topology.(module)])
      assert {:ok, _} = :inet.parse_address(String.to_charlist(address))
    end
  end
end
