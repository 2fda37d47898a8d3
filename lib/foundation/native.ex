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

  @type limits :: reference
  @type limit_costs :: %{optional(atom) => integer | float | String.t() | struct}
  @type limit_error :: {:error, atom | {atom, term}}

  @spec limits_new(non_neg_integer) :: limits
  def limits_new(_max_keys), do: missing()

  @spec limits_define(limits, term, [tuple], [term], {non_neg_integer, non_neg_integer}) :: :ok | limit_error
  def limits_define(_limits, _key, _dimensions, _parent, _options), do: missing()

  @spec limits_acquire(limits, term, limit_costs) :: :ok | limit_error
  def limits_acquire(_limits, _key, _costs), do: missing()

  @spec limits_reserve(limits, term, limit_costs, non_neg_integer, pid) :: {:ok, reference} | limit_error
  def limits_reserve(_limits, _key, _costs, _for_ms, _owner), do: missing()

  @spec limits_commit(reference, limit_costs) :: :ok | limit_error
  def limits_commit(_reservation, _actual), do: missing()

  @spec limits_refund(reference) :: :ok | limit_error
  def limits_refund(_reservation), do: missing()

  @spec limits_wait(limits, term, limit_costs, reference, {integer, non_neg_integer, integer}) ::
          :ok | {:ok, reference} | {:waiting, reference} | limit_error
  def limits_wait(_limits, _key, _costs, _reference, _options), do: missing()

  @spec limits_cancel(reference) :: boolean
  def limits_cancel(_ticket), do: missing()

  @spec limits_peek(limits, term) :: {:ok, map} | limit_error
  def limits_peek(_limits, _key), do: missing()

  @spec limits_reset(limits, term) :: :ok | limit_error
  def limits_reset(_limits, _key), do: missing()

  @spec limits_delete(limits, term) :: :ok | limit_error
  def limits_delete(_limits, _key), do: missing()

  @spec limits_learn(limits, term, [{atom, term, term}], integer) :: :ok | limit_error
  def limits_learn(_limits, _key, _said, _pause_ms), do: missing()

  @spec limits_count(limits) :: non_neg_integer
  def limits_count(_limits), do: missing()

  @spec limits_sweep(limits) :: non_neg_integer
  def limits_sweep(_limits), do: missing()

  @spec limits_check_rate(limits, term, term, non_neg_integer, pos_integer) :: pos_integer
  def limits_check_rate(_limits, _entity, _operation, _limit, _window_ms), do: missing()

  @spec limits_rate_status(limits, term, term) :: {non_neg_integer, non_neg_integer, pos_integer} | nil
  def limits_rate_status(_limits, _entity, _operation), do: missing()

  @spec limits_rate_reset(limits, term, term) :: boolean
  def limits_rate_reset(_limits, _entity, _operation), do: missing()

  @spec limits_window_hit(limits, term, pos_integer, non_neg_integer, non_neg_integer) ::
          {:allow, non_neg_integer} | {:deny, non_neg_integer}
  def limits_window_hit(_limits, _key, _scale, _limit, _by), do: missing()

  @spec limits_window_inc(limits, term, pos_integer, non_neg_integer) :: non_neg_integer
  def limits_window_inc(_limits, _key, _scale, _by), do: missing()

  @spec limits_window_set(limits, term, pos_integer, non_neg_integer) :: :ok
  def limits_window_set(_limits, _key, _scale, _count), do: missing()

  @spec limits_window_get(limits, term, pos_integer) :: non_neg_integer
  def limits_window_get(_limits, _key, _scale), do: missing()

  @spec limits_window_clean(limits) :: non_neg_integer
  def limits_window_clean(_limits), do: missing()

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
