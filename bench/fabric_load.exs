defmodule Foundation.Bench.FabricLoad do
  @moduledoc false
  # What the nodes of the fabric bench do; loaded into each of them.

  alias Foundation.Distributed
  alias Foundation.Distributed.Channels

  def install(peer, modules) do
    for {module, binary} <- modules,
        do: {:module, _} = Foundation.FabricPeers.rpc(peer, :code, :load_binary, [module, ~c"bench", binary])

    Foundation.FabricPeers.rpc(peer, __MODULE__, :serve, [])
  end

  @doc "Starts the processes that receive."
  def serve do
    for n <- 1..8, do: Process.register(spawn(fn -> receiver() end), name(n))
    {:ok, _} = GenServer.start(__MODULE__.Echo, nil, name: __MODULE__.Echo)
    :ok
  end

  defp name(n), do: :"fabric_bench_receiver_#{n}"

  # Checks that every message is there, in order, and whole.
  defp receiver do
    receive do
      {:expect, from, count, size} ->
        send(from, {:ready, self()})
        expect(0, count, size)
        send(from, {:done, self()})
        receiver()

      {:swallow, from, size} ->
        send(from, {:ready, self()})
        swallow(from, size, 0)
        receiver()

      {:probe, _} ->
        receiver()
    end
  end

  defp expect(count, count, _size), do: :ok

  defp expect(n, count, size) do
    receive do
      <<^n::64, _::binary>> = message when byte_size(message) == size -> expect(n + 1, count, size)
    end
  end

  defp swallow(from, size, n) do
    receive do
      :stop -> send(from, {:swallowed, n})
      <<_::64, _::binary>> = message when byte_size(message) == size -> swallow(from, size, n + 1)
    end
  end

  @doc "Microseconds that messages from so many processes take to arrive, all of them checked."
  def one_way(how, node, senders, count, size) do
    body = :binary.copy(<<7>>, size - 8)

    pids =
      for n <- 1..senders do
        send({name(n), node}, {:expect, self(), count, size})
        receive do: ({:ready, pid} -> pid)
      end

    {us, _} =
      :timer.tc(fn ->
        for n <- 1..senders, do: spawn_link(fn -> burst(how, {name(n), node}, 0, count, body) end)
        for pid <- pids, do: receive(do: ({:done, ^pid} -> :ok))
      end)

    us
  end

  defp burst(_how, _to, count, count, _body), do: :ok

  defp burst(how, to, n, count, body) do
    put(how, to, <<n::64, body::binary>>)
    burst(how, to, n + 1, count, body)
  end

  defp put(:distribution, to, message), do: send(to, message)
  defp put(:fabric, to, message), do: :ok = Channels.send_message(:data, to, message, timeout: 60_000)

  @doc "Times of small calls in µs, p50 and p99, while messages of 1 MB go the same way, and MB a second of these."
  def mixed(how, node, calls) do
    size = 1_048_576
    body = :binary.copy(<<7>>, size - 8)
    send({name(1), node}, {:swallow, self(), size})
    receive do: ({:ready, _} -> :ok)
    parent = self()

    sender = spawn_link(fn -> flood(how, {name(1), node}, 0, body, parent) end)
    for _ <- 1..200, do: echo(how, node)
    started = System.monotonic_time(:microsecond)
    times = Enum.sort(for _ <- 1..calls, do: elem(:timer.tc(fn -> echo(how, node) end), 0))
    took = System.monotonic_time(:microsecond) - started
    send(sender, :stop)
    sent = receive do: ({:sent, sent} -> sent)
    send({name(1), node}, :stop)
    await_all(how, node, sent)
    {Enum.at(times, div(calls, 2)), Enum.at(times, div(calls * 99, 100)), sent * size / took}
  end

  # The order to stop may overtake the messages on another way.
  defp await_all(how, node, sent) do
    receive do
      {:swallowed, ^sent} ->
        :ok

      {:swallowed, n} when n < sent and how == :fabric ->
        send({name(1), node}, {:swallow, self(), 1_048_576})
        receive do: ({:ready, _} -> :ok)
        send({name(1), node}, :stop)
        await_all(how, node, sent - n)
    end
  end

  defp flood(how, to, n, body, parent) do
    receive do
      :stop -> send(parent, {:sent, n})
    after
      0 ->
        put(how, to, <<n::64, body::binary>>)
        flood(how, to, n + 1, body, parent)
    end
  end

  defp echo(:distribution, node), do: :pong = GenServer.call({__MODULE__.Echo, node}, :ping)
  defp echo(:fabric, node), do: {:ok, :pong} = Distributed.call(:coordination, {__MODULE__.Echo, node}, :ping)

  @doc "Microseconds that so many pairs take for so many messages each, every one acknowledged before the next."
  def pairs(how, node, pairs, count, size) do
    body = :binary.copy(<<7>>, size)
    parent = self()

    {us, _} =
      :timer.tc(fn ->
        pids = for n <- 1..pairs, do: spawn_link(fn -> pair(how, node, n, count, body, parent) end)
        for pid <- pids, do: receive(do: ({:done, ^pid} -> :ok))
      end)

    us
  end

  defp pair(how, node, n, count, body, parent) do
    here = :"fabric_bench_pair_#{n}"
    Process.register(self(), here)
    there = Node.spawn(node, __MODULE__, :acknowledge, [how, here, node(), byte_size(body)])

    for _ <- 1..count do
      put(how, there, body)
      receive do: (:ack -> :ok)
    end

    Process.exit(there, :kill)
    Process.unregister(here)
    send(parent, {:done, self()})
  end

  def acknowledge(how, name, node, size) do
    receive do
      body when byte_size(body) == size -> put(how, {name, node}, :ack)
    end

    acknowledge(how, name, node, size)
  end

  @channels [:coordination, :data, :events]

  @doc "Sends a first message on every channel, and waits until it is delivered."
  def probe(node, n) do
    for channel <- @channels,
        do: :ok = Channels.send_message(channel, {name(1), node}, {:probe, n}, ack: true)

    :ok
  end

  @doc "Sends another one while nothing gets through."
  def probe_later(node, n) do
    parent = spawn(fn -> collect(length(@channels)) end)
    Process.register(parent, :"fabric_bench_probe_#{n}")

    for channel <- @channels do
      spawn(fn ->
        insist(channel, {name(1), node}, {:probe, n})
        send(parent, :delivered)
      end)
    end

    :ok
  end

  # A node that is believed to be gone is asked for again until it is there.
  defp insist(channel, to, message) do
    with {:error, _} <- Channels.send_message(channel, to, message, ack: true, timeout: 60_000) do
      receive do
      after
        10 -> insist(channel, to, message)
      end
    end
  end

  defp collect(0), do: receive(do: ({:probed, from} -> send(from, :probed)))
  defp collect(n), do: receive(do: (:delivered -> collect(n - 1)))

  def probed(n) do
    send(:"fabric_bench_probe_#{n}", {:probed, self()})
    receive do: (:probed -> :ok)
  end

  defmodule Echo do
    use GenServer
    def init(nil), do: {:ok, nil}
    def handle_call(:ping, _from, state), do: {:reply, :pong, state}
  end
end
