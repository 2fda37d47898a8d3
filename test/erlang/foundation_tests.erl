%% The foundation module as a program in Erlang uses it. Run by test/integration/erlang_test.exs.
-module(foundation_tests).

-include_lib("eunit/include/eunit.hrl").

-export([start_link/1]).

foundation_test_() ->
    {setup, fun foundation:start/0, fun(_) -> ok end, [
        {"service", fun service/0},
        {"config", fun config/0},
        {"config errors", fun config_errors/0},
        {"events", fun events/0},
        {"search", fun search/0},
        {"rate", fun rate/0},
        {"limits", fun limits/0},
        {"metrics", fun metrics/0},
        {"breaker", fun breaker/0},
        {"pool", fun pool/0},
        {"protected", fun protected/0},
        {"cluster", fun cluster/0},
        {"restart", fun restart/0}
    ]}.

service() ->
    ?assertEqual(ok, foundation:start()),
    ?assert(foundation:available()),
    ?assertMatch(<<"2.", _/binary>>, foundation:version()),
    {ok, #{config := #{status := running}, events := _, telemetry := _}} = foundation:status(),
    ?assertMatch({ok, #{status := healthy}}, foundation:health()).

config() ->
    ?assertEqual({ok, mock}, foundation:config_get([ai, provider])),
    ?assertMatch({ok, #{'__struct__' := 'Elixir.Foundation.Types.Config'}}, foundation:config_get()),
    ?assertEqual(7, foundation:config_get([no, such, path], 7)),
    Path = [interface, max_results],
    {ok, Before} = foundation:config_get(Path),
    ok = foundation:config_subscribe(),
    ?assertEqual(ok, foundation:config_update(Path, Before + 1)),
    ?assertEqual({ok, Before + 1}, foundation:config_get(Path)),
    New = Before + 1,
    receive
        {config_notification, {config_updated, Path, New}} -> ok
    after 5000 -> ?assert(false)
    end,
    ok = foundation:config_update(Path, Before),
    ok = foundation:config_unsubscribe().

config_errors() ->
    {error, Missing} = foundation:config_get([no, such, path]),
    ?assertEqual(config_path_not_found, foundation:error_type(Missing)),
    ?assert(is_binary(foundation:error_message(Missing))),
    {error, Forbidden} = foundation:config_update([ai, provider], openai),
    ?assertEqual(config_update_forbidden, foundation:error_type(Forbidden)).

events() ->
    Correlation = list_to_binary(ref_to_list(make_ref())),
    {ok, Parent} = foundation:event_store(order_placed, #{amount => 120}, [{correlation_id, Correlation}]),
    {ok, Child} =
        foundation:event_store(order_paid, #{amount => 120}, [{correlation_id, Correlation}, {parent_id, Parent}]),
    {ok, #{event_type := order_paid, parent_id := Parent} = Event} = foundation:event_get(Child),
    ?assertEqual({ok, Child}, foundation:event_store(Event)),
    {ok, Events} = foundation:event_by_correlation(Correlation),
    ?assertEqual([Parent, Child], [Id || #{event_id := Id} <- Events]),
    {ok, [_]} = foundation:event_query(#{event_type => order_paid, limit => 1}),
    {ok, _} = foundation:event_store(plain, data),
    {error, NotFound} = foundation:event_get(999999999999999),
    ?assertEqual(not_found, foundation:error_type(NotFound)).

search() ->
    Correlation = list_to_binary(ref_to_list(make_ref())),
    [{ok, _} = foundation:event_store(sale, #{amount => N}, [{correlation_id, Correlation}]) || N <- lists:seq(1, 10)],
    {ok, #{events := Found}} =
        foundation:event_search([
            {where, {'and', [{'==', correlation_id, Correlation}, {'>', [data, amount], 7}]}},
            {limit, 50}
        ]),
    ?assertEqual([8, 9, 10], lists:sort([N || #{data := #{amount := N}} <- Found])).

rate() ->
    Entity = list_to_binary(ref_to_list(make_ref())),
    %% A window of a day: the test does not meet its end but once in a lifetime of runs.
    Check = fun() -> foundation:check_rate(Entity, login, 2, 86400000) end,
    ?assertEqual([ok, ok], [Check(), Check()]),
    {error, Error} = Check(),
    ?assertEqual(rate_limit_exceeded, foundation:error_type(Error)).

limits() ->
    Key = {erlang_test, make_ref()},
    Tenant = {tenant, make_ref()},
    ok = foundation:set_limits(Tenant, [{requests, [{limit, 100}, {per, 3600000}]}]),
    ok = foundation:set_limits(Key, [{requests, [{limit, 3}, {per, 3600000}]}], [{parent, Tenant}]),
    ok = foundation:acquire(Key, #{requests => 1}),
    {ok, Reservation} = foundation:reserve(Key, #{requests => 2}),
    {error, {limited, #{dimension := requests, retry_after_ms := Wait}}} = foundation:acquire(Key, #{requests => 1}),
    ?assert(is_integer(Wait)),
    ok = foundation:refund(Reservation),
    {ok, Second} = foundation:reserve(Key, #{requests => 2}, []),
    ok = foundation:commit(Second, #{requests => 1}),
    ok = foundation:acquire(Key, #{requests => 1}),
    {error, {limited, _}} = foundation:acquire(Key, #{requests => 1}),
    {ok, _} = foundation:peek(Key).

metrics() ->
    Name = [erlang_test, latency],
    [ok = foundation:histogram(Name, N) || N <- lists:seq(1, 100)],
    ok = foundation:histogram(Name, 1, #{route => home}),
    {ok, _} = foundation:percentiles(Name, [50, 99]),
    ok = foundation:counter([erlang_test, requests]),
    ok = foundation:counter([erlang_test, requests], 2),
    ok = foundation:counter([erlang_test, requests], 2, #{route => home}),
    ok = foundation:gauge([erlang_test, depth], 7),
    ok = foundation:gauge([erlang_test, depth], 7, #{queue => mail}),
    ok = foundation:emit([erlang_test, emitted], #{counter => 1}, #{}),
    {ok, #{erlang_test := #{emitted := #{count := Count}}}} = foundation:metrics(),
    ?assert(Count >= 1),
    Text = iolist_to_binary(case foundation:prometheus() of {ok, T} -> T; T -> T end),
    ?assertNotEqual(nomatch, binary:match(Text, <<"erlang_test">>)).

breaker() ->
    ok = foundation:breaker_start(erlang_test_breaker),
    ok = foundation:breaker_start(
        erlang_test_breaker, [{strategy, standard}, {tolerance, 1}, {refresh, 3600000}]
    ),
    ?assertEqual({ok, 42}, foundation:breaker_execute(erlang_test_breaker, fun() -> 42 end)),
    ?assertEqual(ok, foundation:breaker_status(erlang_test_breaker)),
    Fail = fun() -> foundation:breaker_execute(erlang_test_breaker, fun() -> error(no) end) end,
    [{error, _} = Fail() || _ <- [1, 2]],
    ?assertEqual(blown, foundation:breaker_status(erlang_test_breaker)),
    {error, Blown} = Fail(),
    ?assertEqual(circuit_breaker_blown, foundation:error_type(Blown)),
    ok = foundation:breaker_reset(erlang_test_breaker),
    ?assertEqual(ok, foundation:breaker_status(erlang_test_breaker)).

pool() ->
    {ok, Pool} = foundation:pool_start(erlang_test_pool, [{size, 2}, {worker_module, ?MODULE}, {worker_args, []}]),
    ?assert(is_pid(Pool)),
    ?assertEqual({ok, true}, foundation:with_connection(erlang_test_pool, fun erlang:is_pid/1)),
    ?assertEqual({ok, 1}, foundation:with_connection(erlang_test_pool, fun(_) -> 1 end, 1000)),
    {ok, #{}} = foundation:pool_status(erlang_test_pool),
    ok = foundation:pool_stop(erlang_test_pool),
    ?assertEqual({error, not_found}, foundation:pool_stop(erlang_test_pool)),
    ?assertEqual({error, pool_not_found}, foundation:with_connection(erlang_test_pool, fun(_) -> 1 end)).

%% The pool's worker.
start_link(_Args) -> {ok, spawn_link(fun() -> receive stop -> ok end end)}.

protected() ->
    ?assertEqual({ok, 3}, foundation:execute_protected(erlang_test, [], fun() -> 1 + 2 end)).

%% On a node without distribution; test/integration/cluster has the others.
cluster() ->
    ?assertMatch({error, {invalid_config, #{value := carrier_pigeon}}}, foundation:cluster_start(carrier_pigeon)),
    ?assertMatch(#{running := false, draining := false}, foundation:cluster_info()),
    ?assert(lists:member(node(), foundation:cluster_nodes())),
    ?assertEqual({error, not_running}, foundation:cluster_await_ready([{quorum, 1}])),
    ?assertEqual({error, not_running}, foundation:cluster_subscribe()),
    ?assertEqual({error, not_running}, foundation:cluster_drain([])),
    ?assertEqual({error, not_running}, foundation:cluster_resume()),
    ?assertNot(foundation:cluster_draining()),
    ?assertNot(foundation:cluster_draining(nobody@nowhere)),
    ?assertEqual(ok, foundation:cluster_stop()),
    {ok, Pid} = foundation:start_process('Elixir.Agent', fun() -> 42 end, [{name, erlang_test_agent}]),
    ?assertEqual(Pid, whereis(erlang_test_agent)),
    ?assertEqual(ok, foundation:send(self(), hello)),
    receive hello -> ok after 5000 -> ?assert(false) end,
    ?assertEqual({error, not_found}, foundation:send(erlang_test_nobody, hello)).

restart() ->
    ok = foundation:stop(),
    ok = foundation:stop(),
    ?assertNot(foundation:available()),
    ok = foundation:start(),
    ?assert(foundation:available()).
