defmodule Foundation.Events.SubscriptionTest do
  use Foundation.EventCase, async: false

  alias Foundation.Native

  defp store(ids), do: Enum.each(ids, fn id -> {:ok, ^id} = Events.store(event(id)) end)

  test "one message however many events, and the next after taking" do
    {:ok, sub} = Events.subscribe({:>, :event_id, 2})
    ref = sub.ref
    store(1..10)
    assert_receive {:foundation_events, ^ref, :ready}
    refute_received {:foundation_events, ^ref, :ready}
    assert {:ok, [%Event{event_id: 3}, %Event{event_id: 4}], 0} = Events.take(sub, 2)
    assert_receive {:foundation_events, ^ref, :ready}
    assert {:ok, events, 0} = Events.take(sub)
    assert Enum.map(events, & &1.event_id) == Enum.to_list(5..10)
    refute_received {:foundation_events, ^ref, :ready}
    assert {:ok, [], 0} = Events.take(sub)
    store([11])
    assert_receive {:foundation_events, ^ref, :ready}
    assert :ok = Events.unsubscribe(sub)
    assert {:error, :not_subscribed} = Events.take(sub)
    assert :ok = Events.unsubscribe(sub)
  end

  test "a full queue drops the oldest or the newest, and tells how many" do
    {:ok, oldest} = Events.subscribe(nil, max_queue: 3)
    {:ok, newest} = Events.subscribe([where: nil], max_queue: 3, policy: :drop_newest)
    store(1..10)
    assert {:ok, events, 7} = Events.take(oldest)
    assert Enum.map(events, & &1.event_id) == [8, 9, 10]
    assert {:ok, events, 7} = Events.take(newest)
    assert Enum.map(events, & &1.event_id) == [1, 2, 3]
    Enum.each([oldest, newest], &Events.unsubscribe/1)
  end

  test "block: the store waits for room" do
    {:ok, sub} = Events.subscribe(nil, max_queue: 2, policy: :block, block_timeout: 30_000)
    writer = Task.async(fn -> store(1..6) end)
    handle = sub.handle
    eventually(fn -> Native.events_stats(handle).events == 2 end)
    refute Task.yield(writer, 50)
    assert {:ok, [_, _], 0} = Events.take(sub)
    eventually(fn -> Native.events_stats(handle).events == 4 end)
    assert {:ok, [_, _], 0} = Events.take(sub)
    Task.await(writer)
    assert {:ok, [%Event{event_id: 5}, %Event{event_id: 6}], 0} = Events.take(sub)
    Events.unsubscribe(sub)
  end

  test "block: not longer than its bound; then the event is stored and the subscription loses it" do
    {:ok, sub} = Events.subscribe(nil, max_queue: 1, policy: :block, block_timeout: 60)
    store([1])
    {us, :ok} = :timer.tc(fn -> store([2]) end)
    assert us >= 50_000
    assert {:ok, %Event{}} = Events.get(2)
    assert {:ok, [%Event{event_id: 1}], 1} = Events.take(sub)
    Events.unsubscribe(sub)
  end

  test "block: ending the subscription, and its owner's death, let the store go on" do
    parent = self()

    owner =
      spawn(fn ->
        send(parent, Events.subscribe(nil, max_queue: 1, policy: :block, block_timeout: 60_000))
        receive do: (:stop -> :ok)
      end)

    assert_receive {:ok, sub}
    writer = Task.async(fn -> store(1..3) end)
    eventually(fn -> Native.events_stats(sub.handle).events == 1 end)
    send(owner, :stop)
    Task.await(writer)
    eventually(fn -> Native.events_stats(sub.handle).subscriptions == 0 end)
    assert {:error, :not_subscribed} = Events.take(sub)
  end

  test "batches, durable or not, go to subscribers too" do
    {:ok, sub} = Events.subscribe({:==, :event_type, :x})
    {:ok, _} = Events.store_batch([event(1, event_type: :x), event(2), event(3, event_type: :x)])
    assert {:ok, events, 0} = Events.take(sub)
    assert Enum.map(events, & &1.event_id) == [1, 3]
    Events.unsubscribe(sub)
  end

  test "many subscriptions, at most 256" do
    subs = for _ <- 1..256, {:ok, sub} <- [Events.subscribe({:==, :event_id, 5}, max_queue: 1)], do: sub
    assert length(subs) == 256
    assert {:error, {:too_many_subscriptions, 256}} = Events.subscribe(nil)
    store(1..10)
    for sub <- subs, do: assert({:ok, [%Event{event_id: 5}], 0} = Events.take(sub))
    Enum.each(subs, &Events.unsubscribe/1)
  end

  test "what is wrong with the arguments" do
    assert {:error, {:invalid_option, "policy:" <> _}} = Events.subscribe(nil, policy: :drop_all)
    assert {:error, {:invalid_option, "max_queue:" <> _}} = Events.subscribe(nil, max_queue: 0)
    assert {:error, {:invalid_option, "block_timeout:" <> _}} = Events.subscribe(nil, block_timeout: -1)
    assert {:error, {:invalid_option, "pid:" <> _}} = Events.subscribe(nil, pid: :name)
    assert {:error, {:invalid_option, _}} = Events.subscribe(nil, max: 1)
    assert {:error, {:invalid_query, _}} = Events.subscribe({:like, :data, 1})
  end
end
