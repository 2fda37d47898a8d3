defmodule Foundation.Events.Cluster do
  @moduledoc false
  # Events of all nodes: searched together, page by page; found by what they belong to; put in causal order.
  #
  # A page of the cluster is merged from a page of each node. How far each has been read is in the cursor, with how many
  # events of its next page were shown already.

  alias Foundation.{Engine, Peers}
  alias Foundation.Events
  alias Foundation.Events.{Causality, Store}

  @timeout 5_000
  @own [:scope, :nodes, :timeout]
  @limit 100

  @doc "As `Foundation.Events.search/1`, over nodes."
  @spec search(keyword | map) :: {:ok, map} | {:error, term}
  def search(query) do
    query = Map.new(query)
    {own, query} = Map.split(query, @own)
    order = Map.get(query, :order, asc: :timestamp)
    limit = Map.get(query, :limit, @limit)
    where = query |> Map.put(:order, native_order(order)) |> Map.delete(:cursor)

    with {:ok, read} <- cursor(query[:cursor]),
         {:ok, limit} <- whole(limit) do
      nodes = Map.get_lazy(own, :nodes, fn -> if read == %{}, do: Peers.nodes(), else: Map.keys(read) end)
      left = Enum.reject(nodes, &(read[&1] == :done))
      places = Map.new(left, &{&1, Map.get(read, &1, {nil, 0})})

      {answers, missing} = ask(places, where, limit, own[:timeout] || @timeout)
      with {:ok, pages} <- pages(answers), do: {:ok, page(pages, places, missing, order, limit)}
    end
  end

  # Timestamps of two nodes are of two clocks, and causal order is made of the page: each node gives its events by time.
  defp native_order(:causal), do: [asc: :timestamp]
  defp native_order(order), do: order

  defp whole(limit) when is_integer(limit) and limit in 1..10_000, do: {:ok, limit}
  defp whole(limit), do: {:error, {:invalid_query, "limit is from 1 to 10,000, got: #{inspect(limit)}"}}

  # Each node is asked for what it may add to this page: what it has shown already, and a whole page more.
  defp ask(places, query, limit, timeout) do
    places
    |> Enum.group_by(fn {_node, place} -> place end, &elem(&1, 0))
    |> Task.async_stream(
      fn {{cursor, shown}, nodes} ->
        query = query |> Map.put(:limit, min(limit + shown, 10_000)) |> Map.put(:cursor, cursor)
        Peers.ask(nodes, {__MODULE__, :here, [query]}, timeout)
      end,
      max_concurrency: 32,
      timeout: :infinity
    )
    |> Enum.reduce({[], []}, fn {:ok, {answers, missing}}, {all, gone} ->
      {answers ++ all, missing ++ gone}
    end)
  end

  @doc "What this node has. Called by others."
  @spec here(map) :: term
  def here(query), do: Events.search(query)

  # The query is the same for all: what one refuses all refuse.
  defp pages(answers) do
    case Enum.find(answers, fn {_node, answer} -> match?({:error, _}, answer) end) do
      nil -> {:ok, Map.new(answers, fn {node, {:ok, page}} -> {node, page} end)}
      {_node, error} -> error
    end
  end

  defp page(pages, places, missing, order, limit) do
    fresh = Map.new(pages, fn {node, page} -> {node, Enum.drop(page.events, elem(places[node], 1))} end)

    merged =
      fresh |> Enum.flat_map(fn {node, events} -> for(event <- events, do: {node, event}) end) |> sort(order)

    taken = Enum.take(merged, min(limit, ready(merged, early(pages, fresh, limit))))
    counts = Enum.frequencies_by(taken, &elem(&1, 0))

    read =
      Map.new(places, fn {node, place} ->
        {node, place(node, place, pages[node], Map.get(counts, node, 0))}
      end)

    %{
      events: taken |> Enum.map(&elem(&1, 1)) |> arrange(order),
      cursor:
        if(Enum.all?(read, fn {node, place} -> place == :done or missing?(missing, node) end),
          do: nil,
          else: pack(read)
        ),
      scanned: pages |> Map.values() |> Enum.map(& &1.scanned) |> Enum.sum(),
      plan: Map.new(pages, fn {node, page} -> {node, page.plan} end),
      nodes: pages |> Map.keys() |> Enum.sort(),
      missing: Enum.sort(missing)
    }
  end

  # Nodes whose page ended before it was full, and not for want of events.
  defp early(pages, fresh, limit),
    do: for({node, %{cursor: cursor}} <- pages, cursor != nil, length(fresh[node]) < limit, do: node)

  # What may be shown: nothing behind the last event of such a node, for it may have more in front of that.
  defp ready(merged, early) do
    merged
    |> Enum.with_index(1)
    |> Enum.reduce(Map.new(early, &{&1, 0}), fn {{node, _}, at}, last ->
      if is_map_key(last, node), do: %{last | node => at}, else: last
    end)
    |> Map.values()
    |> Enum.min(fn -> length(merged) end)
  end

  defp missing?(missing, node), do: List.keymember?(missing, node, 0)

  # Who did not answer stays where it was.
  defp place(_node, place, nil, _taken), do: place

  defp place(_node, {cursor, shown}, page, taken) do
    cond do
      shown + taken < length(page.events) -> {cursor, shown + taken}
      page.cursor == nil -> :done
      true -> {page.cursor, 0}
    end
  end

  defp sort(events, :causal), do: sort(events, asc: :timestamp)

  defp sort(events, order) do
    keys = List.wrap(order)

    Enum.sort(events, fn {a_node, a}, {b_node, b} ->
      before?(keys, a, b, {a_node, a.event_id} <= {b_node, b.event_id})
    end)
  end

  defp before?([], _a, _b, otherwise), do: otherwise

  defp before?([{direction, path} | rest], a, b, otherwise) do
    {left, right} = {value(a, path), value(b, path)}

    cond do
      left == right -> before?(rest, a, b, otherwise)
      direction == :desc -> left > right
      true -> left < right
    end
  end

  defp value(event, path) when path in [:timestamp, [:timestamp]], do: value(event, :wall_time)

  defp value(event, path) when path in [:wall_time, [:wall_time]] do
    case event.wall_time do
      %DateTime{} = time -> DateTime.to_unix(time, :microsecond)
      other -> other
    end
  end

  defp value(event, [:data | keys]), do: Enum.reduce(keys, event.data, &inside/2)
  defp value(event, [field]), do: Map.get(event, field)
  defp value(event, field), do: Map.get(event, field)

  defp inside(key, map) when is_map(map), do: Map.get(map, key)
  defp inside(key, list) when is_list(list) and is_atom(key), do: if(Keyword.keyword?(list), do: list[key])
  defp inside(at, list) when is_list(list) and is_integer(at), do: Enum.at(list, at)
  defp inside(at, tuple) when is_tuple(tuple) and at in 0..(tuple_size(tuple) - 1)//1, do: elem(tuple, at)
  defp inside(_key, _other), do: nil

  defp arrange(events, :causal), do: Causality.order(events)
  defp arrange(events, _order), do: events

  defp pack(read), do: :erlang.term_to_binary({:cluster, 1, read})

  defp cursor(nil), do: {:ok, %{}}

  defp cursor(bytes) when is_binary(bytes) do
    {:cluster, 1, read} = :erlang.binary_to_term(bytes, [:safe])
    true = Enum.all?(read, &place?/1)
    {:ok, read}
  rescue
    _ in [ArgumentError, MatchError, Protocol.UndefinedError] -> bad_cursor()
  end

  defp cursor(_other), do: bad_cursor()

  defp place?({node, :done}), do: is_atom(node)

  defp place?({node, {cursor, shown}}),
    do: is_atom(node) and (is_nil(cursor) or is_binary(cursor)) and is_integer(shown) and shown >= 0

  defp place?(_other), do: false

  defp bad_cursor, do: {:error, {:invalid_query, "this is no cursor of a search over the cluster"}}

  @doc "The events of a correlation id, of all nodes, in causal order."
  @spec by_correlation(String.t(), keyword) :: {:ok, map} | {:error, term}
  def by_correlation(correlation, opts) do
    nodes = Keyword.get_lazy(opts, :nodes, &Peers.nodes/0)

    {answers, missing} =
      Peers.ask(nodes, {__MODULE__, :correlated, [correlation]}, opts[:timeout] || @timeout)

    events = Enum.flat_map(answers, fn {_node, {:ok, events}} -> events end)
    {:ok, %{events: Causality.order(events), nodes: Enum.map(answers, &elem(&1, 0)), missing: missing}}
  end

  @doc "What this node has of a correlation id. Called by others."
  @spec correlated(String.t()) :: {:ok, [Foundation.Types.Event.t()]} | {:error, :not_running}
  def correlated(correlation) do
    case Store.by_correlation(Engine.handle(:events), correlation) do
      {:ok, events} -> {:ok, events}
      {:error, _} -> {:error, :not_running}
    end
  end
end
