defmodule Foundation.Events.CausalTraceTest do
  use Foundation.EventCase, async: false

  defp put(list), do: {:ok, _} = Events.store_batch(list)

  test "of an event: everything below its first ancestor, drawn" do
    put([
      event(1, event_type: :order),
      event(2, event_type: :payment, parent_id: 1, timestamp: 4),
      event(3, event_type: :receipt, parent_id: 2, timestamp: 6),
      event(4, event_type: :shipping, parent_id: 1, timestamp: 9),
      event(5, event_type: :unrelated)
    ])

    for id <- 1..4 do
      assert {:ok, trace} = Events.causal_trace(id)
      assert trace.text == "#1 order +0\n├─ #2 payment +3\n│  └─ #3 receipt +5\n└─ #4 shipping +8\n"
      assert %{events: 4, missing: [], cycles: [], truncated: false} = trace

      assert [%{event: %Event{event_id: 1}, children: [%{event: %Event{event_id: 2}, children: [_]}, _]}] =
               trace.roots
    end

    assert {:error, %Error{code: 3001}} = Events.causal_trace(77)
  end

  test "of a correlation id: what has it, parents outside are told" do
    put([
      event(1, correlation_id: "a"),
      event(2, correlation_id: "a", parent_id: 1),
      event(3, correlation_id: "a", parent_id: 99),
      event(4, correlation_id: "b", parent_id: 1)
    ])

    assert {:ok, %{events: 3, missing: [99], roots: [_, _]} = trace} = Events.causal_trace("a")
    assert trace.text == "#1 test +0\n└─ #2 test +1\n#3 test +0  (parent #99 is not in the store)\n"
    assert {:ok, %{events: 0, text: "", roots: []}} = Events.causal_trace("none")
  end

  test "events that name each other as parents" do
    put([
      event(1, parent_id: 3),
      event(2, parent_id: 1),
      event(3, parent_id: 2),
      event(4, parent_id: 2),
      event(9, parent_id: 9)
    ])

    for id <- 1..4 do
      assert {:ok, %{events: 4, roots: [_], cycles: [_]} = trace} = Events.causal_trace(id)
      assert trace.text =~ "cycle"
    end

    assert {:ok, %{events: 1, cycles: [9]}} = Events.causal_trace(9)
  end

  test "a chain of thousands" do
    put(for i <- 1..3_000, do: event(i, parent_id: if(i > 1, do: i - 1)))
    assert {:ok, %{events: 3_000, roots: [_], truncated: false}} = Events.causal_trace(3_000)
  end
end
