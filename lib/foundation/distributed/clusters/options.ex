defmodule Foundation.Distributed.Clusters.Options do
  @moduledoc false
  # Reads an entry of `config :foundation, clusters:` that has the node join a cluster: the options of its fabric, the
  # strategies that find its nodes, and what these may call here. A problem shows no secret.

  alias Foundation.Cluster.Config
  alias Foundation.Cluster.Federation.Options, as: Entries
  alias Foundation.Cluster.Strategy.{Auto, Gossip, Mdns}
  alias Foundation.Cluster.Table
  alias Foundation.Distributed.Clusters.Seeds
  alias Foundation.Distributed.{Fabric, Overlay}

  @type t :: %{
          name: atom,
          fabric: keyword | nil,
          topologies: [Config.topology()],
          seeds: [String.t()],
          port: :inet.port_number(),
          allow: Entries.functions(),
          partitions: keyword | nil
        }

  @doc "Whether the main cluster has that name, as far as the configuration says so."
  @spec main?(atom) :: boolean
  def main?(name), do: main() == "#{name}"

  @doc "The name of the main cluster, as far as the configuration gives it one."
  @spec main() :: String.t() | nil
  def main do
    case Application.get_env(:foundation, :fabric, false) do
      off when off in [false, nil] -> nil
      true -> "foundation"
      options -> if Keyword.keyword?(options), do: "#{Keyword.get(options, :cluster, "foundation")}"
    end
  end

  @doc "The clusters that the configuration names."
  @spec named() :: [atom]
  def named do
    clusters = clusters()
    if is_map(clusters) or Keyword.keyword?(clusters), do: for({name, _} <- clusters, do: name), else: []
  end

  defp clusters, do: Application.get_env(:foundation, :clusters) || []

  @doc "What the configuration says of a cluster, or nil."
  @spec entry(atom) :: keyword | nil
  def entry(name) do
    clusters = clusters()

    if is_map(clusters) or Keyword.keyword?(clusters),
      do: with(options when is_list(options) <- clusters[name], do: options, else: (_ -> nil))
  end

  @doc "The names that the strategies of a cluster have, of those that run."
  @spec topology_names(atom) :: [atom]
  def topology_names(cluster) do
    prefix = "#{cluster}/"
    Enum.filter(Table.set_apart(), &String.starts_with?(Atom.to_string(&1), prefix))
  end

  @spec read(atom, keyword) :: {:ok, t} | {:error, Config.problem()}
  def read(name, options) do
    with :ok <- entry(name, options),
         {:ok, allow} <- Entries.functions("#{name}", options) do
      cond do
        not main?(name) ->
          joined(name, options, allow)

        Entries.joins?(options) ->
          problem(name, "fabric", "under config :foundation, fabric:, for the main cluster")

        true ->
          {:ok, %{name: name, fabric: nil, topologies: [], seeds: [], port: 0, allow: allow, partitions: nil}}
      end
    end
  end

  # The options of federation that stand beside are checked too.
  defp entry(name, options) do
    if Keyword.keyword?(options) and Keyword.has_key?(options, :secret),
      do: with({:ok, _} <- Entries.read(%{name => options}), do: :ok),
      else: problem(name, "secret", "a secret: only by it can a node be a member")
  end

  defp joined(name, options, allow) do
    with {:ok, secret, accepted} <- Entries.secrets("#{name}", options),
         {:ok, fabric} <- fabric(name, options, secret, accepted),
         {:ok, seeds} <- Entries.addresses("#{name}", :seeds, Keyword.get(options, :seeds, [])),
         {:ok, topologies} <- topologies(name, options[:strategy], fabric),
         :ok <- partitions(name, options[:partitions], fabric) do
      {:ok,
       %{
         name: name,
         fabric: fabric,
         topologies: topologies,
         seeds: seeds,
         port: Keyword.get(fabric, :port, 0),
         allow: allow,
         partitions: options[:partitions]
       }}
    end
  end

  defp fabric(name, options, secret, accepted) do
    given = Keyword.get(options, :fabric, [])

    if Keyword.keyword?(given) and not Enum.any?([:cluster, :secret, :accept], &Keyword.has_key?(given, &1)) do
      fabric =
        given
        |> Keyword.merge(Keyword.take(options, [:topology, :channels]))
        |> Keyword.merge(cluster: name, secret: secret, accept: accepted)

      checked(name, fabric)
    else
      problem(
        name,
        "fabric",
        "a keyword list without :cluster, :secret and :accept, which the entry itself has"
      )
    end
  end

  # These raise with what is wrong, and do not show secrets.
  defp checked(name, fabric) do
    Fabric.Options.new(fabric)
    Overlay.Options.new(fabric)
    {:ok, fabric}
  rescue
    error in ArgumentError -> problem(name, "fabric", Exception.message(error))
  end

  defp topologies(_name, none, _fabric) when none in [nil, false], do: {:ok, []}
  defp topologies(name, true, fabric), do: topologies(name, :mdns, fabric)

  defp topologies(name, strategy, fabric) do
    with {:ok, %{topologies: topologies}} <- Config.read(strategy, []) do
      cond do
        Enum.any?(topologies, &(&1.module == Auto)) ->
          problem(name, "strategy", "a strategy by its name, or true for :mdns")

        Keyword.get(fabric, :port, 0) == 0 and Enum.any?(topologies, &(&1.module != Mdns)) ->
          problem(name, "fabric", "a :port, the same on every node: of the strategies only :mdns finds ports")

        true ->
          {:ok, Enum.map(topologies, &topology(&1, name, fabric))}
      end
    end
  end

  defp topology(topology, name, fabric) do
    %{
      topology
      | name: :"#{name}/#{short(topology.name)}",
        config: config(topology, name, fabric),
        connect: {Seeds, :connect, [name]},
        disconnect: {Seeds, :disconnect, [name]},
        list_nodes: {Seeds, :list, [name]}
    }
  end

  # The rest of it is read by what it is given to.
  defp partitions(_name, nil, _fabric), do: :ok

  defp partitions(name, given, fabric) do
    if Keyword.keyword?(given) and fabric[:topology] != false,
      do: :ok,
      else: problem(name, "partitions", "a keyword list, and a topology, by which the lost are noticed")
  end

  defp short(name), do: name |> Atom.to_string() |> String.replace_prefix("Elixir.", "")

  # What is announced is the node as it is in that cluster, and proven by its secret.
  defp config(%{module: Mdns} = topology, name, fabric) do
    secret = fabric[:secret]

    Keyword.merge(
      [cluster: Atom.to_string(name), secret: fn -> secret end],
      Keyword.merge(topology.config,
        announced: {Keyword.get(fabric, :name, node()), fn -> Seeds.port(name) end},
        found: &Seeds.found(name, &1, &2, &3)
      )
    )
  end

  defp config(%{module: Gossip} = topology, _name, fabric),
    do: Keyword.put_new(topology.config, :secret, fabric[:secret])

  defp config(topology, _name, _fabric), do: topology.config

  defp problem(name, key, expected), do: Config.problem("clusters: #{name}: #{key}", :concealed, expected)
end
