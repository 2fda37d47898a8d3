defmodule Foundation.Events.EncodingTest do
  use ExUnit.Case, async: true

  import Bitwise
  alias Foundation.Events.Store
  alias Foundation.Native
  alias Foundation.Types.Event

  setup do
    handle = Native.events_new()
    :ok = Native.events_attach(handle, self())
    {:ok, handle: handle}
  end

  # Data of a batch is written by the native library where it is usual, by the VM where it is not; each kind of term,
  # and each edge between the two ways, must come back as it went.
  defp shapes do
    integers =
      for bits <- [0, 7, 8, 31, 32, 58, 59, 60, 63, 64, 200],
          n <- [1, -1],
          d <- [-1, 0, 1],
          do: n * (1 <<< bits) + d

    deep =
      Enum.reduce(1..40, :bottom, fn n, inner -> if rem(n, 2) == 0, do: {inner}, else: %{n => [inner]} end)

    integers ++
      [
        nil,
        :atom,
        :"naïve ☃",
        "",
        "text",
        String.duplicate("x", 70_000),
        <<1::3>>,
        1.5,
        -0.0,
        5.0e-324,
        [],
        ~c"bytes",
        [0, 255],
        [0, 256],
        [1, -1],
        Enum.to_list(1..255),
        List.duplicate(7, 256),
        List.duplicate(7, 257),
        List.duplicate(:a, 300),
        [1 | 2],
        [:a, [:b | "c"]],
        {},
        {1},
        List.to_tuple(Enum.to_list(1..300)),
        %{},
        %{1 => :a, "b" => 2.0, c: [%{d: {1, "e"}}]},
        Map.new(1..32, &{&1, &1}),
        Map.new(1..33, &{&1, &1}),
        %{amount: 1, currency: "EUR", nested: %{list: [1, 2, 300], pid: self()}},
        make_ref(),
        &String.length/1,
        Date.utc_today(),
        deep
      ]
  end

  test "what is stored in a batch comes back as it was", %{handle: handle} do
    events =
      for {data, id} <- Enum.with_index(shapes(), 1) do
        %Event{
          event_id: id,
          event_type: :shape,
          timestamp: id,
          pid: self(),
          node: node(),
          data: %{value: data}
        }
      end

    {:ok, ids} = Store.store_batch(handle, events)
    assert ids == Enum.map(events, & &1.event_id)

    for event <- events do
      {:ok, found} = Store.get(handle, event.event_id)
      assert found === event
    end
  end

  test "a batch is found by what is in its data, as single events are", %{handle: handle} do
    values = [
      7,
      -7,
      1 <<< 40,
      1.5,
      :atom,
      "text",
      ~c"bytes",
      [1, 300],
      [:a, "b"],
      {1, :two},
      %{a: 1},
      [],
      true
    ]

    for {value, n} <- Enum.with_index(values, 1) do
      event = %Event{event_id: n, event_type: :v, timestamp: n, data: %{value: value}}
      {:ok, _} = Store.store(handle, event)
      {:ok, _} = Store.store_batch(handle, [%{event | event_id: 100 + n, timestamp: 100 + n}])
    end

    for {value, n} <- Enum.with_index(values, 1) do
      query = :erlang.term_to_binary({{:==, [:data, :value], value}, [], 10, nil, 1_000})
      {:ok, found, nil, _, _} = Native.events_search(handle, query)
      assert Enum.map(found, & &1.event_id) == [n, 100 + n], inspect(value)
    end
  end

  test "events keep their process and their calendar time, whatever node and precision", %{handle: handle} do
    foreign = :erlang.binary_to_term(<<131, 88, 119, 5, "other", 77::32, 3::32, 9::32>>)
    now = DateTime.utc_now()

    walls = [
      nil,
      now,
      DateTime.truncate(now, :second),
      DateTime.add(now, -400, :day),
      ~U[0001-01-01 00:00:00.000001Z]
    ]

    events =
      for {{pid, wall, node}, id} <-
            Enum.with_index(
              for(p <- [nil, self(), foreign], w <- walls, n <- [nil, node(), :other], do: {p, w, n}),
              1
            ) do
        %Event{
          event_id: id,
          event_type: :who,
          timestamp: id,
          pid: pid,
          wall_time: wall,
          node: node,
          data: nil
        }
      end

    {:ok, _} = Store.store_batch(handle, events)

    for event <- events do
      {:ok, found} = Store.get(handle, event.event_id)
      assert found === event
      {:ok, _} = Store.store(handle, event)
      assert Store.get(handle, event.event_id) == {:ok, event}
    end

    query = :erlang.term_to_binary({{:==, :pid, self()}, [], 100, nil, 1_000})
    {:ok, found, nil, _, _} = Native.events_search(handle, query)
    assert length(found) == Enum.count(events, &(&1.pid == self()))
  end
end
