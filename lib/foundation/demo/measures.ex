defmodule Foundation.Demo.Measures do
  @moduledoc false
  # Histograms of what the demo measures, by application.

  alias Foundation.Telemetry

  @time [:foundation_demo, :parse_time]
  @size [:foundation_demo, :file_size]
  @applications 3

  @doc "Forgets earlier values."
  @spec reset() :: :ok
  def reset do
    for name <- [@time, @size], do: Telemetry.forget(name)
    :ok = Telemetry.declare(@time, :histogram, unit: :microseconds, help: "Time to read a BEAM file")
    :ok = Telemetry.declare(@size, :histogram, unit: :bytes, help: "Size of a BEAM file")
  end

  @doc "Records one module's facts."
  @spec record(map) :: :ok
  def record(facts) do
    tags = %{application: facts.application}
    :ok = Telemetry.record(@time, facts.parse_us, tags)
    :ok = Telemetry.record(@size, facts.file_bytes, tags)
  end

  @doc "Percentiles over everything and of the applications that took the most time."
  @spec percentiles(Foundation.Demo.Summary.t()) :: [map]
  def percentiles(%{modules: 0}), do: []

  def percentiles(summary) do
    applications = summary.applications |> Enum.take(@applications) |> Enum.map(& &1.name)

    [row("time, all modules", @time, :time, :all), row("size, all modules", @size, :bytes, :all)] ++
      for(name <- applications, do: row("time, #{name}", @time, :time, %{application: name}))
  end

  defp row(name, series, unit, tags) do
    {:ok, figures} = Telemetry.summary(series, tags: tags)
    figures |> Map.take([:count, :p50, :p90, :p99, :p999, :max]) |> Map.merge(%{name: name, unit: unit})
  end
end
