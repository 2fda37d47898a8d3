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

  # As many as channel :data has lanes, so that both connections have something to carry all the time. One sender alone,
  # which plain distribution stops at 1 MB in its queue, left its connection empty in a fifth of the samples taken.
  @floods 4

  @doc "Times of small calls in µs, p50 and p99, for so many ms, while others send 1 MB messages, and MB a second of those."
  def mixed(how, node, ms) do
    size = 1_048_576
    body = :binary.copy(<<7>>, size - 8)
    names = for n <- 1..@floods, do: name(n)
    for name <- names, do: swallow_at({name, node}, size)
    parent = self()
    started = System.monotonic_time(:microsecond)
    senders = for name <- names, do: spawn_link(fn -> flood(how, {name, node}, 0, body, parent) end)
    echo_for(how, node, 100)
    times = Enum.sort(echo_for(how, node, ms))
    for sender <- senders, do: send(sender, :stop)
    sent = for sender <- senders, do: receive(do: ({:sent, ^sender, sent} -> sent))
    for {name, sent} <- Enum.zip(names, sent), do: await_all({name, node}, sent, size)
    took = System.monotonic_time(:microsecond) - started
    {at(times, 0.5), at(times, 0.99), Enum.sum(sent) * size / took}
  end

  defp at(sorted, share), do: Enum.at(sorted, trunc(length(sorted) * share))

  defp echo_for(how, node, ms), do: echo_until(how, node, System.monotonic_time(:microsecond) + ms * 1000, [])

  defp echo_until(how, node, till, times) do
    {us, _} = :timer.tc(fn -> echo(how, node) end)

    if System.monotonic_time(:microsecond) < till,
      do: echo_until(how, node, till, [us | times]),
      else: [us | times]
  end

  defp swallow_at(to, size) do
    send(to, {:swallow, self(), size})
    receive do: ({:ready, _} -> :ok)
  end

  # The order to stop may overtake the messages on another way.
  defp await_all(to, sent, size) do
    send(to, :stop)

    receive do
      {:swallowed, ^sent} ->
        :ok

      {:swallowed, n} when n < sent ->
        swallow_at(to, size)
        await_all(to, sent - n, size)
    end
  end

  defp flood(how, to, n, body, parent) do
    receive do
      :stop -> send(parent, {:sent, self(), n})
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
