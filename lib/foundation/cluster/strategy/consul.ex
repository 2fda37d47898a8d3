defmodule Foundation.Cluster.Strategy.Consul do
  @moduledoc """
  Connects to the instances of a service that Consul knows.

      config :foundation, cluster: {:consul, service_name: "my-service", node_basename: "my_app"}

  Registering the service is for whoever deploys it. Every node is called `node_basename@address`.

  Options, as in libcluster_consul:

    * `service_name`, or `service: [name: …, tag: …]`; needed
    * `base_url`: the agent's (`"http://localhost:8500"`)
    * `access_token`, or `token`: the ACL token
    * `list_using`: whom to ask, a list of `:health`, `:catalog`, `:agent` and `{that, opts}`, where `opts` replace these options
      for it; libcluster_consul's module names mean the same. `[{:health, passing: true}]` unless given
    * `passing`: with `:health`, only instances whose checks all pass
    * `dc`: the datacenter; `tag`: only instances with it
    * `{:multisite, datacenters: [..] | :all, endpoints: […]}` in `list_using`: the endpoints in each datacenter
    * `node_basename`: that of this node unless given
    * `node_name_template` (`"<%= node_basename %>@<%= ip %>"`), with the variables `ip`, `dc` and `node_basename`
    * `polling_interval`: ms between two rounds (5,000)

  And our own: `timeout` (ms for each request, 15,000), `cacertfile`, `certfile`, `keyfile` (TLS is always verified).

  All of these are errors, which keep the nodes: `{:consul, status, message}` for an answer other than 200 (403: the token
  may not read the service), `:not_json`, `:no_list`, `:timeout`, `:closed`, `{:tls, alert}`, `{:connect, reason}`. One endpoint
  of several that fails makes the round an error.
  """

  use Foundation.Cluster.Strategy.Poll

  alias Foundation.Cluster.Strategy.{Http, Json, Names, Options}

  @base_url "http://localhost:8500"
  @template "<%= node_basename %>@<%= ip %>"
  @max_message 300
  @kinds [:health, :catalog, :agent, :multisite]

  @impl true
  def discover(%{config: config}) do
    with {:ok, base} <- Options.basename(config, :node_basename),
         config = Keyword.put(config, :node_basename, base),
         {:ok, names} <- each(Keyword.get(config, :list_using, health: [passing: true]), &ask(&1, config)),
         {:ok, _} <- Names.nodes(base, names) do
      {:ok, names |> Enum.flat_map(&Names.node_name/1) |> Enum.uniq()}
    end
  end

  defp each(list, fun) do
    Enum.reduce_while(List.wrap(list), {:ok, []}, fn item, {:ok, found} ->
      case fun.(item) do
        {:ok, more} -> {:cont, {:ok, found ++ more}}
        {:error, _} = error -> {:halt, error}
      end
    end)
  end

  defp ask({kind, opts}, config), do: ask_kind(kind(kind), Keyword.merge(config, opts))
  defp ask(kind, config), do: ask_kind(kind(kind), config)

  # Cluster.Strategy.Consul.Health and its likes need not be there for their names to be understood.
  defp kind(kind) when kind in @kinds, do: kind

  defp kind(module) when is_atom(module) do
    last = module |> Atom.to_string() |> String.split(".") |> List.last() |> String.downcase()
    Enum.find(@kinds, {:unknown, module}, &(Atom.to_string(&1) == last))
  end

  defp kind(other), do: {:unknown, other}

  defp ask_kind({:unknown, what}, _config), do: {:error, {:invalid_option, {:list_using, what}}}

  defp ask_kind(:multisite, config) do
    with {:ok, datacenters} <- datacenters(config) do
      each(datacenters, fn dc ->
        config = Keyword.put(config, :dc, dc)
        each(Keyword.get(config, :endpoints, [:health]), &ask(&1, config))
      end)
    end
  end

  defp ask_kind(kind, config) do
    with {:ok, service} <- service(config),
         {:ok, answer} <- get(path(kind, service), query(kind, config), config),
         {:ok, addresses} <- addresses(kind, answer, service, tag(config)) do
      {:ok, Enum.map(addresses, &node_name(&1, config))}
    end
  end

  defp datacenters(config) do
    case Keyword.get(config, :datacenters, :all) do
      :all ->
        case get("/v1/catalog/datacenters", [], config) do
          {:ok, names} when is_list(names) -> {:ok, Enum.filter(names, &is_binary/1)}
          {:ok, _} -> {:error, :no_list}
          error -> error
        end

      names ->
        {:ok, names}
    end
  end

  defp service(config) do
    case config[:service] do
      nil -> Options.text(config, :service_name)
      name when is_binary(name) -> {:ok, name}
      options -> Options.text(options, :name)
    end
  end

  defp tag(config), do: config[:tag] || (is_list(config[:service]) && config[:service][:tag]) || nil

  defp path(:health, service), do: "/v1/health/service/#{encode(service)}"
  defp path(:catalog, service), do: "/v1/catalog/service/#{encode(service)}"
  defp path(:agent, _service), do: "/v1/agent/services"

  defp query(:agent, _config), do: []

  defp query(kind, config) do
    passing = if kind == :health and config[:passing], do: [passing: true], else: []
    Enum.reject([dc: config[:dc], tag: tag(config)], fn {_, value} -> value == nil end) ++ passing
  end

  defp get(path, query, config) do
    base = config |> Keyword.get(:base_url, @base_url) |> to_string() |> String.trim_trailing("/")
    url = base <> path <> if(query == [], do: "", else: "?" <> URI.encode_query(query))
    token = config[:access_token] || config[:token]
    token = if token, do: [{"x-consul-token", token}], else: []

    case Http.get(
           url,
           [{"accept", "application/json"} | token],
           Keyword.take(config, [:timeout, :cacertfile, :certfile, :keyfile])
         ) do
      {:ok, 200, body} -> Json.decode(body)
      {:ok, status, body} -> {:error, {:consul, status, message(body)}}
      error -> error
    end
  end

  # Consul says what is wrong in plain text.
  defp message(body),
    do: if(String.valid?(body), do: body |> String.trim() |> String.slice(0, @max_message), else: "")

  defp addresses(:health, list, _service, _tag) when is_list(list) do
    {:ok,
     for(
       %{"Node" => node} = entry when is_map(node) <- list,
       address = present(get_in(entry, ["Service", "Address"])) || present(node["Address"]),
       do: address
     )}
  end

  defp addresses(:catalog, list, _service, _tag) when is_list(list) do
    {:ok,
     for(
       %{} = entry <- list,
       address = present(entry["ServiceAddress"]) || present(entry["Address"]),
       do: address
     )}
  end

  defp addresses(:agent, %{} = services, service, tag) do
    {:ok,
     for(
       {_id, %{"Service" => ^service} = entry} <- services,
       tag == nil or tag in (entry["Tags"] || []),
       address = present(entry["Address"]),
       do: address
     )}
  end

  defp addresses(_kind, _answer, _service, _tag), do: {:error, :no_list}

  defp present(text) when is_binary(text) and text != "", do: text
  defp present(_), do: nil

  defp node_name(ip, config) do
    values = %{"ip" => ip, "dc" => config[:dc] || "", "node_basename" => config[:node_basename]}

    Regex.replace(
      ~r/<%=\s*(ip|dc|node_basename)\s*%>/,
      Keyword.get(config, :node_name_template, @template),
      fn _, name ->
        values[name]
      end
    )
  end

  defp encode(text), do: URI.encode(text, &URI.char_unreserved?/1)
end
