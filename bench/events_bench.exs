Code.require_file("support.exs", __DIR__)

defmodule Foundation.EventsBench do
  @moduledoc false
  alias Foundation.{Bench, Events, Native}
  alias Foundation.Events.Store
  alias Foundation.Types.Event

  defmodule MapServer do
    @moduledoc false
    # What a user would otherwise write: a GenServer that keeps events in a map.
    use GenServer
    def start_link, do: GenServer.start_link(__MODULE__, [])
    @impl true
    def init(_), do: {:ok, %{}}
    @impl true
    def handle_call({:store, event}, _from, map),
      do: {:reply, {:ok, event.event_id}, Map.put(map, event.event_id, event)}

    def handle_call(:reset, _from, _map), do: {:reply, :ok, %{}}
    def handle_call(:count, _from, map), do: {:reply, map_size(map), map}
  end

  def run do
    Logger.configure(level: :error)
    Application.put_env(:foundation, :test_mode, true)
    IO.puts("events")
    store()
    batch()
    scaling()
    memory()
  end

  defp event(i, correlation) do
    %Event{
      event_id: i,
      event_type: :payment,
      timestamp: i,
      wall_time: DateTime.utc_now(),
      node: node(),
      pid: self(),
      correlation_id: correlation,
      parent_id: if(i > 1, do: i - 1),
      data: %{amount: i, currency: "EUR", card: "visa", note: String.duplicate("n", 120)}
    }
  end

  defp uuid(i),
    do:
      "00000000-0000-4000-8000-" <>
        (i |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(12, "0"))

  # -- store -------------------------------------------------------------------------------------------------------

  defp store do
    {:ok, server} = MapServer.start_link()
    template = event(1, uuid(1))
    reset = fn -> :ok = Foundation.Services.EventStore.reset_state() end
    reset.()
    ids = :atomics.new(2, [])

    # Both get events of their own: new ids and times, in order, as they come in life.
    next = fn which ->
      id = :atomics.add_get(ids, which, 1)
      %{template | event_id: id, timestamp: id}
    end

    for processes <- [1, 2] do
      Bench.compare("Events.store/1 in memory, #{processes} process(es) | GenServer with a map",
        ours: fn _ -> {:ok, _} = Events.store(next.(1)) end,
        theirs: fn _ -> {:ok, _} = GenServer.call(server, {:store, next.(2)}) end,
        iterations: 20_000,
        processes: processes,
        at_least: 5
      )

      {:ok, %{event_count: ours}} = Events.status()
      ^ours = GenServer.call(server, :count)
      reset.()
      GenServer.call(server, :reset)
    end

    GenServer.stop(server)
  end

  # -- durable batches ---------------------------------------------------------------------------------------------

  defp batch do
    dir =
      Path.join(System.get_env("FOUNDATION_BENCH_DIR", System.tmp_dir!()), "foundation_bench_#{System.pid()}")

    File.mkdir_p!(dir)
    handle = Native.events_new()
    %{} = Native.events_open(handle, Path.join(dir, "events"), :always, 64 * 1024 * 1024)
    :ok = Native.events_attach(handle, self())

    {:ok, log} =
      :disk_log.open(name: :bench, file: String.to_charlist(Path.join(dir, "disk_log")), quiet: true)

    events = for i <- 1..1000, do: event(i, uuid(div(i, 10)))

    Bench.compare("store_batch of 1000, :always | disk_log:log_terms + sync",
      ours: fn _ -> {:ok, _} = Store.store_batch(handle, renew(events)) end,
      theirs: fn _ ->
        :ok = :disk_log.log_terms(log, renew(events))
        :ok = :disk_log.sync(log)
      end,
      iterations: 20,
      at_least: 1.5
    )

    %{events: n} = Native.events_stats(handle)
    true = n >= 20_000
    :disk_log.close(log)
    Native.events_close(handle)
    File.rm_rf!(dir)
  end

  # The same events under ids and times that were never used, in order, as they come in life.
  defp renew(events) do
    first = System.unique_integer([:positive, :monotonic]) * 1000
    Enum.map(events, &%{&1 | event_id: first + &1.event_id, timestamp: first + &1.event_id})
  end

  # -- scaling -----------------------------------------------------------------------------------------------------

  defp scaling do
    for n <- [1_000, 100_000, 1_000_000] do
      handle = Native.events_new()
      :ok = Native.events_attach(handle, self())
      fill(n, fn events -> {:ok, _} = Store.store_batch(handle, events) end)
      one = event(n, uuid(0))

      per =
        time(20_000, fn i -> {:ok, _} = Store.store(handle, %{one | event_id: n + i, timestamp: n + i}) end)

      Bench.figure("store/1 with #{n} events in the store", Bench.nanoseconds(per))
      query = :erlang.term_to_binary({{:==, :correlation_id, uuid(div(n, 20))}, [], 100, nil, 1_000_000})
      {:ok, found, nil, 10, "correlation"} = Native.events_search(handle, query)
      10 = length(found)

      per = time(2_000, fn _ -> {:ok, _, _, _, _} = Native.events_search(handle, query) end)
      Bench.figure("search by correlation (10 found) among #{n} events", Bench.nanoseconds(per))
      if n == 1_000_000, do: against_ets(handle, query, n)
    end
  end

  defp against_ets(handle, query, n) do
    table = :ets.new(:bench, [:set, :public])
    fill(n, fn events -> :ets.insert(table, Enum.map(events, &{&1.event_id, &1})) end)
    wanted = uuid(div(n, 20))
    spec = [{{:_, %{correlation_id: wanted}}, [], [{:element, 2, :"$_"}]}]
    10 = length(:ets.select(table, spec))

    Bench.compare("search by correlation in 1M events | :ets.select",
      ours: fn _ -> {:ok, _, _, _, _} = Native.events_search(handle, query) end,
      theirs: fn _ -> :ets.select(table, spec) end,
      rounds: 3,
      iterations: 1000,
      their_iterations: 2,
      at_least: 100
    )

    rare = :erlang.term_to_binary({{:==, [:data, :amount], 777_777}, [], 100, nil, 2_000_000})
    {us, {:ok, [_], nil, _, "scan"}} = :timer.tc(fn -> Native.events_search(handle, rare) end)
    Bench.figure("search inside the data of 1M events, no index", Bench.nanoseconds(us * 1000))
    :ets.delete(table)
  end

  defp fill(n, put) do
    1..n
    |> Stream.chunk_every(1_000)
    |> Enum.each(fn ids -> ids |> Enum.map(&event(&1, uuid(div(&1, 10)))) |> put.() end)
  end

  defp time(n, fun) do
    {us, _} = :timer.tc(fn -> Enum.each(1..n, fun) end)
    us * 1000 / n
  end

  # -- memory ------------------------------------------------------------------------------------------------------

  defp memory do
    n = 100_000
    handle = Native.events_new()
    :ok = Native.events_attach(handle, self())
    empty = Native.events_stats(handle).memory_bytes
    row = :ets.new(:bench, [:set, :public])
    flat = :ets.new(:bench, [:set, :public])
    words = fn table -> :ets.info(table, :memory) * :erlang.system_info(:wordsize) end
    {row_empty, flat_empty} = {words.(row), words.(flat)}

    fill(n, fn events ->
      {:ok, _} = Store.store_batch(handle, events)
      :ets.insert(row, Enum.map(events, &{&1.event_id, &1}))

      :ets.insert(
        flat,
        Enum.map(events, fn e ->
          {e.event_id, e.event_type, e.timestamp, e.node, e.pid, e.correlation_id, e.parent_id, e.data}
        end)
      )
    end)

    %{memory_bytes: bytes, events: ^n} = Native.events_stats(handle)
    ours = (bytes - empty) / n
    whole = (words.(row) - row_empty) / n
    plain = (words.(flat) - flat_empty) / n
    external = :erlang.external_size(event(n, uuid(n)).data)
    Bench.figure("memory per event (#{external} bytes of data), all indexes", "#{round(ours)} bytes")
    verdict = fn ratio -> if ratio <= 0.8, do: "met (at most 0.8)", else: "MISSED (at most 0.8)" end

    Bench.figure(
      "  against its ETS row, #{round(whole)} bytes",
      "#{Float.round(ours / whole, 2)} of it",
      verdict.(ours / whole)
    )

    Bench.figure(
      "  against a flat tuple without wall time, no index, #{round(plain)} bytes",
      "#{Float.round(ours / plain, 2)} of it"
    )
  end
end

Foundation.EventsBench.run()
