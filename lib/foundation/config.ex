defmodule Foundation.Config do
  @moduledoc """
  Reads the configuration without asking a process, and changes it safely while the system runs.

      iex> Foundation.Config.get([:ai, :provider])
      {:ok, :mock}

  Values come from the compiled defaults, over which the application environment of `:foundation` is merged
  (keys `:ai`, `:capture`, `:storage`, `:interface`, `:dev`, `:infrastructure`), and from the sections that
  `register_schema/1` adds. `guides/config.md` tells it from the start.

  ## What reading and changing cost

  Reading asks no process: the configuration is a persistent term, and a value comes out without being copied.
  A change goes through one server, takes some 150 µs, and makes the VM look through every process for the term
  that was replaced; a configuration that changes many times a second belongs elsewhere.

  ## What a crash keeps

  When the configuration server crashes, its supervisor starts it again with the values of the start, as they
  may be what it crashed of. Schemas and history are still there, the restart is an entry of the history, and
  `rollback/1` brings back what was in force. While it is down, reads answer `:service_unavailable`.

  ## The cluster's configuration

  `set_cluster_wide/3` changes a path for every node, by consensus; `get_with_consensus/2` reads what was agreed on, and
  with `enable_cluster_wide_sync/0` it is what `get/1` answers, here as on every node that has it enabled. It takes the
  coordination group of `Foundation.Distributed.Coordination`.

      config :foundation, shared_config: [sync: true, available: [[:payments, :limits]]]

  | option | |
  |---|---|
  | `sync:` (false) | enables it when the application starts, which waits for it and fails without |
  | `timeout:` (30,000 ms) | how long enabling waits |
  | `available:` ([]) | paths, and all below them, that are set on every side of a split, see `set_cluster_wide/3` |
  | `history:` (100) | how many changes are remembered, as far as they fit |
  | `group:` | another coordination group than the default |
  | `state:` | options of `Foundation.Distributed.State.new/3` for the available paths, such as `durable:` |

  All that is set cluster-wide takes 1 MB at most, the change that is made and what was there before included; then
  `:too_large`. The history has what is left of that. What is set cluster-wide counts more than what the node has of its own, which is in force again when it is set no more.

  Errors are `Foundation.Types.Error` structs unless said otherwise. Those of the group are atoms: `:unknown` (it may have
  been done), `:no_leader`, `:busy`, `:timeout`, `:too_large`, `:no_group`, `:not_configured`, `:stopped` (it was not).

  **Scheduling**: functions of the cluster as `Foundation.Distributed.Consensus`; the others call no native function.
  """

  alias Foundation.Config.{Proposal, Shared, Snapshot}
  alias Foundation.Error
  alias Foundation.Services.ConfigServer
  alias Foundation.Types.Config

  @behaviour Foundation.Contracts.Configurable

  @type config_path :: [atom]
  @type config_value :: term

  @forbidden [[:ai, :api_key], [:storage, :encryption_key], [:security], [:system, :node_name]]

  @doc "Starts the configuration service unless it runs."
  @spec initialize() :: :ok | {:error, Error.t()}
  defdelegate initialize(), to: ConfigServer

  @doc "Starts the configuration service with the given sections unless it runs."
  @spec initialize(keyword) :: :ok | {:error, Error.t()}
  defdelegate initialize(opts), to: ConfigServer

  @doc "`status`, `uptime_ms`, `updates_count`, `last_update` (monotonic ms or nil), `subscribers_count`."
  @spec status() :: {:ok, map} | {:error, Error.t()}
  defdelegate status(), to: ConfigServer

  @doc """
  The whole configuration: the built-in sections. What `register_schema/1` added is read by its name. O(1), no
  copy; `:service_unavailable` 5000 when the service is down.
  """
  @impl true
  @spec get() :: {:ok, Config.t()} | {:error, Error.t()}
  defdelegate get(), to: ConfigServer

  @doc """
  The value at a path; `[]` gives what `get/0` does. O(length of the path), some 30 ns, no process asked, no
  copy.

  Errors are `Foundation.Types.Error` structs: `:config_path_not_found`; `:security_violation` 1000 for a path
  of more than 50 parts, one with a part that is neither atom nor binary, or a part that reaches for code;
  `:service_unavailable` 5000 when the service is down.

      iex> Foundation.Config.get([:interface, :no_such_key]) |> elem(1) |> Map.get(:error_type)
      :config_path_not_found
  """
  @impl true
  @spec get(config_path) :: {:ok, config_value} | {:error, Error.t()}
  def get(path) when is_list(path) do
    case Snapshot.fetch(path) do
      :down -> ConfigServer.get(path)
      result -> result
    end
  end

  @doc """
  Sets the value at one of `updatable_paths/0` and tells the subscribers.

  Errors, in the order they are looked for: `:security_violation` 1000 (path), 1005 (value),
  `:config_update_forbidden`, and the first rule of `Foundation.Validation.ConfigValidator` that the outcome
  breaks.
  """
  @impl true
  @spec update(config_path, config_value) :: :ok | {:error, Error.t()}
  defdelegate update(path, value), to: ConfigServer

  @doc "Says whether a configuration is valid."
  @impl true
  @spec validate(Config.t()) :: :ok | {:error, Error.t()}
  defdelegate validate(config), to: ConfigServer

  @doc "The paths that may change while running."
  @impl true
  @spec updatable_paths() :: [[atom, ...], ...]
  defdelegate updatable_paths(), to: ConfigServer

  @doc "Goes back to the compiled defaults, without the application environment, and tells the subscribers."
  @impl true
  @spec reset() :: :ok | {:error, Error.t()}
  defdelegate reset(), to: ConfigServer

  @doc "Whether the service runs."
  @impl true
  @spec available?() :: boolean
  defdelegate available?(), to: ConfigServer

  @doc """
  Subscribes the calling process to changes: `{:config_notification, {:config_updated, path, new_value}}` and
  `{:config_notification, {:config_reset, config}}`. Ends by itself when the process does.
  """
  @spec subscribe() :: :ok | {:error, Error.t()}
  def subscribe, do: ConfigServer.subscribe()

  @doc "Ends the caller's subscription."
  @spec unsubscribe() :: :ok
  def unsubscribe do
    _ = ConfigServer.unsubscribe()
    :ok
  end

  @doc """
  The value at a path, or the default on any error.

      iex> Foundation.Config.get_with_default([:no, :such, :path], 5)
      5
  """
  @spec get_with_default(config_path, config_value) :: config_value
  def get_with_default(path, default) do
    case get(path) do
      {:ok, value} -> value
      {:error, _} -> default
    end
  end

  @doc """
  As `update/2`, but first turns away, with a `Foundation.Error`, what is no path (`:invalid_path`) and the
  paths of secrets and identity (`:config_update_forbidden` 1401).
  """
  @spec safe_update(config_path, config_value) :: :ok | {:error, Error.t()}
  def safe_update(path, _value) when not is_list(path),
    do: Error.error_result(:invalid_path, "Invalid configuration path")

  def safe_update(path, _value) when path in @forbidden,
    do: Error.error_result(:config_update_forbidden, "Configuration path update forbidden")

  def safe_update(path, value), do: update(path, value)

  # -- 2.x ---------------------------------------------------------------------------------------------------

  @typedoc "A change that waits for answers."
  @opaque proposal :: {pid, reference}

  @doc """
  Subscribes the calling process, with a say in changes when `veto: true`.

  Before a `validate_and_update/2` of another process takes effect, the subscriber gets `{:config_proposal,
  proposal, changes}`, where `changes` is a list of `%{path: path, old: value, new: value}`, and answers with
  `accept/1` or `veto/2` within `deadline:` milliseconds (default 1_000, at most 60_000). One veto is enough:
  nothing is changed, and the other subscribers with a say get `{:config_proposal_dropped, proposal, reason}`.
  A subscriber that does not answer in time has not vetoed, unless the update says otherwise; one that dies
  has no say.

  `veto: false` gives the say back.
  """
  @spec subscribe(veto: boolean, deadline: pos_integer) :: :ok | {:error, Error.t()}
  def subscribe(opts) do
    opts = Keyword.validate!(opts, [:veto, :deadline])
    deadline!(opts)
    ConfigServer.subscribe(self(), opts)
  end

  @doc "Agrees to a proposal."
  @spec accept(proposal) :: :ok
  def accept({server, ref}) when is_pid(server) and is_reference(ref) do
    send(server, {:config_vote, ref, self(), :accept})
    :ok
  end

  @doc "Vetoes a proposal; the reason is in the proposer's error."
  @spec veto(proposal, term) :: :ok
  def veto({server, ref}, reason \\ nil) when is_pid(server) and is_reference(ref) do
    send(server, {:config_vote, ref, self(), {:veto, reason}})
    :ok
  end

  @doc """
  Adds the section that a module with `use Foundation.Config.Schema` declares.

  Its values are the defaults with the application environment merged over them: `config :foundation,
  payments: [...]` for a section `:payments`, or that of the schema's `otp_app:`. From then on `get/1` reads
  it, and its fields are updatable and checked. Registering again, after the module changed, keeps the present
  values. Restarts keep the registration; `reset/0` brings the section back to its defaults.

  Errors: `:invalid_schema`, `:schema_conflict` (a built-in section, or another module's), and
  `:validation_failed` 1001 with all violations in `context.violations`.
  """
  @spec register_schema(module) :: :ok | {:error, Error.t()}
  defdelegate register_schema(module), to: ConfigServer

  @doc """
  Changes several paths at once, all or none, and gives the new version.

  `changes` is a map or a list of `{path, value}`. Each path must be updatable and each value valid together
  with all the others; every violation of a schema is in the error's `context.violations`. Then the
  subscribers that asked for a veto are heard, see `subscribe/1`; a veto is the error `:config_update_vetoed`
  1006 with `by` and `reason` in its context. No reader ever sees one of the changes without the others. The
  calling process has no say in its own change.

  Options: `note:` any term, kept in the history; `deadline:` a shorter time for the answers, in milliseconds;
  `on_silence:` `:accept` (default) or `:veto`, what no answer means.

  `scope: :cluster` changes them on every node as one agreed change, with the options and errors of
  `set_cluster_wide/3`, and gives the cluster's version; nobody is asked for a veto.

      iex> changes = %{[:dev, :debug_mode] => true, [:interface, :max_results] => 500}
      iex> {:ok, version} = Foundation.Config.validate_and_update(changes)
      iex> Foundation.Config.get([:interface, :max_results])
      {:ok, 500}
      iex> {:ok, _} = Foundation.Config.rollback(version - 1)
      iex> Foundation.Config.get([:interface, :max_results])
      {:ok, 1000}
  """
  @spec validate_and_update(%{config_path => config_value} | [{config_path, config_value}], keyword) ::
          {:ok, non_neg_integer} | {:error, Foundation.Types.Error.t() | term}
  def validate_and_update(changes, opts \\ []) do
    case Keyword.pop(opts, :scope, :node) do
      {:node, opts} -> update_here(changes, opts)
      {:cluster, opts} -> Shared.change(pairs!(changes), opts)
      {other, _opts} -> scope!(other)
    end
  end

  defp update_here(changes, opts) do
    opts = Keyword.validate!(opts, [:note, :deadline, :on_silence])
    deadline!(opts)

    Keyword.get(opts, :on_silence, :accept) in [:accept, :veto] ||
      raise ArgumentError, "on_silence: is :accept or :veto, got: #{inspect(opts[:on_silence])}"

    ConfigServer.validate_and_update(pairs!(changes), opts)
  end

  @doc """
  The last changes, newest first: 100 of them, or `config :foundation, config_history_limit: n`.

  Takes a path, to see only changes at, above or below it, or options: `path:`, `limit:`, `since:` (a version,
  left out). An entry is a map of `version`, `kind` (`:update`, `:reset`, `:rollback`, `:register_schema`,
  `:restart`, `:cluster`), `at` (UTC), `actor` (the pid that asked), `note`, and `changes`: maps of `path`, `old`, `new`.
  Secrets are not in it. Asks no process.

  `scope: :cluster` gives what the cluster has agreed on instead, with `consistency:` and `timeout:` as
  `get_with_consensus/2`: entries of `version`, `kind` (`:update` or `:rollback`), `at` (UTC, of the node that made the
  change), `author`, `node`, `note` and `changes`. Errors then: those of the group.
  """
  @spec history(config_path | keyword) :: {:ok, [map]} | {:error, Error.t() | atom}
  def history(path_or_opts \\ []) when is_list(path_or_opts) do
    if Keyword.keyword?(path_or_opts),
      do: path_or_opts |> Keyword.pop(:scope, :node) |> history_of(),
      else: ConfigServer.history(path: path_or_opts)
  end

  defp history_of({:node, opts}),
    do: opts |> Keyword.validate!([:path, :limit, :since]) |> ConfigServer.history()

  defp history_of({:cluster, opts}),
    do: opts |> Keyword.validate!([:path, :limit, :since, :consistency, :timeout]) |> Shared.history()

  defp history_of({other, _opts}), do: scope!(other)

  @doc "The version in force: the number of changes so far. Asks no process."
  @spec version() :: {:ok, non_neg_integer} | {:error, Error.t()}
  defdelegate version(), to: ConfigServer

  @doc """
  Brings back the values that were in force at a version, and gives the new version.

  The outcome is checked again, subscribers are told of each path that changes, and it is itself an entry of
  the history, so it can be undone the same way. There is no veto on it. Sections that were registered since
  then stay. Errors: `:config_version_not_found` for a version that the history no longer holds, and those of
  validation.

  `scope: :cluster` brings back what the cluster had agreed on at one of its versions, on every node, as a change of
  `author:` with that `note:`, within `timeout:` (5,000 ms). Errors are then also those of `set_cluster_wide/3`.
  """
  @spec rollback(non_neg_integer, keyword) :: {:ok, non_neg_integer} | {:error, Error.t() | term}
  def rollback(version, opts \\ []) do
    case Keyword.pop(opts, :scope, :node) do
      {:node, []} -> ConfigServer.rollback(version)
      {:node, [{name, _} | _]} -> raise ArgumentError, "#{inspect(name)} goes with scope: :cluster"
      {:cluster, opts} -> Shared.rollback(version, opts)
      {other, _opts} -> scope!(other)
    end
  end

  @spec scope!(term) :: no_return
  defp scope!(other), do: raise(ArgumentError, "scope: is :node or :cluster, got: #{inspect(other)}")

  # -- the cluster -------------------------------------------------------------------------------------------

  @doc """
  Sets the value at one of `updatable_paths/0` for the whole cluster.

  `consistency: :strong`, the default, has the coordination group agree on it: `{:ok, version}`, the cluster's new version.
  It is checked here against rules and schemas, together with all that is agreed on, and committed only if none of that
  has changed since; else it is checked again. Each node that has `enable_cluster_wide_sync/0` checks it once more with the
  schemas that it has, puts it in force, tells its subscribers, and stores the event `:config_updated`; one whose schemas
  refuse it keeps what it had and says so (`cluster_status/0`, the log, and the telemetry event
  `[:foundation, :config, :refused]`). On this node it is in force when this returns.

  `consistency: :available`, for a path below one of the configuration's `available:` or by the option: `:ok`; it is set
  here at once, on whichever side of a split, and spreads (`level:` `:local`, `:majority` or `:all`, how many nodes are to
  have it first). What is set of it at the same time elsewhere is all kept: the latest, by the clocks of those nodes, is in
  force everywhere, and `resolve_config_conflicts/1` decides. A path that is agreed on refuses it.

  Options: `:author` (this node), any term, and `:note`, for the history; `:timeout` (5,000 ms).

  Errors: those of `update/2`; `:minority` on a side that `Foundation.Distributed.Partitions` has paused;
  `{:consistency, :strong}`; those of the group: `:unknown` when it may have been done. Two rounds to a majority;
  O(what is set cluster-wide).
  """
  @spec set_cluster_wide(config_path, config_value, keyword) :: {:ok, non_neg_integer} | :ok | {:error, term}
  def set_cluster_wide(path, value, opts \\ []), do: Shared.set(path!(path), value, opts)

  @doc """
  What the cluster has agreed on at a path, or as a map of what it has below it: it has everything that was answered before
  this began, on any node.

  Options: `:consistency`, `:linearizable` (default), `:lease` or `:local` as `Foundation.Distributed.Consensus.query/3`;
  `:timeout` (5,000 ms). Errors: `:config_path_not_found`, a struct, when nothing is set cluster-wide there;
  `{:consistency, :available}` for a path of which nothing is agreed on; those of the group. A round to a majority;
  O(what is set cluster-wide).
  """
  @spec get_with_consensus(config_path, keyword) :: {:ok, config_value} | {:error, term}
  def get_with_consensus(path, opts \\ []), do: Shared.get(path!(path), opts)

  @doc """
  Has this node follow the cluster's configuration: when this returns `:ok`, `get/1` answers what was agreed on before it
  was called, and from then on what is set by any node, as it comes to be known here, mostly within milliseconds.

  A node that is cut off goes on answering what it knew; `get_with_consensus/2` asks. While it is enabled, what is set
  cluster-wide can be changed cluster-wide only: `update/2` of it is `:config_update_forbidden`.

  It lasts until the application ends, or `disable_cluster_wide_sync/0`. Errors, after `timeout:` of the configuration:
  those of the group, `{:not_caught_up, nodes}` (for the available paths), `:not_running`. A round to a majority.
  """
  @spec enable_cluster_wide_sync() :: :ok | {:error, term}
  defdelegate enable_cluster_wide_sync, to: Shared, as: :enable

  @doc "Ends what `enable_cluster_wide_sync/0` began: the node's own values are in force again."
  @spec disable_cluster_wide_sync() :: :ok
  defdelegate disable_cluster_wide_sync, to: Shared, as: :disable

  @doc """
  What this node has of the cluster's configuration: `synced` (whether it follows it), `version` (in force here; nil when it
  does not), `writable`, `paths` (set cluster-wide), `refused` (of these, by this node's schemas: a map of paths and errors)
  and `conflicts` (paths). O(paths).
  """
  @spec cluster_status() :: map
  defdelegate cluster_status, to: Shared, as: :status

  @doc "The cluster's version: how many changes were agreed on. Options and errors: as `get_with_consensus/2`."
  @spec cluster_version(keyword) :: {:ok, non_neg_integer} | {:error, term}
  defdelegate cluster_version(opts \\ []), to: Shared, as: :version

  @doc """
  The available paths that were set to different values by nodes that did not know of each other, in order: maps of `path`
  and `values`, each with `value`, `at` (ms since 1970), `author` and `node`. As far as this node knows. O(paths).
  """
  @spec config_conflicts() :: [map]
  defdelegate config_conflicts, to: Shared, as: :conflicts

  @doc """
  Resolves all of `config_conflicts/0`, for every node: `{:ok, resolved}`, maps of `path`, `value`, `by` and the former
  `values`. Two nodes that do it at the same time come to the same.

    * `:timestamp_wins`: the latest, by the clock of the node that set it;
    * `:majority_wins`: that of the side that had most nodes when it was set; of equal sides the latest;
    * `:intelligent_merge`: maps and lists are merged with what was there before the split: what one side has added,
      changed or removed is so; where both have changed the same, the later is taken.

  A merge that breaks a rule of the schema gives way to the latest, and `by` says so. Errors: `:minority`, those of
  `Foundation.Distributed.State.mutate/3`. O(what is in conflict).
  """
  @spec resolve_config_conflicts(:timestamp_wins | :majority_wins | :intelligent_merge) ::
          {:ok, [map]} | {:error, term}
  defdelegate resolve_config_conflicts(strategy), to: Shared, as: :resolve

  defp path!(path) do
    (is_list(path) and not List.improper?(path)) ||
      raise ArgumentError, "a path is a list of keys, got: #{inspect(path)}"

    path
  end

  defp pairs!(changes) when is_map(changes),
    do: changes |> Map.to_list() |> Enum.sort_by(&depth/1) |> pairs!()

  defp pairs!(changes) do
    Proposal.pairs?(changes) ||
      raise ArgumentError, "changes are a map or a list of {path, value}, got: #{inspect(changes)}"

    changes
  end

  # Whole sections before what lies in them.
  defp depth({path, _}) when is_list(path), do: if(List.improper?(path), do: 0, else: length(path))
  defp depth(_), do: 0

  defp deadline!(opts) do
    case Keyword.get(opts, :deadline, 1) do
      ms when is_integer(ms) and ms in 1..60_000 -> :ok
      other -> raise ArgumentError, "deadline: is 1 to 60000 milliseconds, got: #{inspect(other)}"
    end
  end
end
