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

  @spec metrics_record(reference, atom, term, map, number) :: metric_reply
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

  # -- end ---------------------------------------------------------------------------------------------------------

  defp missing, do: :erlang.nif_error(:native_library_not_loaded)
end
