defmodule Foundation.NifCatalog.Fabric do
  @moduledoc false

  alias Foundation.Distributed.Channels.Settings
  alias Foundation.Native

  @peer :catalog_fabric_b

  def entries, do: lifecycle() ++ sending() ++ waiting()

  defp lifecycle do
    [
      entry({:fabric_start, 4}, :dirty_io, "one certificate, one socket", fn ->
        [options(:c), self(), [self()], [self()]]
      end),
      entry({:fabric_stop, 1}, :normal, "O(1), the rest by the runtime", fn -> [new(:c)] end),
      entry(
        {:fabric_secrets, 3},
        :dirty_cpu,
        "a key and a certificate, and an authority for each of at most 9 secrets",
        fn ->
          [alone(), "catalog", ["former"]]
        end
      ),
      entry({:fabric_info, 1}, :dirty_cpu, "O(peers)", fn -> [pair()] end),
      entry({:fabric_metrics, 1}, :dirty_cpu, "O(channels × peers)", fn -> [pair()] end),
      entry({:fabric_open, 3}, :normal, "O(1)", fn -> [pair(), :data, settings()] end),
      entry({:fabric_channel, 2}, :normal, "O(1)", fn -> [pair(), :data] end),
      entry({:fabric_peer, 4}, :normal, "O(1), the rest by the runtime", fn ->
        [pair(), :catalog_nowhere, 1, "127.0.0.1:1"]
      end),
      entry({:fabric_pause, 3}, :normal, "O(1)", fn -> [pair(), :catalog_paused, false] end),
      {:fabric_deliver, 1}
      |> entry(:normal, "O(bytes), at most 24 KB and 90 messages", fn -> [errand()] end)
      |> Map.put(:consumes, true),
      entry({:fabric_subscribe, 4}, :normal, "O(subscribers)", fn -> [pair(), :catalog, self(), false] end),
      entry({:fabric_subscribers, 2}, :normal, "O(subscribers)", fn -> [pair(), :catalog] end)
    ]
  end

  defp sending do
    [
      hot({:fabric_send, 5}, "O(bytes), at most 64 KB and 2,000 terms", fn ->
        [pair(), :data, @peer, :catalog_nobody, {:put, 1, "value"}]
      end),
      hot({:fabric_send_with, 6}, "O(bytes), at most 64 KB and 2,000 terms", fn ->
        [pair(), :data, @peer, :catalog_nobody, {:put, 1, "value"}, {self(), nil, nil}]
      end),
      entry({:fabric_send_large, 6}, :dirty_cpu, "O(bytes)", fn ->
        [pair(), :data, @peer, :catalog_nobody, Enum.to_list(1..5_000), {self(), nil, nil}]
      end),
      entry({:fabric_call, 6}, :normal, "O(bytes), at most 64 KB and 2,000 terms", fn ->
        [pair(), :data, @peer, :catalog_nobody, :request, {self(), make_ref(), 1_000}]
      end),
      entry({:fabric_call_large, 6}, :dirty_cpu, "O(bytes)", fn ->
        [pair(), :data, @peer, :catalog_nobody, :request, {self(), make_ref(), 1_000}]
      end),
      entry({:fabric_reply, 6}, :normal, "O(bytes), at most 64 KB and 2,000 terms", fn ->
        [pair(), :data, @peer, 0, false, :reply]
      end),
      entry({:fabric_reply_large, 6}, :dirty_cpu, "O(bytes)", fn ->
        [pair(), :data, @peer, 0, false, :reply]
      end),
      entry({:fabric_cancel_call, 4}, :normal, "O(1)", fn -> [pair(), :data, @peer, 0] end)
    ]
  end

  defp waiting do
    [
      entry({:fabric_forget, 2}, :normal, "O(1)", fn -> [pair(), 0] end),
      entry({:fabric_await_room, 5}, :normal, "O(1)", fn -> [pair(), :data, @peer, self(), make_ref()] end)
    ]
  end

  defp entry(nif, scheduler, bound, args), do: %{nif: nif, scheduler: scheduler, bound: bound, args: args}
  defp hot(nif, bound, args), do: nif |> entry(:normal, bound, args) |> Map.put(:hot, true)

  # Two endpoints of this VM that know each other; one pair a VM, since each takes sockets.
  defp pair do
    case :persistent_term.get(__MODULE__, nil) do
      {a, _b} ->
        a

      nil ->
        {a, b} = {new(:catalog_fabric_a), new(@peer)}
        :ok = Native.fabric_open(a, :data, settings())
        :ok = Native.fabric_peer(a, @peer, 1, Native.fabric_info(b).address)
        :persistent_term.put(__MODULE__, {a, b})
        known(a)
    end
  end

  # One whose secret may become any other.
  defp alone do
    with nil <- :persistent_term.get({__MODULE__, :alone}, nil) do
      fabric = new(:catalog_fabric_alone)
      :persistent_term.put({__MODULE__, :alone}, fabric)
      fabric
    end
  end

  # Comes with messages that the library leaves to a process: many, and one that holds a large map.
  defp errand do
    fabric = pair()
    deliverer = :persistent_term.get({__MODULE__, :deliverer})
    send(deliverer, {:catalog_for, self()})
    receive do: (:catalog_idle -> :ok)
    for n <- 1..150, do: :ok = Native.fabric_send(fabric, :data, @peer, :catalog_sink, {:put, n, "value"})
    :ok = Native.fabric_send(fabric, :data, @peer, :catalog_sink, Map.new(1..33, &{&1, &1}))
    receive do: ({:catalog_errand, errand} -> errand)
  end

  # Finishes what nobody wants, then gives the next errand to who asks.
  defp deliverer(asks, errand) do
    receive do
      {:catalog_for, pid} ->
        if errand, do: finish(errand)
        send(pid, :catalog_idle)
        deliverer(pid, nil)

      {:foundation_deliver, errand} ->
        if asks, do: send(asks, {:catalog_errand, errand}), else: finish(errand)
        deliverer(nil, errand)
    end
  end

  defp finish(errand), do: unless(Native.fabric_deliver(errand) == :done, do: finish(errand))

  defp sink do
    receive do: (_ -> sink())
  end

  defp known(a) do
    if Native.fabric_info(a).peers == [], do: known(a), else: a
  end

  defp new(name) do
    deliverer = spawn(fn -> deliverer(nil, nil) end)

    if name == @peer do
      :persistent_term.put({__MODULE__, :deliverer}, deliverer)
      Process.register(spawn(&sink/0), :catalog_sink)
    end

    {:ok, fabric} = Native.fabric_start(options(name), spawn(fn -> :ok end), [], [deliverer])
    fabric
  end

  defp settings, do: Settings.new(:data, [])

  defp options(name) do
    %{
      cluster: "catalog",
      name: to_string(name),
      secret: "catalog",
      boot: 1,
      bind: "127.0.0.1:0",
      advertise: nil,
      idle_ms: 60_000,
      stall_ms: 3_000,
      forget_ms: 60_000,
      backoff_ms: 500,
      max_links: 64
    }
  end
end
