defmodule Foundation.Events.BoundsTest do
  use Foundation.EventCase, async: false

  alias Foundation.Events.Store
  alias Foundation.Native

  defp memory do
    handle = Native.events_new()
    :ok = Native.events_attach(handle, self())
    handle
  end

  test "what was stored first goes first, whatever its timestamp" do
    handle = memory()
    {:ok, _} = Store.store_batch(handle, for(i <- [5, 1, 4, 2, 3], do: event(i)))
    assert 2 = Native.events_enforce(handle, 3, -1, -1)
    assert ids(handle) == [2, 3, 4]
    assert 0 = Native.events_enforce(handle, 3, -1, -1)
    assert %{pruned: 2, events: 3} = Native.events_stats(handle)
  end

  test "the service enforces the configured bounds at each interval" do
    {:ok, %{max_events: max}} = Foundation.Config.get([:storage, :hot])
    {:ok, pid} = Foundation.ProcessRegistry.lookup(:production, :event_store)
    {:ok, _} = Events.store_batch(for i <- 1..(max + 10), do: event(i))
    send(pid, :enforce)
    eventually(fn -> match?({:ok, %{event_count: ^max}}, Events.status()) end)
    assert {:error, _} = Events.get(10)
    assert {:ok, _} = Events.get(11)
  end

  test "memory is given back" do
    handle = memory()
    {:ok, _} = Store.store_batch(handle, for(i <- 1..20_000, do: event(i, data: String.duplicate("x", 200))))
    %{memory_bytes: full} = Native.events_stats(handle)
    {:ok, 19_000} = Store.prune_before(handle, 19_001)
    %{memory_bytes: less, record_bytes: records} = Native.events_stats(handle)
    assert records < full / 10
    assert less < full / 2
    assert ids(handle) == Enum.to_list(19_001..20_000)
    for i <- 19_001..20_000, do: assert({:ok, %Event{event_id: ^i}} = Store.get(handle, i))
  end

  test "overwriting the same events over and over takes no more memory" do
    handle = memory()

    for _ <- 1..200,
        do:
          {:ok, _} =
            Store.store_batch(handle, for(i <- 1..500, do: event(i, data: String.duplicate("x", 200))))

    assert %{events: 500, memory_bytes: bytes} = Native.events_stats(handle)
    assert bytes < 2_000_000
  end

  test "many writers and readers at once" do
    handle = memory()

    writers =
      for w <- 1..4 do
        Task.async(fn ->
          for i <- 1..2_000 do
            {:ok, _} =
              Store.store(handle, event(w * 10_000 + i, correlation_id: "c#{rem(i, 7)}", parent_id: w))
          end
        end)
      end

    readers =
      for _ <- 1..2 do
        Task.async(fn ->
          for i <- 1..50 do
            {:ok, events} = Store.by_correlation(handle, "c#{rem(i, 7)}")
            assert events == Enum.sort_by(events, &{&1.timestamp, &1.event_id})
            {:ok, _} = Store.prune_before(handle, 10_000 + i)
          end
        end)
      end

    Task.await_many(writers ++ readers, 60_000)
    {:ok, all} = Store.query(handle, %{})
    {:ok, left} = Store.by_correlation(handle, "c0")
    assert Enum.sort(Enum.map(left, & &1.event_id)) == for(e <- all, e.correlation_id == "c0", do: e.event_id)
  end
end
