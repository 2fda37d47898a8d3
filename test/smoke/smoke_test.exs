defmodule Foundation.SmokeTest do
  # The first lines that a new user types, one test a service.
  use ExUnit.Case, async: false

  alias Foundation.{Config, ErrorContext, Events, Infrastructure, Telemetry}
  alias Foundation.Infrastructure.{CircuitBreaker, ConnectionManager, RateLimiter}

  defmodule Worker do
    use Agent
    def start_link(_args), do: Agent.start_link(fn -> :ready end)
  end

  test "everything is there" do
    assert Foundation.available?()
    assert {:ok, %{status: :healthy}} = Foundation.health()
    assert Foundation.version() =~ ~r/^2\./
  end

  test "configuration" do
    assert Config.get([:ai, :provider]) == {:ok, :mock}
    assert Config.update([:dev, :verbose_logging], true) == :ok
    assert Config.get([:dev, :verbose_logging]) == {:ok, true}
    assert Config.update([:dev, :verbose_logging], false) == :ok
  end

  test "events" do
    {:ok, event} = Events.new_event(:order_placed, %{amount: 120})
    assert {:ok, id} = Events.store(event)
    assert {:ok, %{event_type: :order_placed, data: %{amount: 120}}} = Events.get(id)

    assert {:ok, %{events: [%{event_id: ^id}]}} =
             Events.search(
               where: {:and, [{:==, :correlation_id, event.correlation_id}, {:>, [:data, :amount], 100}]},
               limit: 5
             )
  end

  test "telemetry" do
    assert Telemetry.emit_counter([:smoke, :logins], %{}) == :ok
    assert Telemetry.emit_histogram([:smoke, :latency], 12.5) == :ok
    assert {:ok, %{smoke: %{logins: %{count: count}}}} = Telemetry.get_metrics()
    assert count >= 1
  end

  test "rate limits" do
    key = "smoke-#{System.unique_integer()}"
    assert RateLimiter.check_rate(key, :login, 1, 86_400_000) == :ok
    assert {:error, %{error_type: :rate_limit_exceeded}} = RateLimiter.check_rate(key, :login, 1, 86_400_000)
  end

  test "limits of several dimensions" do
    key = {:smoke, make_ref()}

    assert Infrastructure.set_limits(key, requests: [limit: 2, per: 60_000], tokens: [limit: 100, per: 60_000]) ==
             :ok

    assert Infrastructure.acquire(key, %{requests: 1, tokens: 90}) == :ok

    assert {:error, {:limited, %{dimension: :tokens, retry_after_ms: wait}}} =
             Infrastructure.acquire(key, %{requests: 1, tokens: 90})

    assert wait > 0
    assert {:ok, reservation} = Infrastructure.reserve(key, %{requests: 1})
    assert Infrastructure.refund(reservation) == :ok
  end

  test "circuit breaker" do
    assert CircuitBreaker.start_fuse_instance(:smoke) == :ok
    assert CircuitBreaker.execute(:smoke, fn -> 42 end) == {:ok, 42}
    assert CircuitBreaker.get_status(:smoke) == :ok
  end

  test "pool" do
    assert {:ok, _} =
             ConnectionManager.start_pool(:smoke_pool, size: 1, worker_module: Worker, worker_args: [])

    assert ConnectionManager.with_connection(:smoke_pool, &Agent.get(&1, fn state -> state end)) ==
             {:ok, :ready}

    assert ConnectionManager.stop_pool(:smoke_pool) == :ok
  end

  test "all of them around one call" do
    assert CircuitBreaker.start_fuse_instance(:smoke_call) == :ok

    assert Infrastructure.execute_protected(
             :smoke_call,
             [circuit_breaker: :smoke_call, rate_limiter: {:smoke, "user"}],
             fn -> :done end
           ) == {:ok, :done}
  end

  test "errors with a context" do
    context = ErrorContext.new(__MODULE__, :smoke)

    assert {:error, %Foundation.Error{error_type: :internal_error}} =
             ErrorContext.with_context(context, fn -> raise "no" end)
  end
end
