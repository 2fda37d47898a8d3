# Channels between two clients through a server, against the same two linked directly, in the same run.
Code.require_file("support.exs", __DIR__)

{:module, load, binary, _} =
  defmodule Foundation.Bench.RelayLoad do
    @moduledoc false
    # Runs on the nodes: a process that counts what comes in order, and senders.
    use GenServer

    alias Foundation.Distributed
    alias Foundation.Distributed.Channels

    def start, do: GenServer.start(__MODULE__, nil, name: __MODULE__)

    @impl true
    def init(nil), do: {:ok, 0}

    @impl true
    def handle_info({n, _payload}, count) when n == count + 1, do: {:noreply, n}
    def handle_info({1, _payload}, _count), do: {:noreply, 1}

    @impl true
    def handle_call(:count, _from, count), do: {:reply, count, count}

    @doc "Messages for each second, the last of them acknowledged."
    def one_way(node, count, bytes) do
      to = {__MODULE__, node}
      payload = :binary.copy("x", bytes)

      {micros, :ok} =
        :timer.tc(fn ->
          for n <- 1..(count - 1),
              do: :ok = Channels.send_message(:data, to, {n, payload}, timeout: :infinity)

          Channels.send_message(:data, to, {count, payload}, ack: true, timeout: 60_000)
        end)

      {:ok, ^count} = Distributed.call(:data, to, :count)
      count * 1_000_000 / micros
    end

    @doc "Microseconds of each of so many small calls, sorted."
    def calls(node, count) do
      to = {__MODULE__, node}

      times =
        for _ <- 1..count,
            do: elem(:timer.tc(fn -> {:ok, _} = Distributed.call(:coordination, to, :count) end), 0)

      Enum.sort(times)
    end
  end

defmodule Foundation.Bench.Relay do
  alias Foundation.Bench.RelayLoad, as: Load
  alias Foundation.Distributed.{Fabric, Topology}
  alias Foundation.FabricPeers, as: Peers

  @rounds 3

  def run(load, binary) do
    IO.puts("relay: two clients through a server on this host, against the same two linked directly")

    [server, a, b] =
      nodes =
      for role <- [:server, :client, :client],
          do: Peers.start("relay_bench", fabric: [topology: [start: :client_server, role: role]])

    for node <- [a, b], do: Peers.introduce(node, server)
    for node <- nodes, do: wait(fn -> length(Peers.rpc(node, Fabric, :nodes, [])) == 2 end)
    for node <- [a, b], do: {:module, ^load} = Peers.rpc(node, :code, :load_binary, [load, ~c"bench", binary])
    {:ok, _} = Peers.rpc(b, Load, :start, [])

    relayed = measure(a, b)
    true = relaying(server) > 0
    :ok = Peers.rpc(a, Topology, :switch_topology, [:full_mesh, [settled: true]])
    wait(fn -> relaying(server) == 0 end)
    report(relayed, measure(a, b))
    Enum.each(nodes, &Peers.stop/1)
  end

  defp measure(a, b) do
    Peers.rpc(a, Load, :one_way, [b.node, 10_000, 100], 60_000)
    small = for _ <- 1..@rounds, do: Peers.rpc(a, Load, :one_way, [b.node, 100_000, 100], 60_000)
    large = for _ <- 1..@rounds, do: Peers.rpc(a, Load, :one_way, [b.node, 2_000, 65_536], 60_000)
    calls = Peers.rpc(a, Load, :calls, [b.node, 2_000], 60_000)

    %{
      small: median(small),
      large: median(large) * 65_536 / 1.0e6,
      p50: Enum.at(calls, 1_000),
      p99: Enum.at(calls, 1_980)
    }
  end

  defp report(relayed, direct) do
    for {key, text} <- [
          small: "100-byte messages, one sender, messages/s",
          large: "64 KB messages, one sender, MB/s",
          p50: "small call, p50, us",
          p99: "small call, p99, us"
        ] do
      {through, straight} = {relayed[key], direct[key]}
      figures = Enum.map([through, straight], &round/1)
      ratio = Float.round(through / straight, 2)

      IO.puts(
        "#{String.pad_trailing(text, 48)} #{Enum.join(figures, " through a server, ")} directly (#{ratio})"
      )
    end
  end

  defp relaying(node), do: node |> Peers.rpc(Fabric, :info, []) |> elem(1) |> Map.fetch!(:relaying)
  defp median(list), do: list |> Enum.sort() |> Enum.at(div(length(list), 2))

  defp wait(condition, left \\ 4_000) do
    unless condition.() do
      if left == 0, do: raise("never")

      receive do
      after
        5 -> wait(condition, left - 1)
      end
    end
  end
end

Foundation.Bench.Relay.run(load, binary)
