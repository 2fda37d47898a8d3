defmodule Foundation.FabricVisitor do
  @moduledoc false
  # What the nodes of the fabric tests do: processes that keep what they get, and senders.

  use GenServer

  alias Foundation.Distributed
  alias Foundation.Distributed.{Channels, Fabric}

  def start(nil), do: elem({:ok, _} = GenServer.start(__MODULE__, nil), 1)

  def start(name) do
    if pid = Process.whereis(name), do: GenServer.stop(pid)
    {:ok, pid} = GenServer.start(__MODULE__, nil, name: name)
    pid
  end

  def kept(pid), do: GenServer.call(pid, :kept, 30_000)
  def stop(pid), do: GenServer.stop(pid)

  def subscribe(channel) do
    pid = start(nil)
    :ok = Channels.subscribe(channel, pid: pid)
    pid
  end

  @impl true
  def init(nil), do: {:ok, []}

  @impl true
  def handle_call(:kept, _from, kept), do: {:reply, Enum.reverse(kept), kept}
  def handle_call({:echo, term}, _from, kept), do: {:reply, term, kept}
  def handle_call(:silence, _from, kept), do: {:noreply, kept}
  def handle_call({:exit, reason}, _from, kept), do: {:stop, reason, kept}
  def handle_call(:last, _from, [last | _] = kept), do: {:reply, last, kept}

  @impl true
  def handle_cast(message, kept), do: {:noreply, [message | kept]}

  @impl true
  def handle_info(message, kept), do: {:noreply, [message | kept]}

  @doc "Registers a process that keeps values by key."
  def start_store(name) do
    {:ok, pid} = GenServer.start(__MODULE__.Store, nil, name: name)
    pid
  end

  defmodule Store do
    @moduledoc false
    use GenServer

    @impl true
    def init(nil), do: {:ok, %{}}

    @impl true
    def handle_call({:get, key}, _from, values), do: {:reply, values[key], values}

    @impl true
    def handle_info({:put, key, value}, values), do: {:noreply, Map.put(values, key, value)}
    def handle_info(_other, values), do: {:noreply, values}
  end

  @doc "A term of every kind, short and long, flat and deep."
  def terms do
    short = [
      :atom,
      :"ünïcode_атом",
      nil,
      0,
      255,
      256,
      -1,
      2_147_483_648,
      -9_223_372_036_854_775_808,
      Bitwise.bsl(1, 100),
      1.5,
      -0.0,
      "",
      "text",
      <<5::3>>,
      [],
      [1, 2 | :improper],
      ~c"charlist",
      {},
      {:a, {"b", [%{c: 1.0}]}},
      %{},
      %{"k" => [v: 1]},
      Map.new(1..32, &{&1, &1}),
      Map.new(1..33, &{&1, {:value, &1}}),
      %URI{host: "x"},
      self(),
      make_ref(),
      &String.length/1,
      List.to_tuple(Enum.to_list(1..300))
    ]

    binary = :binary.copy("0123456789abcdef", 5_000)
    deep = Enum.reduce(1..5_000, [], fn n, acc -> [n, acc] end)

    long = [
      binary,
      binary_part(binary, 7, 60_000),
      {:put, "key", binary},
      %{a: binary, b: [binary, {binary, 1}]},
      [binary | binary],
      Map.new(1..200, &{&1, binary}),
      Enum.to_list(1..100_000),
      deep,
      {deep, binary},
      {make_ref(), self(), binary, Bitwise.bsl(3, 40_000), <<binary::binary, 1::1>>}
    ]

    short ++ long ++ [short, {long, short}]
  end

  @doc "Sends so many numbered messages from each of some processes, as fast as it can: short ones, large maps and long ones."
  def storm(channel, to, senders, count) do
    map = Map.new(1..100, &{&1, "value"})
    long = :binary.copy("long", 10_000)

    extra = fn
      n when rem(n, 97) == 0 -> long
      n when rem(n, 13) == 0 -> map
      _ -> nil
    end

    1..senders
    |> Enum.map(fn s ->
      Task.async(fn ->
        for n <- 1..count,
            do: :ok = Channels.send_message(channel, to, {:storm, s, n, extra.(n)}, timeout: 60_000)
      end)
    end)
    |> Task.await_many(100_000)

    :ok
  end

  @doc "Takes part in a storm: `:ok` when every message came in its sender's order, and whole."
  def calm(name, senders, count) do
    Process.register(self(), name)
    calm(Map.new(1..senders, &{&1, 1}), count)
  end

  defp calm(next, count) do
    if Enum.all?(next, fn {_, n} -> n > count end) do
      :ok
    else
      receive do
        {:storm, s, n, extra} ->
          ^n = Map.fetch!(next, s)

          true =
            case extra do
              nil -> rem(n, 13) != 0 and rem(n, 97) != 0
              <<_::binary>> -> byte_size(extra) == 40_000
              %{} -> map_size(extra) == 100
            end

          calm(%{next | s => n + 1}, count)
      end
    end
  end

  @doc "Sends each term beside its encoding; how many there were."
  def send_terms(channel, to) do
    for term <- terms() do
      :ok =
        Channels.send_message(channel, to, {term, :erlang.term_to_binary(term)}, ack: true, timeout: 20_000)

      # Alone too, since what is one binary takes a way of its own.
      :ok = Channels.send_message(channel, to, term, ack: true, timeout: 20_000)
    end
    |> length()
  end

  @doc "How many terms came whole and twice."
  def same_terms(pid) do
    pid
    |> kept()
    |> Enum.chunk_every(2)
    |> Enum.count(fn
      [{term, encoded}, alone] -> term === :erlang.binary_to_term(encoded) and alone === term
      [_half] -> false
    end)
  end

  @doc "Messages of a few bytes to 300 KB."
  def body(n), do: :binary.copy(<<n::16>>, if(rem(n, 10) == 0, do: 150_000, else: rem(n * 37, 5_000)))

  def send_mixed(channel, to, count) do
    for n <- 1..count, do: :ok = Channels.send_message(channel, to, {n, body(n)}, timeout: 30_000)
    :ok
  end

  @doc "Messages of several processes at once, in bursts; some of them only a scheduler can build at the other end."
  def send_in_bursts(channel, to, senders, bursts) do
    large = Map.new(1..40, &{&1, :value})
    body = fn n -> if rem(n, 11) == 0, do: large, else: :binary.copy(<<n>>, rem(n * 13, 400)) end

    burst = fn sender, from ->
      for n <- from..(from + 19),
          do: :ok = Channels.send_message(channel, to, {sender, n, body.(n)}, timeout: 30_000)

      receive do
      after
        rem(sender + from, 4) -> :ok
      end
    end

    tasks =
      for sender <- 1..senders,
          do: Task.async(fn -> for n <- 0..(bursts - 1), do: burst.(sender, n * 20) end)

    Task.await_many(tasks, 60_000)
    :ok
  end

  def cast_and_call(name, n) do
    name = {:via, Foundation.Distributed.Via, name}
    :ok = GenServer.cast(name, n)
    GenServer.call(name, :last)
  end

  def exit_of_call(name) do
    GenServer.call(name, :hi)
  catch
    :exit, reason -> reason
  end

  # The answer, and what is in the mailbox a while later.
  def timed_out(channel, to) do
    {:error, reason} = Distributed.call(channel, to, :silence, timeout: 5)
    {:message_queue_len, left} = Process.info(self(), :message_queue_len)
    {:error, reason, left}
  end

  @doc "A process that waits for an answer that does not come."
  def call_in_vain(channel, to),
    do: spawn(fn -> Distributed.call(channel, to, :silence, timeout: :infinity) end)

  def send_in_vain(cluster, target),
    do: spawn(fn -> Foundation.Cluster.send_to_cluster(cluster, target, timeout: 600_000) end)

  @doc "Has a process be told of splits."
  def watch_partitions(pid, cluster) do
    :sys.replace_state(pid, fn kept ->
      :ok = Foundation.Distributed.Partitions.subscribe(cluster: cluster)
      kept
    end)

    :ok
  end

  def open_calls do
    Enum.sum(for name <- Fabric.callees(), do: map_size(:sys.get_state(name).calls))
  end

  @doc "Subscribes a process that takes nothing from its mailbox until it is resumed."
  def subscribe_slowly(channel, max) do
    parent = self()

    pid =
      spawn(fn ->
        :ok = Channels.subscribe(channel, max_mailbox: max)
        send(parent, :subscribed)
        receive do: (:resume -> :ok)
        collect([])
      end)

    receive do: (:subscribed -> pid)
  end

  defp collect(got) do
    receive do
      {:foundation_channel, _, _, message} -> collect([message | got])
      {:got, from} -> send(from, {:got, Enum.reverse(got)})
    end
  end

  def resume(pid), do: send(pid, :resume)

  @doc "Whether the subscriber got :last, and before it every number once."
  def is_gapless(pid) do
    send(pid, {:got, self()})
    got = receive do: ({:got, got} -> got)
    numbers = Enum.filter(got, &is_integer/1)
    List.last(got) == :last and numbers == Enum.to_list(1..length(numbers))
  end

  def send_until_refused(channel, to, most, n \\ 1)
  def send_until_refused(_channel, _to, most, most), do: :never

  def send_until_refused(channel, to, most, n) do
    with :ok <- Channels.send_message(channel, to, n), do: send_until_refused(channel, to, most, n + 1)
  end

  def pause(channel, paused), do: Foundation.Native.fabric_pause(Fabric.handle(), channel, paused)

  def send_monotonic(channel, to, count) do
    for n <- 1..count,
        key <- [:a, :b],
        do: :ok = Channels.send_monotonic(to, {key, n}, channel: channel, key: key)

    :ok
  end

  @doc "Sends numbers until it is told to stop."
  def stream(channel, to), do: spawn(fn -> stream(channel, to, 1) end)

  defp stream(channel, to, n) do
    :ok = Channels.send_message(channel, to, n, timeout: 60_000)

    receive do
      {:stop, from} -> send(from, {:sent, n})
    after
      1 -> stream(channel, to, n + 1)
    end
  end

  def stop_stream(pid) do
    send(pid, {:stop, self()})
    receive do: ({:sent, n} -> n)
  end

  @doc "Registers a process that takes one large message and keeps its digest."
  def digest(name) do
    pid =
      spawn(fn ->
        digest = receive do: (binary when is_binary(binary) -> :crypto.hash(:sha256, binary))
        receive do: ({:digest, from} -> send(from, {:digest, digest}))
      end)

    Process.register(pid, name)
    pid
  end

  def digested(pid) do
    send(pid, {:digest, self()})
    receive do: ({:digest, digest} -> digest)
  end

  @doc "Sends that many bytes and meanwhile makes small calls: their times in µs, and the digest of the bytes."
  def send_huge(channel, to, small, size) do
    binary = :crypto.strong_rand_bytes(1024 * 1024) |> :binary.copy(div(size, 1024 * 1024))
    parent = self()

    sender =
      spawn_link(fn ->
        :ok = Channels.send_bulk(to, binary, channel: channel, ack: true, timeout: 100_000)
        send(parent, {:done, self()})
      end)

    {times(sender, small, []), :crypto.hash(:sha256, binary)}
  end

  defp times(sender, small, times) do
    receive do
      {:done, ^sender} -> times
    after
      5 ->
        {took, {:ok, :x}} =
          :timer.tc(fn -> Distributed.call(:coordination, small, {:echo, :x}, timeout: 30_000) end)

        times(sender, small, [took | times])
    end
  end
end
