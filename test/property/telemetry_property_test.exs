defmodule Foundation.TelemetryPropertyTest do
  use ExUnit.Case, async: false

  alias Foundation.Services.TelemetryService
  alias Foundation.Telemetry

  @moduletag timeout: 120_000

  setup do
    :ok = TelemetryService.reset_state()
    on_exit(fn -> TelemetryService.reset_state() end)
  end

  defp check(type, property, opts \\ [:quiet, numtests: 100]),
    do: assert(:proper.quickcheck(:proper.forall(type, property), opts))

  # Numbers of all sizes.
  defp number,
    do: :proper_types.oneof([:proper_types.non_neg_integer(), :proper_types.integer(0, 1_000_000_000_000)])

  defp numbers, do: :proper_types.non_empty(:proper_types.list(number()))

  test "a quantile is within the digits of the exact one, whatever was recorded" do
    type = :proper_types.tuple([numbers(), :proper_types.integer(2, 4), :proper_types.integer(0, 1000)])

    check(type, fn {values, digits, permille} ->
      name = make_ref()
      :ok = Telemetry.declare(name, :histogram, digits: digits)
      Enum.each(values, &Telemetry.record(name, &1))
      percentile = permille / 10
      {:ok, %{^percentile => found}} = Telemetry.percentiles(name, [percentile])
      rank = max(ceil(percentile / 100 * length(values)), 1)
      exact = values |> Enum.sort() |> Enum.at(rank - 1)
      Telemetry.forget(name)
      abs(found - exact) <= exact / Integer.pow(10, digits)
    end)
  end

  test "merging encoded histograms is recording all values in one" do
    check(:proper_types.non_empty(:proper_types.list(numbers())), fn parts ->
      name = make_ref()

      parts
      |> Enum.with_index()
      |> Enum.each(fn {part, i} -> Enum.each(part, &Telemetry.record(name, &1, %{i: i})) end)

      Enum.each(List.flatten(parts), &Telemetry.record({:whole, name}, &1))
      encoded = for i <- 0..(length(parts) - 1), do: elem(Telemetry.histogram(name, tags: %{i: i}), 1)
      {:ok, merged} = Telemetry.merge(encoded)
      {:ok, whole} = Telemetry.histogram({:whole, name})
      Telemetry.forget(name)
      Telemetry.forget({:whole, name})
      merged == whole
    end)
  end

  test "the 1.x aggregate is the fold of its rules" do
    event = :proper_types.tuple([:proper_types.integer(), :proper_types.integer(), :proper_types.integer()])

    check(:proper_types.non_empty(:proper_types.list(event)), fn events ->
      :ok = TelemetryService.reset_metrics()
      for {c, g, x} <- events, do: Telemetry.execute([:p], %{counter: c, gauge: g, x: x}, %{first: c})
      [{c, g, x} | rest] = events
      first = %{counter: c, gauge: g, x: x}

      expected =
        Enum.reduce(rest, first, fn {c, g, x}, acc ->
          %{counter: acc.counter + c, gauge: g, x: (acc.x + x) / 2}
        end)

      {:ok, %{p: found}} = Telemetry.get_metrics()
      found.measurements == expected and found.count == length(events) and found.metadata == %{first: c}
    end)
  end

  test "no bytes make describe/1 or merge/2 do anything but answer" do
    check(:proper_types.binary(), fn bytes ->
      {:ok, good} = Telemetry.merge([header(bytes)]) |> then(fn _ -> good() end)

      match?({tag, _} when tag in [:ok, :error], Telemetry.describe(bytes)) and
        match?({tag, _} when tag in [:ok, :error], Telemetry.merge([good, bytes]))
    end)
  end

  defp header(payload),
    do: <<0x1C849313::32, byte_size(payload)::32, 0::32, 3::32, 1::64, 1000::64, 1.0::float>> <> payload

  defp good do
    Telemetry.record(:good, 1)
    Telemetry.histogram(:good)
  end

  test "what many processes record at once is all there" do
    {:ok, series} = Telemetry.prepare(:histogram, [:shared])

    1..8
    |> Enum.map(fn _ ->
      Task.async(fn ->
        for n <- 1..20_000 do
          Telemetry.record(series, n)
          Telemetry.counter_add([:shared, :count], 1, %{a: rem(n, 3)})
          Telemetry.emit_counter([:shared, :event], %{})
        end
      end)
    end)
    |> Task.await_many(60_000)

    assert {:ok, %{count: 160_000, min: 1, max: 20_000, total: total}} = Telemetry.summary([:shared])
    assert total == to_string(8 * div(20_000 * 20_001, 2))
    sum = Enum.sum(for a <- 0..2, do: elem(Telemetry.value([:shared, :count], %{a: a}), 1))
    assert sum == 160_000
    {:ok, %{shared: %{event: %{count: 160_000, measurements: %{counter: 160_000}}}}} = Telemetry.get_metrics()
  end
end
