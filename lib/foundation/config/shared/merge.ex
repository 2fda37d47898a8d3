defmodule Foundation.Config.Shared.Merge do
  @moduledoc false
  # What becomes of a path that was set to different values by nodes that did not know of each other. Pure, and the same on
  # every node: whoever resolves a conflict comes to the same.

  @type strategy :: :timestamp_wins | :majority_wins | :intelligent_merge

  @typedoc """
  One of the values: when (ms since 1970), by whom and where it was set, how many nodes were on that side, and what was
  there before.
  """
  @type entry :: %{
          value: term,
          at: integer,
          author: term,
          node: node,
          side: pos_integer,
          base: {:ok, term} | :missing
        }

  # No value of a configuration, as it was never set.
  @nothing {__MODULE__, :nothing}
  @strategies [:timestamp_wins, :majority_wins, :intelligent_merge]

  @doc "The strategies there are."
  @spec strategies() :: [strategy, ...]
  def strategies, do: @strategies

  @doc "The latest of the entries; of two of the same millisecond that of the node whose name sorts last."
  @spec latest([entry, ...]) :: entry
  def latest(entries), do: Enum.max_by(entries, &{&1.at, &1.node, &1.value})

  @doc "Whether they have different values."
  @spec conflict?([entry, ...]) :: boolean
  def conflict?([first | rest]), do: Enum.any?(rest, &(&1.value !== first.value))

  @doc "The entry that takes the place of all of them."
  @spec resolve(strategy, [entry, ...]) :: entry
  def resolve(:timestamp_wins, entries), do: settled(latest(entries), entries)

  # Sides of the same size are judged by time.
  def resolve(:majority_wins, entries),
    do: entries |> Enum.max_by(&{&1.side, &1.at, &1.node, &1.value}) |> settled(entries)

  def resolve(:intelligent_merge, entries) do
    [first | rest] = Enum.sort_by(entries, &{&1.at, &1.node, &1.value})
    base = base(entries)
    value = Enum.reduce(rest, first.value, fn entry, merged -> three_way(base, merged, entry.value) end)
    settled(%{latest(entries) | value: value}, entries)
  end

  # It is later than all that it replaces.
  defp settled(entry, entries), do: %{entry | at: Enum.max(Enum.map(entries, & &1.at)) + 1}

  # They were set from the same value when the split began; a side that has set it twice since has another one, so that the
  # base is that of the earliest.
  defp base(entries) do
    case Enum.min_by(entries, &{&1.at, &1.node, &1.value}).base do
      {:ok, value} -> value
      :missing -> @nothing
    end
  end

  # What only one has changed is as that one has it; what both have is merged further, or as the later one has it.
  defp three_way(_base, same, same), do: same
  defp three_way(base, earlier, base), do: earlier
  defp three_way(base, base, later), do: later

  defp three_way(base, %{} = earlier, %{} = later) when not is_struct(earlier) and not is_struct(later) do
    base = if is_map(base) and not is_struct(base), do: base, else: %{}

    for key <- Enum.uniq(Map.keys(earlier) ++ Map.keys(later)),
        {:ok, value} <- [key(Map.fetch(base, key), Map.fetch(earlier, key), Map.fetch(later, key))],
        into: %{},
        do: {key, value}
  end

  # Added by one: there; removed by one: gone.
  defp three_way(base, earlier, later) when is_list(earlier) and is_list(later) do
    if List.improper?(earlier) or List.improper?(later) do
      later
    else
      base = if is_list(base) and not List.improper?(base), do: base, else: []
      removed = base -- earlier
      (later -- removed) ++ ((earlier -- base) -- later -- base)
    end
  end

  defp three_way(_base, _earlier, later), do: later

  # One has removed it, and the other left it as it was, or has changed it.
  defp key(_base, {:ok, earlier}, {:ok, later}) when earlier === later, do: {:ok, later}
  defp key({:ok, base}, :error, {:ok, later}), do: if(later === base, do: :error, else: {:ok, later})
  defp key({:ok, base}, {:ok, earlier}, :error), do: if(earlier === base, do: :error, else: {:ok, earlier})
  defp key(:error, :error, later), do: later
  defp key(:error, earlier, :error), do: earlier
  defp key({:ok, base}, {:ok, earlier}, {:ok, later}), do: {:ok, three_way(base, earlier, later)}
  defp key(:error, {:ok, earlier}, {:ok, later}), do: {:ok, three_way(@nothing, earlier, later)}
end
