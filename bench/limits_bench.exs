# Limits against what one would otherwise write on ETS: mix run bench/limits_bench.exs
Code.require_file("support.exs", __DIR__)

defmodule Foundation.Bench.Limits do
  alias Foundation.Bench
  alias Foundation.Infrastructure.{Limits, RateLimiter}

  @table :limits_bench
  @window 1_000
  @plenty 1_000_000_000_000

  def run do
    :ets.new(@table, [:named_table, :public, :set, write_concurrency: true, decentralized_counters: true])
    IO.puts("limits")
    hot_key()
    many_keys()
    chain()
    check_rate()
    scaling()
  end

  # A fixed window on ETS, as one would write it: clock, window, counter, compare.
  defp fixed_window(key, limit) do
    window = div(System.monotonic_time(:millisecond), @window)
    :ets.update_counter(@table, {key, window}, {2, 1}, {{key, window}, 0}) <= limit
  end

  defp hot_key do
    :ok = Limits.set_limits(:hot, requests: [limit: @plenty, per: @window])
    before = used(:hot)

    Bench.compare("acquire, one dimension, one hot key, 2 processes",
      ours: fn _ -> :ok = Limits.acquire(:hot, %{requests: 1}) end,
      theirs: fn _ -> true = fixed_window(:hot, @plenty) end,
      processes: 2,
      at_least: 2
    )

    true = used(:hot) >= before
    :ok = Limits.set_limits(:few, requests: [limit: 1_000, per: 3_600_000])
    1_000 = Enum.count(1..5_000, fn _ -> Limits.acquire(:few, %{requests: 1}) == :ok end)
  end

  defp used(key) do
    {:ok, peek} = Limits.peek(key)
    peek.dimensions.requests.used
  end

  defp many_keys do
    keys = 100_000
    for i <- 1..keys, do: :ok = Limits.set_limits({:user, i}, requests: [limit: 1_000_000, per: @window])

    Bench.compare("acquire, one dimension, 100k keys, 2 processes",
      ours: fn i -> :ok = Limits.acquire({:user, scatter(i, keys)}, %{requests: 1}) end,
      theirs: fn i -> true = fixed_window({:user, scatter(i, keys)}, @plenty) end,
      processes: 2,
      iterations: 200_000,
      at_least: 3
    )

    :ets.delete_all_objects(@table)
  end

  # Visits all keys in an order that no cache guesses.
  defp scatter(i, keys), do: rem(i * 2_654_435_761, keys) + 1

  @dimensions [:requests, :input_tokens, :output_tokens, :usd]

  defp chain do
    limits = for d <- @dimensions, do: {d, [limit: 1_000_000_000, per: @window]}
    keys = 100_000
    :ok = Limits.set_limits(:bench_all, limits)
    for t <- 1..100, do: :ok = Limits.set_limits({:tenant, t}, limits, parent: :bench_all)

    for i <- 1..keys do
      :ok = Limits.set_limits({:call, i}, limits, parent: {:tenant, rem(i, 100) + 1})
    end

    costs = %{requests: 1, input_tokens: 900, output_tokens: 100, usd: 2}

    Bench.compare("acquire, four dimensions and two ancestors, 100k keys",
      ours: fn i -> :ok = Limits.acquire({:call, scatter(i, keys)}, costs) end,
      theirs: fn i -> true = one_after_another(scatter(i, keys), costs) end,
      iterations: 50_000,
      at_least: 5
    )

    :ets.delete_all_objects(@table)
  end

  defp one_after_another(i, costs) do
    window = div(System.monotonic_time(:millisecond), @window)
    levels = [{:call, i}, {:tenant, rem(i, 100) + 1}, :bench_all]

    Enum.all?(levels, fn level ->
      Enum.all?(costs, fn {dimension, cost} ->
        key = {level, dimension, window}
        :ets.update_counter(@table, key, {2, cost}, {key, 0}) <= @plenty
      end)
    end)
  end

  defp check_rate do
    Bench.compare("check_rate/5 with its telemetry event, in System.system_time/1",
      ours: fn _ -> :ok = RateLimiter.check_rate("bench", :call, 1_000_000_000, 60_000, %{}) end,
      theirs: fn _ -> System.system_time(:millisecond) end,
      at_most: 10
    )
  end

  defp scaling do
    for keys <- [1_000, 100_000, 1_000_000] do
      for i <- 1..keys, do: :ok = Limits.set_limits({:scale, i}, requests: [limit: 1_000_000, per: @window])

      ns =
        for(
          _ <- 1..5,
          do: Bench.run(fn i -> :ok = Limits.acquire({:scale, scatter(i, keys)}, %{requests: 1}) end, 200_000)
        )
        |> Bench.median()

      Bench.figure("acquire over #{keys} keys", Bench.nanoseconds(ns))
    end

    for i <- 1..1_000_000, do: Limits.delete_limits({:scale, i})
  end
end

Foundation.Bench.Limits.run()
