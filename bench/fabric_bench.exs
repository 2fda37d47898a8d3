# Channels between two real nodes of one host against Distributed Erlang between the same two, in the same run.
Code.require_file("support.exs", __DIR__)
load = Code.require_file("fabric_load.exs", __DIR__)

defmodule Foundation.Bench.Fabric do
  alias Foundation.Bench
  alias Foundation.Bench.FabricLoad, as: Load
  alias Foundation.FabricPeers, as: Peers

  def run(wanted, modules) do
    Process.put(:modules, modules)
    IO.puts("fabric: two nodes on this host, TLS 1.3, against Distributed Erlang in the clear")
    {a, b} = pair([])
    cases = [one_way: &one_way/2, mixed: &mixed/2, bulk: &bulk/2]
    for {name, fun} <- cases, wanted == [] or to_string(name) in wanted, do: fun.(a, b)
    Enum.each([a, b], &Peers.stop/1)
  end

  defp pair(options) do
    System.cmd("epmd", ["-daemon"])
    [a, b] = for name <- [:fabric_bench_a, :fabric_bench_b], do: Peers.start(name, options)
    for peer <- [a, b], do: Load.install(peer, Process.get(:modules))
    true = Peers.connect(a, b)
    wait(fn -> b.node in Peers.rpc(a, Foundation.Distributed.Fabric, :nodes, []) end)
    {a, b}
  end

  defp wait(fun), do: unless(fun.(), do: wait(fun))

  defp one_way(a, b) do
    for senders <- [1, 8] do
      count = div(400_000, senders)

      compare(
        "100 bytes one way, #{senders} sender(s), messages a second",
        if(senders == 1, do: 1.0, else: 1.5),
        fn how ->
          rate(a, b, how, senders, count, 100)
        end
      )
    end
  end

  defp bulk(a, b) do
    for {size, count} <- [{65_536, 8_000}, {1_048_576, 800}] do
      compare("#{div(size, 1024)} KB bulk, MB a second", 0.5, fn how ->
        rate(a, b, how, 4, div(count, 4), size) * size / 1.0e6
      end)
    end
  end

  # Messages a second from the first send until the last receiver has checked them all.
  defp rate(a, b, how, senders, count, size) do
    us = Peers.rpc(a, Load, :one_way, [how, b.node, senders, count, size], 120_000)
    senders * count / us * 1.0e6
  end

  defp mixed(a, b) do
    rows =
      for _ <- 1..3,
          how <- [:fabric, :distribution],
          do: {how, Peers.rpc(a, Load, :mixed, [how, b.node, 3_000], 60_000)}

    for {index, name, least} <- [{0, "p50", 10}, {1, "p99", 4}] do
      [ours, theirs] =
        for how <- [:fabric, :distribution], do: Bench.median(for {^how, row} <- rows, do: elem(row, index))

      Bench.figure(
        "small call beside 1 MB messages, #{name}",
        "#{Bench.nanoseconds(ours * 1000)} against #{Bench.nanoseconds(theirs * 1000)}",
        verdict(theirs / ours, least)
      )
    end

    for how <- [:fabric, :distribution],
        do:
          Bench.figure(
            "  #{how}: MB a second meanwhile",
            round(Bench.median(for {^how, row} <- rows, do: elem(row, 2)))
          )
  end

  defp compare(name, least, measure) do
    measure.(:fabric)
    measure.(:distribution)
    samples = for _ <- 1..5, do: {measure.(:fabric), measure.(:distribution)}
    ratio = samples |> Enum.map(fn {ours, theirs} -> ours / theirs end) |> Bench.median()
    [ours, theirs] = for n <- [0, 1], do: samples |> Enum.map(&elem(&1, n)) |> Bench.median() |> round()
    Bench.figure(name, "#{ours} against #{theirs}", verdict(ratio, least))
  end

  defp verdict(ratio, least) do
    met = if ratio >= least, do: "met", else: "MISSED"
    "#{Float.round(ratio, 2)}x   #{met} (wanted #{least}x)"
  end
end

Foundation.Bench.Fabric.run(System.argv(), load)
