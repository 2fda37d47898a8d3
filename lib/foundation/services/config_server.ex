defmodule Foundation.Services.ConfigServer do
  @moduledoc """
  Owns the configuration: changes it one at a time, tells subscribers, and puts each version where all can
  read it.

  `Foundation.Config` is the door to it. The module's functions address the server of the production
  namespace; an isolated one, started with `namespace: {:test, ref}`, is reached by `GenServer.call/2` on its
  pid with the requests `:get_config`, `{:get_config_path, path}`, `{:update_config, path, value}`,
  `:reset_config`, `{:subscribe, pid}`, `{:unsubscribe, pid}`, `:get_status` and `:reset_state`, and those of
  2.x: `{:subscribe, pid, opts}`, `{:register_schema, module}`, `{:validate_and_update, pairs, opts}`,
  `{:history, opts}`, `{:rollback, version}`, `{:share, values, note}`. Any other request answers `{:error, :unauthorized_access}`.

  Reading in the production namespace asks no process. What a crash keeps: see `Foundation.Config`.
  """

  use GenServer
  require Logger

  alias Foundation.Config.{Change, History, Overlay, Proposal, Snapshot}
  alias Foundation.Contracts.Configurable
  alias Foundation.Logic.ConfigLogic
  alias Foundation.ProcessRegistry
  alias Foundation.Services.ConfigServer.{State, Writes}
  alias Foundation.Types.{Config, Error}

  @behaviour Configurable

  # A change may wait for subscribers who may veto the one before it.
  @write_timeout Proposal.max_deadline() + 5_000

  @typedoc "What the server counts; times in monotonic milliseconds."
  @type metrics :: %{start_time: integer, updates_count: non_neg_integer, last_update: integer | nil}

  @typedoc """
  The server's state. `vetoers` maps to deadlines; `waiting` are changes behind the `pending` proposal.
  """
  @type server_state :: %{
          config: Config.t(),
          subscribers: [pid],
          monitors: %{required(reference) => pid},
          metrics: metrics,
          namespace: ProcessRegistry.namespace(),
          schemas: [module],
          history: History.t(),
          overlay: Overlay.t(),
          vetoers: %{optional(pid) => pos_integer},
          pending: Proposal.t() | nil,
          waiting: [{term, GenServer.from()}]
        }

  # -- api ---------------------------------------------------------------------------------------------------

  @doc "The whole configuration but for added sections. Asks no process, copies nothing."
  @impl Configurable
  @spec get() :: {:ok, Config.t()} | {:error, Error.t()}
  def get do
    with :down <- Snapshot.config(), do: not_started()
  end

  @doc "The value at a path. Asks no process, copies nothing."
  @impl Configurable
  @spec get([atom]) :: {:ok, term} | {:error, Error.t()}
  def get(path) when is_list(path) do
    with :down <- Snapshot.fetch(path), do: not_started()
  end

  @doc "Sets the value at an updatable path; see `Foundation.Config.update/2`."
  @impl Configurable
  @spec update([atom], term) :: :ok | {:error, Error.t()}
  def update(path, value) when is_list(path), do: request({:update_config, path, value}, @write_timeout)

  @doc "Says whether a configuration is valid."
  @impl Configurable
  @spec validate(Config.t()) :: :ok | {:error, Error.t()}
  def validate(config) do
    present = Enum.filter(schemas(), &Map.has_key?(config, &1.__config_name__()))
    with {:ok, _} <- Change.validate(config, present), do: :ok
  end

  @doc "The paths that may change while running: the built-in ones, then those of registered schemas."
  @impl Configurable
  @spec updatable_paths() :: [[atom, ...], ...]
  def updatable_paths, do: Change.updatable_paths(schemas())

  @doc "Goes back to the compiled defaults and tells the subscribers."
  @impl Configurable
  @spec reset() :: :ok | {:error, Error.t()}
  def reset, do: request(:reset_config, @write_timeout)

  @doc "Whether the server of the production namespace runs."
  @impl Configurable
  @spec available?() :: boolean
  def available?, do: match?({:ok, _}, ProcessRegistry.lookup(:production, :config_server))

  @doc "Uptime in milliseconds and counts."
  @spec status() :: {:ok, map} | {:error, Error.t()}
  def status, do: request(:get_status)

  @doc """
  Rebuilds the state as at the start and drops the subscribers; only when the application environment
  `:test_mode` is true, else `:operation_forbidden` 5002.
  """
  @spec reset_state() :: :ok | {:error, Error.t()}
  def reset_state do
    if Application.get_env(:foundation, :test_mode, false),
      do: request(:reset_state, @write_timeout),
      else: {:error, Error.only_in_tests(5002)}
  end

  @doc "Starts the production server unless it runs."
  @spec initialize() :: :ok | {:error, Error.t()}
  def initialize, do: initialize([])

  @doc "Starts the production server with the given sections unless it runs; it is linked to the caller then."
  @spec initialize(keyword) :: :ok | {:error, Error.t()}
  def initialize(opts) when is_list(opts) do
    if running?() do
      :ok
    else
      case start_link(Keyword.put(opts, :namespace, :production)) do
        {:ok, _pid} -> :ok
        {:error, {:already_started, _pid}} -> :ok
        {:error, reason} -> unavailable("Failed to start ConfigServer: #{inspect(reason)}")
      end
    end
  rescue
    error in ArgumentError -> unavailable("Failed to start ConfigServer: #{Exception.message(error)}")
  end

  @doc """
  Starts a server in `opts[:namespace]` (default `:production`); the other options replace whole sections.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\ []) do
    namespace = Keyword.get(opts, :namespace, :production)
    name = ProcessRegistry.via_tuple(namespace, :config_server)
    GenServer.start_link(__MODULE__, Keyword.put(opts, :namespace, namespace), name: name)
  end

  @doc "Stops the production server; `:ok` also when there is none."
  @spec stop() :: :ok
  def stop do
    case server() do
      {:ok, pid} -> GenServer.stop(pid)
      :error -> :ok
    end
  end

  @doc "Subscribes a process to changes; a second time changes nothing."
  @spec subscribe(pid) :: :ok | {:error, Error.t()}
  def subscribe(pid \\ self()), do: request({:subscribe, pid})

  @doc """
  As `subscribe/1`; with `veto: true` the process is asked before changes, see
  `Foundation.Config.subscribe/1`.
  """
  @spec subscribe(pid, keyword) :: :ok | {:error, Error.t()}
  def subscribe(pid, opts), do: request({:subscribe, pid, opts})

  @doc "Ends a subscription; `:ok` also when there was none."
  @spec unsubscribe(pid) :: :ok | {:error, Error.t()}
  def unsubscribe(pid \\ self()), do: request({:unsubscribe, pid})

  @doc "Adds a section; see `Foundation.Config.register_schema/1`."
  @spec register_schema(module) :: :ok | {:error, Error.t()}
  def register_schema(module), do: request({:register_schema, module}, @write_timeout)

  @doc "Changes several paths or none; see `Foundation.Config.validate_and_update/2`."
  @spec validate_and_update([{list, term}], keyword) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def validate_and_update(pairs, opts), do: request({:validate_and_update, pairs, opts}, :infinity)

  @doc "Goes back to a version; see `Foundation.Config.rollback/1`."
  @spec rollback(non_neg_integer) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def rollback(version), do: request({:rollback, version}, @write_timeout)

  @doc """
  Puts values that hold for the whole cluster over this node's own, in place of those before, as one change of kind
  `:cluster` with that note; what was set no more is the node's own value again. Gives the paths that the node's schemas
  refuse, with the errors: these stay as they are.
  """
  @spec share(%{[atom] => term}, term) :: {:ok, %{[atom] => Error.t()}} | {:error, Error.t()}
  def share(values, note) when is_map(values), do: request({:share, values, note}, @write_timeout)

  @doc "The values that hold for the whole cluster, and which of them are refused here. Asks no process."
  @spec shared() :: %{values: %{[atom] => term}, refused: %{[atom] => Error.t()}}
  def shared do
    case Snapshot.kept() do
      {_config, %{overlay: overlay}} -> Map.take(overlay, [:values, :refused])
      nil -> %{values: %{}, refused: %{}}
    end
  end

  @doc "The configuration in force with the added sections, and the schemas. Asks no process, copies nothing."
  @spec present() :: {:ok, map, [module]} | {:error, Error.t()}
  def present do
    case {Snapshot.config(), Snapshot.kept()} do
      {{:ok, _}, {config, kept}} -> {:ok, config, kept.schemas}
      _ -> not_started()
    end
  end

  @doc "The last changes, newest first; see `Foundation.Config.history/1`. Asks no process."
  @spec history(keyword) :: {:ok, [map]} | {:error, Error.t()}
  def history(opts) do
    case {Snapshot.config(), Snapshot.kept()} do
      {{:ok, _}, {_, kept}} -> {:ok, History.list(kept.history, kept.schemas, opts)}
      _ -> not_started()
    end
  end

  @doc "The number of changes so far. Asks no process."
  @spec version() :: {:ok, non_neg_integer} | {:error, Error.t()}
  def version do
    case {Snapshot.config(), Snapshot.kept()} do
      {{:ok, _}, {_, kept}} -> {:ok, kept.history.version}
      _ -> not_started()
    end
  end

  # -- server ------------------------------------------------------------------------------------------------

  @impl GenServer
  @spec init(keyword) :: {:ok, server_state} | {:stop, term}
  def init(opts) do
    {namespace, sections} = Keyword.pop(opts, :namespace, :production)

    case ConfigLogic.build_config(sections) do
      {:ok, config} ->
        {:ok, config |> State.fresh(namespace) |> State.recover() |> State.publish()}

      {:error, error} ->
        Logger.error("Failed to initialize configuration: #{inspect(error)}")
        {:stop, {:config_validation_failed, error}}
    end
  end

  @impl GenServer
  @spec handle_call(term, GenServer.from(), server_state) ::
          {:reply, term, server_state} | {:noreply, server_state}
  def handle_call(:get_config, _from, state), do: {:reply, {:ok, State.public(state)}, state}
  def handle_call({:get_config_path, []}, _from, state), do: {:reply, {:ok, State.public(state)}, state}

  def handle_call({:get_config_path, path}, _from, state),
    do: {:reply, ConfigLogic.get_config_value(state.config, path), state}

  def handle_call({:history, opts} = request, _from, state) do
    if Keyword.keyword?(opts),
      do: {:reply, {:ok, History.list(state.history, state.schemas, opts)}, state},
      else: unauthorized(request, state)
  end

  def handle_call({:subscribe, pid}, from, state), do: handle_call({:subscribe, pid, []}, from, state)

  def handle_call({:subscribe, pid, opts} = request, _from, state) do
    if is_pid(pid) and Proposal.options?(opts),
      do: {:reply, :ok, state |> State.subscribed(pid) |> State.may_veto(pid, opts)},
      else: unauthorized(request, state)
  end

  # Who is gone, or no longer subscribed, has no say in what is being decided.
  def handle_call({:unsubscribe, pid}, _from, state),
    do: {:reply, :ok, state |> State.without(pid) |> Writes.heard(pid, :gone)}

  def handle_call(:get_status, _from, state) do
    {:reply,
     {:ok,
      %{
        status: :running,
        uptime_ms: State.now() - state.metrics.start_time,
        updates_count: state.metrics.updates_count,
        last_update: state.metrics.last_update,
        subscribers_count: length(state.subscribers)
      }}, state}
  end

  def handle_call(:reset_state, from, state), do: Writes.write(:reset_state, from, state)
  def handle_call(:reset_config, from, state), do: Writes.write(:reset_config, from, state)
  def handle_call({:register_schema, _} = request, from, state), do: Writes.write(request, from, state)
  def handle_call({:rollback, _} = request, from, state), do: Writes.write(request, from, state)

  def handle_call({:share, values, _note} = request, from, state) when is_map(values),
    do: Writes.write(request, from, state)

  def handle_call({:update_config, path, _} = request, from, state) when is_list(path),
    do: Writes.write(request, from, state)

  def handle_call({:validate_and_update, pairs, opts} = request, from, state) do
    if Proposal.pairs?(pairs) and Proposal.options?(opts),
      do: Writes.write(request, from, state),
      else: unauthorized(request, state)
  end

  def handle_call(request, _from, state), do: unauthorized(request, state)

  @impl GenServer
  @spec handle_info(term, server_state) :: {:noreply, server_state}
  def handle_info({:DOWN, _ref, :process, pid, _reason}, state),
    do: {:noreply, state |> State.without(pid) |> Writes.heard(pid, :gone)}

  def handle_info({:config_vote, ref, pid, answer}, %{pending: %{ref: ref}} = state),
    do: {:noreply, Writes.heard(state, pid, answer)}

  # An answer to a proposal that is decided.
  def handle_info({:config_vote, ref, _pid, _answer}, state) when is_reference(ref), do: {:noreply, state}

  def handle_info(message, state) do
    Logger.warning("Unexpected message in ConfigServer: #{inspect(message)}")
    {:noreply, state}
  end

  # Crash reports and :sys.get_status show neither values nor requests, which may hold secrets.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(GenServer)

  def format_status(status) do
    Map.new(status, fn
      {:state, %{namespace: namespace, history: history}} ->
        {:state, %{namespace: namespace, version: history.version}}

      {:message, request} when is_tuple(request) and tuple_size(request) > 0 ->
        {:message, {elem(request, 0), :...}}

      {:log, _} ->
        {:log, []}

      other ->
        other
    end)
  end

  defp unauthorized(request, state) do
    Logger.warning("Unauthorized or invalid request to ConfigServer: #{inspect(request)}")
    {:reply, {:error, :unauthorized_access}, state}
  end

  # -- callers -----------------------------------------------------------------------------------------------

  defp request(message, timeout \\ 5_000) do
    case server() do
      {:ok, pid} -> GenServer.call(pid, message, timeout)
      :error -> not_started()
    end
  catch
    # It went between the lookup and the call.
    :exit, {:noproc, _} -> not_started()
  end

  defp running?, do: match?({:ok, _}, server())

  defp schemas do
    case Snapshot.kept() do
      {_config, %{schemas: schemas}} -> schemas
      nil -> []
    end
  end

  defp server do
    ProcessRegistry.lookup(:production, :config_server)
  rescue
    # The registry itself is down: the application does not run.
    ArgumentError -> :error
  end

  defp not_started, do: unavailable("Configuration service not started")

  defp unavailable(message) do
    {:error,
     Error.new(
       code: 5000,
       error_type: :service_unavailable,
       message: message,
       severity: :high,
       category: :system,
       subcategory: :initialization
     )}
  end
end
