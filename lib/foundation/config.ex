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

  Errors are `Foundation.Types.Error` structs unless said otherwise.
  """

  alias Foundation.Config.{Proposal, Snapshot}
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

      iex> changes = %{[:dev, :debug_mode] => true, [:interface, :max_results] => 500}
      iex> {:ok, version} = Foundation.Config.validate_and_update(changes)
      iex> Foundation.Config.get([:interface, :max_results])
      {:ok, 500}
      iex> {:ok, _} = Foundation.Config.rollback(version - 1)
      iex> Foundation.Config.get([:interface, :max_results])
      {:ok, 1000}
  """
  @spec validate_and_update(%{config_path => config_value} | [{config_path, config_value}], keyword) ::
          {:ok, non_neg_integer} | {:error, Foundation.Types.Error.t()}
  def validate_and_update(changes, opts \\ []) do
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
  `:restart`), `at` (UTC), `actor` (the pid that asked), `note`, and `changes`: maps of `path`, `old`, `new`.
  Secrets are not in it. Asks no process.
  """
  @spec history(config_path | keyword) :: {:ok, [map]} | {:error, Error.t()}
  def history(path_or_opts \\ []) when is_list(path_or_opts) do
    if Keyword.keyword?(path_or_opts),
      do: path_or_opts |> Keyword.validate!([:path, :limit, :since]) |> ConfigServer.history(),
      else: ConfigServer.history(path: path_or_opts)
  end

  @doc "The version in force: the number of changes so far. Asks no process."
  @spec version() :: {:ok, non_neg_integer} | {:error, Error.t()}
  defdelegate version(), to: ConfigServer

  @doc """
  Brings back the values that were in force at a version, and gives the new version.

  The outcome is checked again, subscribers are told of each path that changes, and it is itself an entry of
  the history, so it can be undone the same way. There is no veto on it. Sections that were registered since
  then stay. Errors: `:config_version_not_found` for a version that the history no longer holds, and those of
  validation.
  """
  @spec rollback(non_neg_integer) :: {:ok, non_neg_integer} | {:error, Error.t()}
  defdelegate rollback(version), to: ConfigServer

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
