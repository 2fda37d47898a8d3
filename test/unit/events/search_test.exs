defmodule Foundation.Events.SearchTest do
  use Foundation.EventCase, async: false

  defp put(events), do: {:ok, _} = Events.store_batch(events)

  defp found(where, opts \\ []) do
    {:ok, page} = Events.search([where: where] ++ opts)
    Enum.map(page.events, & &1.event_id)
  end

  defp plan(where) do
    {:ok, page} = Events.search(where: where)
    {page.plan, page.scanned}
  end

  setup do
    put([
      event(1, event_type: :payment, data: %{amount: 50, card: "visa", tags: [:a, :b]}),
      event(2, event_type: :payment, data: %{amount: 150.5, card: "Visa Gold", to: {:acct, 7}}),
      event(3,
        event_type: :refund,
        data: %{"amount" => 10, 5 => "five"},
        parent_id: 2,
        correlation_id: "story"
      ),
      event(4, event_type: :note, data: "plain text", correlation_id: "story"),
      event(5, event_type: :note, data: [k: 1, list: ~c"abc"], node: :other@host),
      event(6, event_type: :moment, data: ~U[2024-01-01 00:00:00Z], wall_time: ~U[2020-05-05 05:05:05.5Z])
    ])

    :ok
  end

  test "the example of the documentation" do
    assert {:ok, %{events: [%Event{event_id: 2}], cursor: nil}} =
             Events.search(
               where: {:and, [{:==, :event_type, :payment}, {:>, [:data, :amount], 100}]},
               order: [desc: :timestamp],
               limit: 50
             )
  end

  test "comparisons, in Erlang's order of terms" do
    assert found({:==, [:data, :amount], 50}) == [1]
    assert found({:==, [:data, :amount], 50.0}) == [1]
    assert found({:!=, [:data, :amount], 50}) == [2]
    assert found({:<, [:data, :amount], 150.5}) == [1]
    assert found({:<=, [:data, :amount], 150.5}) == [1, 2]
    assert found({:>, [:data, :amount], 50}) == [2]
    # An atom is more than any number.
    assert found({:<, [:data, :amount], :atom}) == [1, 2]
    assert found({:==, [:data, :to], {:acct, 7}}) == [2]
    assert found({:>, [:data, :to], {:acct, 6}}) == [2]
    assert found({:==, :data, "plain text"}) == [4]
    assert found({:==, :data, %{5 => "five", "amount" => 10.0}}) == [3]
    assert found({:>=, :event_id, 5}) == [5, 6]
    assert found({:==, :correlation_id, nil}) == [1, 2, 5, 6]
    assert found({:==, :node, :other@host}) == [5]
    assert found({:==, :pid, self()}) == [1, 2, 3, 4, 5, 6]
    assert found({:>, [:data, :amount], Bitwise.bsl(1, 200)}) == []
    assert found({:<, [:data, :amount], Bitwise.bsl(1, 200)}) == [1, 2]
  end

  test "in, ranges, prefix, regex, exists, not" do
    assert found({:in, :event_type, [:refund, :note]}) == [3, 4, 5]
    assert found({:in, :event_id, 2..4}) == [2, 3, 4]
    assert found({:in, :event_id, 4..2//-1}) == [2, 3, 4]
    assert found({:between, [:data, :amount], 50, 100}) == [1]
    assert found({:prefix, [:data, :card], "Vis"}) == [2]
    assert found({:prefix, :event_type, "pay"}) == [1, 2]
    assert found({:regex, [:data, :card], ~r/^visa( gold)?$/i}) == [1, 2]
    assert found({:regex, [:data, :card], "Gold$"}) == [2]
    assert found({:exists, [:data, :amount]}) == [1, 2]
    assert found({:exists, :parent_id}) == [3]
    assert found({:not, {:exists, [:data, :amount]}}) == [3, 4, 5, 6]
    assert found({:or, [{:==, :event_id, 1}, {:==, :event_id, 6}]}) == [1, 6]
    assert found([{:==, :event_type, :note}, {:exists, :correlation_id}]) == [4]
    assert found(nil) == [1, 2, 3, 4, 5, 6]
    assert found({:or, []}) == []
    assert found({:and, []}) == [1, 2, 3, 4, 5, 6]
    assert found({:in, :event_id, [1, 2]}) == [1, 2]
  end

  test "paths: any key, positions, keyword lists, structs" do
    assert found({:==, [:data, "amount"], 10}) == [3]
    assert found({:==, [:data, 5], "five"}) == [3]
    assert found({:==, [:data, :tags, 1], :b}) == [1]
    assert found({:==, [:data, :to, 0], :acct}) == [2]
    assert found({:==, [:data, :k], 1}) == [5]
    assert found({:==, [:data, :list, 2], ?c}) == [5]
    assert found({:==, [:data, :year], 2024}) == [6]
    assert found({:==, [:data, :nothing, :at, :all], 1}) == []
    assert found({:!=, [:data, :nothing], 1}) == []
    assert found({:<, :wall_time, ~U[2021-01-01 00:00:00Z]}) == [6]
    assert found({:==, :wall_time, ~U[2020-05-05 05:05:05.500Z]}) == [6]
  end

  test "the index with the fewest candidates is used" do
    put(for i <- 100..199, do: event(i, event_type: :bulk, correlation_id: "bulk", parent_id: 99))
    assert {"correlation", 2} = plan({:==, :correlation_id, "story"})
    assert {"correlation", 2} = plan({:and, [{:==, :event_type, :bulk}, {:==, :correlation_id, "story"}]})
    assert {"event_type", 2} = plan({:==, :event_type, :payment})
    assert {"id", 1} = plan({:and, [{:==, :event_id, 3}, {:exists, [:data, "amount"]}]})
    assert {"parent", 1} = plan({:==, :parent_id, 2})
    assert {"node", 1} = plan({:==, :node, :other@host})
    assert {"time", 3} = plan({:and, [{:>, :timestamp, 1}, {:<=, :timestamp, 4}]})
    assert {"event_type", 0} = plan({:==, :event_type, :never_seen_before})
    assert {"scan", 101} = plan({:exists, :data})
  end

  test "order by anything, missing last, equal by id" do
    assert found(nil, order: [desc: :timestamp]) == [6, 5, 4, 3, 2, 1]
    assert found(nil, order: [desc: [:data, :amount]]) == [2, 1, 6, 5, 4, 3]
    assert found(nil, order: [asc: [:data, :amount]]) == [1, 2, 3, 4, 5, 6]
    assert found(nil, order: [asc: :event_type, desc: :event_id]) == [6, 5, 4, 2, 1, 3]
    assert found(nil, order: [asc: :event_type], limit: 2) == [6, 4]
  end

  test "pages meet without gaps or repeats, in each order, while events come in" do
    put(
      for i <- 100..350,
          do: event(i, event_type: :page, timestamp: 1000 + rem(i * 7, 50), data: %{v: rem(i, 13)})
    )

    for order <- [[], [desc: :timestamp], [asc: [:data, :v]], [desc: [:data, :v]], [desc: :event_id]] do
      ids = pages({:==, :event_type, :page}, order, nil, [])
      assert length(ids) == 251
      assert Enum.uniq(ids) == ids
      Events.prune_before(0)
    end

    streamed =
      Events.stream(where: {:==, :event_type, :page}, limit: 17, order: [desc: :timestamp])
      |> Enum.map(& &1.event_id)

    assert length(streamed) == 251 and Enum.uniq(streamed) == streamed
  end

  defp pages(where, order, cursor, ids) do
    {:ok, page} = Events.search(where: where, order: order, limit: 40, cursor: cursor)
    # Stored between two pages, before the cursor in time: it must not move the others.
    put([event(1_000_000 + length(ids), event_type: :other, timestamp: -5)])
    ids = ids ++ Enum.map(page.events, & &1.event_id)
    if page.cursor, do: pages(where, order, page.cursor, ids), else: ids
  end

  test "a cost bound: by time the page ends early, otherwise it is an error" do
    put(for i <- 100..199, do: event(i))
    assert {:ok, %{events: events, cursor: cursor, scanned: 10}} = Events.search(max_scanned: 10)
    assert length(events) == 10
    assert {:ok, %{events: [%Event{event_id: 104} | _]}} = Events.search(max_scanned: 10, cursor: cursor)

    assert {:ok, %{events: [], cursor: cursor}} =
             Events.search(where: {:==, [:data, :no], 1}, max_scanned: 10)

    assert is_binary(cursor)

    assert {:error, {:cost_limit, {10, 10}}} = Events.search(order: [asc: :event_id], max_scanned: 10)
    assert {:ok, _} = Events.search(where: {:==, :event_id, 5}, order: [asc: :event_id], max_scanned: 10)
  end

  test "what is not a query says why" do
    deep = Enum.reduce(1..100, {:exists, :data}, fn _, c -> {:not, c} end)

    for {query, text} <- [
          {[where: {:===, :data, 1}], "unknown condition ==="},
          {[where: {:==, :nonsense, 1}], "no field nonsense"},
          {[where: {:==, [:timestamp, :x], 1}], "only :data"},
          {[where: :nope], "condition"},
          {[where: {:and, :nope}], "list"},
          {[where: {:and, [{:exists, :data} | :improper]}], "improper"},
          {[where: {:prefix, :data, 5}], "prefix"},
          {[where: {:regex, :data, "("}], "regular expression"},
          {[where: {:regex, :data, "(?=x)"}], "regular expression"},
          {[where: {:regex, :data, "(a{1000}){1000}"}], "regular expression"},
          {[where: {:in, :event_id, 1..9//2}], "steps of 1"},
          {[where: deep], "nest"},
          {[limit: 0], "limit"},
          {[limit: 10_001], "limit"},
          {[order: :timestamp], "list"},
          {[order: [up: :timestamp]], ":asc or :desc"},
          {[cursor: "junk"], "cursor"},
          {[cursor: 5], "cursor"},
          {[max_scanned: 0], "max_scanned"},
          {[whre: 1], "no option :whre"},
          {:nope, "options"}
        ] do
      assert {:error, {:invalid_query, message}} = Events.search(query)
      assert message =~ text, "#{inspect(query)}: #{message}"
    end

    {:ok, %{cursor: cursor}} = Events.search(limit: 1)
    assert {:error, {:invalid_query, _}} = Events.search(limit: 1, order: [asc: :event_id], cursor: cursor)
  end

  test "a hostile regular expression and a hostile text meet in linear time" do
    put([event(900, data: %{text: String.duplicate("a", 100_000)})])
    {us, []} = :timer.tc(fn -> found({:regex, [:data, :text], "^(a+)+$b"}) end)
    assert us < 5_000_000
  end
end
