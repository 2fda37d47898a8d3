defmodule Foundation.Services.TelemetryService do
  @moduledoc """
  Owns the life of the metrics: cleans up old names, logs for attached handlers, feeds the `:telemetry` package.

  Recording does not go through this process, it goes to a native structure that all processes share and that
  survives a restart of this one. `Foundation.Telemetry` is the door to it. The module's functions address the
  production namespace; an isolated instance, started with `namespace: {:test, ref}`, has a structure of its own and
  is reached on its pid: calls `:get_metrics`, `:get_status`, `:clear_metrics`, `:reset_state`,
  `{:attach_handlers, names}`; casts `{:execute_event, name, measurements, metadata}`, `{:detach_handlers, names}`.

  ## Scheduling

  As `Foundation.Telemetry`.
  """

  use GenServer
  require Logger

  alias Foundation.{Engine, Native, ProcessRegistry}
  alias Foundation.Contracts.Telemetry, as: Contract
  alias Foundation.Telemetry.{Aggregates, Forward}
  alias Foundation.Types.Error

  @behaviour Contract

  @type server_state :: %{
          handle: reference,
          handlers: MapSet.t([atom]),
          config: map,
          namespace: ProcessRegistry.namespace()
        }

  @service :telemetry_service
  @defaults %{
    enable_vm_metrics: true,
    enable_process_metrics: true,
    metric_retention_ms: 300_000,
    cleanup_interval: 60_000
  }
  @vm_gauges [[:vm, :memory], [:vm, :total_run_queue_lengths], [:vm, :system_counts]]

  # -- recording ---------------------------------------------------------------------------------------------------

  @doc "See `Foundation.Telemetry.execute/3`."
  @impl Contract
  @spec execute([atom], map, map) :: :ok
  def execute(name, measurements, metadata)
      when is_list(name) and is_map(measurements) and is_map(metadata),
      do: record(name, measurements, metadata, false)

  defp record(name, measurements, metadata, timed) do
    case Engine.handle(:metrics) do
      nil ->
        :ok

      handle ->
        Aggregates.execute(handle, name, measurements, metadata, timed)
        if Forward.wanted?(name), do: forward({:forward_event, name, measurements, metadata})
        :ok
    end
  end

  @doc "See `Foundation.Telemetry.measure/3`."
  @impl Contract
  @spec measure([atom], map, (() -> result)) :: result when result: var
  def measure(name, metadata, fun) when is_list(name) and is_map(metadata) and is_function(fun, 0) do
    start = :erlang.monotonic_time()

    try do
      fun.()
    rescue
      error ->
        duration = :erlang.monotonic_time() - start
        execute(name ++ [:exception], %{duration: duration}, Map.put(metadata, :error, error))
        reraise error, __STACKTRACE__
    else
      result ->
        duration = :erlang.monotonic_time() - start
        record(name ++ [:stop], %{duration: duration}, metadata, true)
        result
    end
  end

  @doc "See `Foundation.Telemetry.emit_counter/2`."
  @impl Contract
  @spec emit_counter([atom], map) :: :ok
  def emit_counter(name, metadata), do: execute(name, %{counter: 1}, metadata)

  @doc "Adds `value` to the counter of that name. O(1)."
  @spec emit_counter([atom], number, map) :: :ok
  def emit_counter(name, value, metadata) when is_number(value),
    do: execute(name, %{counter: value}, metadata)

  @doc "See `Foundation.Telemetry.emit_gauge/3`."
  @impl Contract
  @spec emit_gauge([atom], number, map) :: :ok
  def emit_gauge(name, value, metadata), do: execute(name, %{gauge: value}, metadata)

  @doc "See `Foundation.Telemetry.emit_histogram/2`."
  @impl Contract
  @spec emit_histogram([atom, ...], number) :: :ok
  def emit_histogram(name, value), do: emit_histogram(name, value, %{})

  @doc "See `Foundation.Telemetry.emit_histogram/3`."
  @impl Contract
  @spec emit_histogram([atom, ...], number, map) :: :ok
  def emit_histogram(name, value, metadata) do
    cond do
      name == [] -> raise ArgumentError, "Event name cannot be empty"
      not atoms?(name) -> raise ArgumentError, "Event name must be a list of atoms, got: #{inspect(name)}"
      not is_number(value) -> raise ArgumentError, "Value must be a number, got: #{inspect(value)}"
      not is_map(metadata) -> raise ArgumentError, "Metadata must be a map, got: #{inspect(metadata)}"
      true -> execute(name, %{histogram: value}, metadata)
    end
  end

  defp atoms?([head | rest]) when is_atom(head), do: atoms?(rest)
  defp atoms?(rest), do: rest == []

  # -- reading -----------------------------------------------------------------------------------------------------

  @doc "See `Foundation.Telemetry.get_metrics/0`."
  @impl Contract
  @spec get_metrics() :: {:ok, map} | {:error, Error.t()}
  def get_metrics, do: reading(&Aggregates.nested/1)

  @doc "See `Foundation.Telemetry.get_metrics_for/1`."
  @spec get_metrics_for([atom]) :: {:ok, map} | {:error, Error.t()}
  def get_metrics_for(prefix) when is_list(prefix),
    do: reading(&Aggregates.nested_under(&1, prefix))

  defp reading(fun) do
    case {server(), Engine.handle(:metrics)} do
      {{:ok, _pid}, handle} when handle != nil -> {:ok, fun.(handle)}
      _ -> unavailable()
    end
  end

  @doc "Forgets all metrics."
  @spec reset_metrics() :: :ok | {:error, Error.t()}
  def reset_metrics, do: request(:clear_metrics)

  @doc "See `Foundation.Telemetry.status/0`."
  @impl Contract
  @spec status() :: {:ok, map} | {:error, Error.t()}
  def status, do: request(:get_status)

  @doc """
  Forgets all metrics and handlers; only when the application environment `:test_mode` is true, else
  `:operation_forbidden` 7002.
  """
  @spec reset_state() :: :ok | {:error, Error.t()}
  def reset_state do
    if Application.get_env(:foundation, :test_mode, false),
      do: request(:reset_state),
      else: {:error, Error.only_in_tests(7002)}
  end

  @doc "See `Foundation.Telemetry.attach_handlers/1`."
  @impl Contract
  @spec attach_handlers([[atom]]) :: :ok | {:error, Error.t()}
  def attach_handlers(names) when is_list(names), do: request({:attach_handlers, names})

  @doc "See `Foundation.Telemetry.detach_handlers/1`."
  @impl Contract
  @spec detach_handlers([[atom]]) :: :ok
  def detach_handlers(names) when is_list(names), do: forward({:detach_handlers, names})

  # -- life --------------------------------------------------------------------------------------------------------

  @doc "Whether the production service runs."
  @impl Contract
  @spec available?() :: boolean
  def available?, do: match?({:ok, _}, ProcessRegistry.lookup(:production, @service))

  @doc "Starts the production service unless it runs."
  @impl Contract
  @spec initialize() :: :ok | {:error, Error.t()}
  def initialize, do: initialize([])

  @doc "Starts the production service with these options unless it runs; it is linked to the caller then."
  @spec initialize(keyword) :: :ok | {:error, Error.t()}
  def initialize(opts) when is_list(opts) do
    case server() do
      {:ok, _pid} ->
        :ok

      :error ->
        case start_link(Keyword.put(opts, :namespace, :production)) do
          {:ok, _pid} -> :ok
          {:error, {:already_started, _pid}} -> :ok
          {:error, _reason} -> unavailable()
        end
    end
  rescue
    ArgumentError -> unavailable()
  end

  @doc """
  Starts a service in `opts[:namespace]` (`:production`). Other options: `enable_vm_metrics` (true),
  `enable_process_metrics` (true), `metric_retention_ms` (300_000), `cleanup_interval` (60_000 ms).
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\ []) do
    namespace = Keyword.get(opts, :namespace, :production)
    name = ProcessRegistry.via_tuple(namespace, @service)
    GenServer.start_link(__MODULE__, Keyword.put(opts, :namespace, namespace), name: name)
  end

  @doc "Stops the production service; `:ok` also when there is none."
  @spec stop() :: :ok
  def stop do
    case server() do
      {:ok, pid} -> GenServer.stop(pid)
      :error -> :ok
    end
  end

  defp server do
    ProcessRegistry.lookup(:production, @service)
  rescue
    ArgumentError -> :error
  end

  defp request(message) do
    case server() do
      {:ok, pid} -> GenServer.call(pid, message)
      :error -> unavailable()
    end
  catch
    :exit, {reason, {GenServer, :call, _}} when reason in [:noproc, :normal, :shutdown] -> unavailable()
  end

  defp forward(message) do
    case server() do
      {:ok, pid} -> GenServer.cast(pid, message)
      :error -> :ok
    end
  end

  defp unavailable do
    {:error,
     Error.new(
       error_type: :service_unavailable,
       message: "Telemetry service not available",
       severity: :medium,
       category: :system,
       subcategory: :initialization
     )}
  end

  # -- server ------------------------------------------------------------------------------------------------------

  @impl GenServer
  @spec init(keyword) :: {:ok, server_state}
  def init(opts) do
    {namespace, opts} = Keyword.pop(opts, :namespace, :production)
    config = Map.merge(@defaults, Map.new(opts))

    handle =
      if namespace == :production,
        do: Engine.handle(:metrics) || Engine.new(:metrics),
        else: Engine.new(:metrics)

    state = %{handle: handle, handlers: MapSet.new(), config: config, namespace: namespace}

    if namespace == :production, do: Forward.refresh(state.handlers)
    if config.enable_vm_metrics, do: emit_vm_gauges(handle)
    schedule_cleanup(config)
    {:ok, state}
  end

  @impl GenServer
  def handle_call(:get_metrics, _from, state), do: {:reply, {:ok, Aggregates.nested(state.handle)}, state}

  def handle_call(:get_status, _from, state) do
    status = %{
      status: :running,
      metrics_count: Native.metrics_names(state.handle),
      handlers_count: MapSet.size(state.handlers),
      config: state.config
    }

    {:reply, {:ok, status}, state}
  end

  def handle_call(:clear_metrics, _from, state) do
    Native.metrics_clear(state.handle)
    {:reply, :ok, state}
  end

  def handle_call(:reset_state, _from, state) do
    Native.metrics_clear(state.handle)
    {:reply, :ok, put_handlers(state, MapSet.new())}
  end

  def handle_call({:attach_handlers, names}, _from, state),
    do: {:reply, :ok, put_handlers(state, Enum.into(names, state.handlers))}

  @impl GenServer
  def handle_cast({:execute_event, name, measurements, metadata}, state) do
    Aggregates.execute(state.handle, name, measurements, metadata)
    pass_on(name, measurements, metadata, state)
    {:noreply, state}
  end

  def handle_cast({:forward_event, name, measurements, metadata}, state) do
    pass_on(name, measurements, metadata, state)
    {:noreply, state}
  end

  def handle_cast({:detach_handlers, names}, state),
    do: {:noreply, put_handlers(state, Enum.reduce(names, state.handlers, &MapSet.delete(&2, &1)))}

  @impl GenServer
  def handle_info(:cleanup_old_metrics, state) do
    retention = :erlang.convert_time_unit(state.config.metric_retention_ms, :millisecond, :native)
    Native.metrics_sweep(state.handle, :erlang.monotonic_time() - retention)
    if state.namespace == :production, do: Forward.refresh(state.handlers)
    schedule_cleanup(state.config)
    {:noreply, state}
  end

  def handle_info(message, state) do
    Logger.warning("Unexpected message in TelemetryService: #{inspect(message)}")
    {:noreply, state}
  end

  @impl GenServer
  def terminate(_reason, %{namespace: :production}), do: Forward.refresh(MapSet.new())
  def terminate(_reason, _state), do: :ok

  defp put_handlers(state, handlers) do
    if state.namespace == :production, do: Forward.refresh(handlers)
    %{state | handlers: handlers}
  end

  defp pass_on(name, measurements, metadata, state) do
    Forward.to_package(name, measurements, metadata)

    if MapSet.member?(state.handlers, name) do
      Logger.debug(
        "Telemetry event: #{inspect(name)} measurements: #{inspect(measurements)} metadata: #{inspect(metadata)}"
      )
    end
  end

  defp emit_vm_gauges(handle) do
    for name <- @vm_gauges, do: Aggregates.execute(handle, name, %{gauge: 1}, %{source: :vm})
  end

  defp schedule_cleanup(config),
    do: Process.send_after(self(), :cleanup_old_metrics, config.cleanup_interval)
end
