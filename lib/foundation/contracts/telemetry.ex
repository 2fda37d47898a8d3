defmodule Foundation.Contracts.Telemetry do
  @moduledoc """
  States what a telemetry service does: take events by name, aggregate them, and give the aggregates back.
  """

  alias Foundation.Types.Error

  @type event_name :: [atom, ...]
  @type measurements :: map
  @type metadata :: map
  @type metric_value :: number

  @doc "Records an event."
  @callback execute(event_name, measurements, metadata) :: :ok

  @doc "Runs the function, records its duration and returns its result."
  @callback measure(event_name, metadata, (() -> result)) :: result when result: var

  @doc "Adds one to a counter."
  @callback emit_counter(event_name, metadata) :: :ok

  @doc "Sets a gauge."
  @callback emit_gauge(event_name, metric_value, metadata) :: :ok

  @doc "Records a value of a distribution."
  @callback emit_histogram(event_name, metric_value) :: :ok

  @doc "Records a value of a distribution, with metadata."
  @callback emit_histogram(event_name, metric_value, metadata) :: :ok

  @doc "All aggregates, nested along the event names."
  @callback get_metrics() :: {:ok, map} | {:error, Error.t()}

  @doc "Logs the events of these names at debug level."
  @callback attach_handlers([event_name]) :: :ok | {:error, Error.t()}

  @doc "Undoes `c:attach_handlers/1`."
  @callback detach_handlers([event_name]) :: :ok

  @doc "Whether the service runs."
  @callback available?() :: boolean

  @doc "Starts the service unless it runs."
  @callback initialize() :: :ok | {:error, Error.t()}

  @doc "What the service is doing."
  @callback status() :: {:ok, map} | {:error, Error.t()}
end
