defmodule Foundation.InfrastructureContractTest do
  # Section 15 of the 1.x contract, and what execute_protected/3 takes beyond it.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  alias Foundation.{Infrastructure, PoolWorker}
  alias Foundation.Infrastructure.{CircuitBreaker, ConnectionManager, Limits}
  alias Foundation.Types.Error

  doctest Foundation.Infrastructure

  @config %{
    circuit_breaker: %{failure_threshold: 5, recovery_time: 30_000},
    rate_limiter: %{scale: 60_000, limit: 2},
    connection_pool: %{size: 10, max_overflow: 5}
  }

  setup do
    name = :"protected_#{System.unique_integer([:positive])}"
    on_exit(fn -> ConnectionManager.stop_pool(name) end)
    %{name: name, id: "user:#{System.unique_integer()}"}
  end

  defp pool(name), do: ConnectionManager.start_pool(name, size: 1, max_overflow: 0, worker_module: PoolWorker)

  defp breaker(name, tolerance \\ 0),
    do: CircuitBreaker.start_fuse_instance(name, strategy: :standard, tolerance: tolerance, refresh: 60_000)

  test "initialisation and status" do
    assert Infrastructure.initialize_all_infra_components() == {:ok, []}

    assert {:ok, %{fuse: :running, hammer: :configured, timestamp: ms}} =
             Infrastructure.get_infrastructure_status()

    assert_in_delta ms, System.system_time(:millisecond), 5_000
  end

  test "configure_protection/2 checks, stores and lists", %{name: name} do
    for {config, reason} <- [
          {%{}, :missing_required_keys},
          {Map.delete(@config, :rate_limiter), :missing_required_keys},
          {[], :invalid_config_format},
          {nil, :invalid_config_format},
          {%{@config | circuit_breaker: %{failure_threshold: 1}}, :invalid_circuit_breaker_config},
          {%{@config | circuit_breaker: []}, :invalid_circuit_breaker_config},
          {%{@config | rate_limiter: %{}}, :invalid_rate_limiter_config},
          {%{@config | connection_pool: %{size: 1}}, :invalid_connection_pool_config}
        ] do
      assert Infrastructure.configure_protection(name, config) == {:error, reason}
    end

    assert Infrastructure.get_protection_config(name) == {:error, :not_found}
    assert Infrastructure.get_protection_status(name) == {:error, :not_found}
    assert Infrastructure.configure_protection(name, @config) == :ok
    assert Infrastructure.get_protection_config(name) == {:ok, @config}
    assert name in Infrastructure.list_protection_keys()
    assert {:ok, status} = Infrastructure.get_protection_status(name)
    assert status |> Map.keys() |> Enum.sort() == [:circuit_breaker, :connection_pool, :rate_limiter]
    for {_, part} <- status, do: assert(%{status: :unknown, message: <<_::binary>>} = part)
  end

  test "the configuration outlives whoever wrote it first", %{name: name} do
    {pid, ref} = spawn_monitor(fn -> :ok = Infrastructure.configure_protection(name, @config) end)
    assert_receive {:DOWN, ^ref, :process, ^pid, :normal}, 5_000
    assert Infrastructure.get_protection_config(name) == {:ok, @config}
    assert is_pid(Process.whereis(Infrastructure.ConfigAgent))
  end

  describe "initialize_circuit_breaker" do
    test "makes a breaker once", %{name: name} do
      assert Infrastructure.initialize_circuit_breaker(name) == :ok
      assert CircuitBreaker.get_status(name) == :ok
      assert {:error, error} = Infrastructure.initialize_circuit_breaker(name)
      assert %Error{error_type: :already_exists, code: nil, severity: nil} = error
    end

    test "each wrong argument", %{name: name} do
      good = %{failure_threshold: 1, recovery_time: 1}

      for {arguments, type} <- [
            {["text"], :invalid_name},
            {[nil], :invalid_name},
            {[:""], :invalid_name},
            {[nil, good], :invalid_name},
            {["text", good], :invalid_arguments},
            {[name, []], :invalid_arguments},
            {[name, %{}], :invalid_configuration},
            {[name, %{good | failure_threshold: 0}], :invalid_configuration},
            {[name, %{good | recovery_time: 1.5}], :invalid_configuration},
            {[name, %{failure_threshold: 1}], :invalid_configuration}
          ] do
        assert {:error, %Error{error_type: ^type, code: nil, severity: nil}} =
                 apply(Infrastructure, :initialize_circuit_breaker, arguments)
      end
    end
  end

  describe "execute_protected/3 as in 1.x" do
    test "without layers", %{name: name} do
      assert Infrastructure.execute_protected(name, [], fn -> :value end) == {:ok, :value}
      assert Infrastructure.execute_protected(name, [], fn -> {:error, :kept} end) == {:ok, {:error, :kept}}

      assert Infrastructure.execute_protected(name, [], fn -> raise "x" end) ==
               {:error, {:execution_error, %RuntimeError{message: "x"}}}

      assert catch_throw(Infrastructure.execute_protected(name, [], fn -> throw(:x) end)) == :x
      assert catch_exit(Infrastructure.execute_protected(name, [], fn -> exit(:x) end)) == :x
    end

    test "with a breaker: a raise does not melt it, a throw does", %{name: name} do
      :ok = breaker(name)
      options = [circuit_breaker: name]
      assert Infrastructure.execute_protected(name, options, fn -> 1 end) == {:ok, 1}

      assert {:error, {:execution_error, _}} =
               Infrastructure.execute_protected(name, options, fn -> raise "x" end)

      assert CircuitBreaker.get_status(name) == :ok

      assert {:error, %Error{code: 5012}} =
               Infrastructure.execute_protected(name, options, fn -> throw(:x) end)

      assert CircuitBreaker.get_status(name) == :blown
      assert {:error, %Error{code: 5004}} = Infrastructure.execute_protected(name, options, fn -> 1 end)

      assert {:error, %Error{code: 5005}} =
               Infrastructure.execute_protected(name, [circuit_breaker: :no_such_fuse], fn -> 1 end)
    end

    test "with a pool", %{name: name} do
      {:ok, _} = pool(name)
      options = [connection_pool: name, timeout: 5_000]
      hurried = [connection_pool: name, timeout: 20]
      assert Infrastructure.execute_protected(name, options, fn -> 1 end) == {:ok, 1}
      assert {:ok, :pong} = Infrastructure.execute_protected(name, options, &PoolWorker.ping/1)

      assert Infrastructure.execute_protected(name, options, fn -> raise "x" end) ==
               {:error, %RuntimeError{message: "x"}}

      assert Infrastructure.execute_protected(name, options, fn -> exit(:x) end) == {:error, :x}

      assert {:ok, {:error, :checkout_timeout}} =
               Infrastructure.execute_protected(name, options, fn ->
                 Infrastructure.execute_protected(name, hurried, fn -> 1 end)
               end)

      assert Infrastructure.execute_protected(name, [connection_pool: :no_such], fn -> 1 end) ==
               {:error, :pool_not_found}
    end

    test "the rate limit is 100 per minute, or as configured", %{name: name, id: id} do
      options = [rate_limiter: {:calls, id}]
      call = fn -> Infrastructure.execute_protected(name, options, fn -> 1 end) end
      results = for _ <- 1..110, do: call.()
      assert Enum.count(results, &(&1 == {:ok, 1})) in 100..109
      assert {:error, %Error{code: 6001, error_type: :rate_limit_exceeded}} = List.last(results)

      :ok = Infrastructure.configure_protection(name, @config)
      options = [rate_limiter: {:others, id}]
      results = for _ <- 1..5, do: Infrastructure.execute_protected(name, options, fn -> 1 end)
      assert Enum.count(results, &(&1 == {:ok, 1})) in 2..4
    end

    test "what a layer raises is an exception", %{name: name} do
      assert {:error, {:exception, %{__exception__: true}}} =
               Infrastructure.execute_protected(name, [rate_limiter: :no_tuple], fn -> 1 end)
    end

    test "order: the limit comes before the breaker, the breaker before the pool", %{name: name, id: id} do
      :ok = Infrastructure.configure_protection(name, put_in(@config.rate_limiter.limit, 1))
      :ok = breaker(name)
      CircuitBreaker.execute(name, fn -> raise "x" end)
      options = [rate_limiter: {:ordered, id}, circuit_breaker: name, connection_pool: :no_such]
      assert {:error, %Error{code: 5004}} = Infrastructure.execute_protected(name, options, fn -> 1 end)
      results = for _ <- 1..3, do: Infrastructure.execute_protected(name, options, fn -> 1 end)
      assert Enum.any?(results, &match?({:error, %Error{code: 6001}}, &1))
    end

    test "telemetry", %{name: name, id: id} do
      counted = fn event ->
        {:ok, metrics} = Foundation.Telemetry.get_metrics()
        get_in(metrics, [:foundation, :foundation, :infrastructure, event, :count]) || 0
      end

      :ok = Infrastructure.configure_protection(name, put_in(@config.rate_limiter.limit, 1))
      events = [:execute_start, :execute_stop, :execute_exception, :protection_triggered]
      before = Map.new(events, &{&1, counted.(&1)})
      for _ <- 1..3, do: Infrastructure.execute_protected(name, [rate_limiter: {:told, id}], fn -> 1 end)
      Infrastructure.execute_protected(name, [rate_limiter: :no_tuple], fn -> 1 end)
      assert counted.(:execute_start) == before.execute_start + 4
      assert counted.(:execute_stop) == before.execute_stop + 3
      assert counted.(:execute_exception) == before.execute_exception + 1
      assert counted.(:protection_triggered) > before.protection_triggered
    end
  end

  describe "execute_protected/3 beyond 1.x" do
    test "limits are charged when the function ran and given back when it did not", %{name: name} do
      :ok = Limits.set_limits(name, tokens: [limit: 100, per: 86_400_000])
      options = [limits: {name, %{tokens: 60}, fn value -> %{tokens: value} end}]
      assert Infrastructure.execute_protected(name, options, fn -> 10 end) == {:ok, 10}
      assert Infrastructure.execute_protected(name, options, fn -> 30 end) == {:ok, 30}
      assert Infrastructure.execute_protected(name, options, fn -> 40 end) == {:ok, 40}
      me = self()

      assert {:error, {:limited, %{dimension: :tokens}}} =
               Infrastructure.execute_protected(name, options, fn -> send(me, :ran) end)

      refute_received :ran
      :ok = Limits.reset_limits(name)
      :ok = breaker(name)
      CircuitBreaker.execute(name, fn -> raise "x" end)

      for _ <- 1..5 do
        refused = Infrastructure.execute_protected(name, [circuit_breaker: name] ++ options, fn -> 100 end)
        assert {:error, %Error{code: 5004}} = refused
      end

      assert Infrastructure.execute_protected(name, options, fn -> 1 end) == {:ok, 1}
    end

    test "retries what failed, with growing random pauses, and not what was refused", %{name: name} do
      tries = :counters.new(1, [])

      flaky = fn ->
        :counters.add(tries, 1, 1)
        if :counters.get(tries, 1) < 3, do: raise("x"), else: :counters.get(tries, 1)
      end

      options = [retry: [max_attempts: 3, base_ms: 1, max_ms: 5]]
      assert Infrastructure.execute_protected(name, options, flaky) == {:ok, 3}
      :counters.put(tries, 1, -10)
      assert {:error, {:execution_error, _}} = Infrastructure.execute_protected(name, options, flaky)
      assert :counters.get(tries, 1) == -7

      :ok = breaker(name)
      CircuitBreaker.execute(name, fn -> raise "x" end)

      {us, result} =
        :timer.tc(fn ->
          Infrastructure.execute_protected(name, [circuit_breaker: name, retry: [base_ms: 4_000]], flaky)
        end)

      assert {:error, %Error{code: 5004}} = result
      assert us < 2_000_000

      on = [retry: [max_attempts: 2, base_ms: 0, on: &match?({:execution_error, %ArgumentError{}}, &1)]]
      :counters.put(tries, 1, -10)
      assert {:error, _} = Infrastructure.execute_protected(name, on, flaky)
      assert :counters.get(tries, 1) == -9

      assert Infrastructure.execute_protected(name, [retry: [what: 1]], flaky) ==
               {:error, {:invalid_option, :retry, {:what, 1}}}
    end

    test "the pauses are spread over the whole range and bounded" do
      {:ok, retry} = Infrastructure.Protected.Retry.new(base_ms: 10, max_ms: 40)

      for {attempt, bound} <- [{1, 10}, {2, 20}, {3, 40}, {9, 40}] do
        delays = for _ <- 1..2_000, do: Infrastructure.Protected.Retry.delay(retry, attempt)
        assert Enum.min(delays) <= bound / 8
        assert Enum.max(delays) in round(bound * 7 / 8)..bound
      end
    end

    test "call_timeout kills the call, which counts as a failure", %{name: name} do
      {:ok, _} = pool(name)
      test = self()

      hang = fn ->
        send(test, {:hangs, self()})
        receive(do: (:never -> :ok))
      end

      for layers <- [
            [],
            [connection_pool: name],
            [circuit_breaker: name],
            [circuit_breaker: name, connection_pool: name]
          ] do
        :ok = breaker(name)
        options = [call_timeout: 500] ++ layers
        assert Infrastructure.execute_protected(name, options, hang) == {:error, :call_timeout}
        assert_received {:hangs, pid}
        assert_eventually(not Process.alive?(pid))
        blown = Keyword.has_key?(layers, :circuit_breaker)
        assert CircuitBreaker.get_status(name) == if(blown, do: :blown, else: :ok)
      end

      assert Infrastructure.execute_protected(name, [call_timeout: 5_000], fn -> 1 end) == {:ok, 1}

      assert {:error, {:execution_error, %RuntimeError{}}} =
               Infrastructure.execute_protected(name, [call_timeout: 5_000], fn -> raise "x" end)

      assert catch_throw(Infrastructure.execute_protected(name, [call_timeout: 5_000], fn -> throw(:x) end)) ==
               :x
    end
  end
end
