defmodule Foundation.NifCatalog.Breakers do
  @moduledoc false

  alias Foundation.{Engine, Native}

  @breaker %{
    tolerance: 1_000_000,
    failure_rate: 0.99,
    slow_rate: nil,
    slow_after_ms: 0,
    minimum_calls: 10,
    window_ms: 1_000,
    open_ms: 1,
    probes: 1,
    probe_timeout_ms: 1_000,
    ramp_ms: 0,
    ramp_start: 0.1
  }
  @adaptive %{algorithm: :vegas, initial: 100_000, min: 1, max: 100_000}
  @pool %{min: 0, max: 1_000, max_waiting: 1_000_000, linger_ms: 1_000, lifo: true}

  def entries, do: breakers() ++ adaptive() ++ pools() ++ keepers()

  defp breakers do
    [
      entry({:breaker_new, 0}, fn -> [] end),
      entry({:breaker_put, 4}, fn -> [handle(:breakers), {:catalog, 1}, @breaker, true] end, "O(key)"),
      hot(
        {:breaker_admit, 2},
        fn -> [handle(:breakers), breaker()] end,
        "O(key), one atomic load when closed"
      ),
      entry({:breaker_prepare, 2}, fn -> [handle(:breakers), breaker()] end, "O(key)"),
      hot({:breaker_admit_prepared, 1}, fn -> [prepared()] end, "O(1), two atomic loads when closed"),
      hot(
        {:breaker_record, 5},
        fn ->
          [handle(:breakers), breaker(), Native.breaker_admit(handle(:breakers), breaker()), :success, 10]
        end,
        "O(key), ten slices of the window"
      ),
      entry({:breaker_melt, 2}, fn -> [handle(:breakers), breaker()] end, "O(key)"),
      entry({:breaker_force, 3}, fn -> [handle(:breakers), breaker(), :closed] end, "O(key)"),
      entry({:breaker_view, 2}, fn -> [handle(:breakers), breaker()] end, "O(failures within the tolerance)"),
      entry({:breaker_remove, 2}, fn -> [handle(:breakers), {:catalog, :no_such_breaker}] end, "O(key)"),
      dirty({:breaker_sweep, 1}, fn -> [Native.breaker_new()] end, "O(breakers)"),
      entry({:breaker_count, 1}, fn -> [handle(:breakers)] end),
      dirty({:breaker_keys, 2}, fn -> [handle(:breakers), 100] end, "O(keys)")
    ]
  end

  defp adaptive do
    [
      entry({:adaptive_new, 0}, fn -> [] end),
      entry({:adaptive_put, 4}, fn -> [handle(:adaptive), {:catalog, 1}, @adaptive, true] end, "O(key)"),
      hot({:adaptive_acquire, 2}, fn -> [handle(:adaptive), limiter()] end, "O(key)"),
      Map.put(entry({:adaptive_release, 3}, fn -> [slot(), :success, 10] end), :consumes, true),
      entry({:adaptive_view, 2}, fn -> [handle(:adaptive), limiter()] end, "O(key)"),
      entry({:adaptive_remove, 2}, fn -> [handle(:adaptive), {:catalog, :no_such_limiter}] end, "O(key)")
    ]
  end

  defp pools do
    [
      entry({:pool_new, 0}, fn -> [] end),
      entry({:pool_open, 3}, fn -> [Native.pool_new(), {:catalog, 1}, @pool] end, "O(name)"),
      hot({:pool_checkout, 2}, fn -> [handle(:pools), {:catalog, :no_such_pool}] end, "O(name)"),
      entry(
        {:pool_wait, 3},
        fn -> [handle(:pools), {:catalog, :no_such_pool}, make_ref()] end,
        "O(log waiting)"
      ),
      entry({:pool_retry, 1}, fn -> [lease()] end, "O(log waiting)"),
      entry({:pool_cancel, 1}, fn -> [lease()] end, "O(log waiting)"),
      Map.put(
        entry({:pool_checkin, 1}, fn -> [lease()] end, "O(log waiting), sends at most two messages"),
        :consumes,
        true
      ),
      entry({:pool_view, 2}, fn -> [handle(:pools), {:catalog, :no_such_pool}] end, "O(name)")
    ]
  end

  defp keepers do
    [
      entry({:pool_demand, 1}, fn -> [keeper()] end),
      entry({:pool_start_failed, 1}, fn -> [keeper()] end),
      entry({:pool_add, 2}, fn -> [keeper(), self()] end, "O(log waiting)"),
      entry({:pool_remove, 2}, fn -> [keeper(), self()] end, "O(idle workers)"),
      entry({:pool_set_aside, 2}, fn -> [keeper(), self()] end, "O(idle workers)"),
      entry({:pool_restore, 2}, fn -> [keeper(), self()] end, "O(log waiting)"),
      entry({:pool_expire, 1}, fn -> [keeper()] end, "O(workers that go)"),
      entry({:pool_idle, 1}, fn -> [keeper()] end, "O(idle workers)"),
      entry({:pool_resize, 3}, fn -> [keeper(), 0, 10] end),
      entry({:pool_drain, 1}, fn -> [keeper()] end),
      entry({:pool_close, 1}, fn -> [keeper()] end, "O(waiting), sends each a message")
    ]
  end

  defp handle(name), do: Engine.handle(name)

  defp breaker do
    Native.breaker_put(handle(:breakers), {:catalog, :breaker}, @breaker, false)
    {:catalog, :breaker}
  end

  defp prepared, do: Native.breaker_prepare(handle(:breakers), breaker())

  defp limiter do
    Native.adaptive_put(handle(:adaptive), {:catalog, :limiter}, @adaptive, false)
    {:catalog, :limiter}
  end

  defp slot, do: Native.adaptive_acquire(handle(:adaptive), limiter())

  defp keeper, do: Native.pool_open(Native.pool_new(), {:catalog, make_ref()}, @pool)

  # Waits in a pool without workers.
  defp lease do
    pools = Native.pool_new()
    keeper = Native.pool_open(pools, :catalog, @pool)
    {:queued, lease} = Native.pool_wait(pools, :catalog, make_ref())
    Process.put(:catalog_keeper, keeper)
    lease
  end

  defp entry(nif, args, bound \\ "O(1)"), do: %{nif: nif, scheduler: :normal, bound: bound, args: args}
  defp hot(nif, args, bound), do: nif |> entry(args, bound) |> Map.put(:hot, true)
  defp dirty(nif, args, bound), do: %{entry(nif, args, bound) | scheduler: :dirty_cpu}
end
