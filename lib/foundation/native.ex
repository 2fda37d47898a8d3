defmodule Foundation.Native do
  @moduledoc false
  # The functions of the native library, each a stub until the library is loaded.
  #
  # Nothing but `Foundation` itself calls these: arguments are checked by the callers, and what is wrong here all the
  # same raises ArgumentError. guides/scheduling.md lists scheduler, bound and measured time of each one.

  @compile {:autoload, false}
  @on_load :load

  @doc false
  def load do
    :foundation
    |> :code.priv_dir()
    |> case do
      {:error, :bad_name} -> Path.join([Path.dirname(:code.which(__MODULE__)), "..", "priv"])
      path -> path
    end
    |> Path.join("native/foundation_nif")
    |> String.to_charlist()
    |> :erlang.load_nif(0)
  end

  # -- engine ------------------------------------------------------------------------------------------------------

  @spec engine_version() :: String.t()
  def engine_version, do: missing()

  @spec engine_log_attach(pid, 0..4) :: :ok
  def engine_log_attach(_pid, _level), do: missing()

  @spec engine_log_level(0..4) :: :ok
  def engine_log_level(_level), do: missing()

  @spec engine_log_write(1..4, String.t()) :: :ok
  def engine_log_write(_level, _text), do: missing()

  @spec engine_log_dropped() :: non_neg_integer
  def engine_log_dropped, do: missing()

  @spec engine_panic() :: no_return
  def engine_panic, do: missing()

  @spec engine_key_roundtrip(term) :: term
  def engine_key_roundtrip(_term), do: missing()

  @spec engine_nifs() :: [{atom, arity, :normal | :dirty_cpu | :dirty_io}]
  def engine_nifs, do: missing()

  # -- limits ------------------------------------------------------------------------------------------------------

  # -- breakers ----------------------------------------------------------------------------------------------------

  # -- metrics -----------------------------------------------------------------------------------------------------

  @typep metric_reply :: :ok | {:error, atom}
  @typep distribution :: tuple

  @spec metrics_new(pos_integer, pos_integer, pos_integer) :: reference
  def metrics_new(_max_names, _max_series, _max_per_name), do: missing()

  @spec metrics_execute(reference, list, map, integer, boolean) :: :ok | :new
  def metrics_execute(_metrics, _name, _measurements, _timestamp, _timed), do: missing()

  @spec metrics_execute_new(reference, list, map, map, integer, boolean) :: :ok
  def metrics_execute_new(_metrics, _name, _measurements, _metadata, _timestamp, _timed), do: missing()

  @spec metrics_collect(reference) :: [{list, integer, pos_integer, [{term, term}], map}]
  def metrics_collect(_metrics), do: missing()

  @spec metrics_sweep(reference, integer) :: non_neg_integer
  def metrics_sweep(_metrics, _oldest), do: missing()

  @spec metrics_clear(reference) :: :ok
  def metrics_clear(_metrics), do: missing()

  @spec metrics_names(reference) :: non_neg_integer
  def metrics_names(_metrics), do: missing()

  @spec metrics_record(reference, atom, term, map, number) :: metric_reply | :badarg
  def metrics_record(_metrics, _kind, _name, _tags, _value), do: missing()

  @spec metrics_prepare(reference, atom, term, map) :: {:ok, reference} | {:error, atom}
  def metrics_prepare(_metrics, _kind, _name, _tags), do: missing()

  @spec metrics_record_at(reference, number) :: metric_reply | :gone | :badarg
  def metrics_record_at(_prepared, _value), do: missing()

  @spec metrics_record_exemplar(reference, atom, term, map, number, [{String.t(), String.t()}], integer) ::
          metric_reply
  def metrics_record_exemplar(_metrics, _kind, _name, _tags, _value, _labels, _unix_ms), do: missing()

  @spec metrics_declare(reference, atom, term, tuple) :: metric_reply
  def metrics_declare(_metrics, _kind, _name, _config), do: missing()

  @spec metrics_value(reference, term, map) :: {:ok, number | nil} | {:error, atom}
  def metrics_value(_metrics, _name, _tags), do: missing()

  @spec metrics_read(reference, term, map | :all, atom, [number]) :: {:ok, distribution} | {:error, atom}
  def metrics_read(_metrics, _name, _tags, _window, _quantiles), do: missing()

  @spec metrics_encode(reference, term, map | :all, atom, boolean) :: {:ok, binary} | {:error, atom}
  def metrics_encode(_metrics, _name, _tags, _window, _compressed), do: missing()

  @spec metrics_decode(binary, [number]) :: {:ok, distribution} | {:error, atom}
  def metrics_decode(_encoded, _quantiles), do: missing()

  @spec metrics_merge([binary], boolean) :: {:ok, binary} | {:error, atom}
  def metrics_merge(_encoded, _compressed), do: missing()

  @spec metrics_baseline_set(reference, term, map, integer) :: {:ok, non_neg_integer} | {:error, atom}
  def metrics_baseline_set(_metrics, _name, _tags, _unix_ms), do: missing()

  @spec metrics_baseline_compare(reference, term, map, atom, [number]) :: {:ok, tuple} | {:error, atom}
  def metrics_baseline_compare(_metrics, _name, _tags, _window, _quantiles), do: missing()

  @spec metrics_series(reference) :: [{term, map, atom}]
  def metrics_series(_metrics), do: missing()

  @spec metrics_cardinality(reference) :: tuple
  def metrics_cardinality(_metrics), do: missing()

  @spec metrics_forget(reference, term) :: non_neg_integer
  def metrics_forget(_metrics, _name), do: missing()

  @spec metrics_scrape(reference, :prometheus | :openmetrics, [number]) :: String.t()
  def metrics_scrape(_metrics, _format, _quantiles), do: missing()

  # -- events ------------------------------------------------------------------------------------------------------

  @type events :: reference
  @type events_failure :: {:error, :not_running | {atom, term}}
  @type events_row :: tuple

  @spec events_new() :: events
  def events_new, do: missing()

  @spec events_open(events, String.t(), :always | :os | {:interval, pos_integer}, pos_integer) ::
          map | nil | events_failure
  def events_open(_handle, _path, _sync, _segment_bytes), do: missing()

  @spec events_close(events) :: :ok | events_failure
  def events_close(_handle), do: missing()

  @spec events_attach(events, pid) :: :ok | events_failure
  def events_attach(_handle, _pid), do: missing()

  @spec events_detach(events) :: :ok
  def events_detach(_handle), do: missing()

  @spec events_running(events) :: boolean
  def events_running(_handle), do: missing()

  @spec events_store(events, events_row) ::
          :ok | :dirty | {:full, pos_integer, non_neg_integer} | events_failure
  def events_store(_handle, _row), do: missing()

  @spec events_store_batch(events, [events_row], boolean) ::
          :ok | :dirty | {:full, pos_integer, non_neg_integer} | events_failure
  def events_store_batch(_handle, _rows, _force), do: missing()

  @spec events_store_durable(events, [events_row], boolean) ::
          :ok | {:full, pos_integer, non_neg_integer} | events_failure
  def events_store_durable(_handle, _rows, _force), do: missing()

  @spec events_get(events, pos_integer) :: Foundation.Types.Event.t() | nil | :dirty | events_failure
  def events_get(_handle, _id), do: missing()

  @spec events_get_large(events, pos_integer) :: Foundation.Types.Event.t() | nil | events_failure
  def events_get_large(_handle, _id), do: missing()

  @spec events_by_correlation(events, String.t()) :: [Foundation.Types.Event.t()] | events_failure
  def events_by_correlation(_handle, _correlation), do: missing()

  @spec events_by_parent(events, pos_integer) :: [Foundation.Types.Event.t()] | events_failure
  def events_by_parent(_handle, _parent), do: missing()

  @spec events_recent(events, non_neg_integer) :: [Foundation.Types.Event.t()] | events_failure
  def events_recent(_handle, _limit), do: missing()

  @spec events_query(events, tuple) :: [Foundation.Types.Event.t()] | events_failure
  def events_query(_handle, _query), do: missing()

  @spec events_search(events, binary) ::
          {:ok, [Foundation.Types.Event.t()], binary | nil, non_neg_integer, String.t()} | events_failure
  def events_search(_handle, _query), do: missing()

  @spec events_prune(events, integer) :: non_neg_integer | events_failure
  def events_prune(_handle, _timestamp), do: missing()

  @spec events_enforce(events, integer, integer, integer) :: non_neg_integer | events_failure
  def events_enforce(_handle, _max_events, _max_age_ms, _max_bytes), do: missing()

  @spec events_reset(events) :: :ok | events_failure
  def events_reset(_handle), do: missing()

  @spec events_compact(events, boolean) :: non_neg_integer | events_failure
  def events_compact(_handle, _force), do: missing()

  @spec events_sync(events) :: :ok | events_failure
  def events_sync(_handle), do: missing()

  @spec events_stats(events) :: map
  def events_stats(_handle), do: missing()

  @spec events_subscribe(events, binary, atom, pos_integer, non_neg_integer, pid, reference) ::
          pos_integer | events_failure
  def events_subscribe(_handle, _filter, _policy, _capacity, _block_ms, _pid, _reference), do: missing()

  @spec events_unsubscribe(events, pos_integer) :: boolean
  def events_unsubscribe(_handle, _id), do: missing()

  @spec events_take(events, pos_integer, non_neg_integer) ::
          {:ok, [Foundation.Types.Event.t()], non_neg_integer} | nil
  def events_take(_handle, _id, _max), do: missing()

  @spec events_await_room(events, pos_integer, pid, reference) :: :ok | :room | events_failure
  def events_await_room(_handle, _id, _pid, _reference), do: missing()

  @spec events_cancel_room(events, pos_integer, reference) :: :ok
  def events_cancel_room(_handle, _id, _reference), do: missing()

  # -- end ---------------------------------------------------------------------------------------------------------

  defp missing, do: :erlang.nif_error(:native_library_not_loaded)
end
