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

  @type breaker_change :: nil | {atom, atom} | :missing

  @spec breaker_new() :: reference
  def breaker_new, do: missing()

  @spec breaker_put(reference, term, map, boolean) :: boolean
  def breaker_put(_breakers, _key, _settings, _replace), do: missing()

  @spec breaker_admit(reference, term) :: non_neg_integer | :missing | {term, nil | {atom, atom}}
  def breaker_admit(_breakers, _key), do: missing()

  @spec breaker_record(reference, term, non_neg_integer | reference, atom, non_neg_integer) :: breaker_change
  def breaker_record(_breakers, _key, _permit, _outcome, _took_us), do: missing()

  @spec breaker_melt(reference, term) :: breaker_change
  def breaker_melt(_breakers, _key), do: missing()

  @spec breaker_force(reference, term, :closed | :forced_open | :forced_closed) :: breaker_change
  def breaker_force(_breakers, _key, _state), do: missing()

  @spec breaker_view(reference, term) :: map | :missing
  def breaker_view(_breakers, _key), do: missing()

  @spec breaker_remove(reference, term) :: boolean
  def breaker_remove(_breakers, _key), do: missing()

  @spec breaker_sweep(reference) :: non_neg_integer
  def breaker_sweep(_breakers), do: missing()

  @spec breaker_count(reference) :: non_neg_integer
  def breaker_count(_breakers), do: missing()

  @spec breaker_keys(reference, non_neg_integer) :: [term]
  def breaker_keys(_breakers, _max), do: missing()

  @spec adaptive_new() :: reference
  def adaptive_new, do: missing()

  @spec adaptive_put(reference, term, map, boolean) :: boolean
  def adaptive_put(_limiters, _key, _settings, _replace), do: missing()

  @spec adaptive_acquire(reference, term) :: reference | :refused | :missing
  def adaptive_acquire(_limiters, _key), do: missing()

  @spec adaptive_release(reference, :success | :dropped | :ignored, non_neg_integer | nil) ::
          non_neg_integer | nil
  def adaptive_release(_slot, _outcome, _took_us), do: missing()

  @spec adaptive_view(reference, term) :: map | :missing
  def adaptive_view(_limiters, _key), do: missing()

  @spec adaptive_remove(reference, term) :: boolean
  def adaptive_remove(_limiters, _key), do: missing()

  # -- pools -------------------------------------------------------------------------------------------------------

  @spec pool_new() :: reference
  def pool_new, do: missing()

  @spec pool_open(reference, term, map) :: reference | false
  def pool_open(_pools, _name, _settings), do: missing()

  @spec pool_checkout(reference, term) :: {pid, reference} | :empty | :full | :closed | :missing
  def pool_checkout(_pools, _name), do: missing()

  @spec pool_wait(reference, term, reference) ::
          {pid, reference} | {:queued, reference} | :full | :closed | :missing
  def pool_wait(_pools, _name, _tag), do: missing()

  @spec pool_retry(reference) :: pid | nil
  def pool_retry(_lease), do: missing()

  @spec pool_cancel(reference) :: boolean
  def pool_cancel(_lease), do: missing()

  @spec pool_checkin(reference) :: boolean
  def pool_checkin(_lease), do: missing()

  @spec pool_demand(reference) :: non_neg_integer
  def pool_demand(_keeper), do: missing()

  @spec pool_start_failed(reference) :: :ok
  def pool_start_failed(_keeper), do: missing()

  @spec pool_add(reference, pid) :: :ok
  def pool_add(_keeper, _worker), do: missing()

  @spec pool_remove(reference, pid) :: boolean
  def pool_remove(_keeper, _worker), do: missing()

  @spec pool_set_aside(reference, pid) :: boolean
  def pool_set_aside(_keeper, _worker), do: missing()

  @spec pool_restore(reference, pid) :: :ok
  def pool_restore(_keeper, _worker), do: missing()

  @spec pool_expire(reference) :: [pid]
  def pool_expire(_keeper), do: missing()

  @spec pool_idle(reference) :: [pid]
  def pool_idle(_keeper), do: missing()

  @spec pool_resize(reference, non_neg_integer, non_neg_integer) :: :ok
  def pool_resize(_keeper, _min, _max), do: missing()

  @spec pool_drain(reference) :: boolean
  def pool_drain(_keeper), do: missing()

  @spec pool_close(reference) :: :ok
  def pool_close(_keeper), do: missing()

  @spec pool_view(reference, term) :: map | :missing
  def pool_view(_pools, _name), do: missing()

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
