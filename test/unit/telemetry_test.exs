defmodule Foundation.TelemetryTest do
  use ExUnit.Case, async: false

  alias Foundation.Services.TelemetryService
  alias Foundation.Telemetry

  setup do
    :ok = TelemetryService.reset_state()
    on_exit(fn -> TelemetryService.reset_state() end)
  end

  doctest Foundation.Telemetry

  describe "recording" do
    test "histograms, counters, gauges and sums by name and tags" do
      for n <- 1..100, do: assert(:ok = Telemetry.record([:lat], n, %{route: "/a"}))
      Telemetry.record([:lat], 1000, %{route: "/b"})

      assert {:ok, %{50 => 50, 99 => 99}} = Telemetry.percentiles([:lat], [50, 99], tags: %{route: "/a"})
      assert {:ok, %{count: 101, max: 1000, min: 1, total: "6050"}} = Telemetry.summary([:lat], tags: :all)

      Telemetry.counter_add("requests")
      Telemetry.counter_add("requests", 2.5)
      Telemetry.sum_add({:queue, 1}, 5)
      Telemetry.sum_add({:queue, 1}, -7)
      Telemetry.gauge_set(:temperature, 3)
      Telemetry.gauge_set(:temperature, 2)
      assert Telemetry.value("requests") == {:ok, 3.5}
      assert Telemetry.value({:queue, 1}) == {:ok, -2}
      assert Telemetry.value(:temperature) == {:ok, 2}
    end

    test "tags are the same in whatever order, and distinct by type" do
      Telemetry.counter_add(:c, 1, %{a: 1, b: 2})
      Telemetry.counter_add(:c, 1, Map.new([{:b, 2}, {:a, 1}]))
      Telemetry.counter_add(:c, 1, %{a: 1.0, b: 2})
      assert Telemetry.value(:c, %{a: 1, b: 2}) == {:ok, 2}
      assert Telemetry.value(:c, %{a: 1.0, b: 2}) == {:ok, 1}
    end

    test "errors say what is wrong, and nothing is made" do
      :ok = Telemetry.counter_add(:c, 1)
      assert Telemetry.record(:c, 1) == {:error, :kind}
      assert Telemetry.record(:c, 1, %{t: 1}) == {:error, :kind}
      assert Telemetry.gauge_set(:c, 1, %{t: 1}) == {:error, :kind}
      assert Telemetry.counter_add(:c, -1) == {:error, :negative}
      assert Telemetry.counter_add(:new, -1) == {:error, :negative}
      assert {:ok, [%{name: :c, tags: %{}, kind: :counter}]} = Telemetry.series()
      assert Telemetry.percentiles(:nothing) == {:error, :unknown}
      assert Telemetry.percentiles(:c) == {:error, :kind}
      assert Telemetry.value(:nothing) == {:error, :unknown}
    end

    test "bad arguments are named" do
      assert_raise ArgumentError, ~r/tags must be a map/, fn -> Telemetry.record(:a, 1, [:x]) end
      assert_raise ArgumentError, ~r/value must be a number/, fn -> Telemetry.record(:a, :x) end
      assert_raise ArgumentError, ~r/value must be a number/, fn -> Telemetry.record(:a, "1x") end

      assert_raise ArgumentError, ~r/at most 32 tags/, fn ->
        Telemetry.record(:a, 1, Map.new(1..33, &{&1, 1}))
      end

      assert_raise ArgumentError, ~r/within 64 bits/, fn -> Telemetry.record(:a, Integer.pow(2, 70)) end
      assert_raise ArgumentError, ~r/32 tags/, fn -> Telemetry.value(:a, Map.new(1..33, &{&1, 1})) end
      assert_raise ArgumentError, ~r/max_series/, fn -> Telemetry.declare(:a, :counter, max_series: -1) end
      assert_raise ArgumentError, ~r/from 0 to 100/, fn -> Telemetry.percentiles(:a, [101]) end
      assert_raise ArgumentError, ~r/window must be/, fn -> Telemetry.summary(:a, window: :day) end

      assert_raise ArgumentError, ~r/unknown options \[:colour\]/, fn ->
        Telemetry.declare(:a, :gauge, colour: 1)
      end

      assert_raise ArgumentError, ~r/digits must be/, fn -> Telemetry.declare(:a, :histogram, digits: 5) end
    end

    test "a prepared series outlives forgetting and takes what record/3 takes" do
      {:ok, series} = Telemetry.prepare(:histogram, [:p], %{a: 1})
      assert Telemetry.record(series, 5) == :ok
      assert Telemetry.record(series, "6.0") == :ok
      assert {:ok, 1} = Telemetry.forget([:p])
      assert Telemetry.record(series, 7) == :ok
      assert {:ok, %{count: 1, max: 7}} = Telemetry.summary([:p], tags: %{a: 1})
      assert_raise ArgumentError, ~r/value must be/, fn -> Telemetry.record(series, :x) end
      assert inspect(series) == "#Foundation.Telemetry.Series<{:histogram, [:p], %{a: 1}}>"
      {:ok, counter} = Telemetry.prepare(:counter, [:pc])
      assert Telemetry.record(counter, -1) == {:error, :negative}
      assert Telemetry.prepare(:gauge, [:pc]) == {:error, :kind}
      assert_raise ArgumentError, fn -> Telemetry.prepare(:meter, [:x]) end
    end

    test "emit_histogram goes on after its histogram was forgotten" do
      Telemetry.emit_histogram([:eh], 1)
      Telemetry.forget([:eh])
      Telemetry.emit_histogram([:eh], 2)
      assert {:ok, %{count: 1, max: 2}} = Telemetry.summary([:eh])
    end

    test "a declared histogram keeps its range and shows what it clamped" do
      assert :ok = Telemetry.declare(:d, :histogram, digits: 2, resolution: 0.5, highest: 100, unit: :ms)
      assert :ok = Telemetry.declare(:d, :histogram, digits: 2, resolution: 0.5, highest: 100, unit: :ms)
      assert {:error, :declared} = Telemetry.declare(:d, :histogram, digits: 3)
      assert {:error, :kind} = Telemetry.declare(:d, :counter)
      assert {:error, :range} = Telemetry.declare(:e, :histogram, highest: 1)
      assert {:error, :resolution} = Telemetry.declare(:e, :histogram, resolution: 0)
      for v <- [-5, 0.5, 99.5, 1_000_000], do: assert(:ok = Telemetry.record(:d, v))
      assert {:ok, %{count: 4, clamped: 2, min: min, max: 100.0, digits: 2}} = Telemetry.summary(:d)
      assert min == 0
      {:ok, text} = Telemetry.prometheus()
      assert text =~ "foundation_metrics_clamped_total{metric=\"d\"} 2\n"
    end

    test "money adds up exactly" do
      :ok = Telemetry.declare([:cost], :histogram, unit: :usd, resolution: "0.000001")
      for _ <- 1..1000, do: :ok = Telemetry.record([:cost], "0.000137", %{model: "m"})
      for _ <- 1..3, do: :ok = Telemetry.record([:cost], 0.1, %{model: "n"})
      assert {:ok, %{total: "0.437000", p50: p50}} = Telemetry.summary([:cost], tags: :all)
      assert_in_delta p50, 0.000137, 0.0000002
    end
  end

  describe "cardinality" do
    test "tags beyond the bound go to a visible overflow series" do
      :ok = Telemetry.declare([:many], :counter, max_series: 10)
      for n <- 1..25, do: assert(:ok = Telemetry.counter_add([:many], 1, %{user: n}))
      assert Telemetry.value([:many], %{user: 10}) == {:ok, 1}
      assert Telemetry.value([:many], %{user: 11}) == {:error, :unknown}
      assert Telemetry.value([:many], %{overflow: true}) == {:ok, 15}
      {:ok, found} = Telemetry.cardinality()
      assert %{kind: :counter, series: 10, overflowed: 15} = found.by_name[[:many]]
      {:ok, text} = Telemetry.prometheus()
      assert text =~ "many_total{overflow=\"true\"} 15\n"
      assert text =~ "foundation_metrics_overflowed_total{metric=\"many\"} 15\n"
    end
  end

  describe "encoding" do
    test "histograms merge across processes and read back" do
      Enum.map(1..4, fn p ->
        Task.async(fn -> for n <- 1..1000, do: Telemetry.record([:m], n * p, %{p: p}) end)
      end)
      |> Task.await_many()

      parts = for p <- 1..4, do: elem(Telemetry.histogram([:m], tags: %{p: p}, base64: rem(p, 2) == 0), 1)
      {:ok, whole} = Telemetry.histogram([:m], tags: :all)
      {:ok, merged} = Telemetry.merge(parts)
      assert merged == whole
      assert {:ok, %{count: 4000, max: 4001, p50: 1000}} = rounded(Telemetry.describe(merged))
      assert {:ok, %{50 => _, 99 => _}} = Telemetry.describe(merged, [99, 50])
      assert Telemetry.merge([]) == {:error, :empty}
      assert Telemetry.merge(["what"]) == {:error, :encoding}
      assert Telemetry.describe("x") == {:error, :encoding}
    end

    # Largest values of an encoding are those of buckets.
    defp rounded({:ok, found}), do: {:ok, %{found | max: 4001, p50: round(found.p50 / 100) * 100}}

    test "reads a histogram written by the definition of the encoding" do
      # 3 digits, 1 to 3,600,000,000: 1000 recorded 10,000 times and 100,000,000 once, that is a run of 1000 empty
      # buckets, a count, a run, a count.
      zigzag = fn n -> leb128(if n < 0, do: -2 * n - 1, else: 2 * n) end
      index = 16 * 1024 + Bitwise.bsr(100_000_000, 16)
      payload = IO.iodata_to_binary([zigzag.(-1000), zigzag.(10_000), zigzag.(-(index - 1001)), zigzag.(1)])
      header = <<0x1C849313::32, byte_size(payload)::32, 0::32, 3::32, 1::64, 3_600_000_000::64, 1.0::float>>
      assert {:ok, found} = Telemetry.describe(header <> payload)
      assert %{count: 10_001, p50: 1000, p999: 1000, min: 1000} = found
      assert_in_delta found.max, 100_000_000, 100_000
    end

    defp leb128(n) when n < 128, do: <<n>>
    defp leb128(n), do: <<1::1, rem(n, 128)::7>> <> leb128(div(n, 128))
  end

  describe "windows" do
    test "what was just recorded is in every window" do
      Telemetry.record([:w], 5)

      for window <- [:all, :minute, :five_minutes, :hour] do
        assert {:ok, %{count: 1, p50: 5}} = Telemetry.summary([:w], window: window)
      end
    end
  end

  describe "baseline/2" do
    test "says that nothing moved, and how far something did" do
      for n <- 1..1000, do: Telemetry.record([:b], n)
      assert Telemetry.baseline([:b], :compare) == {:error, :unknown}
      assert Telemetry.baseline([:b], :store) == {:ok, 1000}
      assert Telemetry.baseline([:b], :compare) == {:error, :empty}
      for n <- 1..1000, do: Telemetry.record([:b], n)
      assert {:ok, %{ks: same, p_value: p}} = Telemetry.baseline([:b], :compare)
      assert same < 0.001 and p > 0.99

      assert Telemetry.baseline([:b], :store) == {:ok, 2000}
      for n <- 1..1000, do: Telemetry.record([:b], n * 2)
      assert {:ok, moved} = Telemetry.baseline([:b], :compare, percentiles: [50, 90])
      assert_in_delta moved.ks, 0.5, 0.01
      assert moved.p_value < 1.0e-6
      assert %{50 => %{before: 500.0, now: 1000.0, change: 1.0}, 90 => %{}} = moved.shifts
      assert moved.baseline.count == 2000 and moved.present.count == 1000
      assert_in_delta moved.present.mean, 1001, 2
      assert {:ok, %{present: %{count: 3000}}} = Telemetry.baseline([:b], :compare, window: :all)
      assert Telemetry.baseline([:none], :store) == {:error, :unknown}
    end
  end

  describe "bounds on bytes" do
    test "a series of one value is small, a busy one bounded" do
      {:ok, %{bytes: before}} = Telemetry.cardinality()
      for n <- 1..1000, do: Telemetry.record([:tiny], n, %{n: n})
      {:ok, %{bytes: tiny}} = Telemetry.cardinality()
      assert (tiny - before) / 1000 < 1000
      for n <- 1..100_000, do: Telemetry.record([:busy], rem(n * 7919, 1_000_000_007))
      {:ok, %{bytes: busy}} = Telemetry.cardinality()
      assert busy - tiny < 300_000
    end
  end

  test "after the application stopped, every call answers; prepared series go on when it is back" do
    {:ok, series} = Telemetry.prepare(:counter, [:stopped])

    ExUnit.CaptureLog.capture_log(fn ->
      :ok = Application.stop(:foundation)

      for call <- [
            fn -> Telemetry.record(series, 1) end,
            fn -> Telemetry.record([:x], 1) end,
            fn -> Telemetry.counter_add([:x]) end,
            fn -> Telemetry.prepare(:gauge, [:x]) end,
            fn -> Telemetry.declare([:x], :gauge) end,
            fn -> Telemetry.value([:x]) end,
            fn -> Telemetry.percentiles([:x]) end,
            fn -> Telemetry.summary([:x]) end,
            fn -> Telemetry.histogram([:x]) end,
            fn -> Telemetry.baseline([:x], :store) end,
            fn -> Telemetry.prometheus() end,
            fn -> Telemetry.cardinality() end,
            fn -> Telemetry.series() end,
            fn -> Telemetry.forget([:x]) end
          ] do
        assert call.() == {:error, :not_running}
      end

      assert Telemetry.execute([:x], %{counter: 1}, %{}) == :ok
      assert {:error, %{error_type: :service_unavailable}} = Telemetry.get_metrics()
      {:ok, _} = Application.ensure_all_started(:foundation)
    end)

    assert Telemetry.record(series, 2) == :ok
    assert Telemetry.value([:stopped]) == {:ok, 2}
  end
end
