%% @doc The most used calls of Foundation under plain names, for programs in Erlang.
%%
%% Strings are UTF-8 binaries, options are property lists with atoms as keys, costs and tags are maps. What a call
%% returns is what the Elixir function of the same purpose returns; an error of 1.x is a map (an Elixir struct), of which
%% {@link error_type/1} and {@link error_message/1} give the essentials.
%%
%% ```
%% ok = foundation:start(),
%% {ok, Provider} = foundation:config_get([ai, provider]),
%% {ok, Id} = foundation:event_store(order_placed, #{amount => 120}),
%% ok = foundation:check_rate(<<"alice">>, login, 5, 60000).
%% '''
-module(foundation).

-export([start/0, stop/0, version/0, status/0, health/0, available/0]).
-export([config_get/0, config_get/1, config_get/2, config_update/2, config_reset/0]).
-export([config_subscribe/0, config_unsubscribe/0]).
-export([event_store/1, event_store/2, event_store/3, event_get/1, event_query/1, event_search/1]).
-export([event_by_correlation/1]).
-export([check_rate/4, set_limits/2, set_limits/3, acquire/2, await/3, reserve/2, reserve/3]).
-export([commit/2, refund/1, peek/1]).
-export([counter/1, counter/2, counter/3, gauge/2, gauge/3, histogram/2, histogram/3]).
-export([percentiles/2, percentiles/3, metrics/0, prometheus/0, emit/3]).
-export([breaker_start/1, breaker_start/2, breaker_execute/2, breaker_status/1, breaker_reset/1]).
-export([pool_start/2, pool_stop/1, pool_status/1, with_connection/2, with_connection/3]).
-export([execute_protected/3]).
-export([cluster_start/1, cluster_stop/0, cluster_info/0, cluster_nodes/0, cluster_await_ready/1]).
-export([cluster_subscribe/0, cluster_drain/1, cluster_resume/0, cluster_draining/0, cluster_draining/1]).
-export([send/2, start_process/3]).
-export([error_type/1, error_message/1]).

-export_type([error/0, path/0, event/0, event_type/0, event_id/0, key/0, costs/0, metric/0, tags/0]).

-type error() :: #{'__struct__' := module(), error_type := atom(), message := binary(), atom() => term()}.
%% `Foundation.Types.Error' or `Foundation.Error'.
-type path() :: [atom()].
-type event() :: #{'__struct__' := 'Elixir.Foundation.Types.Event', atom() => term()}.
-type event_type() :: atom().
-type event_id() :: pos_integer().
-type key() :: term().
-type costs() :: #{atom() => number() | binary()}.
-type metric() :: [atom()] | term().
-type tags() :: #{term() => term()}.

-define(FOUNDATION, 'Elixir.Foundation').
-define(CLUSTER, 'Elixir.Foundation.Cluster').
-define(CONFIG, 'Elixir.Foundation.Config').
-define(EVENTS, 'Elixir.Foundation.Events').
-define(TELEMETRY, 'Elixir.Foundation.Telemetry').
-define(INFRASTRUCTURE, 'Elixir.Foundation.Infrastructure').
-define(RATE_LIMITER, 'Elixir.Foundation.Infrastructure.RateLimiter').
-define(BREAKER, 'Elixir.Foundation.Infrastructure.CircuitBreaker').
-define(POOLS, 'Elixir.Foundation.Infrastructure.ConnectionManager').

%% == Foundation ==

