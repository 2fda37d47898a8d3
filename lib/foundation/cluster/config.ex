defmodule Foundation.Cluster.Config do
  @moduledoc false
  # Reads what the user wrote about the cluster, whichever of its forms it has, into topologies and options; what is wrong
  # is named by key, value and what was expected. Nothing is started here.

  alias Foundation.Cluster.Config.Options
  alias Foundation.Cluster.Strategy

  @strategies %{
    auto: Strategy.Auto,
    mdns: Strategy.Mdns,
    gossip: Strategy.Gossip,
    epmd: Strategy.Epmd,
    local_epmd: Strategy.LocalEpmd,
    erlang_hosts: Strategy.ErlangHosts,
    static: Strategy.Static,
    dns: Strategy.DNSPoll,
    kubernetes: Strategy.Kubernetes,
    kubernetes_dns: Strategy.Kubernetes.DNS,
    kubernetes_dns_srv: Strategy.Kubernetes.DNSSRV,
    consul: Strategy.Consul,
    ecs: Strategy.Ecs,
    rancher: Strategy.Rancher
  }

  # Where libcluster is not there to bring them, its names mean ours.
  @libcluster %{
    Cluster.Strategy.Gossip => Strategy.Gossip,
    Cluster.Strategy.Epmd => Strategy.Epmd,
    Cluster.Strategy.LocalEpmd => Strategy.LocalEpmd,
    Cluster.Strategy.ErlangHosts => Strategy.ErlangHosts,
    Cluster.Strategy.DNSPoll => Strategy.DNSPoll,
    Cluster.Strategy.Kubernetes => Strategy.Kubernetes,
    Cluster.Strategy.Kubernetes.DNS => Strategy.Kubernetes.DNS,
    Cluster.Strategy.Kubernetes.DNSSRV => Strategy.Kubernetes.DNSSRV,
    Cluster.Strategy.Rancher => Strategy.Rancher,
    Cluster.Strategy.Consul => Strategy.Consul
  }

  @forms "false, true, a strategy (#{@strategies |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)} " <>
           "or a module), {strategy, options}, a list of these, or topologies as libcluster has them"

  @secret_keys [:secret, :cookie, :token, :password, :acl_token, :access_token]

  @type mfa_tuple :: {module, atom, [term]}
  @type topology :: %{
          name: atom,
          module: module,
          config: keyword,
          connect: mfa_tuple | nil,
          disconnect: mfa_tuple | nil,
          list_nodes: mfa_tuple | nil
        }
  @type t :: %{topologies: [topology], options: Options.t()}
  @type problem :: {:invalid_config, %{key: String.t(), value: term, expected: String.t()}}

  @doc "The cluster that the application's environment asks for; `:none` when it asks for none."
  @spec from_environment() :: {:ok, t} | :none | {:error, problem}
  def from_environment do
    topologies = Application.get_env(:foundation, :libcluster_topologies, [])
    default = if topologies == [], do: false, else: true

    case Application.get_env(:foundation, :cluster, default) do
      false -> :none
      nil -> :none
      spec -> read(spec, Application.get_env(:foundation, :cluster_options, []))
    end
  end

  @doc "Reads one specification of a cluster and its options."
  @spec read(term, term) :: {:ok, t} | {:error, problem}
  def read(spec, options) do
    with {:ok, topologies} <- topologies(spec),
         :ok <- distinct(topologies),
         {:ok, options} <- options(options),
         do: {:ok, %{topologies: topologies, options: options}}
  end

  @doc "A problem as one sentence."
  @spec message(problem) :: String.t()
  def message({:invalid_config, %{key: key, value: value, expected: expected}}),
    do: "the configuration #{key} is #{inspect(value)}, and #{expected} was expected"

  @doc "One topology of a strategy under its own name."
  @spec topology(atom, module, keyword) :: topology
  def topology(name, module, config),
    do: %{name: name, module: module, config: config, connect: nil, disconnect: nil, list_nodes: nil}

  @doc "The module of a strategy by its short name, if it is there."
  @spec strategy(atom) :: {:ok, module} | :error
  def strategy(name) do
    module = Map.get(@strategies, name, name)
    ours = Map.get(@libcluster, module)

    cond do
      strategy?(module) -> {:ok, module}
      ours != nil and strategy?(ours) -> {:ok, ours}
      true -> :error
    end
  end

  defp strategy?(module), do: Code.ensure_loaded?(module) and function_exported?(module, :start_link, 1)

  # -- the forms ---------------------------------------------------------------------------------------------------

  defp topologies(true) do
    case Application.get_env(:foundation, :libcluster_topologies, []) ++
           Application.get_env(:libcluster, :topologies, []) do
      [] -> topologies(:auto)
      found -> list(found)
    end
  end

  defp topologies(:libcluster), do: topologies_of_libcluster()
  defp topologies(spec) when is_list(spec) and spec != [], do: list(spec)
  defp topologies(spec), do: with({:ok, topology} <- one(spec), do: {:ok, [topology]})

  defp topologies_of_libcluster do
    case Application.get_env(:libcluster, :topologies, []) do
      [] ->
        problem("config :libcluster, topologies:", [], "at least one topology, since cluster: :libcluster")

      found ->
        list(found)
    end
  end

  defp list(specs) do
    if proper?(specs), do: collect(specs, &one/1), else: problem("cluster:", specs, @forms)
  end

  defp one({name, [{_, _} | _] = opts}) when is_atom(name) do
    cond do
      not Keyword.keyword?(opts) -> problem("cluster: #{inspect(name)}", opts, "a keyword list")
      Keyword.has_key?(opts, :strategy) -> full(name, opts)
      true -> short(name, opts)
    end
  end

  defp one({name, []}) when is_atom(name), do: short(name, [])
  defp one({name, opts}) when is_atom(name), do: problem("cluster: #{inspect(name)}", opts, "a keyword list")
  defp one(name) when is_atom(name) and name not in [nil, true, false], do: short(name, [])
  defp one(other), do: problem("cluster:", other, @forms)

  defp short(name, opts) do
    case strategy(name) do
      {:ok, module} -> {:ok, topology(name, module, opts)}
      :error -> problem("cluster:", name, @forms)
    end
  end

  defp full(name, opts) do
    with {:ok, module} <- module(name, opts[:strategy]),
         {:ok, config} <- config(name, opts[:config] || []),
         {:ok, connect} <- mfa(name, opts, :connect),
         {:ok, disconnect} <- mfa(name, opts, :disconnect),
         {:ok, list_nodes} <- mfa(name, opts, :list_nodes) do
      {:ok,
       %{
         topology(name, module, config)
         | connect: connect,
           disconnect: disconnect,
           list_nodes: list_nodes
       }}
    end
  end

  defp module(name, given) do
    case is_atom(given) && strategy(given) do
      {:ok, module} -> {:ok, module}
      _ -> problem("cluster: #{inspect(name)}, strategy:", given, "a strategy's module with start_link/1")
    end
  end

  defp config(name, config) do
    if Keyword.keyword?(config),
      do: {:ok, config},
      else: problem("cluster: #{inspect(name)}, config:", config, "a keyword list")
  end

  defp mfa(name, opts, key) do
    case opts[key] do
      nil -> {:ok, nil}
      {module, fun, args} = mfa when is_atom(module) and is_atom(fun) and is_list(args) -> {:ok, mfa}
      other -> problem("cluster: #{inspect(name)}, #{key}:", other, "{module, function, arguments}")
    end
  end

  defp distinct(topologies) do
    names = Enum.map(topologies, & &1.name)

    case names -- Enum.uniq(names) do
      [] -> :ok
      [name | _] -> problem("cluster:", name, "each strategy once, or topologies with names of their own")
    end
  end

  defp options(options) do
    case Options.read(options) do
      {:ok, options} -> {:ok, options}
      {:error, key, value, expected} -> problem("cluster_options: #{key}", value, expected)
    end
  end

  # -- what is wrong -----------------------------------------------------------------------------------------------

  @doc "A problem, with what is secret in its value left out."
  @spec problem(String.t(), term, String.t()) :: {:error, problem}
  def problem(key, value, expected),
    do: {:error, {:invalid_config, %{key: key, value: conceal(value), expected: expected}}}

  defp conceal({key, _}) when key in @secret_keys, do: {key, :concealed}
  defp conceal(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> conceal() |> List.to_tuple()
  defp conceal([head | tail]), do: [conceal(head) | conceal(tail)]
  defp conceal(%{} = map) when not is_struct(map), do: Map.new(map, &conceal/1)
  defp conceal(other), do: other

  defp collect(specs, fun) do
    Enum.reduce_while(specs, {:ok, []}, fn spec, {:ok, done} ->
      case fun.(spec) do
        {:ok, value} -> {:cont, {:ok, done ++ [value]}}
        error -> {:halt, error}
      end
    end)
  end

  defp proper?(list), do: is_list(list) and List.improper?(list) == false
end
