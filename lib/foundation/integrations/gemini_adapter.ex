defmodule Foundation.Integrations.GeminiAdapter do
  @moduledoc """
  Turns the telemetry of `gemini_ex` into events and metrics.

  Where the modules `Gemini` and `:telemetry` are loaded, `setup/0` attaches a handler to seven events of Gemini, and each
  becomes an event of the same name with underscores, whose data are the measurements and the metadata:

  | telemetry event | event | metrics |
  |---|---|---|
  | `[:gemini, :request, :start]` | `:gemini_request_start` | |
  | `[:gemini, :request, :stop]` | `:gemini_request_stop` | histogram `[:gemini, :request, :duration]` |
  | `[:gemini, :request, :exception]` | `:gemini_request_exception` | counter `[:gemini, :request, :errors]` |
  | `[:gemini, :stream, :start]` | `:gemini_stream_start` | |
  | `[:gemini, :stream, :chunk]` | `:gemini_stream_chunk` | histogram `[:gemini, :stream, :chunk_size]` |
  | `[:gemini, :stream, :stop]` | `:gemini_stream_stop` | histograms `[:gemini, :stream, :duration]`, `[:gemini, :stream, :chunks]` |
  | `[:gemini, :stream, :exception]` | `:gemini_stream_exception` | counter `[:gemini, :stream, :errors]` |

  A histogram is recorded when its measurement (`:duration`, `:chunk_size`, `:total_duration`, `:total_chunks`) is a
  number.
  """

  require Logger
  alias Foundation.{Events, Telemetry}

  @handler "foundation-gemini-adapter"

  @event_types %{
    [:gemini, :request, :start] => :gemini_request_start,
    [:gemini, :request, :stop] => :gemini_request_stop,
    [:gemini, :request, :exception] => :gemini_request_exception,
    [:gemini, :stream, :start] => :gemini_stream_start,
    [:gemini, :stream, :chunk] => :gemini_stream_chunk,
    [:gemini, :stream, :stop] => :gemini_stream_stop,
    [:gemini, :stream, :exception] => :gemini_stream_exception
  }

  # Measurement of the event => histogram.
  @histograms %{
    [:gemini, :request, :stop] => [duration: [:gemini, :request, :duration]],
    [:gemini, :stream, :chunk] => [chunk_size: [:gemini, :stream, :chunk_size]],
    [:gemini, :stream, :stop] => [
      total_duration: [:gemini, :stream, :duration],
      total_chunks: [:gemini, :stream, :chunks]
    ]
  }

  @doc "Attaches the handler: `:ok`, also when it is attached already; `:noop` where gemini_ex is not loaded."
  @spec setup() :: :ok | :noop
  def setup do
    if Code.ensure_loaded?(Gemini) and Code.ensure_loaded?(:telemetry) do
      apply(:telemetry, :attach_many, [@handler, Map.keys(@event_types), &__MODULE__.handle_event/4, nil])
      Logger.info("Foundation listens to the telemetry of gemini_ex")
      :ok
    else
      Logger.info("gemini_ex is not loaded: its telemetry is not listened to")
      :noop
    end
  end

  @doc false
  # A handler that raises is detached by :telemetry for good, so nothing may get out of here.
  def handle_event(name, measurements, metadata, _config) do
    type = Map.fetch!(@event_types, name)

    with {:error, reason} <- Events.store(Events.new_event(type, Map.merge(measurements, metadata))) do
      Logger.warning("Event #{type} was not stored: #{inspect(reason)}")
    end

    record(name, measurements, metadata)
  rescue
    exception -> Logger.error("Telemetry #{inspect(name)} was lost: #{Exception.message(exception)}")
  end

  defp record([:gemini, kind, :exception], _measurements, metadata),
    do: Telemetry.emit_counter([:gemini, kind, :errors], metadata)

  defp record(name, measurements, metadata) do
    for {measurement, histogram} <- Map.get(@histograms, name, []),
        value = measurements[measurement],
        is_number(value),
        do: Telemetry.emit_histogram(histogram, value, metadata)

    :ok
  end
end
