defmodule Foundation.Telemetry.SeriesKeyTest do
  use ExUnit.Case, async: false

  import Bitwise
  alias Foundation.Services.TelemetryService
  alias Foundation.Telemetry

  setup do
    :ok = TelemetryService.reset_state()
    on_exit(fn -> TelemetryService.reset_state() end)
  end

  # Usual names and tags take a path of their own through the native library; both must name the same series.
  @shapes [
    {:plain, %{}},
    {"text", %{"a" => "b"}},
    {[:a, :b], %{n: 1, f: 1.5, neg: -7, big: 0x7FFF_FFFF_FFFF_FFFF}},
    {[:a, "b"], %{1 => :one, "two" => 2.0, three: ""}},
    {[], %{}},
    {{:tuple, 1}, %{a: 1}},
    {[:nested, [:x]], %{a: [1, 2]}},
    {[:deep], %{a: %{b: :c}}},
    {[:huge, 1 <<< 80], %{a: 1 <<< 80}},
    {String.duplicate("n", 300), %{}},
    {[:edge, String.duplicate("n", 100)], %{a: String.duplicate("v", 101)}},
    {[:many], Map.new(1..32, &{&1, &1})},
    {[:bits, <<1::3>>], %{a: <<5::4>>}}
  ]

  test "is one series, however it is written to and read" do
    for {{name, tags}, n} <- Enum.with_index(@shapes, 1) do
      :ok = Telemetry.counter_add(name, n, tags)
      :ok = Telemetry.counter_add(name, 1, tags)
      assert Telemetry.value(name, tags) == {:ok, n + 1}, inspect({name, tags})
      {:ok, series} = Telemetry.prepare(:counter, name, tags)
      :ok = Telemetry.record(series, 1)
      assert Telemetry.value(name, tags) == {:ok, n + 2}
    end
  end

  test "differs by type, length and order of what its name and tags are made of" do
    different = [
      {[:same, :a], %{}},
      {[:same, "a"], %{}},
      {[:same], %{a: 1}},
      {[:same], %{a: 1.0}},
      {[:same], %{"a" => 1}},
      {[:same], %{a: "1"}},
      {[:same, "b", "c"], %{}},
      {[:same, "bc", ""], %{}},
      {[:same, "c", "b"], %{}},
      {[:same], %{a: :b, b: :a}},
      {[:same], %{a: :a, b: :b}}
    ]

    for {{name, tags}, n} <- Enum.with_index(different, 1), do: :ok = Telemetry.sum_add(name, n, tags)

    for {{name, tags}, n} <- Enum.with_index(different, 1),
        do: assert(Telemetry.value(name, tags) == {:ok, n})
  end

  test "takes its numbers one by one from several processes, slots and kinds apart" do
    for value <- [1, 2, 2.5, -1, 3_000_000_000], do: :ok = Telemetry.record([:mixed], value)
    assert {:ok, %{count: 5, clamped: 1}} = Telemetry.summary([:mixed])
    assert Telemetry.counter_add([:mixed], 1) == {:error, :kind}

    1..4
    |> Enum.map(fn _ -> Task.async(fn -> for i <- 1..5_000, do: Telemetry.record([:busy, :shape], i) end) end)
    |> Task.await_many(30_000)

    assert {:ok, %{count: 20_000, min: 1, max: 5_000, sum: sum}} = Telemetry.summary([:busy, :shape])
    assert sum == 4 * div(5_000 * 5_001, 2)
  end
end
