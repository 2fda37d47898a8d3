Code.require_file("support.exs", __DIR__)

defmodule Foundation.MetricsBench do
  @moduledoc false
  # Recording against what a user would write on ETS and :counters, and how it grows with the number of series.

  alias Foundation.{Bench, Telemetry}
  alias Foundation.Services.TelemetryService

  def run do
    # Room for the largest row below.
    Application.stop(:foundation)
    Application.put_env(:foundation, :metrics, max_series: 2_000_000)
    {:ok, _} = Application.ensure_all_started(:foundation)

    IO.puts("metrics")
    by_name()
    prepared()
    events()

    unless System.get_env("QUICK"),
      do:
        for(
          {series, label} <- [{1_000, "10^3"}, {100_000, "10^5"}, {1_000_000, "10^6"}],
          do: scaling(series, label)
        )

    reading()
    TelemetryService.reset_metrics()
  end

  defp by_name do
    name = [:http, :request, :duration]
    tags = %{route: "/orders", method: :get}
    table = table()

    Bench.compare("histogram record by name and tags, 2 processes",
      ours: fn i -> Telemetry.record(name, rem(i, 1000) + 1, tags) end,
      theirs: fn i -> ets_record(table, name, tags, rem(i, 1000) + 1) end,
      processes: 2,
      at_least: 4
    )

    {:ok, %{count: counted, min: 1, max: 1000}} = Telemetry.summary(name, tags: tags)
    ^counted = ets_count(table, {name, tags})

    Bench.compare("the same, ETS without count and sum",
      ours: fn i -> Telemetry.record(name, rem(i, 1000) + 1, tags) end,
      theirs: fn i -> ets_bucket(table, name, tags, rem(i, 1000) + 1) end,
      processes: 2
    )

    Bench.compare("the same, 1 process",
      ours: fn i -> Telemetry.record(name, rem(i, 1000) + 1, tags) end,
      theirs: fn i -> ets_record(table, name, tags, rem(i, 1000) + 1) end
    )

    :ets.delete(table)
  end

  defp prepared do
    {:ok, series} = Telemetry.prepare(:histogram, [:prepared])
    counters = :counters.new(1, [])

    for {processes, wanted, label} <- [
          {1, [at_most: 1.5], "prepared series"},
          {2, [], "the same, 2 processes on it"}
        ] do
      Bench.compare(
        "histogram record through a " <> label,
        [
          ours: fn i -> Telemetry.record(series, i) end,
          theirs: fn _ -> :counters.add(counters, 1, 1) end,
          iterations: 500_000,
          processes: processes
        ] ++ wanted
      )
    end

    {:ok, %{count: counted}} = Telemetry.summary([:prepared])
    ^counted = :counters.get(counters, 1)
  end

  # A counter in the state of a process, as 1.x had it.
  defmodule Holder do
    @moduledoc false
    use GenServer
    def init(state), do: {:ok, state}
    def handle_call({:add, name}, _from, state), do: {:reply, :ok, Map.update(state, name, 1, &(&1 + 1))}
  end

  defp events do
    {:ok, holder} = GenServer.start_link(Holder, %{})

    Bench.compare("1.x emit_counter/2 against GenServer.call, 2 processes",
      ours: fn _ -> Telemetry.emit_counter([:bench, :counter], %{a: 1}) end,
      theirs: fn _ -> GenServer.call(holder, {:add, [:bench, :counter]}) end,
      their_iterations: 20_000,
      processes: 2
    )

    Bench.compare("1.x emit_histogram/2 against GenServer.call, 2 processes",
      ours: fn i -> Telemetry.emit_histogram([:bench, :histogram], i) end,
      theirs: fn _ -> GenServer.call(holder, {:add, [:bench, :counter]}) end,
      their_iterations: 20_000,
      processes: 2
    )

    {:ok, %{bench: %{counter: %{count: n, measurements: %{counter: n}}}}} = Telemetry.get_metrics()
  end

  defp scaling(series, label) do
    TelemetryService.reset_metrics()
    table = table()
    name = [:wide]
    :ok = Telemetry.declare(name, :histogram, max_series: series)

    for n <- 1..series do
      :ok = Telemetry.record(name, 5, tags(n))
      ets_record(table, name, tags(n), 5)
    end

    {:ok, %{bytes: bytes, by_name: %{^name => %{series: ^series, overflowed: 0}}}} = Telemetry.cardinality()

    # A walk over all series that comes to each of them equally often.
    Bench.compare("record by name and tags, #{label} series",
      ours: fn i -> Telemetry.record(name, 5, tags(rem(i * 7_919, series) + 1)) end,
      theirs: fn i -> ets_record(table, name, tags(rem(i * 7_919, series) + 1), 5) end,
      iterations: 200_000,
      rounds: 5
    )

    Bench.figure("bytes a series of one value, #{label} series", div(bytes, series))
    :ets.delete(table)
  end

  defp reading do
    TelemetryService.reset_metrics()
    values = for _ <- 1..100_000, do: :rand.uniform(10_000_000)
    Enum.each(values, &Telemetry.record([:busy], &1))
    {:ok, %{bytes: bytes}} = Telemetry.cardinality()
    Bench.figure("bytes of 100,000 values over 7 decades, 3 digits", bytes)

    at = [50, 90, 99, 99.9]
    {:ok, %{50 => median}} = Telemetry.percentiles([:busy], at)
    exact = values |> Enum.sort() |> Enum.at(49_999)
    true = abs(median - exact) <= exact / 1000
    timed("four percentiles of that histogram", fn -> Telemetry.percentiles([:busy], at) end)
    {:ok, encoded} = Telemetry.histogram([:busy])
    timed("its V2 encoding, #{byte_size(encoded)} bytes", fn -> Telemetry.histogram([:busy]) end)
  end

  defp timed(label, fun) do
    times = for _ <- 1..21, do: fun |> :timer.tc() |> elem(0)
    Bench.figure(label, Bench.nanoseconds(Bench.median(times) * 1000))
  end

  # A log-bucket histogram on ETS: a row for each bucket, six buckets each doubling, and a row for count and sum.
  defp table, do: :ets.new(:histogram, [:set, :public, write_concurrency: true, decentralized_counters: true])

  defp ets_record(table, name, tags, value) do
    ets_bucket(table, name, tags, value)
    key = {name, tags}
    :ets.update_counter(table, key, [{2, 1}, {3, value}], {key, 0, 0})
  end

  defp ets_bucket(table, name, tags, value) do
    key = {name, tags, trunc(:math.log2(value) * 6)}
    :ets.update_counter(table, key, 1, {key, 0})
  end

  defp ets_count(table, key), do: :ets.lookup_element(table, key, 2)

  defp tags(n), do: %{route: n, method: :get}
end

Foundation.MetricsBench.run()
