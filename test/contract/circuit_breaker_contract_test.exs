defmodule Foundation.CircuitBreakerContractTest do
  # Section 12 of the 1.x contract.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  alias Foundation.Infrastructure.CircuitBreaker
  alias Foundation.Telemetry
  alias Foundation.Types.Error

  setup do
    %{name: :"fuse_#{System.unique_integer([:positive])}"}
  end

  defp start(name, tolerance, refresh),
    do: CircuitBreaker.start_fuse_instance(name, strategy: :standard, tolerance: tolerance, refresh: refresh)

  defp fail(name), do: CircuitBreaker.execute(name, fn -> raise "boom" end)

  test "N failures are tolerated and failure N+1 opens it", %{name: name} do
    for tolerance <- [0, 1, 3] do
      :ok = start(name, tolerance, 60_000)

      for _ <- 1..tolerance//1 do
        assert {:error, %Error{code: 5003}} = fail(name)
        assert CircuitBreaker.get_status(name) == :ok
      end

      assert {:error, %Error{code: 5003}} = fail(name)
      assert CircuitBreaker.get_status(name) == :blown
    end
  end

  test "only the exact options list is honoured", %{name: name} do
    for options <- [
          [],
          [tolerance: 0, refresh: 1],
          [tolerance: 0, strategy: :standard, refresh: 60_000],
          [strategy: :fault_injection, tolerance: 0, refresh: 60_000],
          [strategy: :standard, tolerance: 0, refresh: 60_000, more: 1]
        ] do
      assert CircuitBreaker.start_fuse_instance(name, options) == :ok
      for _ <- 1..5, do: fail(name)
      assert CircuitBreaker.get_status(name) == :ok, inspect(options)
      fail(name)
      assert CircuitBreaker.get_status(name) == :blown, inspect(options)
    end
  end

  test "installing again closes a blown one", %{name: name} do
    :ok = start(name, 0, 60_000)
    fail(name)
    assert CircuitBreaker.get_status(name) == :blown
    assert CircuitBreaker.start_fuse_instance(name) == :ok
    assert CircuitBreaker.get_status(name) == :ok
  end

  test "bad values are 5002, a name that is no atom a FunctionClauseError", %{name: name} do
    for {tolerance, refresh} <- [{-1, 10}, {1, -1}, {nil, 10}, {1.5, 10}, {1, :soon}] do
      assert {:error, %Error{code: 5002, error_type: :circuit_breaker_exception, severity: :critical} = error} =
               start(name, tolerance, refresh)

      assert %{fuse_name: ^name, exception: %{__exception__: true}} = error.context
    end

    assert_raise FunctionClauseError, fn ->
      CircuitBreaker.start_fuse_instance(Process.get(:no_such_key, "text"))
    end

    assert_raise FunctionClauseError, fn -> apply(CircuitBreaker, :reset, ["text"]) end
  end

  test "execute/3: every outcome and its error", %{name: name} do
    :ok = CircuitBreaker.start_fuse_instance(name)
    assert CircuitBreaker.execute(name, fn -> :value end) == {:ok, :value}
    assert CircuitBreaker.execute(name, fn -> {:error, :kept} end) == {:ok, {:error, :kept}}

    assert {:error, %Error{code: 5003, error_type: :protected_operation_failed, severity: :medium} = raised} =
             CircuitBreaker.execute(name, fn -> raise ArgumentError, "no" end)

    assert raised.context == %{fuse_name: name, exception: %ArgumentError{message: "no"}}
    assert raised.message == "Protected operation failed: #{inspect(%ArgumentError{message: "no"})}"

    for {kind, fun} <- [throw: fn -> throw(:ball) end, exit: fn -> exit(:ball) end] do
      assert {:error, %Error{code: 5012, error_type: :protected_operation_failed} = caught} =
               CircuitBreaker.execute(name, fun)

      assert caught.context == %{fuse_name: name, kind: kind, value: :ball}
    end

    :ok = start(name, 0, 60_000)
    fail(name)
    me = self()

    assert {:error, %Error{code: 5004, error_type: :circuit_breaker_blown} = blown} =
             CircuitBreaker.execute(name, fn -> send(me, :ran) end)

    assert blown.retry_strategy == :fixed_delay
    assert blown.message == "Circuit breaker is open for #{name}"
    refute_received :ran

    assert {:error, %Error{code: 5005, error_type: :circuit_breaker_not_found, severity: :high}} =
             CircuitBreaker.execute(:no_such_fuse, fn -> :value end)

    assert {:error, %Error{code: 5009, error_type: :invalid_input}} =
             CircuitBreaker.execute("text", fn -> :value end)

    assert {:error, %Error{code: 5009}} = CircuitBreaker.execute(name, fn _ -> :value end)
    assert {:error, %Error{code: 5010}} = CircuitBreaker.execute(name, fn -> :value end, :no_map)
  end

  test "get_status/1 and reset/1", %{name: name} do
    assert {:error, %Error{code: 5007, error_type: :circuit_breaker_not_found}} =
             CircuitBreaker.get_status(name)

    assert {:error, %Error{code: 5011, error_type: :invalid_input}} = CircuitBreaker.get_status("text")
    assert {:error, %Error{code: 5013, error_type: :circuit_breaker_not_found}} = CircuitBreaker.reset(name)
    :ok = start(name, 0, 60_000)
    fail(name)
    assert CircuitBreaker.reset(name) == :ok
    assert CircuitBreaker.get_status(name) == :ok
  end

  test "after refresh ms it answers :ok, and a success closes it", %{name: name} do
    :ok = start(name, 0, 50)
    fail(name)
    assert CircuitBreaker.get_status(name) == :blown
    assert_eventually(CircuitBreaker.get_status(name) == :ok)
    assert CircuitBreaker.execute(name, fn -> :value end) == {:ok, :value}
    assert CircuitBreaker.get_status(name) == :ok
    fail(name)
    assert CircuitBreaker.get_status(name) == :blown
  end

  test "failures leave the window of refresh ms", %{name: name} do
    :ok = start(name, 1, 30)

    for _ <- 1..4 do
      fail(name)
      assert CircuitBreaker.get_status(name) == :ok
      wait_ms(40)
    end
  end

  test "telemetry: names, counter 1 and metadata over the caller's", %{name: name} do
    counted = fn event ->
      {:ok, metrics} = Telemetry.get_metrics()
      get_in(metrics, [:foundation, :foundation, :infra, :circuit_breaker, event, :count]) || 0
    end

    for {event, action} <- [
          fuse_installed: fn -> start(name, 0, 60_000) end,
          call_executed: fn -> CircuitBreaker.execute(name, fn -> :value end, %{mine: 1}) end,
          call_executed: fn -> fail(name) end,
          call_rejected: fn -> fail(name) end,
          call_rejected: fn -> fail(:no_such_fuse) end,
          state_change: fn -> CircuitBreaker.reset(name) end,
          fuse_install_exception: fn -> start(name, -1, 0) end
        ] do
      before = counted.(event)
      action.()
      assert counted.(event) == before + 1, inspect(event)
    end
  end

  defp wait_ms(ms) do
    until = System.monotonic_time(:millisecond) + ms
    assert_eventually(System.monotonic_time(:millisecond) >= until)
  end
end
