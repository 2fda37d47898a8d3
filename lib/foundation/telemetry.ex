defmodule Foundation.Telemetry do
  @moduledoc """
  Records what a program does, as counts, levels and distributions, without asking a process.

  ## Scheduling

  Recording runs on a normal scheduler: one native call on a shared structure. The first event of a name, and reading
  all metrics, run on a dirty CPU scheduler.
  """

  alias Foundation.Services.TelemetryService
  alias Foundation.Types.Error

  @type event_name :: [atom]
  @type measurements :: map
  @type metadata :: map
  @type metric_value :: number

  # -- 1.x ---------------------------------------------------------------------------------------------------------

  @doc "Starts the service unless it runs."
  @spec initialize() :: :ok | {:error, Error.t()}
  defdelegate initialize(), to: TelemetryService

  @doc "`%{status: :running, metrics_count: n, handlers_count: n, config: map}` of the service."
  @spec status() :: {:ok, map} | {:error, Error.t()}
  defdelegate status(), to: TelemetryService

  @doc "Whether the service runs."
  @spec available?() :: boolean
  defdelegate available?(), to: TelemetryService

  @doc """
  Records an event.

  Per name and measurement: a `:counter` adds up, a `:gauge` keeps the last value, the mean of the old and the new
  value stays of any other number, and the last value of anything that is no number. The metadata of a name's first
  event is kept. Events also go to the `:telemetry` package's handlers when it is loaded and has any for the name.

  O(measurements); also `:ok` when the application does not run.

      iex> Foundation.Telemetry.execute([:docs, :execute], %{counter: 2}, %{from: :docs})
      :ok
  """
  @spec execute(event_name, measurements, metadata) :: :ok
  defdelegate execute(name, measurements, metadata), to: TelemetryService

  @doc """
  Runs the function in the caller and records its duration, in native time units, as `name ++ [:stop]`.

  When it raises, `name ++ [:exception]` is recorded with `:error` in the metadata, and the exception goes on. A throw
  or an exit passes without an event.
  """
  @spec measure(event_name, metadata, (() -> result)) :: result when result: var
  defdelegate measure(name, metadata, fun), to: TelemetryService

  @doc "Adds one to the counter of that name. O(1)."
  @spec emit_counter(event_name, metadata) :: :ok
  defdelegate emit_counter(name, metadata), to: TelemetryService

  @doc "Sets the gauge of that name. O(1)."
  @spec emit_gauge(event_name, metric_value, metadata) :: :ok
  defdelegate emit_gauge(name, value, metadata), to: TelemetryService

  @doc "`emit_histogram/3` without metadata."
  @spec emit_histogram([atom, ...], number) :: :ok
  defdelegate emit_histogram(name, value), to: TelemetryService

  @doc "Records a value under that name. Raises ArgumentError for what is no name, number or map. O(1)."
  @spec emit_histogram([atom, ...], number, map) :: :ok
  defdelegate emit_histogram(name, value, metadata), to: TelemetryService

  @doc """
  All aggregates, nested along the names, and `:retrieved_at`.

  A leaf is `%{timestamp: native monotonic time, measurements: map, metadata: map, count: n}`; a name that is also the
  beginning of a longer one shares its map. O(names).
  """
  @spec get_metrics() :: {:ok, map} | {:error, Error.t()}
  defdelegate get_metrics(), to: TelemetryService

  @doc """
  The aggregates of the names that begin with `prefix`, in the same shape as `get_metrics/0` gives. O(names).
  """
  @spec get_metrics_for(event_name) :: {:ok, map} | {:error, Error.t()}
  defdelegate get_metrics_for(prefix), to: TelemetryService

  @doc "Logs each event of exactly these names at debug level from now on."
  @spec attach_handlers([event_name]) :: :ok | {:error, Error.t()}
  defdelegate attach_handlers(names), to: TelemetryService

  @doc "Undoes `attach_handlers/1`."
  @spec detach_handlers([event_name]) :: :ok
  defdelegate detach_handlers(names), to: TelemetryService

  @doc "`measure/3` of `[:foundation, :function, :execution]` with module and function as metadata."
  @spec time_function(module, atom, (() -> result)) :: result when result: var
  def time_function(module, function, fun)
      when is_atom(module) and is_atom(function) and is_function(fun, 0) do
    measure([:foundation, :function, :execution], %{module: module, function: function}, fun)
  end

  @doc "Sets the gauge `[:foundation, :performance, metric]`."
  @spec emit_performance(atom, metric_value, metadata) :: :ok
  def emit_performance(metric, value, metadata \\ %{}) when is_atom(metric) and is_number(value),
    do: emit_gauge([:foundation, :performance, metric], value, metadata)

  @doc "Adds one to the counter `[:foundation, :system, type]`."
  @spec emit_system_event(atom, metadata) :: :ok
  def emit_system_event(type, metadata \\ %{}) when is_atom(type),
    do: emit_counter([:foundation, :system, type], metadata)
end
