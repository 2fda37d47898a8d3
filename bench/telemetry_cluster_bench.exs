# The metrics of three nodes put together: mix run bench/telemetry_cluster_bench.exs
Code.require_file("support.exs", __DIR__)

defmodule Foundation.Bench.TelemetryCluster do
  alias Foundation.{Bench, PeerNodes, Telemetry}

  @series 1_000

  def run do
    IO.puts("metrics of a cluster")
    peers = PeerNodes.start(2)
    nodes = [node() | Enum.map(peers, & &1.node)]
    for node <- nodes, do: :ok = :erpc.call(node, Code, :eval_string, [fill()], 60_000) |> elem(0)

    {:ok, found} = Telemetry.get_cluster_metrics()
    merged = for %{name: [:bench, :cluster, _]} = metric <- found.metrics, do: metric
    @series = length(merged)
    true = Enum.all?(merged, &(&1.count == 3_000))

    times = for _ <- 1..15, do: elem(:timer.tc(fn -> {:ok, _} = Telemetry.get_cluster_metrics() end), 0)

    Bench.figure(
      "#{@series} histograms of 3 nodes, merged (wanted: at most 50 ms)",
      "#{Float.round(Bench.median(times) / 1000, 1)} ms"
    )

    PeerNodes.leave(peers)
  end

  # 1,000 histograms, each of 1,000 values between 1 and 10,000.
  defp fill do
    """
    for s <- 1..#{@series}, {:ok, series} = Foundation.Telemetry.prepare(:histogram, [:bench, :cluster, rem(s, 50)], %{s: s}), i <- 1..1_000,
        do: Foundation.Telemetry.record(series, rem(i * 7919 * s, 10_000) + 1)

    :ok
    """
  end
end

Foundation.Bench.TelemetryCluster.run()
