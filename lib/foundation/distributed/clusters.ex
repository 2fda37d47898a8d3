defmodule Foundation.Distributed.Clusters do
  @moduledoc """
  Makes this node a full member of several clusters at once, each with a secret, a way to find its nodes, a topology and
  channels of its own.

      config :foundation,
        cluster: true,
        fabric: [cluster: "app", port: 4400],
        clusters: %{
          ai: [
            secret: {:system, "AI_SECRET"},
            strategy: {:dns, query: "ai.internal", node_basename: "ai"},
            topology: :hyparview,
            channels: [tensors: [lanes: 8]],
            fabric: [port: 4500],
            allow: [{Orders, :total, 1}]
          ]
        }

      Channels.send_message(:tensors, {Worker, :"ai@10.0.0.7"}, batch, cluster: :ai)
      Foundation.Cluster.send_to_cluster(:ai, {Model, :infer, [text]})

  The cluster of `config :foundation, fabric:` is the node's main one: what has an option `:cluster` is about it unless
  told otherwise. Every other cluster is reached by the fabric alone: its strategy finds where the fabrics of its nodes
  are, and connects nobody by Distributed Erlang. A node of one cluster is refused by the other, what is sent in one is
  heard in no other, and one can be left or restarted without the other noticing. Processes of the library itself (its
  names begin with `Foundation.`) are reached only from the cluster they work for; other registered processes, from each.

  ## Options

  An entry of `clusters:` with any of `:strategy`, `:topology`, `:channels`, `:fabric`, `:seeds` or `:partitions` is joined.

  | option | meaning |
  |---|---|
  | `:secret` | of this cluster: 16 bytes or more, `:cookie`, or `{:system, variable}` |
  | `:accept` | up to eight secrets that are believed besides (see `Foundation.Distributed.Fabric.set_secret/2`) |
  | `:strategy` | who is there: one of the forms of `config :foundation, cluster:`, of which `true` means `:mdns` |
  | `:seeds` | `"host:port"`, at most 64: fabrics to ask for the others |
  | `:topology`, `:channels` | as `config :foundation, fabric:` has them |
  | `:fabric` | any other option of `Foundation.Distributed.Fabric` |
  | `:partitions` | as `config :foundation, partitions:` has them (see `Foundation.Distributed.Partitions`) |
  | `:allow` | `{module, function, arity}` that nodes of the cluster may call here by `Foundation.Cluster.send_to_cluster/3` |

  `:mdns` announces the fabric's port; all other strategies find hosts only, and need `fabric: [port: …]`, the same on every
  node. The options of federation (`:gateway`, `:gateways`, `:quota`) may stand beside; see `Foundation.Cluster.Federation`.

  **Scheduling**: joining starts a fabric (see `Foundation.Distributed.Fabric`); nothing here is on the way of a message.
  """

  use Supervisor

  alias Foundation.Cluster.{Config, Drain, Elsewhere, Signal, Table}
  alias Foundation.Cluster.Config.Options, as: Settings
  alias Foundation.Cluster.Federation.Options, as: Entries
  alias Foundation.Distributed.Clusters.{Doctor, Joined, Leaving, Options, Seeds, Standing}
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Utils.OnDemand

  @type cluster :: atom

  @doc """
  Joins a cluster, with the options above.

  Errors: `{:invalid_config, %{key: key, value: value, expected: text}}`; `:already_joined`; `:not_running` when the
  application is not; what the fabric could not be started for, as `{:transport, :eaddrinuse}`. Waits for the socket, not
  for other nodes.
  """
  @spec join(cluster, keyword) :: :ok | {:error, term}
  def join(name, options) when is_atom(name) do
    with {:ok, options} <- Options.read(name, options),
         :ok <- OnDemand.ensure(__MODULE__, []),
         do: options |> start_child() |> joined(name)
  end

  # One that was left by a drain stands there still, with what it was joined by then.
  defp start_child(%{name: name} = options) do
    with {:error, :already_present} <- Supervisor.start_child(__MODULE__, {Joined, options}) do
      _ = Supervisor.delete_child(__MODULE__, {Joined, name})
      Drain.unnote(name, node())
      Supervisor.start_child(__MODULE__, {Joined, options})
    end
  end

  defp joined({:ok, _}, _name), do: :ok
  defp joined({:error, {:already_started, _}}, _name), do: {:error, :already_joined}
  defp joined({:error, reason}, _name), do: {:error, cause(reason)}

  # What stands at the bottom of the reasons of supervisors.
  defp cause({:shutdown, {:failed_to_start_child, _child, reason}}), do: cause(reason)
  defp cause({reason, child}) when is_tuple(child) and elem(child, 0) == :child, do: cause(reason)
  defp cause(reason), do: reason

  @doc """
  Leaves a cluster: its nodes are told, its links are closed, and what waits in it is told so. The others go on.

  Errors: `:not_joined`.
  """
  @spec leave(cluster) :: :ok | {:error, :not_joined}
  def leave(name) when is_atom(name) do
    with :ok <- Supervisor.terminate_child(__MODULE__, {Joined, name}),
         :ok <- Supervisor.delete_child(__MODULE__, {Joined, name}) do
      forget(name)
      Drain.unnote(name, node())
      :ok
    else
      {:error, :not_found} -> {:error, :not_joined}
    end
  catch
    :exit, _ -> {:error, :not_joined}
  end

  defp forget(name), do: for(topology <- Options.topology_names(name), do: Table.set_apart(topology, false))

  @doc false
  # Out of it, and able to be in it again.
  @spec stop(cluster) :: :ok
  def stop(name) do
    _ = Supervisor.terminate_child(__MODULE__, {Joined, name})
    forget(name)
    :ok
  catch
    :exit, _ -> :ok
  end

  @doc false
  @spec start_again(cluster) :: :ok | {:error, term}
  def start_again(name) do
    case Supervisor.restart_child(__MODULE__, {Joined, name}) do
      {:ok, _} -> :ok
      {:error, :running} -> :ok
      {:error, :not_found} -> {:error, :not_joined}
      {:error, reason} -> {:error, cause(reason)}
    end
  catch
    :exit, _ -> {:error, :not_joined}
  end

  @doc "The clusters that this node has joined besides its main one, in order. O(clusters)."
  @spec joined() :: [cluster]
  def joined do
    Enum.sort(
      for {{Joined, name}, pid, _, _} when is_pid(pid) <- Supervisor.which_children(__MODULE__), do: name
    )
  catch
    :exit, _ -> []
  end

  @doc """
  How this node stands in a cluster that it has joined: `:nodes` that messages can be sent to, `:address` of its own
  fabric, `:seeds` that are looked for (addresses), links `:refused` by reason, and `:strategies` (for each its last
  `nodes`, `error`, `failures`, `rounds`). Secrets are not part of it. Errors: `:not_joined`. O(nodes).
  """
  @spec info(cluster) :: {:ok, map} | {:error, :not_joined}
  def info(name) when is_atom(name) do
    with true <- name in joined(), {:ok, info} <- Fabric.info(cluster: name) do
      {:ok,
       %{
         nodes: Fabric.nodes(name),
         address: info.address,
         refused: info.refused,
         seeds: Seeds.wanted(name),
         strategies: Map.new(Options.topology_names(name), &{&1, report(&1)})
       }}
    else
      _ -> {:error, :not_joined}
    end
  end

  defp report(topology) do
    Table.get({:report, topology}, %{nodes: [], error: nil, failures: 0, rounds: 0})
    |> Map.take([:nodes, :error, :failures, :rounds])
  end

  @doc false
  # What functions of Foundation.Cluster do for a joined cluster.
  @spec attend() :: :ok
  def attend do
    Elsewhere.put(%{
      main?: &main?/1,
      joined: &joined/0,
      draining: &draining/0,
      info: &Standing.info/1,
      await: &Standing.await/3,
      drain: &Leaving.drain/3,
      resume: &Leaving.resume/1,
      draining?: &draining?/2,
      knows?: &knows?/1,
      doctor: &Doctor.findings/2
    })
  end

  @doc false
  # The names by which a cluster can be asked for, the main one's among them.
  @spec known() :: [String.t()]
  def known do
    main = Scope.main() || Options.main()
    Enum.sort(Enum.uniq(for name <- [main | present() ++ Options.named()], name != nil, do: "#{name}"))
  end

  defp main?(name), do: Scope.of(name) == nil or Options.main?(name)
  defp draining?(name, node), do: Drain.noted(name, node) != nil
  defp draining, do: for(name <- present(), draining?(name, node()), do: name)
  defp knows?(name), do: name in present() or is_list(Options.entry(name))

  # Those that were left by a drain among them.
  defp present do
    for {{Joined, name}, _pid, _, _} <- Supervisor.which_children(__MODULE__), do: name
  catch
    :exit, _ -> []
  end

  @doc false
  # The children that the environment asks for.
  @spec children() :: {:ok, [Supervisor.child_spec()]} | {:error, Config.problem()}
  def children do
    clusters = Application.get_env(:foundation, :clusters) || []
    entries = if is_map(clusters) or Keyword.keyword?(clusters), do: Enum.sort(clusters), else: []

    with {:ok, all} <- read_all(Enum.filter(entries, &joins?/1)) do
      {:ok, if(all == [], do: [], else: [{__MODULE__, all}])}
    end
  end

  # What is no entry is the federation's to refuse; one of the main cluster only says what its nodes may call.
  defp joins?({name, options}),
    do: Keyword.keyword?(options) and (Entries.joins?(options) or Options.main?(name))

  defp read_all(entries) do
    Enum.reduce_while(entries, {:ok, []}, fn {name, options}, {:ok, done} ->
      case Options.read(name, options) do
        {:ok, options} -> {:cont, {:ok, done ++ [options]}}
        problem -> {:halt, problem}
      end
    end)
  end

  @doc false
  # Within a function, because supervisors write the arguments of their children into logs.
  def child_spec(all),
    do: %{id: __MODULE__, type: :supervisor, start: {__MODULE__, :start_link, [fn -> all end]}}

  @doc false
  def start_link(all), do: Supervisor.start_link(__MODULE__, all, name: __MODULE__)

  @impl true
  def init(all) do
    Table.create_others()
    # What happens to one is no reason to end the others.
    Supervisor.init(signal() ++ Enum.map(all.(), &{Joined, &1}),
      strategy: :one_for_one,
      max_restarts: 100,
      max_seconds: 10
    )
  end

  # A node without a main cluster is drained by SIGTERM too.
  defp signal do
    case Settings.read(Application.get_env(:foundation, :cluster_options, [])) do
      {:ok, options} -> [{Signal, options}]
      {:error, _, _, _} -> []
    end
  end
end