%% @doc Starts the application and what it needs.
-spec start() -> ok | {error, term()}.
start() ->
    case application:ensure_all_started(foundation) of
        {ok, _Started} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc Stops the application; `ok' also when it does not run.
-spec stop() -> ok.
stop() ->
    _ = application:stop(foundation),
    ok.

%% @doc The version of the application.
-spec version() -> binary().
version() -> ?FOUNDATION:version().

%% @doc What each service says of itself, a map of `config', `events' and `telemetry'.
-spec status() -> {ok, map()} | {error, error()}.
status() -> ?FOUNDATION:status().

%% @doc How things stand; `status' is `healthy' or `degraded'.
-spec health() -> {ok, map()} | {error, error()}.
health() -> ?FOUNDATION:health().

%% @doc Whether the application and its three services run.
-spec available() -> boolean().
available() ->
    whereis('Elixir.Foundation.ProcessRegistry') =/= undefined andalso ?FOUNDATION:'available?'().

%% == Configuration ==

%% @doc The whole configuration.
-spec config_get() -> {ok, map()} | {error, error()}.
config_get() -> ?CONFIG:get().

%% @doc The value at a path. No process is asked.
-spec config_get(path()) -> {ok, term()} | {error, error()}.
config_get(Path) -> ?CONFIG:get(Path).

%% @doc The value at a path, or the default on any error.
-spec config_get(path(), term()) -> term().
config_get(Path, Default) -> ?CONFIG:get_with_default(Path, Default).

%% @doc Sets the value at one of the paths that may change while running.
-spec config_update(path(), term()) -> ok | {error, error()}.
config_update(Path, Value) -> ?CONFIG:update(Path, Value).

%% @doc Goes back to the defaults.
-spec config_reset() -> ok | {error, error()}.
config_reset() -> ?CONFIG:reset().

%% @doc Subscribes the caller to `{config_notification, {config_updated, Path, Value}}' and
%% `{config_notification, {config_reset, Config}}'.
-spec config_subscribe() -> ok | {error, error()}.
config_subscribe() -> ?CONFIG:subscribe().

%% @doc Ends the caller's subscription.
-spec config_unsubscribe() -> ok.
config_unsubscribe() -> ?CONFIG:unsubscribe().

%% == Events ==

%% @doc Stores an event made by `Foundation.Events'.
-spec event_store(event()) -> {ok, event_id()} | {error, error()}.
event_store(Event) -> ?EVENTS:store(Event).

%% @doc Makes an event of a type and its data, and stores it.
-spec event_store(event_type(), term()) -> {ok, event_id()} | {error, error()}.
event_store(Type, Data) -> event_store(Type, Data, []).

%% @doc As {@link event_store/2}, with options: `event_id', `timestamp', `wall_time', `node', `pid', `correlation_id',
%% `parent_id'.
-spec event_store(event_type(), term(), [{atom(), term()}]) -> {ok, event_id()} | {error, error()}.
event_store(Type, Data, Options) -> ?EVENTS:store(?EVENTS:new_event(Type, Data, Options)).

%% @doc The event of an id.
-spec event_get(event_id()) -> {ok, event()} | {error, error()}.
event_get(Id) -> ?EVENTS:get(Id).

%% @doc Events by `event_type', `time_range', `order_by', `offset', `limit'.
-spec event_query(map() | [{atom(), term()}]) -> {ok, [event()]} | {error, error()}.
event_query(Query) -> ?EVENTS:query(Query).

%% @doc One page of a search: options `where', `order', `limit', `cursor'.
-spec event_search([{atom(), term()}]) -> {ok, #{events := [event()], cursor := term()}} | {error, term()}.
event_search(Options) -> ?EVENTS:search(Options).

%% @doc The events of a correlation id by their time.
-spec event_by_correlation(binary()) -> {ok, [event()]} | {error, error()}.
event_by_correlation(CorrelationId) -> ?EVENTS:get_by_correlation(CorrelationId).

%% == Limits ==

%% @doc Counts a call against `Limit' calls in each window of `WindowMs' milliseconds.
-spec check_rate(binary() | atom() | integer(), atom(), pos_integer(), pos_integer()) -> ok | {error, error()}.
check_rate(Entity, Operation, Limit, WindowMs) -> ?RATE_LIMITER:check_rate(Entity, Operation, Limit, WindowMs).

%% @doc Sets the limits of a key: `[{Dimension, [{limit, 60}, {per, 60000}]}]'.
-spec set_limits(key(), [{atom(), [{atom(), term()}]}]) -> ok | {error, term()}.
set_limits(Key, Dimensions) -> ?INFRASTRUCTURE:set_limits(Key, Dimensions).

%% @doc As {@link set_limits/2}, with options: `parent'.
-spec set_limits(key(), [{atom(), [{atom(), term()}]}], [{atom(), term()}]) -> ok | {error, term()}.
set_limits(Key, Dimensions, Options) -> ?INFRASTRUCTURE:set_limits(Key, Dimensions, Options).

%% @doc Takes all of the costs, from the key and its ancestors, or nothing.
-spec acquire(key(), costs()) -> ok | {error, term()}.
acquire(Key, Costs) -> ?INFRASTRUCTURE:acquire(Key, Costs).

%% @doc Waits in the key's queue until the costs can be taken, at most as long as the options say.
-spec await(key(), costs(), [{atom(), term()}]) -> ok | {ok, term()} | {error, term()}.
await(Key, Costs, Options) -> ?INFRASTRUCTURE:await(Key, Costs, Options).

