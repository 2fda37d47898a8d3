defmodule Foundation.Services.ConfigServer do
  @moduledoc """
  Owns the configuration: changes it one at a time, tells subscribers, and puts each version where all can read it.

  `Foundation.Config` is the door to it. The module's functions address the server of the production namespace; an
  isolated one, started with `namespace: {:test, ref}`, is reached by `GenServer.call/2` on its pid with the requests
  `:get_config`, `{:get_config_path, path}`, `{:update_config, path, value}`, `:reset_config`, `{:subscribe, pid}`,
  `{:unsubscribe, pid}`, `:get_status` and `:reset_state`. Any other request answers `{:error, :unauthorized_access}`.

  Reading in the production namespace asks no process. What a crash keeps: see `Foundation.Config`.
  """

  use GenServer
  require Logger

  alias Foundation.Config.{Guard, Snapshot}
  alias Foundation.Contracts.Configurable
  alias Foundation.Logic.ConfigLogic
  alias Foundation.ProcessRegistry
  alias Foundation.Types.{Config, Error}
  alias Foundation.Validation.ConfigValidator

  @behaviour Configurable
  @compile {:no_warn_undefined, [Foundation.Events, Foundation.Services.EventStore]}

  @typedoc "What the server counts; times in monotonic milliseconds."
  @type metrics :: %{start_time: integer, updates_count: non_neg_integer, last_update: integer | nil}

  @typedoc "The server's state."
  @type server_state :: %{
          config: Config.t(),
          subscribers: [pid],
          monitors: %{required(reference) => pid},
          metrics: metrics,
          namespace: ProcessRegistry.namespace()
        }

  # -- api ---------------------------------------------------------------------------------------------------------

  @doc "The whole configuration. Asks no process, copies nothing."
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
  def update(path, value) when is_list(path), do: request({:update_config, path, value})

  @doc "Says whether a configuration is valid."
  @impl Configurable
  @spec validate(Config.t()) :: :ok | {:error, Error.t()}
  def validate(config), do: ConfigValidator.validate(config)

  @doc "The paths that may change while running."
  @impl Configurable
  @spec updatable_paths() :: [[atom, ...], ...]
  def updatable_paths, do: ConfigLogic.updatable_paths()

  @doc "Goes back to the compiled defaults and tells the subscribers."
  @impl Configurable
  @spec reset() :: :ok | {:error, Error.t()}
  def reset, do: request(:reset_config)

  @doc "Whether the server of the production namespace runs."
  @impl Configurable
  @spec available?() :: boolean
  def available?, do: match?({:ok, _}, ProcessRegistry.lookup(:production, :config_server))

  @doc "Uptime in milliseconds and counts."
  @spec status() :: {:ok, map} | {:error, Error.t()}
  def status, do: request(:get_status)

  @doc """
  Rebuilds the state as at the start and drops the subscribers; only when the application environment `:test_mode` is
  true, else `:operation_forbidden` 5002.
  """
  @spec reset_state() :: :ok | {:error, Error.t()}
  def reset_state do
    if Application.get_env(:foundation, :test_mode, false) do
      request(:reset_state)
    else
      {:error,
       Error.new(
         code: 5002,
         error_type: :operation_forbidden,
         message: "State reset only allowed in test mode",
         severity: :high,
         category: :security,
         subcategory: :authorization
       )}
    end
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

  @doc "Starts a server in `opts[:namespace]` (default `:production`); the other options replace whole sections."
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

  @doc "Ends a subscription; `:ok` also when there was none."
  @spec unsubscribe(pid) :: :ok | {:error, Error.t()}
  def unsubscribe(pid \\ self()), do: request({:unsubscribe, pid})

  # -- server ------------------------------------------------------------------------------------------------------

  @impl GenServer
  @spec init(keyword) :: {:ok, server_state} | {:stop, term}
  def init(opts) do
    {namespace, sections} = Keyword.pop(opts, :namespace, :production)

    case ConfigLogic.build_config(sections) do
      {:ok, config} ->
        {:ok, publish(fresh(config, namespace))}

      {:error, error} ->
        Logger.error("Failed to initialize configuration: #{inspect(error)}")
        {:stop, {:config_validation_failed, error}}
    end
  end

  @impl GenServer
  @spec handle_call(term, GenServer.from(), server_state) ::
          {:reply, term, server_state} | {:noreply, server_state}
  def handle_call(:get_config, _from, state), do: {:reply, {:ok, state.config}, state}

  def handle_call({:get_config_path, path}, _from, state),
    do: {:reply, ConfigLogic.get_config_value(state.config, path), state}

  def handle_call({:update_config, path, value}, _from, state) do
    case ConfigLogic.update_config(state.config, path, value) do
      {:ok, config} -> {:reply, :ok, updated(state, config, path, value)}
      {:error, _} = error -> {:reply, error, state}
    end
  end

  def handle_call(:reset_config, _from, state) do
    config = ConfigLogic.reset_config()
    state = publish(%{state | config: config})
    notify(state, {:config_reset, config})
    count = state.metrics.updates_count
    store_event(:config_reset, %{timestamp: now(), reset_from_updates_count: count})
    count([:foundation, :config_resets], %{reset_from_updates_count: count})
    {:reply, :ok, state}
  end

  def handle_call({:subscribe, pid}, _from, state) when is_pid(pid) do
    if pid in state.subscribers do
      {:reply, :ok, state}
    else
      monitors = Map.put(state.monitors, Process.monitor(pid), pid)
      {:reply, :ok, %{state | subscribers: [pid | state.subscribers], monitors: monitors}}
    end
  end

  def handle_call({:unsubscribe, pid}, _from, state) do
    {gone, monitors} = Enum.split_with(state.monitors, fn {_ref, subscriber} -> subscriber == pid end)
    Enum.each(gone, fn {ref, _} -> Process.demonitor(ref, [:flush]) end)
    {:reply, :ok, %{state | subscribers: List.delete(state.subscribers, pid), monitors: Map.new(monitors)}}
  end

  def handle_call(:reset_state, _from, state) do
    case ConfigLogic.build_config([]) do
      {:ok, config} ->
        Enum.each(state.monitors, fn {ref, _} -> Process.demonitor(ref, [:flush]) end)
        {:reply, :ok, publish(fresh(config, state.namespace))}

      {:error, _} = error ->
        {:reply, error, state}
    end
  end

  def handle_call(:get_status, _from, state) do
    {:reply,
     {:ok,
      %{
        status: :running,
        uptime_ms: now() - state.metrics.start_time,
        updates_count: state.metrics.updates_count,
        last_update: state.metrics.last_update,
        subscribers_count: length(state.subscribers)
      }}, state}
  end

  def handle_call(request, _from, state) do
    Logger.warning("Unauthorized or invalid request to ConfigServer: #{inspect(request)}")
    {:reply, {:error, :unauthorized_access}, state}
  end

  @impl GenServer
  @spec handle_info(term, server_state) :: {:noreply, server_state}
  def handle_info({:DOWN, ref, :process, pid, _reason}, state) do
    {:noreply,
     %{state | subscribers: List.delete(state.subscribers, pid), monitors: Map.delete(state.monitors, ref)}}
  end

  def handle_info(message, state) do
    Logger.warning("Unexpected message in ConfigServer: #{inspect(message)}")
    {:noreply, state}
  end

  # -- changes -----------------------------------------------------------------------------------------------------

  defp fresh(config, namespace) do
    %{
      config: config,
      subscribers: [],
      monitors: %{},
      namespace: namespace,
      metrics: %{start_time: now(), updates_count: 0, last_update: nil}
    }
  end

  defp updated(state, config, path, value) do
    metrics = %{state.metrics | updates_count: state.metrics.updates_count + 1, last_update: now()}
    previous = ConfigLogic.get_config_value(state.config, path)
    state = publish(%{state | config: config, metrics: metrics})
    notify(state, {:config_updated, path, value})

    store_event(:config_updated, %{path: path, new_value: value, previous_value: previous, timestamp: now()})
    count([:foundation, :config_updates], %{path: path})
    state
  end

  defp publish(%{namespace: :production, config: config} = state) do
    Snapshot.put(self(), config, Guard.sealed?(config), nil)
    state
  end

  defp publish(state), do: state

  defp notify(state, message) do
    Enum.each(state.subscribers, &send(&1, {:config_notification, message}))
  end

  # The change stands whether or not anyone can be told of it.
  defp store_event(type, data) do
    store = Foundation.Services.EventStore

    if Code.ensure_loaded?(store) and store.available?() do
      with {:ok, event} <- Foundation.Events.new_event(type, data),
           {:ok, _id} <- store.store(event) do
        :ok
      else
        {:error, error} -> Logger.warning("Failed to store config event: #{inspect(error)}")
      end
    end
  rescue
    error -> Logger.warning("Exception while storing config event: #{inspect(error)}")
  catch
    :exit, reason -> Logger.warning("Exit while storing config event: #{inspect(reason)}")
  end

  defp count(name, metadata) do
    Foundation.Telemetry.emit_counter(name, metadata)
  rescue
    error -> Logger.warning("Exception while counting a config change: #{inspect(error)}")
  catch
    :exit, reason -> Logger.warning("Exit while counting a config change: #{inspect(reason)}")
  end

  defp now, do: System.monotonic_time(:millisecond)

  # -- callers -----------------------------------------------------------------------------------------------------

  defp request(message, timeout \\ 5_000) do
    case server() do
      {:ok, pid} -> GenServer.call(pid, message, timeout)
      :error -> not_started()
    end
  end

  defp running?, do: match?({:ok, _}, server())

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
