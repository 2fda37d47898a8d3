defmodule Foundation.Services.EventStore do
  @moduledoc """
  Keeps the event store running: opens and closes its log, enforces its bounds, and answers for it while it lives.

  `Foundation.Events` is the door to it. The module's functions go straight to the native store of the production
  namespace, and answer `:service_unavailable` (3000) while this process does not run; what is stored survives its
  restart. An isolated store in memory, started with `namespace: {:test, ref}`, is reached by `GenServer.call/2` on its
  pid with `{:store_event, event}`, `{:store_batch, events}`, `{:get_event, id}`, `{:query_events, map}`,
  `{:get_by_correlation, id}`, `{:prune_before, timestamp}`, `:get_stats`, `:get_status` and `:reset_state`; any other
  request answers `:operation_not_supported` (4001). The production process answers the same requests.

  ## Bounds

  In memory: `storage.hot` of the configuration (`max_events`, `max_age_seconds`, checked each `prune_interval` ms).
  Durable: `retention:` of `config :foundation, :events` (`max_events`, `max_age_ms`, `max_bytes`), checked as often.
  What was stored first goes first; age counts from the time an event was stored.

  ## Scheduling

  `store/1` and `get/1`: normal, for records up to 16 KB in memory with at most 4 subscriptions. Other reads and
  batches: dirty CPU. Durable stores, pruning, resetting: dirty IO.
  """

  use GenServer
  require Logger

  alias Foundation.Config.Snapshot
  alias Foundation.Contracts.EventStore, as: Contract
  alias Foundation.{Engine, Native, ProcessRegistry}
  alias Foundation.Events.{Durability, Schema, Store}
  alias Foundation.Types.{Error, Event}

  @behaviour Contract

  @type server_state :: %{
          handle: reference,
          namespace: ProcessRegistry.namespace(),
          start_time: integer,
          durability: Durability.t() | nil,
          recovery: map | nil,
          compaction: reference | nil
        }

  @default_interval 60_000
  @no_bound -1

  # -- api ---------------------------------------------------------------------------------------------------------

  @doc "Stores an event. See `Foundation.Events.store/1`."
  @impl Contract
  @spec store(Event.t() | {:ok, Event.t()}) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def store(%Event{} = event), do: Store.store(Engine.handle(:events), event)
  def store({:ok, %Event{} = event}), do: store(event)
  def store({:error, _} = error), do: error

  def store(other) do
    {:error,
     Error.new(
       code: 2005,
       error_type: :invalid_argument,
       message: "Expected Event struct or {:ok, Event} tuple",
       severity: :high,
       context: %{received: other},
       category: :data,
       subcategory: :validation
     )}
  end

  @doc "Stores events, all or none. See `Foundation.Events.store_batch/1`."
  @impl Contract
  @spec store_batch([Event.t()]) :: {:ok, [non_neg_integer]} | {:error, Error.t()}
  def store_batch(events) when is_list(events), do: Store.store_batch(Engine.handle(:events), events)

  @doc "The event of an id. See `Foundation.Events.get/1`."
  @impl Contract
  @spec get(non_neg_integer) :: {:ok, Event.t()} | {:error, Error.t()}
  def get(event_id) when is_integer(event_id) and event_id > 0,
    do: Store.get(Engine.handle(:events), event_id)

  @doc "The events that fit a query. See `Foundation.Events.query/1`."
  @impl Contract
  @spec query(map) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def query(query) when is_map(query), do: Store.query(Engine.handle(:events), query)

  @doc "The events of a correlation id, by timestamp."
  @impl Contract
  @spec get_by_correlation(String.t()) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def get_by_correlation(correlation_id) when is_binary(correlation_id),
    do: Store.by_correlation(Engine.handle(:events), correlation_id)

  @doc "Removes the events before a timestamp; how many."
  @impl Contract
  @spec prune_before(integer) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def prune_before(timestamp) when is_integer(timestamp),
    do: Store.prune_before(Engine.handle(:events), timestamp)

  @doc "What the store has done and holds. See `Foundation.Events.stats/0`."
  @impl Contract
  @spec stats() :: {:ok, map} | {:error, Error.t()}
  def stats, do: request(:get_stats)

  @doc "Whether the service runs."
  @impl Contract
  @spec available?() :: boolean
  def available?, do: match?({:ok, _}, ProcessRegistry.lookup(:production, :event_store))

  @doc "Starts the service if it does not run."
  @impl Contract
  @spec initialize() :: :ok | {:error, Error.t()}
  def initialize, do: initialize([])

  @doc "As `initialize/0`, with options for `start_link/1`."
  @spec initialize(keyword) :: :ok | {:error, Error.t()}
  def initialize(opts) when is_list(opts) do
    if available?() do
      :ok
    else
      case start_link(opts) do
        {:ok, _} -> :ok
        {:error, {:already_started, _}} -> :ok
        {:error, reason} -> Store.unavailable("Failed to initialize event store: #{inspect(reason)}")
      end
    end
  end

  @doc "The state of the service: `:status`, `:event_count`, `:next_id`; of a durable store also `:durable` and `:recovery`."
  @impl Contract
  @spec status() :: {:ok, map} | {:error, Error.t()}
  def status, do: request(:get_status)

  @doc "Forgets all events and counts. Only in test mode, else `:operation_forbidden` (3002)."
  @spec reset_state() :: :ok | {:error, Error.t()}
  def reset_state do
    if Application.get_env(:foundation, :test_mode, false),
      do: request(:reset_state),
      else: {:error, Error.only_in_tests(3002)}
  end

  @doc "Starts the service of a namespace (`namespace:`, `:production` unless given)."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\ []) do
    namespace = Keyword.get(opts, :namespace, :production)

    GenServer.start_link(__MODULE__, Keyword.put(opts, :namespace, namespace),
      name: ProcessRegistry.via_tuple(namespace, :event_store)
    )
  end

  @doc "Stops the service of the production namespace; `:ok` also when it does not run."
  @spec stop() :: :ok
  def stop do
    case ProcessRegistry.lookup(:production, :event_store) do
      {:ok, pid} -> GenServer.stop(pid)
      :error -> :ok
    end
  catch
    :exit, _ -> :ok
  end

  defp request(message) do
    case ProcessRegistry.lookup(:production, :event_store) do
      {:ok, pid} -> GenServer.call(pid, message)
      :error -> Store.unavailable()
    end
  rescue
    # The registry is gone: the application has stopped.
    ArgumentError -> Store.unavailable()
  catch
    :exit, {reason, {GenServer, :call, _}} when reason != :timeout -> Store.unavailable()
  end

  # -- server ------------------------------------------------------------------------------------------------------

  @impl GenServer
  def init(opts) do
    Process.flag(:trap_exit, true)
    namespace = opts[:namespace]
    durability = if namespace == :production, do: Durability.configured()

    with {:ok, durability} <- durability || {:ok, nil},
         handle = handle(namespace),
         {:ok, recovery} <- Durability.open(handle, durability),
         :ok <- Native.events_attach(handle, self()) do
      if not Application.get_env(:foundation, :test_mode, false),
        do: Logger.info("Event store initialized successfully")

      {:ok,
       schedule(%{
         handle: handle,
         namespace: namespace,
         start_time: System.monotonic_time(:millisecond),
         durability: durability,
         recovery: recovery,
         compaction: nil
       })}
    else
      {:error, reason} ->
        Logger.error("The event store cannot start: #{Durability.explain(reason)}")
        {:stop, {:event_store, reason}}
    end
  end

  @impl GenServer
  def handle_call({:store_event, %Event{} = event}, _from, state),
    do: {:reply, Store.store(state.handle, event), state}

  def handle_call({:store_batch, events}, _from, state) when is_list(events),
    do: {:reply, Store.store_batch(state.handle, events), state}

  def handle_call({:get_event, id}, _from, state), do: {:reply, Store.get(state.handle, id), state}

  def handle_call({:query_events, query}, _from, state) when is_map(query),
    do: {:reply, Store.query(state.handle, query), state}

  def handle_call({:get_by_correlation, id}, _from, state) when is_binary(id),
    do: {:reply, Store.by_correlation(state.handle, id), state}

  def handle_call({:prune_before, timestamp}, _from, state) when is_integer(timestamp),
    do: {:reply, Store.prune_before(state.handle, timestamp), state}

  def handle_call(:get_stats, _from, state) do
    native = Native.events_stats(state.handle)

    stats = %{
      events_stored: native.stored,
      events_pruned: native.pruned,
      start_time: state.start_time,
      current_event_count: native.events,
      uptime_ms: System.monotonic_time(:millisecond) - state.start_time,
      memory_usage_estimate: native.events * 1000
    }

    {:reply, {:ok, stats}, state}
  end

  def handle_call(:get_status, _from, state) do
    native = Native.events_stats(state.handle)
    status = %{status: :running, event_count: native.events, next_id: native.next_id}

    status =
      if state.recovery, do: Map.merge(status, %{durable: true, recovery: state.recovery}), else: status

    {:reply, {:ok, status}, state}
  end

  def handle_call(:reset_state, _from, state) do
    answer = Store.reset(state.handle)
    {:reply, answer, %{state | start_time: System.monotonic_time(:millisecond)}}
  end

  def handle_call(:ping, _from, state), do: {:reply, :pong, state}

  def handle_call(request, _from, state) do
    Logger.warning("Attempted unsupported EventStore operation: #{inspect(request)}")
    name = operation(request)

    error =
      Error.new(
        code: 4001,
        error_type: :operation_not_supported,
        message: "EventStore operation not supported for security reasons: #{inspect(name)}",
        severity: :medium,
        context: %{operation: name},
        category: :security,
        subcategory: :access_control
      )

    {:reply, {:error, error}, state}
  end

  @impl GenServer
  def handle_cast(message, state), do: unexpected(message, state)

  @impl GenServer
  def handle_info(:enforce, state), do: {:noreply, state |> enforce() |> schedule()}

  def handle_info({:DOWN, ref, :process, _pid, reason}, %{compaction: ref} = state) do
    if reason != :normal, do: Logger.error("Compaction of the event log failed: #{inspect(reason)}")
    {:noreply, %{state | compaction: nil}}
  end

  def handle_info(message, state), do: unexpected(message, state)

  @impl GenServer
  def terminate(reason, state) do
    Native.events_detach(state.handle)

    if state.durability != nil and shutdown?(reason) do
      case Native.events_close(state.handle) do
        :ok -> :ok
        {:error, reason} -> Logger.error("The event log was closed with an error: #{inspect(reason)}")
      end
    end

    if state.namespace == :production and shutdown?(reason), do: Schema.erase()
  end

  defp shutdown?(:shutdown), do: true
  defp shutdown?({:shutdown, _}), do: true
  defp shutdown?(_), do: false

  defp handle(:production), do: Engine.handle(:events) || Native.events_new()
  defp handle(_namespace), do: Native.events_new()

  defp operation({name, _}), do: name
  defp operation({name, _, _}), do: name
  defp operation(name) when is_atom(name), do: name
  defp operation(_), do: :unknown

  defp unexpected(message, state) do
    Logger.warning("Unexpected message in EventStore: #{inspect(message)}")
    {:noreply, state}
  end

  # -- bounds ------------------------------------------------------------------------------------------------------

  defp schedule(state) do
    Process.send_after(self(), :enforce, hot()[:prune_interval] || @default_interval)
    state
  end

  defp enforce(%{durability: nil} = state) do
    hot = hot()
    age = if hot[:max_age_seconds], do: hot[:max_age_seconds] * 1000
    enforce(state, hot[:max_events], age, nil)
  end

  defp enforce(%{durability: durability} = state) do
    retention = durability.retention

    state
    |> enforce(retention[:max_events], retention[:max_age_ms], retention[:max_bytes])
    |> compact()
  end

  defp enforce(state, max_events, max_age_ms, max_bytes) do
    answer =
      Native.events_enforce(
        state.handle,
        max_events || @no_bound,
        max_age_ms || @no_bound,
        max_bytes || @no_bound
      )

    case answer do
      {:error, reason} ->
        Logger.error("The bounds of the event store could not be enforced: #{inspect(reason)}")

      0 ->
        :ok

      count ->
        Logger.debug("Event store: #{count} events removed by its bounds")
    end

    state
  end

  # Compaction takes as long as the log is large; it runs beside this process, one at a time.
  defp compact(%{compaction: nil, handle: handle} = state) do
    {_pid, ref} =
      spawn_monitor(fn ->
        with {:error, reason} <- Native.events_compact(handle, false), do: exit(reason)
      end)

    %{state | compaction: ref}
  end

  defp compact(state), do: state

  defp hot do
    case Snapshot.fetch([:storage, :hot]) do
      {:ok, %{} = hot} -> hot
      _ -> %{}
    end
  end
end
