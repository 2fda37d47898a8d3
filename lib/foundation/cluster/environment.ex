defmodule Foundation.Cluster.Environment do
  @moduledoc false
  # Sees from the environment where this node runs, and what follows from that: which strategies find the others there, and
  # how a node that has no name yet must be called so that they can.

  alias Foundation.Cluster.{Compat, Config, Distribution, Strategy}

  @service_account "/var/run/secrets/kubernetes.io/serviceaccount/token"

  @type place :: %{platform: atom, naming: Distribution.naming(), topologies: [Config.topology()]}

  @doc "Starts the distribution if the node has none, under a name the strategies can find."
  @spec prepare(Config.t()) :: :ok | {:error, Distribution.problem()}
  def prepare(config) do
    Compat.check()
    Distribution.ensure(config.options, if(Node.alive?(), do: :short, else: naming(config.topologies)))
  end

  @by_address [
    Strategy.DNSPoll,
    Strategy.Kubernetes,
    Strategy.Kubernetes.DNS,
    Strategy.Consul,
    Strategy.Ecs,
    Strategy.Rancher
  ]

  @doc false
  # What finds addresses, not names, wants names that are made of addresses.
  @spec naming([Config.topology()]) :: Distribution.naming()
  def naming(topologies) do
    modules = Enum.map(topologies, & &1.module)

    cond do
      Enum.any?(modules, &(&1 in @by_address)) ->
        with :short <- detect().naming, do: {:long, own_address()}

      Strategy.Auto in modules ->
        detect().naming

      true ->
        :short
    end
  end

  @doc "Where this node runs."
  @spec detect() :: place
  def detect, do: detect(System.get_env(), &File.read/1, &own_name/0)

  @doc "The same, of an environment given; `read` reads files, `name` asks DNS for the name of this node's address."
  @spec detect(map, (String.t() -> {:ok, binary} | {:error, term}), (() -> {:ok, String.t()} | :error)) ::
          place
  def detect(env, read, name) do
    kubernetes(env, read) || fly(env) || nomad(env) || ecs(env) || consul(env) || docker(env, read, name) ||
      local()
  end

  defp kubernetes(%{"KUBERNETES_SERVICE_HOST" => host} = env, read) when host != "" do
    case {env["FOUNDATION_HEADLESS_SERVICE"], read.(@service_account)} do
      {service, _} when service not in [nil, ""] ->
        topology = Config.topology(:auto_kubernetes_dns, Strategy.Kubernetes.DNS, headless(env, service))
        place(:kubernetes, env["POD_IP"], [topology])

      {_, {:ok, _token}} ->
        place(:kubernetes, env["POD_IP"], [
          Config.topology(:auto_kubernetes, Strategy.Kubernetes, selected(env))
        ])

      _ ->
        nil
    end
  end

  defp kubernetes(_env, _read), do: nil

  defp headless(env, service),
    do: [service: service, application_name: base(env)]

  defp selected(env) do
    [
      mode: :ip,
      kubernetes_ip_lookup_mode: :pods,
      kubernetes_node_basename: base(env),
      kubernetes_selector: env["FOUNDATION_KUBERNETES_SELECTOR"] || "app=#{base(env)}"
    ] ++ given(kubernetes_namespace: env["POD_NAMESPACE"])
  end

  defp fly(%{"FLY_APP_NAME" => app} = env) when app != "" do
    topology =
      Config.topology(:auto_dns, Strategy.DNSPoll, query: "#{app}.internal", node_basename: base(env))

    place(:fly, env["FLY_PRIVATE_IP"], [topology])
  end

  defp fly(_env), do: nil

  # Nomad registers its jobs as services of Consul.
  defp nomad(%{"NOMAD_ALLOC_ID" => id} = env) when id != "" do
    service = env["CONSUL_SERVICE_NAME"] || env["NOMAD_JOB_NAME"] || base(env)
    address = env["CONSUL_HTTP_ADDR"] || "http://#{env["NOMAD_HOST_IP"] || "127.0.0.1"}:8500"
    place(:nomad, env["NOMAD_IP"], [asking_consul(env, address, service)])
  end

  defp nomad(_env), do: nil

  # A task is told its service's name, but not under which names DNS knows it, if it does at all: so ECS is asked for the
  # service's tasks, unless that name is given.
  defp ecs(%{"ECS_CONTAINER_METADATA_URI_V4" => uri} = env) when uri != "" do
    topology =
      case env["FOUNDATION_DNS_QUERY"] do
        query when query not in [nil, ""] ->
          Config.topology(:auto_dns, Strategy.DNSPoll, query: query, node_basename: base(env))

        _ ->
          Config.topology(:auto_ecs, Strategy.Ecs, metadata_uri: uri, node_basename: base(env))
      end

    place(:ecs, nil, [topology])
  end

  defp ecs(_env), do: nil

  defp consul(%{"CONSUL_HTTP_ADDR" => address} = env) when address != "" do
    place(:consul, nil, [asking_consul(env, address, env["CONSUL_SERVICE_NAME"] || base(env))])
  end

  defp consul(_env), do: nil

  defp asking_consul(env, address, service) do
    Config.topology(
      :auto_consul,
      Strategy.Consul,
      [base_url: address, service_name: service, node_basename: base(env)] ++
        given(token: env["CONSUL_HTTP_TOKEN"])
    )
  end

  # Docker's own DNS answers with every replica when asked for the service, whose name is in that of this container:
  # project-service-1.project_default, or project_service_1 of older ones.
  defp docker(env, read, name) do
    with {:ok, _} <- read.("/.dockerenv"),
         {:ok, resolv} <- read.("/etc/resolv.conf"),
         true <- resolv =~ ~r/^\s*nameserver\s+127\.0\.0\.11\s*$/m,
         {:ok, service} <- service(env, name) do
      dns = Config.topology(:auto_dns, Strategy.DNSPoll, query: service, node_basename: base(env))
      place(:docker_compose, nil, [dns | at_hand()])
    else
      _ -> nil
    end
  end

  defp service(%{"FOUNDATION_DNS_QUERY" => query}, _name) when query != "", do: {:ok, query}

  defp service(_env, name) do
    with {:ok, own} <- name.(),
         [container, network] <- String.split(own, ".", parts: 2),
         [_, project] <- Regex.run(~r/^(.+)_[^_]+$/, network),
         [_, service] <- Regex.run(~r/^#{Regex.escape(project)}[-_](.+)[-_]\d+$/, container) do
      {:ok, service}
    else
      _ -> :error
    end
  end

  defp local, do: %{platform: :local, naming: :short, topologies: at_hand()}

  defp at_hand do
    for {name, strategy} <- [auto_mdns: :mdns, auto_gossip: :gossip, auto_local_epmd: :local_epmd],
        {:ok, module} <- [Config.strategy(strategy)],
        do: Config.topology(name, module, [])
  end

  defp place(platform, ip, topologies),
    do: %{platform: platform, naming: {:long, ip || own_address()}, topologies: topologies}

  defp given(pairs), do: Enum.reject(pairs, fn {_key, value} -> value in [nil, ""] end)

  # A node that has a name already gave its first part; others get it from the release.
  defp base(env) do
    if Node.alive?(),
      do: node() |> Atom.to_string() |> String.split("@") |> hd(),
      else: env["RELEASE_NAME"] || Distribution.base()
  end

  defp own_address do
    {:ok, interfaces} = :inet.getifaddrs()
    own_address(interfaces)
  end

  @doc false
  # The first interface of a task of ECS may be one that leads to its metadata alone, with a link-local address.
  @spec own_address([{charlist, keyword}]) :: String.t()
  def own_address(interfaces) do
    addresses =
      for {_name, options} <- interfaces,
          :loopback not in Keyword.get(options, :flags, []),
          {:addr, {_, _, _, _} = address} <- options,
          do: address

    reachable = Enum.reject(addresses, &match?({169, 254, _, _}, &1))
    (List.first(reachable ++ addresses) || {127, 0, 0, 1}) |> :inet.ntoa() |> to_string()
  end

  defp own_name do
    with {:ok, address} <- own_address() |> String.to_charlist() |> :inet.parse_address(),
         {:ok, {:hostent, name, _, _, _, _}} <- :inet_res.gethostbyaddr(address) do
      {:ok, to_string(name)}
    else
      _ -> :error
    end
  end
end
