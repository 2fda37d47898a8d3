defmodule Foundation.StoppedApplicationTest do
  # What every public call that needs the native structures or a service answers once the application has stopped.
  use ExUnit.Case, async: false

  alias Foundation.{Config, Events, Infrastructure, Telemetry}

  alias Foundation.Infrastructure.{
    AdaptiveConcurrency,
    Breaker,
    CircuitBreaker,
    ConnectionManager,
    Limits,
    RateLimiter
  }

  alias Foundation.Types.{Error, Event}

  setup_all do
    {:ok, reservation} =
      with :ok <- Limits.set_limits(:stopped_test, requests: [limit: 5, per: 1_000]),
           do: Limits.reserve(:stopped_test, %{requests: 1})

    {:ok, series} = Telemetry.prepare(:counter, [:stopped, :series], %{})
    :ok = Breaker.ensure(:stopped_test, [])
    Application.stop(:foundation)
    on_exit(fn -> {:ok, _} = Application.ensure_all_started(:foundation) end)
    {:ok, reservation: reservation, series: series}
  end

  defp event, do: Event.new(:test) |> Map.put(:timestamp, 1)

  # Asked for while the application is down: {name, call, what the answer must look like}.
  defp services do
    [
      {"Config.get/0", fn -> Config.get() end, 5000},
      {"Config.get/1", fn -> Config.get([:ai, :provider]) end, 5000},
      {"Config.update/2", fn -> Config.update([:dev, :debug_mode], true) end, 5000},
      {"Config.reset/0", fn -> Config.reset() end, 5000},
      {"Config.subscribe/0", fn -> Config.subscribe() end, 5000},
      {"Config.status/0", fn -> Config.status() end, 5000},
      {"Events.store/1", fn -> Events.store(event()) end, 3000},
      {"Events.store_batch/1", fn -> Events.store_batch([event()]) end, 3000},
      {"Events.get/1", fn -> Events.get(1) end, 3000},
      {"Events.query/1", fn -> Events.query(%{}) end, 3000},
      {"Events.get_by_correlation/1", fn -> Events.get_by_correlation("x") end, 3000},
      {"Events.get_recent/1", fn -> Events.get_recent(1) end, 3000},
      {"Events.prune_before/1", fn -> Events.prune_before(0) end, 3000},
      {"Events.stats/0", fn -> Events.stats() end, 3000},
      {"Telemetry.get_metrics/0", fn -> Telemetry.get_metrics() end, nil},
      {"Telemetry.status/0", fn -> Telemetry.status() end, nil}
    ]
  end

  test "services of 1.x answer service_unavailable" do
    for {name, call, code} <- services() do
      assert {:error, %Error{} = error} = call.()
      assert {name, error.error_type, error.code} == {name, :service_unavailable, code}
    end
  end

  test "what 1.x sent without waiting is still :ok" do
    assert Telemetry.execute([:stopped], %{a: 1}, %{}) == :ok
    assert Telemetry.emit_counter([:stopped], %{}) == :ok
    assert Telemetry.emit_gauge([:stopped], 1, %{}) == :ok
    assert Telemetry.emit_histogram([:stopped], 1) == :ok
    assert Telemetry.measure([:stopped], %{}, fn -> :value end) == :value
  end

  test "what 2.x added answers :not_running", %{reservation: reservation, series: series} do
    calls = [
      {"set_limits", fn -> Infrastructure.set_limits(:k, requests: [limit: 1, per: 1_000]) end},
      {"acquire", fn -> Infrastructure.acquire(:stopped_test, %{requests: 1}) end},
      {"reserve", fn -> Infrastructure.reserve(:stopped_test, %{requests: 1}) end},
      {"await", fn -> Infrastructure.await(:stopped_test, %{requests: 1}, timeout: 10) end},
      {"peek", fn -> Infrastructure.peek(:stopped_test) end},
      {"reset_limits", fn -> Infrastructure.reset_limits(:stopped_test) end},
      {"Breaker.run", fn -> Breaker.run(:stopped_test, fn -> :ok end) end},
      {"Breaker.status", fn -> Breaker.status(:stopped_test) end},
      {"AdaptiveConcurrency.acquire", fn -> AdaptiveConcurrency.acquire(:stopped_test) end},
      {"Telemetry.record", fn -> Telemetry.record([:stopped], 1, %{}) end},
      {"Telemetry.percentiles", fn -> Telemetry.percentiles([:stopped], [50]) end},
      {"Telemetry.prometheus", fn -> Telemetry.prometheus() end},
      {"Events.search", fn -> Events.search(where: {:==, :event_type, :test}) end}
    ]

    for {name, call} <- calls, do: assert({name, call.()} == {name, {:error, :not_running}})

    # Handles that outlived the application neither crash nor lie.
    assert Limits.commit(reservation, %{requests: 1}) in [:ok, {:error, :settled}, {:error, :not_running}]
    assert Telemetry.record(series, 1) in [:ok, {:error, :not_running}]
  end

  test "1.x protections answer their own errors" do
    assert {:error, %Error{}} = RateLimiter.check_rate("x", :op, 1, 1_000)
    assert {:error, %Error{}} = CircuitBreaker.execute(:stopped_test, fn -> :ok end)
    assert {:error, %Error{}} = CircuitBreaker.get_status(:stopped_test)
    assert {:error, _} = CircuitBreaker.start_fuse_instance(:stopped_test)
    assert ConnectionManager.with_connection(:no_pool, fn _ -> :ok end) == {:error, :pool_not_found}
  end

  test "the library still answers for itself" do
    assert Foundation.Native.engine_key_roundtrip({:a, 1}) == {:a, 1}
  end
end
