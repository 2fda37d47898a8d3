defmodule Foundation.EventsContractTest do
  use Foundation.EventCase, async: false

  alias Foundation.Services.EventStore

  doctest Foundation.Events
  doctest Foundation.Logic.EventLogic
  doctest Foundation.Validation.EventValidator
  doctest Foundation.Types.Event

  defp new!(type, data, opts \\ []) do
    {:ok, event} = Events.new_event(type, data, opts)
    event
  end

  describe "service" do
    test "initialize is idempotent, available and status" do
      assert :ok = Events.initialize()
      assert :ok = Events.initialize()
      assert Events.available?()
      assert {:ok, %{status: :running, event_count: 0, next_id: 1}} == Events.status()
    end

    test "status counts and next_id is one beyond the larger of itself and the id" do
      {:ok, 10} = Events.store(event(10))
      assert {:ok, %{event_count: 1, next_id: 11}} = Events.status()
      {:ok, 3} = Events.store(event(3))
      assert {:ok, %{event_count: 2, next_id: 12}} = Events.status()
    end

    test "stats have the keys of 1.x" do
      Events.store_batch([event(1), event(2)])
      Events.prune_before(2)
      {:ok, stats} = Events.stats()

      assert Map.keys(stats) |> Enum.sort() ==
               ~w(current_event_count events_pruned events_stored memory_usage_estimate start_time uptime_ms)a

      assert %{events_stored: 2, events_pruned: 1, current_event_count: 1, memory_usage_estimate: 1000} =
               stats

      assert is_integer(stats.start_time) and stats.uptime_ms >= 0
    end

    test "while the service is down every function answers service_unavailable 3000" do
      pid = stop_for_good()

      for call <- [
            fn -> Events.store(event(1)) end,
            fn -> Events.store_batch([event(1)]) end,
            fn -> Events.get(1) end,
            fn -> Events.query(%{}) end,
            fn -> Events.get_by_correlation("c") end,
            fn -> Events.get_correlation_chain("c") end,
            fn -> Events.get_time_range(0, 1) end,
            fn -> Events.get_recent() end,
            fn -> Events.prune_before(1) end,
            fn -> Events.stats() end,
            fn -> Events.status() end,
            fn -> Events.causal_trace("c") end
          ] do
        assert {:error,
                %Error{
                  code: 3000,
                  error_type: :service_unavailable,
                  severity: :high,
                  category: :system,
                  subcategory: :availability,
                  message: "Event store not available"
                }} = call.()
      end

      refute Events.available?()
      assert {:error, :not_running} = Events.search([])
      assert {:error, :not_running} = Events.subscribe(nil)
      assert {:error, :not_running} = Events.storage_info()
      restart(pid)
      assert Events.available?()
    end

    test "a killed service loses nothing" do
      {:ok, _} = Events.store(event(7, data: :kept))
      {:ok, pid} = Foundation.ProcessRegistry.lookup(:production, :event_store)
      Process.exit(pid, :kill)

      eventually(fn ->
        match?({:ok, new} when new != pid, Foundation.ProcessRegistry.lookup(:production, :event_store)) and
          match?({:ok, _}, Events.storage_info())
      end)

      assert {:ok, %Event{data: :kept}} = Events.get(7)
    end

    test "stop is :ok, and the supervisor starts the service again" do
      assert :ok = EventStore.stop()
      eventually(fn -> Events.available?() and match?({:ok, _}, Events.storage_info()) end)
    end

    test "reset_state only in test mode" do
      Application.put_env(:foundation, :test_mode, false)

      assert {:error,
              %Error{
                code: 3002,
                error_type: :operation_forbidden,
                severity: :high,
                category: :security,
                subcategory: :authorization,
                message: "State reset only allowed in test mode"
              }} = EventStore.reset_state()
    after
      Application.put_env(:foundation, :test_mode, true)
    end
  end

  # Supervisor.terminate_child keeps the supervisor from starting the service again.
  defp stop_for_good do
    :ok = Supervisor.terminate_child(Foundation.Supervisor, EventStore)
    on_exit(fn -> Supervisor.restart_child(Foundation.Supervisor, EventStore) end)
    EventStore
  end

  defp restart(id), do: {:ok, _} = Supervisor.restart_child(Foundation.Supervisor, id)

  describe "new_event" do
    test "defaults" do
      before = System.monotonic_time(:millisecond)
      event = new!(:test, %{a: 1})
      assert event.event_id > 0
      assert event.timestamp in before..System.monotonic_time(:millisecond)
      assert %DateTime{time_zone: "Etc/UTC"} = event.wall_time
      assert event.node == node() and event.pid == self() and event.parent_id == nil

      assert event.correlation_id =~
               ~r/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
    end

    test "options override, also with nil" do
      event =
        new!(:test, 1, event_id: 5, timestamp: -3, parent_id: 9, correlation_id: nil, node: :a@b, pid: nil)

      assert %Event{event_id: 5, timestamp: -3, parent_id: 9, correlation_id: nil, node: :a@b, pid: nil} =
               event
    end

    test "is validated" do
      assert {:error, %Error{code: 2002}} = Events.new_event("text", 1)
      assert {:error, %Error{code: 2001}} = Events.new_event(nil, 1)
      assert_raise RuntimeError, "Failed to create debug event", fn -> Events.debug_new_event(nil, 1) end
      assert %Event{} = Events.debug_new_event(:test, 1)
    end

    test "function_entry, function_exit, state_change" do
      {:ok, entry} = Events.function_entry(M, :f, 2, [1, 2], caller_module: C, caller_line: 3)

      assert %{
               module: M,
               function: :f,
               arity: 2,
               args: [1, 2],
               caller_module: C,
               caller_function: nil,
               caller_line: 3
             } = entry.data

      assert entry.event_type == :function_entry and is_integer(entry.data.call_id)
      {:ok, exit} = Events.function_exit(M, :f, 2, 77, :ok, 1_000, :normal)

      assert %{
               event_type: :function_exit,
               data: %{call_id: 77, result: :ok, duration_ns: 1000, exit_reason: :normal, arity: 2}
             } = exit

      {:ok, change} = Events.state_change(self(), :handle_call, 1, 2, trigger_call_id: 4)

      assert %{
               event_type: :state_change,
               data: %{
                 callback: :handle_call,
                 old_state: 1,
                 new_state: 2,
                 state_diff: :changed,
                 trigger_call_id: 4
               }
             } = change

      {:ok, same} = Events.state_change(self(), :handle_call, 1, 1)
      assert %{state_diff: :no_change, trigger_message: nil} = same.data
    end
  end

  describe "bytes" do
    test "round trip and size" do
      event = new!(:test, %{list: Enum.to_list(1..500)})
      {:ok, bytes} = Events.serialize(event)
      assert {:ok, ^event} = Events.deserialize(bytes)
      assert {:ok, byte_size(bytes)} == Events.serialized_size(event)
      assert byte_size(bytes) < byte_size(:erlang.term_to_binary(event))
      assert_raise FunctionClauseError, fn -> Events.serialize(%{}) end
    end

    test "what is no event, or damaged, or names an unknown atom" do
      for bytes <- ["", "garbage", :erlang.term_to_binary(:not_an_event)] do
        assert {:error,
                %Error{
                  error_type: :deserialization_failed,
                  code: nil,
                  severity: :medium,
                  category: :data,
                  subcategory: :runtime,
                  context: %{original_error: _, binary_size: size}
                }} = Events.deserialize(bytes)

        assert size == byte_size(bytes)
      end

      invalid = :erlang.term_to_binary(%{new!(:test, 1) | event_id: nil})
      assert {:error, %Error{code: 2001}} = Events.deserialize(invalid)
      name = "no_such_atom_" <> Integer.to_string(System.unique_integer([:positive]))
      {:ok, bytes} = Events.serialize(new!(:atomatomatomatomatomatomatom, 1))
      raw = bytes |> :erlang.binary_to_term() |> :erlang.term_to_binary()
      swapped = String.replace(raw, "atomatomatomatomatomatomatom", String.pad_trailing(name, 28, "x"))
      assert byte_size(swapped) == byte_size(raw) and swapped != raw
      assert {:error, %Error{error_type: :deserialization_failed}} = Events.deserialize(swapped)
      assert_raise ArgumentError, fn -> String.to_existing_atom(String.pad_trailing(name, 28, "x")) end
    end
  end

  describe "store" do
    test "an event, a tuple, an error, anything else" do
      event = new!(:test, 1)
      id = event.event_id
      assert {:ok, ^id} = Events.store(event)
      assert {:ok, ^id} = Events.store({:ok, event})
      assert {:error, :given} = Events.store({:error, :given})

      assert {:error,
              %Error{
                code: 2005,
                error_type: :invalid_argument,
                severity: :high,
                message: "Expected Event struct or {:ok, Event} tuple",
                context: %{received: :other}
              }} = Events.store(:other)
    end

    test "every kind of field comes back as it was" do
      zoned = %DateTime{
        DateTime.utc_now()
        | time_zone: "Europe/Berlin",
          zone_abbr: "CET",
          utc_offset: 3600,
          std_offset: 0
      }

      for {fields, i} <-
            Enum.with_index(
              [
                [data: %{nested: [1, 2.5, {:a, "b"}, nil], pid: self(), ref: make_ref()}],
                [correlation_id: "free text", parent_id: 3],
                [correlation_id: "0f0f0f0f-1111-4222-8333-444444444444"],
                [correlation_id: "0F0F0F0F-1111-4222-8333-444444444444"],
                [correlation_id: "", wall_time: nil, node: nil, pid: nil],
                [wall_time: ~U[2024-02-29 23:59:59.999999Z]],
                [wall_time: ~U[1969-12-31 23:59:59Z]],
                [wall_time: ~U[0000-01-01 00:00:00.5Z]],
                [wall_time: zoned],
                [timestamp: -9_223_372_036_854_775_808, event_type: :"ünï code ✓"],
                [event_type: Some.Module, node: :"a@b.example"],
                [data: fn -> 1 end],
                [data: String.duplicate("x", 20_000)],
                [data: String.duplicate("x", 500_000)]
              ],
              1
            ) do
        event = event(i, fields)
        assert {:ok, ^i} = Events.store(event)
        assert {:ok, ^event} = Events.get(i)
      end
    end

    test "the same id overwrites, in every index" do
      {:ok, 1} = Events.store(event(1, event_type: :old, correlation_id: "old", parent_id: 8, timestamp: 5))
      {:ok, 1} = Events.store(event(1, event_type: :new, correlation_id: "new", timestamp: 9))
      assert {:ok, %Event{event_type: :new}} = Events.get(1)
      assert {:ok, []} = Events.query(event_type: :old)
      assert {:ok, []} = Events.get_by_correlation("old")
      assert {:ok, []} = Events.get_time_range(0, 8)
      assert {:ok, [_]} = Events.get_by_correlation("new")
      assert {:ok, %{event_count: 1}} = Events.status()
      assert {:ok, %{events_stored: 2}} = Events.stats()
    end

    test "a batch is all or none, ids in order" do
      assert {:ok, [3, 1, 2]} = Events.store_batch([event(3), event(1), event(2)])
      assert {:ok, []} = Events.store_batch([])
      assert {:error, %Error{code: 2001}} = Events.store_batch([event(9), %{event(10) | event_type: nil}])
      assert {:ok, %{event_count: 3}} = Events.status()
      assert_raise FunctionClauseError, fn -> Events.store_batch(:no_list) end
    end

    test "get of a missing and of an impossible id" do
      assert {:error,
              %Error{
                code: 3001,
                error_type: :not_found,
                severity: :low,
                category: :data,
                subcategory: :retrieval,
                message: "Event not found",
                context: %{event_id: 42}
              }} = Events.get(42)

      assert {:error, %Error{code: 3001}} = Events.get(1 <<< 70)
      assert_raise FunctionClauseError, fn -> Events.get(0) end
      assert_raise FunctionClauseError, fn -> Events.get(-1) end
    end

    defp a <<< b, do: Bitwise.bsl(a, b)
  end

  describe "query" do
    setup do
      events =
        for {id, type, time} <- [
              {5, :type_a, 50},
              {1, :type_b, 40},
              {3, :type_a, 30},
              {4, :type_b, 20},
              {2, :type_a, 10}
            ],
            do: event(id, event_type: type, timestamp: time, correlation_id: "c#{rem(id, 2)}")

      {:ok, _} = Events.store_batch(events)
      :ok
    end

    defp ids_of({:ok, events}), do: Enum.map(events, & &1.event_id)

    test "keys, in 1.x order: type, range, order, offset, limit" do
      assert ids_of(Events.query(%{event_type: :type_a, order_by: :event_id})) == [2, 3, 5]
      assert ids_of(Events.query(event_type: :type_a, order_by: :timestamp)) == [2, 3, 5]
      assert ids_of(Events.query(order_by: :timestamp)) == [2, 4, 3, 1, 5]
      assert ids_of(Events.query(order_by: :event_id)) == [1, 2, 3, 4, 5]
      assert Enum.sort(ids_of(Events.query(order_by: :other))) == [1, 2, 3, 4, 5]
      assert ids_of(Events.query(time_range: {20, 40}, order_by: :timestamp)) == [4, 3, 1]
      assert ids_of(Events.query(order_by: :timestamp, offset: 1, limit: 2)) == [4, 3]
      assert ids_of(Events.query(order_by: :timestamp, offset: 9)) == []
      assert ids_of(Events.query(event_type: :none)) == []
      assert length(ids_of(Events.query(correlation_id: "ignored", what: :ever))) == 5
    end

    test "correlation, range, recent, prune" do
      assert ids_of(Events.get_by_correlation("c1")) == [3, 1, 5]
      assert ids_of(Events.get_correlation_chain("c0")) == [2, 4]
      assert ids_of(Events.get_by_correlation("none")) == []
      assert ids_of(Events.get_time_range(10, 30)) == [2, 4, 3]
      assert ids_of(Events.get_recent(2)) == [1, 5]
      assert ids_of(Events.get_recent()) == [2, 4, 3, 1, 5]
      assert ids_of(Events.get_recent(0)) == []
      assert {:ok, 2} = Events.prune_before(30)
      assert {:ok, 0} = Events.prune_before(30)
      assert ids_of(Events.query(order_by: :event_id)) == [1, 3, 5]
      assert {:ok, %{events_pruned: 2}} = Events.stats()
    end
  end

  describe "isolated stores" do
    test "answer the call tuples on their pid and share nothing with production" do
      namespace = {:test, make_ref()}
      {:ok, pid} = EventStore.start_link(namespace: namespace)
      assert {:ok, ^pid} = Foundation.ServiceRegistry.lookup(namespace, :event_store)
      assert {:ok, 1} = GenServer.call(pid, {:store_event, event(1, correlation_id: "iso")})
      assert {:ok, [2, 3]} = GenServer.call(pid, {:store_batch, [event(2), event(3)]})
      assert {:ok, %Event{event_id: 1}} = GenServer.call(pid, {:get_event, 1})
      assert {:ok, [_, _, _]} = GenServer.call(pid, {:query_events, %{}})
      assert {:ok, [%Event{event_id: 1}]} = GenServer.call(pid, {:get_by_correlation, "iso"})
      assert {:ok, 1} = GenServer.call(pid, {:prune_before, 2})
      assert {:ok, %{events_stored: 3, events_pruned: 1}} = GenServer.call(pid, :get_stats)
      assert {:ok, %{status: :running, event_count: 2, next_id: 4}} == GenServer.call(pid, :get_status)
      assert :ok = GenServer.call(pid, :reset_state)
      assert {:ok, %{event_count: 0, next_id: 1}} = GenServer.call(pid, :get_status)
      assert {:ok, %{event_count: 0}} = Events.status()

      assert {:error, %Error{code: 4001, error_type: :operation_not_supported, category: :security} = error} =
               GenServer.call(pid, {:drop_tables, 1})

      assert error.message =~ ":drop_tables" and error.context == %{operation: :drop_tables}
      send(pid, :noise)
      assert :pong = GenServer.call(pid, :ping)
      GenServer.stop(pid)
    end
  end

  describe "validator" do
    alias Foundation.Validation.EventValidator

    test "each field's message" do
      for {field, value, code, message} <- [
            {:event_id, nil, 2001, "Event ID cannot be nil"},
            {:event_type, nil, 2001, "Event type cannot be nil"},
            {:timestamp, nil, 2001, "Timestamp cannot be nil"},
            {:event_id, 0, 2002, "Event ID must be a positive integer"},
            {:event_id, "1", 2002, "Event ID must be a positive integer"},
            {:event_type, "t", 2002, "Event type must be an atom"},
            {:timestamp, 1.5, 2002, "Timestamp must be an integer"},
            {:wall_time, 1, 2002, "Wall time must be a DateTime"},
            {:node, "n", 2002, "Node must be an atom"},
            {:pid, 1, 2002, "PID must be a process identifier"},
            {:correlation_id, :c, 2002, "Correlation ID must be a string"},
            {:parent_id, -1, 2002, "Parent ID must be a positive integer"}
          ] do
        event = Map.put(event(1), field, value)

        assert {:error, %Error{code: ^code, message: ^message, category: :data}} =
                 EventValidator.validate(event)

        assert {:error, %Error{code: ^code}} = Events.store(event)
      end
    end

    test "size and type" do
      big = event(1, data: :binary.copy("x", 1_000_001))

      assert {:error, %Error{code: 2003, error_type: :data_too_large, severity: :high, context: context}} =
               EventValidator.validate(big)

      assert %{size: size, max_size: 1_000_000} = context
      assert size > 1_000_000
      assert :ok = EventValidator.validate_data_size(event(1))
      assert :ok = EventValidator.validate_required_fields(event(1))
      assert :ok = EventValidator.validate_field_types(event(1))

      for type <- [:function_entry, :config_reset, :type_b],
          do: assert(:ok = EventValidator.validate_event_type(type))

      assert {:error, %Error{code: 2004, error_type: :invalid_event_type}} =
               EventValidator.validate_event_type(:nope)
    end
  end

  describe "event logic" do
    alias Foundation.Logic.EventLogic

    test "lists" do
      events = [
        event(1, correlation_id: "a", timestamp: 3),
        event(2, correlation_id: "b"),
        event(3),
        event(4, correlation_id: "a", timestamp: 1)
      ]

      assert Enum.map(EventLogic.extract_correlation_chain(events, "a"), & &1.event_id) == [4, 1]

      assert %{"a" => [%{event_id: 4}, %{event_id: 1}], "b" => [_]} =
               groups = EventLogic.group_by_correlation(events)

      assert map_size(groups) == 2
      assert Enum.map(EventLogic.filter_by_time_range(events, 1, 2), & &1.event_id) == [2, 4]
      assert EventLogic.transform_event_data(event(1, data: 2), &(&1 * 2)).data == 4
      assert {:ok, plain} = EventLogic.serialize_event(event(1), compression: false)
      assert plain == :erlang.term_to_binary(event(1, wall_time: :erlang.binary_to_term(plain).wall_time))
    end
  end

  describe "graceful degradation" do
    alias Foundation.Events.GracefulDegradation

    test "always an event, always bytes" do
      assert %Event{event_type: :test, data: 1} = GracefulDegradation.new_event_safe(:test, 1)
      minimal = GracefulDegradation.new_event_safe("bad type", [1])

      assert %{
               original_data_error: _,
               fallback_info: %{original_data_type: :list, sanitization_attempted: true}
             } = minimal.data

      event = event(1)
      assert {:ok, ^event} = GracefulDegradation.deserialize_safe(GracefulDegradation.serialize_safe(event))

      assert {:json_fallback, json} =
               :erlang.binary_to_term(
                 GracefulDegradation.serialize_safe(%{event_type: :x, timestamp: 1, note: "a\"b"})
               )

      assert json =~ ~s("note":"a\\"b")
      assert {:ok, 1} = GracefulDegradation.store_safe(event)
      assert {:ok, [_]} = GracefulDegradation.query_safe(%{})
      assert {:ok, [], %{warning: "Service temporarily unavailable"}} = GracefulDegradation.query_safe(:bad)
    end
  end

  test "telemetry counts what is stored" do
    before = stored_count()
    Events.store(event(1))
    Events.store_batch([event(2), event(3)])
    eventually(fn -> stored_count() == before + 2 or stored_count() == before + 3 end)
  end

  defp stored_count do
    case Foundation.Telemetry.get_metrics() do
      {:ok, %{foundation: %{events_stored: count}}} -> count
      _ -> 0
    end
  end
end
