defmodule Foundation.Demo.Market.CallGraph do
  @moduledoc false
  # Graphs of calls as maps from each node to those it calls. Pure.

  @type graph :: %{vertex => [vertex]}
  @type vertex :: term

  @doc "The strongly connected components, those that are called before those that call them (Tarjan 1972)."
  @spec components(graph) :: [[vertex]]
  def components(graph) do
    state = %{next: 0, index: %{}, low: %{}, stack: [], on_stack: %{}, found: []}

    graph
    |> Map.keys()
    |> Enum.sort()
    |> Enum.reduce(state, fn v, state -> if seen?(state, v), do: state, else: visit(v, graph, state) end)
    |> Map.fetch!(:found)
    |> Enum.reverse()
  end

  defp seen?(state, v), do: is_map_key(state.index, v)

  defp visit(v, graph, state) do
    state = %{
      state
      | next: state.next + 1,
        index: Map.put(state.index, v, state.next),
        low: Map.put(state.low, v, state.next),
        stack: [v | state.stack],
        on_stack: Map.put(state.on_stack, v, true)
    }

    state = graph |> Map.get(v, []) |> Enum.reduce(state, &follow(v, &1, graph, &2))
    if state.low[v] == state.index[v], do: complete(v, state), else: state
  end

  defp follow(v, w, graph, state) do
    cond do
      not seen?(state, w) ->
        state = visit(w, graph, state)
        lower(state, v, state.low[w])

      is_map_key(state.on_stack, w) ->
        lower(state, v, state.index[w])

      true ->
        state
    end
  end

  defp lower(state, v, least), do: %{state | low: Map.update!(state.low, v, &min(&1, least))}

  defp complete(v, state) do
    {above, [^v | stack]} = Enum.split_while(state.stack, &(&1 != v))
    component = [v | above]
    %{state | stack: stack, on_stack: Map.drop(state.on_stack, component), found: [component | state.found]}
  end

  @doc "How many components the longest chain of calls goes through; the components as `components/1` gives them."
  @spec depth([[vertex]], graph) :: non_neg_integer
  def depth(components, graph) do
    components
    |> Enum.reduce({%{}, 0}, fn component, {depths, most} ->
      below = for v <- component, w <- Map.get(graph, v, []), depth = depths[w], do: depth
      depth = 1 + Enum.max(below, fn -> 0 end)
      {Enum.reduce(component, depths, &Map.put(&2, &1, depth)), max(most, depth)}
    end)
    |> elem(1)
  end

  @doc "What is reached from these vertices, with them."
  @spec reachable([vertex], graph) :: %{vertex => true}
  def reachable(roots, graph), do: reach(roots, graph, %{})

  defp reach([], _graph, seen), do: seen
  defp reach([v | rest], graph, seen) when is_map_key(seen, v), do: reach(rest, graph, seen)

  defp reach([v | rest], graph, seen),
    do: reach(Map.get(graph, v, []) ++ rest, graph, Map.put(seen, v, true))
end
