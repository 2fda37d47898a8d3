defmodule Foundation.Integration.ClusterEventsTest do
  # Real nodes, and the event store of this one.
  use Foundation.EventCase, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.Context
  alias Foundation.{PeerNodes, VectorClock}

  setup_all do
    peers = PeerNodes.start(2)
    on_exit(fn -> PeerNodes.leave(peers) end)
    %{others: Enum.map(peers, & &1.node)}
  end

  setup %{others: others} do
    for node <- others, do: {:ok, _} = :erpc.call(node, Events, :prune_before, [0x7FFF_FFFF_FFFF_FFFF])
    :ok
  end

  defp emit(node, type, data, opts \\ []),
    do: elem(:erpc.call(node, Events, :emit_distributed, [type, data, opts]), 1)

  describe "search over the cluster" do
    test "finds what any node has, merged by time, page by page", %{others: others} do
      nodes = [node() | others]
      for i <- 1..30, do: emit(Enum.at(nodes, rem(i, 3)), :step, %{i: i})
      query = [scope: :cluster, where: {:==, :event_type, :step}, limit: 7]
      {:ok, first} = Events.search(query)
      assert first.nodes == Enum.sort(nodes)
      assert first.missing == []
      assert pages(query) |> Enum.map(& &1.data.i) == Enum.to_list(1..30)
      {:ok, newest} = Events.search(scope: :cluster, order: [desc: :timestamp], limit: 3)
      assert Enum.map(newest.events, & &1.data.i) == [30, 29, 28]
    end

    test "orders by what is inside the data", %{others: [a, b]} do
      for {node, n} <- [{a, 5}, {b, 3}, {node(), 4}, {a, 1}], do: emit(node, :step, %{n: n})
      {:ok, page} = Events.search(scope: :cluster, where: {:>, [:data, :n], 1}, order: [desc: [:data, :n]])
      assert Enum.map(page.events, & &1.data.n) == [5, 4, 3]
    end

    test "marks a partial result, and refuses what no node would take", %{others: [a, _]} do
      emit(a, :step, %{})
      {:ok, page} = Events.search(scope: :cluster, nodes: [a, :"nobody@127.0.0.1"])
      assert [%{node: ^a}] = page.events
      assert page.missing == [{:"nobody@127.0.0.1", :noconnection}]
      assert {:error, {:invalid_query, _}} = Events.search(scope: :cluster, where: {:wrong, :x, 1})
      assert {:error, {:invalid_query, _}} = Events.search(scope: :cluster, cursor: "no cursor")
      assert {:error, {:invalid_query, _}} = Events.search(scope: :cluster, limit: 0)
      assert {:error, {:invalid_query, _}} = Events.search(scope: :planet)
    end

    defp pages(query, cursor \\ nil) do
      {:ok, page} = Events.search([{:cursor, cursor} | query])
      if page.cursor, do: page.events ++ pages(query, page.cursor), else: page.events
    end
  end

  describe "causal order" do
    test "an event that was caused comes after its cause, whatever the calendars say", %{others: [a, b]} do
      Events.enable_distributed_correlation()
      for node <- [a, b], do: :erpc.call(node, Events, :enable_distributed_correlation, [])
      on_exit(fn -> Events.disable_distributed_correlation() end)
      late = DateTime.add(DateTime.utc_now(), 3600, :second)

      Context.run(%{request: 1}, fn ->
        {:ok, _} = Events.emit_distributed(:first, %{}, wall_time: late)
        carried = Context.carry()
        second = :erpc.call(a, Foundation.ContextVisitor, :emit, [carried, :second])
        assert VectorClock.compare(second.data.vector_clock, Context.current().vector_clock) == :after
      end)

      {:ok, %{events: found, missing: []}} = Events.search(scope: :cluster, order: :causal)
      assert Enum.map(found, & &1.event_type) == [:first, :second]
      [%{correlation_id: id}, %{correlation_id: id}] = found
      {:ok, %{events: found}} = Events.get_by_correlation(id, [])
      assert Enum.map(found, & &1.event_type) == [:first, :second]
    end

    test "without a common cause events are concurrent", %{others: [a, b]} do
      one = emit(a, :one, "text")
      two = emit(b, :two, "text")
      assert one.data.value == "text"
      assert VectorClock.compare(one.data.vector_clock, two.data.vector_clock) == :concurrent
    end
  end

  describe "subscriptions to the cluster" do
    test "bring what matches from every node, in each node's order", %{others: others} do
      {:ok, subscription} = Events.subscribe_cluster_wide({:==, :event_type, :paid})
      nodes = Enum.sort([node() | others])
      assert_eventually(Events.cluster_subscription(subscription).nodes == nodes)
      for node <- nodes, i <- 1..150, do: emit(node, :paid, %{i: i})
      for node <- nodes, do: emit(node, :other, %{})

      got =
        for _ <- 1..450,
            do:
              receive(
                do: ({:foundation_event, event} -> event),
                after: (10_000 -> flunk("an event is missing"))
              )

      refute_received {:foundation_event, _}
      for node <- nodes, do: assert(for(e <- got, e.node == node, do: e.data.i) == Enum.to_list(1..150))
      assert Events.cluster_subscription(subscription).dropped == 0
      assert :ok = Events.unsubscribe_cluster_wide(subscription)
      emit(hd(others), :paid, %{i: 0})
      refute_receive {:foundation_event, _}, 100
    end

    test "a handler that fails loses nothing but that event", %{others: [a, _]} do
      me = self()
      handler = fn event -> if event.data.i == 1, do: raise("no"), else: send(me, event.data.i) end

      ExUnit.CaptureLog.capture_log(fn ->
        {:ok, subscription} = Events.subscribe_cluster_wide({:==, :event_type, :odd}, handler: handler)
        assert_eventually(a in Events.cluster_subscription(subscription).nodes)
        for i <- 1..3, do: emit(a, :odd, %{i: i})
        assert_receive 2, 5_000
        assert_receive 3, 5_000
        Events.unsubscribe_cluster_wide(subscription)
      end)
    end

    test "a store that begins anew feeds again", %{others: [a, _]} do
      {:ok, subscription} = Events.subscribe_cluster_wide({:==, :event_type, :again})
      assert_eventually(a in Events.cluster_subscription(subscription).nodes)
      :ok = :erpc.call(a, Application, :stop, [:foundation])
      assert_eventually(a not in Events.cluster_subscription(subscription).nodes)
      {:ok, _} = :erpc.call(a, Application, :ensure_all_started, [:foundation])
      assert_eventually(a in Events.cluster_subscription(subscription).nodes, 10_000)
      emit(a, :again, %{})
      assert_receive {:foundation_event, %{node: ^a}}, 5_000
      Events.unsubscribe_cluster_wide(subscription)
    end

    test "what cannot be right is refused" do
      assert {:error, {:invalid_query, _}} = Events.subscribe_cluster_wide({:wrong, 1})
      assert {:error, {:invalid_option, _}} = Events.subscribe_cluster_wide(nil, max_queue: 0)
      assert_raise ArgumentError, ~r/handler/, fn -> Events.subscribe_cluster_wide(nil, handler: :me) end
      assert_raise ArgumentError, ~r/correlation/, fn -> Events.emit_distributed(:x, 1, correlation: 7) end
    end
  end
end
