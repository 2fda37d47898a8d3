# How often a node that lives is taken for dead: some nodes with the default settings, every processor busy, for minutes.
#
#     MIX_ENV=test mix run bench/steady_bench.exs
#     STEADY_MINUTES=1 STEADY_NODES=8 STEADY_BURN=4 MIX_ENV=test mix run bench/steady_bench.exs
#
# STEADY_BURN (two for each scheduler) is the number of processes that compute without a pause, spread over the nodes; with
# 0 the load is whatever else the machine does. Each node sends to each other one all the while, and counts what its
# membership tells: suspicions, which may be taken back, and nodes declared dead, which is what must not be. The load of
# the machine is sampled, and at the end a frozen node shows that the detectors were awake.

Code.require_file("support.exs", __DIR__)

# Loaded into each node: counts what membership tells, and keeps the node busy.
{:module, _, watch, _} =
  defmodule Foundation.SteadyBench.Watch do
    use GenServer

    alias Foundation.Distributed.{Channels, Fabric, Topology}

    def start(burn), do: GenServer.start(__MODULE__, burn, name: __MODULE__)

    @impl true
    def init(burn) do
      :ok = Topology.subscribe()
      for _ <- 1..burn//1, do: spawn(fn -> burn(1) end)
      Process.send_after(self(), :chat, 100)
      {:ok, %{down: 0, suspect: 0, sent: 0, refused: 0}}
    end

    @impl true
    def handle_call(:counts, _from, counts), do: {:reply, counts, counts}

    @impl true
    def handle_info({:foundation_member, {:down, _}, _node}, counts),
      do: {:noreply, %{counts | down: counts.down + 1}}

    def handle_info({:foundation_member, :suspect, _node}, counts),
      do: {:noreply, %{counts | suspect: counts.suspect + 1}}

    def handle_info(:chat, counts) do
      Process.send_after(self(), :chat, 100)

      answers =
        for node <- Fabric.nodes(),
            do: Channels.send_message(:data, {:nobody, node}, :binary.copy("x", 1_000))

      refused = Enum.count(answers, &(&1 != :ok))
      {:noreply, %{counts | sent: counts.sent + length(answers), refused: counts.refused + refused}}
    end

    def handle_info(_other, counts), do: {:noreply, counts}

    defp burn(n), do: burn(rem(n * 7 + 3, 1_000_003))
  end

defmodule Foundation.SteadyBench do
  alias Foundation.Bench
  alias Foundation.Distributed.{Fabric, Topology}
  alias Foundation.{FabricPeers, RealNode}

  alias Foundation.SteadyBench.Watch

  def run(watch) do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    [minutes, count, burn] = for {name, default} <- settings(), do: setting(name, default)
    nodes = for n <- 1..count, do: FabricPeers.start("steady#{n}", fabric: [])

    try do
      for node <- tl(nodes), do: FabricPeers.introduce(node, hd(nodes))
      await(fn -> Enum.all?(nodes, &(length(call(&1, Topology, :members, [])) == count - 1)) end)
      for node <- nodes, do: {:module, _} = call(node, :code, :load_binary, [Watch, ~c"bench", watch])

      for {node, n} <- Enum.with_index(nodes),
          do: {:ok, _} = call(node, Watch, :start, [share(burn, count, n)])

      report(nodes, minutes, burn, loads(minutes * 60, []))
    after
      Enum.each(nodes, &FabricPeers.stop/1)
    end
  end

  defp settings, do: [{"MINUTES", 10}, {"NODES", 5}, {"BURN", 2 * System.schedulers_online()}]

  defp setting(name, default) do
    case System.get_env("STEADY_#{name}") do
      nil -> default
      text -> String.to_integer(text)
    end
  end

  defp share(burn, count, n), do: div(burn, count) + if(n < rem(burn, count), do: 1, else: 0)

  defp loads(0, loads), do: loads

  defp loads(seconds, loads) do
    Process.sleep(1_000)
    [load | _] = String.split(File.read!("/proc/loadavg"))
    loads(seconds - 1, [String.to_float(load) | loads])
  end

  defp report(nodes, minutes, burn, loads) do
    counts = Enum.map(nodes, &call(&1, GenServer, :call, [Watch, :counts, 30_000]))
    sum = fn key -> counts |> Enum.map(&Map.fetch!(&1, key)) |> Enum.sum() end
    pairs = length(nodes) * (length(nodes) - 1)

    IO.puts(
      "#{length(nodes)} nodes, #{minutes} min, #{burn} busy processes, load average " <>
        "#{Enum.min(loads)} to #{Enum.max(loads)} (median #{Bench.median(loads)}) on #{System.schedulers_online()} processors"
    )

    if sum.(:sent) < pairs * minutes * 60, do: raise("the nodes hardly spoke: #{inspect(counts)}")
    Bench.figure("living nodes declared dead", sum.(:down), met(sum.(:down)))
    Bench.figure("suspicions, taken back", sum.(:suspect))
    Bench.figure("messages sent; refused", "#{sum.(:sent)}; #{sum.(:refused)}")
    Bench.figure("a node frozen at the end is declared dead", "#{frozen(nodes)} ms")
  end

  defp met(0), do: "met (wanted 0)"
  defp met(_), do: "MISSED (wanted 0)"

  # What notices nothing proves nothing.
  defp frozen([frozen | others]) do
    os_pid = RealNode.os_pid(frozen)
    started = System.monotonic_time(:millisecond)
    :ok = RealNode.signal(os_pid, "STOP")
    await(fn -> Enum.all?(others, &(frozen.node not in call(&1, Fabric, :nodes, []))) end)
    took = System.monotonic_time(:millisecond) - started
    :ok = RealNode.signal(os_pid, "CONT")
    took
  end

  defp call(node, module, function, arguments), do: FabricPeers.rpc(node, module, function, arguments)

  defp await(fun, deadline \\ System.monotonic_time(:millisecond) + 60_000) do
    cond do
      fun.() -> :ok
      System.monotonic_time(:millisecond) > deadline -> raise "not within a minute"
      true -> Process.sleep(5) && await(fun, deadline)
    end
  end
end

Foundation.SteadyBench.run(watch)
