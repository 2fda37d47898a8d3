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

  @spec metrics_new(pos_integer) :: reference
  def metrics_new(_max_names), do: missing()

  @spec metrics_execute(reference, list, map, integer) :: :ok | :new
  def metrics_execute(_metrics, _name, _measurements, _timestamp), do: missing()

  @spec metrics_execute_new(reference, list, map, map, integer) :: :ok
  def metrics_execute_new(_metrics, _name, _measurements, _metadata, _timestamp), do: missing()

  @spec metrics_collect(reference) :: [{list, integer, pos_integer, [{term, term}], map}]
  def metrics_collect(_metrics), do: missing()

  @spec metrics_sweep(reference, integer) :: non_neg_integer
  def metrics_sweep(_metrics, _oldest), do: missing()

  @spec metrics_clear(reference) :: :ok
  def metrics_clear(_metrics), do: missing()

  @spec metrics_names(reference) :: non_neg_integer
  def metrics_names(_metrics), do: missing()

  # -- events ------------------------------------------------------------------------------------------------------

  # -- end ---------------------------------------------------------------------------------------------------------

  defp missing, do: :erlang.nif_error(:native_library_not_loaded)
end