%% @doc Takes the costs until {@link commit/2} or {@link refund/1} settles them.
-spec reserve(key(), costs()) -> {ok, Reservation :: term()} | {error, term()}.
reserve(Key, Costs) -> ?INFRASTRUCTURE:reserve(Key, Costs).

%% @doc As {@link reserve/2}, with options.
-spec reserve(key(), costs(), [{atom(), term()}]) -> {ok, Reservation :: term()} | {error, term()}.
reserve(Key, Costs, Options) -> ?INFRASTRUCTURE:reserve(Key, Costs, Options).

%% @doc Settles a reservation with what it really cost.
-spec commit(Reservation :: term(), costs()) -> ok | {error, term()}.
commit(Reservation, Actual) -> ?INFRASTRUCTURE:commit(Reservation, Actual).

%% @doc Gives all of a reservation back.
-spec refund(Reservation :: term()) -> ok | {error, term()}.
refund(Reservation) -> ?INFRASTRUCTURE:refund(Reservation).

%% @doc What is left of each dimension of a key; nothing is taken.
-spec peek(key()) -> {ok, map()} | {error, term()}.
peek(Key) -> ?INFRASTRUCTURE:peek(Key).

%% == Metrics ==

%% @doc Adds 1 to a counter.
-spec counter(metric()) -> ok | {error, atom()}.
counter(Name) -> counter(Name, 1, #{}).

%% @doc Adds to a counter.
-spec counter(metric(), number()) -> ok | {error, atom()}.
counter(Name, N) -> counter(Name, N, #{}).

%% @doc Adds to the counter of a name and tags.
-spec counter(metric(), number(), tags()) -> ok | {error, atom()}.
counter(Name, N, Tags) -> ?TELEMETRY:counter_add(Name, N, Tags).

%% @doc Sets a gauge.
-spec gauge(metric(), number()) -> ok | {error, atom()}.
gauge(Name, Value) -> gauge(Name, Value, #{}).

%% @doc Sets the gauge of a name and tags.
-spec gauge(metric(), number(), tags()) -> ok | {error, atom()}.
gauge(Name, Value, Tags) -> ?TELEMETRY:gauge_set(Name, Value, Tags).

%% @doc Records a value in a histogram.
-spec histogram(metric(), number()) -> ok | {error, atom()}.
histogram(Name, Value) -> histogram(Name, Value, #{}).

%% @doc Records a value in the histogram of a name and tags.
-spec histogram(metric(), number(), tags()) -> ok | {error, atom()}.
histogram(Name, Value, Tags) -> ?TELEMETRY:record(Name, Value, Tags).

%% @doc Percentiles of a histogram, `[50, 99, 99.9]' say.
-spec percentiles(metric(), [number()]) -> {ok, term()} | {error, term()}.
percentiles(Name, At) -> percentiles(Name, At, []).

%% @doc As {@link percentiles/2}, with options: `tags', `window'.
-spec percentiles(metric(), [number()], [{atom(), term()}]) -> {ok, term()} | {error, term()}.
percentiles(Name, At, Options) -> ?TELEMETRY:percentiles(Name, At, Options).

%% @doc The metrics of 1.x, a map along their names.
-spec metrics() -> {ok, map()} | {error, error()}.
metrics() -> ?TELEMETRY:get_metrics().

%% @doc All series as Prometheus reads them.
-spec prometheus() -> {ok, binary()} | binary() | {error, term()}.
prometheus() -> ?TELEMETRY:prometheus().

%% @doc Emits a telemetry event.
-spec emit([atom()], map(), map()) -> ok.
emit(Name, Measurements, Metadata) -> ?TELEMETRY:execute(Name, Measurements, Metadata).

%% == Protection ==

%% @doc Makes a circuit breaker with its defaults: 5 failures in 60 s are tolerated.
-spec breaker_start(atom()) -> ok | {error, error()}.
breaker_start(Name) -> ?BREAKER:start_fuse_instance(Name).

%% @doc Makes a circuit breaker: `[{strategy, standard}, {tolerance, 5}, {refresh, 60000}]', in this order.
-spec breaker_start(atom(), [{atom(), term()}]) -> ok | {error, error()}.
breaker_start(Name, Options) -> ?BREAKER:start_fuse_instance(Name, Options).

%% @doc Runs a function behind a breaker.
-spec breaker_execute(atom(), fun(() -> Value)) -> {ok, Value} | {error, error()}.
breaker_execute(Name, Fun) -> ?BREAKER:execute(Name, Fun).

%% @doc Whether a breaker lets calls through.
-spec breaker_status(atom()) -> ok | blown | {error, error()}.
breaker_status(Name) -> ?BREAKER:get_status(Name).

%% @doc Closes a breaker.
-spec breaker_reset(atom()) -> ok | {error, error()}.
breaker_reset(Name) -> ?BREAKER:reset(Name).

%% @doc Starts a pool: `size', `max_overflow', `strategy', `worker_module', `worker_args'.
-spec pool_start(atom(), [{atom(), term()}]) -> {ok, pid()} | {error, term()}.
pool_start(Name, Options) -> ?POOLS:start_pool(Name, Options).

%% @doc Stops a pool.
-spec pool_stop(atom()) -> ok | {error, not_found}.
pool_stop(Name) -> ?POOLS:stop_pool(Name).

%% @doc A pool's workers and how many are busy.
-spec pool_status(atom()) -> {ok, map()} | {error, not_found}.
pool_status(Name) -> ?POOLS:get_pool_status(Name).

%% @doc Runs a function with a worker of a pool; waits for one up to 5 s.
-spec with_connection(atom(), fun((pid()) -> Value)) -> {ok, Value} | {error, term()}.
with_connection(Name, Fun) -> ?POOLS:with_connection(Name, Fun).

%% @doc As {@link with_connection/2}, with the longest wait in milliseconds.
-spec with_connection(atom(), fun((pid()) -> Value), timeout()) -> {ok, Value} | {error, term()}.
with_connection(Name, Fun, Timeout) -> ?POOLS:with_connection(Name, Fun, Timeout).

%% @doc Runs a function behind what the options name: `rate_limiter', `circuit_breaker', `connection_pool', `timeout'.
-spec execute_protected(atom(), [{atom(), term()}], fun(() -> Value)) -> {ok, Value} | {error, term()}.
execute_protected(Key, Options, Fun) -> ?INFRASTRUCTURE:execute_protected(Key, Options, Fun).

%% == Cluster ==

%% @doc Forms a cluster: `true', a strategy such as `gossip', `{Strategy, Options}', or a list of these.
-spec cluster_start(term()) -> ok | {error, term()}.
cluster_start(Spec) -> ?CLUSTER:start(Spec).

%% @doc Leaves the cluster.
-spec cluster_stop() -> ok.
cluster_stop() -> ?CLUSTER:stop().

%% @doc How the cluster stands.
-spec cluster_info() -> map().
cluster_info() -> ?CLUSTER:info().

%% @doc The members that are up, this node among them.
-spec cluster_nodes() -> [node()].
cluster_nodes() -> ?CLUSTER:nodes().

%% @doc Waits until the cluster is large enough; options `quorum' and `timeout'.
-spec cluster_await_ready([{atom(), term()}]) -> ok | {error, term()}.
cluster_await_ready(Options) -> ?CLUSTER:await_ready(Options).

%% @doc Sends the caller the cluster's events, as `{foundation_cluster, Event}'.
-spec cluster_subscribe() -> ok | {error, not_running}.
cluster_subscribe() -> ?CLUSTER:subscribe().

%% @doc Empties this node and takes it out; options `timeout', `reason', `node'.
-spec cluster_drain([{atom(), term()}]) -> ok | {error, term()}.
cluster_drain(Options) -> ?CLUSTER:drain(Options).

%% @doc Makes this node a member again.
-spec cluster_resume() -> ok | {error, not_running}.
cluster_resume() -> ?CLUSTER:resume().

%% @doc Whether this node is being drained, or has been.
-spec cluster_draining() -> boolean().
cluster_draining() -> ?CLUSTER:'draining?'().

%% @doc Whether that node is being drained, or has been.
-spec cluster_draining(node()) -> boolean().
cluster_draining(Node) -> ?CLUSTER:'draining?'(Node).

%% @doc Sends a message to a process by its name, on whichever member it is.
-spec send(term(), term()) -> ok | {error, not_found}.
send(Name, Message) -> ?FOUNDATION:send(Name, Message).

%% @doc Starts a process of a module with `child_spec/1'; options `distribute', `node', `name', `restart', `timeout'.
-spec start_process(module(), term(), [{atom(), term()}]) -> {ok, pid()} | {error, term()}.
start_process(Module, Args, Options) -> ?FOUNDATION:start_process(Module, Args, Options).

%% == Errors ==

%% @doc The type of an error: `service_unavailable', say.
-spec error_type(error()) -> atom().
error_type(#{'__struct__' := _, error_type := Type}) -> Type.

%% @doc The text of an error.
-spec error_message(error()) -> binary().
error_message(#{'__struct__' := _, message := Message}) -> Message.
