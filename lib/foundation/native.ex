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

  @typedoc "An amount: whole units and billionths."
  @type limits_parts :: {non_neg_integer, non_neg_integer}

  @spec limits_quota_report(limits, term, atom, limits_parts | nil) ::
          {:ok, {limits_parts, limits_parts, limits_parts, limits_parts}} | limit_error
  def limits_quota_report(_limits, _key, _dimension, _keep), do: missing()

  @spec limits_quota_look(limits, term, atom) ::
          {:ok, {limits_parts, limits_parts, limits_parts, limits_parts}} | limit_error
  def limits_quota_look(_limits, _key, _dimension), do: missing()

  @spec limits_quota_grant(
          limits,
          term,
          atom,
          limits_parts,
          {lease_us :: non_neg_integer | nil, retry_us :: non_neg_integer}
        ) :: :ok | limit_error
  def limits_quota_grant(_limits, _key, _dimension, _amount, _times), do: missing()

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

  @type breaker_change :: nil | {atom, atom} | :missing

  @spec breaker_new() :: reference
  def breaker_new, do: missing()

  @spec breaker_put(reference, term, map, boolean) :: boolean
  def breaker_put(_breakers, _key, _settings, _replace), do: missing()

  @spec breaker_admit(reference, term) :: non_neg_integer | :missing | {term, nil | {atom, atom}}
  def breaker_admit(_breakers, _key), do: missing()

  @spec breaker_prepare(reference, term) :: reference | :missing
  def breaker_prepare(_breakers, _key), do: missing()

  @spec breaker_admit_prepared(reference) :: non_neg_integer | :missing | {term, nil | {atom, atom}}
  def breaker_admit_prepared(_prepared), do: missing()

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

  @spec metrics_record(reference | nil, atom, term, map, number) :: metric_reply | :badarg
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

  @spec metrics_export(reference, atom) :: {[tuple], [tuple]}
  def metrics_export(_metrics, _window), do: missing()

  @spec metrics_gather([{node, {[tuple], [tuple]}}], [number]) :: {[tuple], [term]}
  def metrics_gather(_exports, _quantiles), do: missing()

  @spec metrics_gather_scrape([{node, {[tuple], [tuple]}}], :prometheus | :openmetrics, [number]) ::
          String.t()
  def metrics_gather_scrape(_exports, _format, _quantiles), do: missing()

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

  @spec events_running(events) :: :memory | :durable | nil
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

  @spec events_subscribe(events, binary, {atom, pos_integer, non_neg_integer}, pid, reference) ::
          pos_integer | events_failure
  def events_subscribe(_handle, _filter, _options, _pid, _reference), do: missing()

  @spec events_unsubscribe(events, pos_integer) :: boolean
  def events_unsubscribe(_handle, _id), do: missing()

  @spec events_take(events, pos_integer, non_neg_integer) ::
          {:ok, [Foundation.Types.Event.t()], non_neg_integer} | nil
  def events_take(_handle, _id, _max), do: missing()

  @spec events_await_room(events, pos_integer, pid, reference) :: :ok | :room | events_failure
  def events_await_room(_handle, _id, _pid, _reference), do: missing()

  @spec events_cancel_room(events, pos_integer, reference) :: :ok
  def events_cancel_room(_handle, _id, _reference), do: missing()

  # -- discovery ---------------------------------------------------------------------------------------------------

  @type discovery :: reference
  @type discovery_failure :: {:error, :busy | :node | :name | :interface | :secret | {:daemon, String.t()}}

  @spec discovery_start(
          pid,
          {node :: String.t(), app :: String.t(), cluster :: String.t()},
          {boot :: non_neg_integer, port :: :inet.port_number(), udp_port :: :inet.port_number()},
          secret :: binary,
          {announce :: boolean, interfaces :: [String.t()]}
        ) :: {:ok, discovery} | discovery_failure
  def discovery_start(_pid, _names, _numbers, _secret, _options), do: missing()

  @spec discovery_announce(discovery, boolean) :: :ok | discovery_failure
  def discovery_announce(_discovery, _announce), do: missing()

  @spec discovery_stop(discovery) :: boolean
  def discovery_stop(_discovery), do: missing()

  @spec discovery_stats(discovery) :: %{
          nodes: [String.t()],
          strangers: [{node :: String.t(), cluster :: String.t()}],
          counts: %{atom => non_neg_integer},
          restarts: non_neg_integer,
          running: boolean
        }
  def discovery_stats(_discovery), do: missing()

  # -- fabric ------------------------------------------------------------------------------------------------------

  @type fabric :: reference
  @type fabric_refusal :: {:error, atom | {atom, term}}
  @type fabric_queued :: :ok | :dirty | fabric_refusal
  @type fabric_waiting :: {:ok, pos_integer} | :dirty | fabric_refusal

  @spec fabric_start(map, pid, [pid]) :: {:ok, fabric} | fabric_refusal
  def fabric_start(_options, _owner, _callees), do: missing()

  @spec fabric_stop(fabric) :: :ok
  def fabric_stop(_fabric), do: missing()

  @spec fabric_secrets(fabric, binary, [binary]) :: :ok | {:error, atom}
  def fabric_secrets(_fabric, _secret, _accepted), do: missing()

  @spec fabric_info(fabric) :: map
  def fabric_info(_fabric), do: missing()

  @spec fabric_metrics(fabric) :: [map]
  def fabric_metrics(_fabric), do: missing()

  @spec fabric_open(fabric, atom, map) :: :ok | fabric_refusal
  def fabric_open(_fabric, _channel, _settings), do: missing()

  @spec fabric_channel(fabric, atom) :: :ok | {:error, :unknown_channel}
  def fabric_channel(_fabric, _channel), do: missing()

  @spec fabric_peer(fabric, node, non_neg_integer, String.t() | nil) :: :ok
  def fabric_peer(_fabric, _node, _boot, _address), do: missing()

  @spec fabric_pause(fabric, atom, boolean) :: :ok
  def fabric_pause(_fabric, _channel, _paused), do: missing()

  @spec fabric_decoded(reference) :: :ok
  def fabric_decoded(_ticket), do: missing()

  @spec fabric_subscribe(fabric, atom, pid, how :: boolean | :context) :: :ok
  def fabric_subscribe(_fabric, _channel, _pid, _how), do: missing()

  @spec fabric_subscribers(fabric, atom) :: [{pid, context :: boolean}]
  def fabric_subscribers(_fabric, _channel), do: missing()

  @spec fabric_send(fabric, atom, node, atom | pid | [], term) :: fabric_queued
  def fabric_send(_fabric, _channel, _node, _target, _message), do: missing()

  @spec fabric_send_with(fabric, atom, node, atom | pid | [], term, {pid, reference | nil, term}) ::
          fabric_queued | fabric_waiting
  def fabric_send_with(_fabric, _channel, _node, _target, _message, _options), do: missing()

  @spec fabric_send_large(fabric, atom, node, atom | pid | [], term, {pid, reference | nil, term}) ::
          fabric_queued | fabric_waiting
  def fabric_send_large(_fabric, _channel, _node, _target, _message, _options), do: missing()

  @type fabric_calling :: {:ok, pos_integer, call :: reference} | :dirty | fabric_refusal

  @spec fabric_call(fabric, atom, node, atom | pid, term, {pid, reference, non_neg_integer}) :: fabric_calling
  def fabric_call(_fabric, _channel, _node, _target, _request, _options), do: missing()

  @spec fabric_call_large(fabric, atom, node, atom | pid, term, {pid, reference, non_neg_integer}) ::
          fabric_calling
  def fabric_call_large(_fabric, _channel, _node, _target, _request, _options), do: missing()

  @spec fabric_reply(fabric, atom, node, non_neg_integer, boolean, term) :: fabric_queued
  def fabric_reply(_fabric, _channel, _node, _number, _failed, _reply), do: missing()

  @spec fabric_reply_large(fabric, atom, node, non_neg_integer, boolean, term) :: fabric_queued
  def fabric_reply_large(_fabric, _channel, _node, _number, _failed, _reply), do: missing()

  @spec fabric_cancel_call(fabric, atom, node, non_neg_integer) :: fabric_queued
  def fabric_cancel_call(_fabric, _channel, _node, _number), do: missing()

  @spec fabric_forget(fabric, non_neg_integer) :: boolean
  def fabric_forget(_fabric, _number), do: missing()

  @spec fabric_await_room(fabric, atom, node, pid, reference) :: :room | fabric_waiting
  def fabric_await_room(_fabric, _channel, _node, _flow, _reference), do: missing()

  # -- topology ----------------------------------------------------------------------------------------------------

  @type overlay :: reference
  @type overlay_refusal :: {:error, atom | {atom, term}}

  @spec topology_start(fabric, map, pid) :: {:ok, overlay} | overlay_refusal
  def topology_start(_fabric, _options, _owner), do: missing()

  @spec topology_stop(overlay, goodbye :: boolean) :: :ok
  def topology_stop(_overlay, _goodbye), do: missing()

  @spec topology_secrets(overlay, binary, [binary]) :: :ok | {:error, {:io, atom}}
  def topology_secrets(_overlay, _secret, _accepted), do: missing()

  @spec topology_join(overlay, [String.t()]) :: :ok | overlay_refusal
  def topology_join(_overlay, _addresses), do: missing()

  @spec topology_switch(overlay, atom) :: :ok | overlay_refusal
  def topology_switch(_overlay, _topology), do: missing()

  @spec topology_automatic(overlay, atom) :: :ok | overlay_refusal
  def topology_automatic(_overlay, _workload), do: missing()

  @spec topology_broadcast(overlay, non_neg_integer, binary, atom) :: :ok | overlay_refusal
  def topology_broadcast(_overlay, _topic, _payload, _urgency), do: missing()

  @spec topology_subscribe(overlay, non_neg_integer, boolean) :: :ok | overlay_refusal
  def topology_subscribe(_overlay, _topic, _on), do: missing()

  @spec topology_slow(overlay, boolean) :: :ok | overlay_refusal
  def topology_slow(_overlay, _slow), do: missing()

  @spec topology_info(overlay) :: map
  def topology_info(_overlay), do: missing()

  @spec topology_members(overlay) :: [{String.t(), non_neg_integer, String.t(), atom, binary}]
  def topology_members(_overlay), do: missing()

  @spec topology_links(overlay) :: [{String.t(), boolean}]
  def topology_links(_overlay), do: missing()

  @spec topology_route(overlay, String.t()) ::
          :direct | {:via, String.t()} | {:dial, String.t()} | :unknown
  def topology_route(_overlay, _node), do: missing()

  @spec topology_analyze(overlay) :: map
  def topology_analyze(_overlay), do: missing()

  @spec topology_recommend(overlay, atom) :: map
  def topology_recommend(_overlay, _workload), do: missing()

  # -- federation --------------------------------------------------------------------------------------------------

  @type federation :: reference
  @type federation_cluster :: {
          name :: String.t(),
          {:member, secrets :: [binary], gateway :: String.t() | nil}
          | {:foreign, of :: String.t(), authorities :: [binary]},
          gateways :: [String.t()],
          {calls :: pos_integer, bytes :: pos_integer, at_a_time :: pos_integer}
        }

  @spec federation_start(
          %{
            node: String.t(),
            boot: non_neg_integer,
            max_payload: pos_integer,
            clusters: [federation_cluster]
          },
          pid
        ) ::
          {:ok, federation}
          | {:error,
             :system_limit
             | :quota
             | {:identity | :gateway, String.t()}
             | {:not_member | :twice, String.t()}}
  def federation_start(_options, _pid), do: missing()

  @spec federation_call(federation, String.t(), binary, non_neg_integer, reference) ::
          {:ok, call :: reference} | {:error, :unknown_cluster | :too_large | :busy}
  def federation_call(_federation, _cluster, _payload, _within_ms, _reference), do: missing()

  @spec federation_cancel(call :: reference) :: boolean
  def federation_cancel(_call), do: missing()

  @spec federation_answer(reference, non_neg_integer, binary) :: boolean
  def federation_answer(_request, _status, _payload), do: missing()

  @spec federation_cluster(federation, String.t()) ::
          {gateway :: String.t() | nil, authorities :: [binary] | nil, linked :: String.t() | nil}
  def federation_cluster(_federation, _cluster), do: missing()

  @spec federation_refused(federation) :: [{atom, non_neg_integer}]
  def federation_refused(_federation), do: missing()

  @spec federation_stop(federation) :: :ok
  def federation_stop(_federation), do: missing()

  # -- crdt --------------------------------------------------------------------------------------------------------

  @type crdt :: reference
  @type crdt_path :: [term]
  @type crdt_op ::
          {:assign, term}
          | :add
          | :remove
          | {:increment, non_neg_integer}
          | {:decrement, non_neg_integer}
          | :enable
          | :disable
  @type crdt_error :: {:error, atom | {atom | non_neg_integer, term}}

  @spec crdt_new(
          term,
          non_neg_integer,
          pos_integer,
          {max_keys :: non_neg_integer, max_bytes :: non_neg_integer, drift_ms :: non_neg_integer}
        ) :: {:ok, crdt} | crdt_error
  def crdt_new(_type, _id, _shards, _bounds), do: missing()

  @spec crdt_mutate(crdt, crdt_path, crdt_op) :: :ok | :wake | :dirty | crdt_error
  def crdt_mutate(_state, _path, _op), do: missing()

  @spec crdt_mutate_large(crdt, crdt_path, crdt_op) :: :ok | :wake | crdt_error
  def crdt_mutate_large(_state, _path, _op), do: missing()

  @spec crdt_mutate_durable(crdt, crdt_path, crdt_op) :: :ok | :wake | crdt_error
  def crdt_mutate_durable(_state, _path, _op), do: missing()

  @spec crdt_mutate_all(crdt, [{crdt_path, crdt_op}]) :: :ok | :wake | crdt_error
  def crdt_mutate_all(_state, _changes), do: missing()

  @spec crdt_read_leaf(crdt, crdt_path) :: {:ok, term} | :none | :dirty | crdt_error
  def crdt_read_leaf(_state, _path), do: missing()

  @spec crdt_read(crdt, crdt_path, non_neg_integer) :: {:ok, term} | :none | crdt_error
  def crdt_read(_state, _path, _shard), do: missing()

  @spec crdt_push(crdt, non_neg_integer) :: {binary | nil, more :: boolean, complete :: boolean}
  def crdt_push(_state, _budget), do: missing()

  @spec crdt_roots(crdt) :: binary
  def crdt_roots(_state), do: missing()

  @spec crdt_handle(crdt, non_neg_integer, binary, non_neg_integer) ::
          {reply :: binary | nil, changed :: boolean, equal :: boolean, gave :: boolean} | crdt_error
  def crdt_handle(_state, _peer, _message, _budget), do: missing()

  @spec crdt_handle_durable(crdt, non_neg_integer, binary, non_neg_integer) ::
          {reply :: binary | nil, changed :: boolean, equal :: boolean, gave :: boolean} | crdt_error
  def crdt_handle_durable(_state, _peer, _message, _budget), do: missing()

  @spec crdt_watch(crdt, boolean) :: :ok
  def crdt_watch(_state, _on), do: missing()

  @spec crdt_changes(crdt, non_neg_integer) ::
          :lost | [{path :: [term], element :: boolean, before :: boolean, now :: {:ok, term} | :none}]
  def crdt_changes(_state, _shard), do: missing()

  @spec crdt_collect(crdt, [non_neg_integer], non_neg_integer) :: non_neg_integer
  def crdt_collect(_state, _peers, _most), do: missing()

  @spec crdt_forget(crdt, non_neg_integer) :: :ok
  def crdt_forget(_state, _peer), do: missing()

  @spec crdt_root(crdt) :: non_neg_integer
  def crdt_root(_state), do: missing()

  @spec crdt_status(crdt) :: %{atom => non_neg_integer}
  def crdt_status(_state), do: missing()

  @spec crdt_open_journal(crdt, String.t(), :os | :always | {:interval, pos_integer}) ::
          {:ok, map} | crdt_error
  def crdt_open_journal(_state, _dir, _sync), do: missing()

  @spec crdt_compact(crdt) :: boolean | crdt_error
  def crdt_compact(_state), do: missing()

  @spec crdt_close(crdt) :: :ok | crdt_error
  def crdt_close(_state), do: missing()

  # -- consensus ---------------------------------------------------------------------------------------------------

  @type consensus :: reference
  @type consensus_group :: reference
  @typedoc "A client, 16 bytes, and its number; nil for one of the library's own."
  @type consensus_id :: {<<_::128>>, non_neg_integer} | nil
  @type consensus_level :: :linearizable | :lease | :quorum | :local

  @spec consensus_start(map, pid) :: {:ok, consensus} | {:error, term}
  def consensus_start(_options, _sender), do: missing()

  @spec consensus_stop(consensus) :: :ok
  def consensus_stop(_consensus), do: missing()

  @spec consensus_receive(consensus, String.t(), [binary]) :: :ok
  def consensus_receive(_consensus, _from, _frames), do: missing()

  @spec consensus_receive_large(consensus, String.t(), [binary]) :: :ok
  def consensus_receive_large(_consensus, _from, _frames), do: missing()

  @spec consensus_attach(consensus, fabric) :: :ok
  def consensus_attach(_consensus, _fabric), do: missing()

  @spec consensus_stored(consensus) :: [String.t()]
  def consensus_stored(_consensus), do: missing()

  @spec consensus_group_start(
          consensus,
          reference,
          String.t(),
          [String.t()],
          map,
          {:coordination | :process, pid}
        ) :: :ok
  def consensus_group_start(_consensus, _reference, _name, _members, _options, _machine), do: missing()

  @spec consensus_group_stop(consensus, String.t()) :: :ok
  def consensus_group_stop(_consensus, _name), do: missing()

  @spec consensus_answer(reference, [binary] | binary | :ok) :: boolean | :dirty
  def consensus_answer(_ticket, _answer), do: missing()

  @spec consensus_answer_large(reference, [binary] | binary | :ok) :: boolean
  def consensus_answer_large(_ticket, _answer), do: missing()

  @spec consensus_propose(consensus_group, reference, binary, non_neg_integer, consensus_id) :: :ok | :dirty
  def consensus_propose(_group, _reference, _command, _timeout_ms, _id), do: missing()

  @spec consensus_propose_large(consensus_group, reference, binary, non_neg_integer, consensus_id) :: :ok
  def consensus_propose_large(_group, _reference, _command, _timeout_ms, _id), do: missing()

  @spec consensus_read(consensus_group, reference, binary, consensus_level, non_neg_integer) ::
          :ok | {:error, :too_large}
  def consensus_read(_group, _reference, _query, _level, _timeout_ms), do: missing()

  @spec consensus_coordinate(consensus_group, reference, tuple, non_neg_integer, consensus_id) ::
          :ok | {:error, :too_large}
  def consensus_coordinate(_group, _reference, _command, _timeout_ms, _id), do: missing()

  @spec consensus_ask(consensus_group, reference, tuple, consensus_level, non_neg_integer) ::
          :ok | {:now, {:ok, term} | {:error, term}}
  def consensus_ask(_group, _reference, _query, _level, _timeout_ms), do: missing()

  @spec consensus_change(consensus_group, reference, tuple | :snapshot, non_neg_integer) :: :ok
  def consensus_change(_group, _reference, _change, _timeout_ms), do: missing()

  @spec consensus_status(consensus_group) :: map | nil
  def consensus_status(_group), do: missing()

  @spec consensus_recover(consensus, String.t(), String.t()) :: :ok | {:error, term}
  def consensus_recover(_consensus, _name, _word), do: missing()

  # -- market ------------------------------------------------------------------------------------------------------
  #
  # Amounts are integers, in millionths. Participants, items, options are small integers that the caller assigns.

  @type market_limits :: {max_steps :: non_neg_integer, timeout_ms :: non_neg_integer}
  @type market_error ::
          {:error,
           :overflow
           | :stopped
           | :closed
           | :too_low
           | :not_found
           | :full
           | :unfillable
           | :would_trade
           | :not_your_turn
           | :malformed
           | {:invalid | :too_large, atom}}
  @type market_vote_rule ::
          :plurality
          | {:majority | :unanimity, electorate :: non_neg_integer}
          | :approval
          | :borda
          | :schulze
          | :instant_runoff

  @spec market_vote(
          market_vote_rule,
          pos_integer,
          [{option :: non_neg_integer | [non_neg_integer], weight :: non_neg_integer}],
          :none | :lowest | {:seed, non_neg_integer}
        ) :: {:ok, map} | market_error
  def market_vote(_rule, _options, _votes, _tie), do: missing()

  @spec market_sample_size(non_neg_integer, number, number) :: {:ok, non_neg_integer} | market_error
  def market_sample_size(_population, _epsilon, _delta), do: missing()

  @spec market_sample_choose(non_neg_integer, non_neg_integer, non_neg_integer) ::
          {:ok, [non_neg_integer]} | market_error
  def market_sample_choose(_population, _count, _seed), do: missing()

  @spec market_sample_decide(
          {yes :: non_neg_integer, asked :: non_neg_integer, population :: non_neg_integer},
          number,
          number
        ) :: {:ok, %{share: float, low: float, high: float, verdict: :passes | :fails | :open}} | market_error
  def market_sample_decide(_counts, _threshold, _delta), do: missing()

  @spec market_sealed(
          :first_price | :vickrey | {:uniform | :discriminatory, units :: non_neg_integer},
          integer,
          [
            {bidder :: non_neg_integer, amount :: integer}
            | {bidder :: non_neg_integer, units :: non_neg_integer, price :: integer}
          ]
        ) :: {:ok, map | nil} | market_error
  def market_sealed(_rule, _reserve, _bids), do: missing()

  @spec market_double([{non_neg_integer, integer}], [{non_neg_integer, integer}]) :: {:ok, map} | market_error
  def market_double(_bids, _asks), do: missing()

  @spec market_combinatorial(
          non_neg_integer,
          [{bidder :: non_neg_integer, items :: [non_neg_integer], price :: integer}],
          :or | :xor,
          :first_price | :vcg,
          market_limits
        ) :: {:ok, map} | market_error
  def market_combinatorial(_items, _bids, _bidding, _rule, _limits), do: missing()

  @spec market_open(tuple) :: {:ok, binary} | market_error
  def market_open(_description), do: missing()

  @spec market_event(
          :sealed | :english | :dutch | :lmsr | :alternating_offers | :shapley,
          binary,
          tuple
        ) :: {:ok, binary, term} | market_error
  def market_event(_kind, _state, _event), do: missing()

  @type market_book :: reference
  @type market_side :: :buy | :sell
  @type market_kind :: :limit | :market | :ioc | :fok | :post_only
  @type market_placed ::
          {id :: pos_integer, filled :: non_neg_integer, resting :: non_neg_integer,
           dropped :: non_neg_integer,
           trades :: [
             {maker :: pos_integer, maker_owner :: non_neg_integer, price :: integer, quantity :: pos_integer,
              maker_done :: boolean}
           ], cancelled :: [pos_integer]}
  @type market_resting ::
          {id :: pos_integer, owner :: non_neg_integer, market_side, price :: integer,
           quantity :: pos_integer}

  @spec market_book_new(
          :allow | :cancel_incoming | :cancel_resting | :cancel_both,
          integer,
          non_neg_integer
        ) :: {:ok, market_book} | market_error
  def market_book_new(_self_trade, _tick, _max_orders), do: missing()

  @spec market_book_place(market_book, non_neg_integer, market_side, market_kind, integer, non_neg_integer) ::
          {:ok, market_placed} | :dirty | market_error
  def market_book_place(_book, _owner, _side, _kind, _price, _quantity), do: missing()

  @spec market_book_place_large(
          market_book,
          non_neg_integer,
          market_side,
          market_kind,
          integer,
          non_neg_integer
        ) ::
          {:ok, market_placed} | market_error
  def market_book_place_large(_book, _owner, _side, _kind, _price, _quantity), do: missing()

  @spec market_book_place_all(market_book, [
          {owner :: non_neg_integer, market_side, market_kind, price :: integer, quantity :: non_neg_integer}
        ]) :: {:ok, [{:ok, market_placed} | market_error]}
  def market_book_place_all(_book, _orders), do: missing()

  @spec market_book_cancel(market_book, non_neg_integer, non_neg_integer) ::
          {:ok, market_resting} | {:error, :busy} | market_error
  def market_book_cancel(_book, _id, _owner), do: missing()

  @spec market_book_replace(market_book, non_neg_integer, non_neg_integer, integer, non_neg_integer) ::
          {:ok, market_placed} | market_error
  def market_book_replace(_book, _id, _owner, _price, _quantity), do: missing()

  @spec market_book_order(market_book, non_neg_integer) ::
          {:ok, market_resting} | {:error, :busy} | market_error
  def market_book_order(_book, _id), do: missing()

  @spec market_book_depth(market_book, non_neg_integer) ::
          {:ok,
           %{
             bids: [{price :: integer, quantity :: pos_integer, orders :: pos_integer}],
             asks: [{price :: integer, quantity :: pos_integer, orders :: pos_integer}],
             orders: non_neg_integer
           }}
          | {:error, :busy}
  def market_book_depth(_book, _levels), do: missing()

  @spec market_call(
          [{owner :: non_neg_integer, market_side, price :: integer, quantity :: non_neg_integer}],
          integer | nil
        ) :: {:ok, map} | market_error
  def market_call(_orders, _reference), do: missing()

  @spec market_equilibrium(
          [{endowment :: [number], weights :: [number], elasticity :: number}],
          number,
          non_neg_integer,
          market_limits
        ) :: {:ok, map} | market_error
  def market_equilibrium(_traders, _tolerance, _max_rounds, _limits), do: missing()

  @spec market_game(
          atom | tuple,
          {rows :: pos_integer, cols :: pos_integer, row_payoffs :: [number], column_payoffs :: [number]},
          market_limits
        ) :: {:ok, map | {row :: [float], column :: [float]}} | market_error
  def market_game(_question, _game, _limits), do: missing()

  @spec market_minimax(pos_integer, pos_integer, [number], market_limits) ::
          {:ok, %{value: float, row: [float], column: [float]}} | market_error
  def market_minimax(_rows, _cols, _payoffs, _limits), do: missing()

  @spec market_shapley([integer], market_limits) :: {:ok, [integer]} | market_error
  def market_shapley(_worth, _limits), do: missing()

  @spec market_matching(
          [[non_neg_integer]],
          [[non_neg_integer]],
          [non_neg_integer],
          :from_first | :from_second
        ) :: {:ok, %{partner: [non_neg_integer | nil], proposals: non_neg_integer}} | market_error
  def market_matching(_first, _second, _places, _proposals), do: missing()

  @spec market_fair(:adjusted_winner | :round_robin | :divide_and_choose | :moving_knife, [[number]]) ::
          {:ok, map | list} | market_error
  def market_fair(_rule, _values), do: missing()

  @spec market_assign(:hungarian | :auction, [[integer | nil]], market_limits) :: {:ok, map} | market_error
  def market_assign(_method, _costs, _limits), do: missing()

  @spec market_assign_tasks(
          :hungarian | :auction,
          [{needs :: [0..127], work :: integer}],
          [{can :: [0..127], rate :: integer, slots :: non_neg_integer}],
          market_limits
        ) :: {:ok, %{columns: [non_neg_integer | nil], cost: integer, gap: integer}} | market_error
  def market_assign_tasks(_method, _tasks, _workers, _limits), do: missing()

  @type market_search :: reference

  @spec market_search_new(tuple, non_neg_integer) :: {:ok, market_search} | market_error
  def market_search_new(_method, _seed), do: missing()

  @spec market_search_ask(market_search) ::
          {:ok, %{id: pos_integer, values: [float], budget: pos_integer, probability: float}} | :none
  def market_search_ask(_search), do: missing()

  @spec market_search_tell(market_search, pos_integer, number | nil) :: :ok | market_error
  def market_search_tell(_search, _id, _score), do: missing()

  @spec market_search_status(market_search) :: {:ok, map}
  def market_search_status(_search), do: missing()

  @spec market_search_dump(market_search) :: binary
  def market_search_dump(_search), do: missing()

  @spec market_search_load(binary) :: {:ok, market_search} | market_error
  def market_search_load(_state), do: missing()

  @spec market_negotiate(tuple, market_limits) :: {:ok, float | map | list} | market_error
  def market_negotiate(_question, _limits), do: missing()

  # -- end ---------------------------------------------------------------------------------------------------------

  defp missing, do: :erlang.nif_error(:native_library_not_loaded)
end
