defmodule Foundation.Events.CausalTrace do
  @moduledoc """
  Shows what followed from what: the tree of an event or of a correlation id.

  `roots` are nodes `%{event: event, children: [node]}`. `missing` are the ids of parents that are not in the store,
  `cycles` the ids where events name each other as parents and the tree was cut, `truncated` is true when there were
  more than 10,000 events. `text` is the tree, drawn.
  """

  alias Foundation.Events.Store
  alias Foundation.Types.Event

  @max_events 10_000

  defstruct roots: [], events: 0, missing: [], cycles: [], truncated: false, text: ""

  @type tree :: %{event: Event.t(), children: [tree]}
  @type t :: %__MODULE__{
          roots: [tree],
          events: non_neg_integer,
          missing: [Event.event_id()],
          cycles: [Event.event_id()],
          truncated: boolean,
          text: String.t()
        }

  @doc false
  @spec of(reference | nil, Event.event_id() | String.t()) :: {:ok, t} | {:error, term}
  def of(handle, id) when is_integer(id) do
    with {:ok, event} <- Store.get(handle, id),
         {:ok, root} <- climb(handle, event, MapSet.new([id])),
         {:ok, events, truncated} <- descend(handle, [root.event_id], %{root.event_id => root}) do
      {:ok, build(events, truncated)}
    end
  end

  def of(handle, correlation) when is_binary(correlation) do
    with {:ok, events} <- Store.by_correlation(handle, correlation) do
      taken = Enum.take(events, @max_events)
      {:ok, build(Map.new(taken, &{&1.event_id, &1}), length(events) > @max_events)}
    end
  end

  # The first ancestor that is in the store; in a cycle, the event where it closes.
  defp climb(_handle, %Event{parent_id: nil} = event, _seen), do: {:ok, event}

  defp climb(handle, %Event{parent_id: parent} = event, seen) do
    cond do
      MapSet.member?(seen, parent) -> {:ok, event}
      MapSet.size(seen) > @max_events -> {:ok, event}
      true -> climb_to(handle, Store.get(handle, parent), event, MapSet.put(seen, parent))
    end
  end

  defp climb_to(handle, {:ok, parent}, _event, seen), do: climb(handle, parent, seen)
  defp climb_to(_handle, {:error, %{error_type: :not_found}}, event, _seen), do: {:ok, event}
  defp climb_to(_handle, error, _event, _seen), do: error

  defp descend(_handle, [], known), do: {:ok, known, false}
  defp descend(_handle, _ids, known) when map_size(known) > @max_events, do: {:ok, known, true}

  defp descend(handle, [id | ids], known) do
    with {:ok, children} <- Store.by_parent(handle, id) do
      fresh = Enum.reject(children, &is_map_key(known, &1.event_id))
      known = Enum.reduce(fresh, known, &Map.put(&2, &1.event_id, &1))
      descend(handle, Enum.map(fresh, & &1.event_id) ++ ids, known)
    end
  end

  defp build(known, truncated) do
    children = Enum.group_by(Map.values(known), & &1.parent_id)
    {tops, rest} = known |> Map.values() |> order() |> Enum.split_with(&(not is_map_key(known, &1.parent_id)))
    {roots, seen, cycles} = grow(tops, children, MapSet.new(), [])
    # What no root leads to hangs in a cycle: the earliest event of each becomes a root.
    {more, _seen, cycles} =
      rest |> Enum.reject(&MapSet.member?(seen, &1.event_id)) |> cut(children, seen, cycles)

    trace = %__MODULE__{
      roots: roots ++ more,
      events: map_size(known),
      missing: tops |> Enum.map(& &1.parent_id) |> Enum.reject(&is_nil/1) |> Enum.uniq(),
      cycles: Enum.reverse(cycles),
      truncated: truncated
    }

    %{trace | text: text(trace)}
  end

  defp cut(events, children, seen, cycles) do
    Enum.reduce(events, {[], seen, cycles}, fn event, {roots, seen, cycles} ->
      if MapSet.member?(seen, event.event_id) do
        {roots, seen, cycles}
      else
        {[root], seen, cycles} = grow([event], children, seen, [event.event_id | cycles])
        {roots ++ [root], seen, cycles}
      end
    end)
  end

  defp grow(events, children, seen, cycles) do
    {nodes, seen, cycles} =
      Enum.reduce(events, {[], seen, cycles}, fn event, {nodes, seen, cycles} ->
        if MapSet.member?(seen, event.event_id) do
          {nodes, seen, cycles}
        else
          below = children |> Map.get(event.event_id, []) |> order()
          {grown, seen, cycles} = grow(below, children, MapSet.put(seen, event.event_id), cycles)
          {[%{event: event, children: grown} | nodes], seen, cycles}
        end
      end)

    {Enum.reverse(nodes), seen, cycles}
  end

  defp order(events), do: Enum.sort_by(events, &{&1.timestamp, &1.event_id})

  # -- drawing -----------------------------------------------------------------------------------------------------

  defp text(%__MODULE__{roots: roots} = trace) do
    [Enum.map(roots, &draw_root(&1, trace)), if(trace.truncated, do: ["...\n"], else: [])]
    |> IO.iodata_to_binary()
  end

  defp draw_root(%{event: event} = node, trace) do
    note =
      cond do
        event.parent_id == nil -> ""
        event.event_id in trace.cycles -> "  (cycle: parent ##{event.parent_id} follows from it)"
        true -> "  (parent ##{event.parent_id} is not in the store)"
      end

    [label(event, event.timestamp), note, "\n", draw(node.children, "", event.timestamp)]
  end

  defp draw([], _indent, _start), do: []
  defp draw([last], indent, start), do: draw_one(last, indent, "└─ ", "   ", start)

  defp draw([node | rest], indent, start),
    do: [draw_one(node, indent, "├─ ", "│  ", start), draw(rest, indent, start)]

  defp draw_one(%{event: event, children: children}, indent, branch, below, start) do
    [indent, branch, label(event, start), "\n", draw(children, indent <> below, start)]
  end

  defp label(%Event{} = event, start),
    do: "##{event.event_id} #{event.event_type} +#{event.timestamp - start}"
end
