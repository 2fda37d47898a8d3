defmodule Foundation.MABEAM.Core.Shared do
  @moduledoc false
  # Variables that are kept in a replicated state (`conflict: :crdt`): name -> part -> value. An allocation has a part for
  # each name in it, a topology one for each agent, so that what different nodes change in different parts is kept; others
  # have one part.

  alias Foundation.Distributed.State
  alias Foundation.MABEAM.Types.Variable

  @state :foundation_mabeam_variables
  @whole {:whole}

  @doc "Has this node's replica there."
  @spec ensure() :: :ok | {:error, term}
  def ensure do
    with {:ok, _pid} <- State.new(@state, {:or_map, {:or_map, :lww_register}}), do: :ok
  end

  @doc "The value, if any node has written one."
  @spec read(Variable.t()) :: {:ok, term} | :none | {:error, term}
  def read(%{name: name, type: type}) do
    case State.read(@state, [name]) do
      {:ok, parts} -> {:ok, whole(type, parts)}
      {:error, :not_found} -> :none
      error -> error
    end
  end

  @doc "Has the calling process told of changes: `{:foundation_state, name, diffs}`."
  @spec subscribe() :: :ok | {:error, term}
  def subscribe, do: State.subscribe(@state)

  @doc "The variables that a message to who subscribed is about, `:all` when it does not say."
  @spec concerned(term) :: [term] | :all
  def concerned({:foundation_state, @state, :reset}), do: :all

  def concerned({:foundation_state, @state, diffs}) do
    names = for diff <- diffs, [name | _] <- [elem(diff, 1)], do: name
    Enum.uniq(names)
  end

  def concerned(_other), do: []

  @doc "Changes what differs from what is there."
  @spec write(Variable.t(), term) :: :ok | {:error, term}
  def write(%{name: name, type: type} = variable, value) do
    with {:ok, before} <- parts(variable) do
      wanted = to_parts(type, value)
      puts = for {part, its} <- wanted, before[part] !== {:ok, its}, do: {:update, name, {:put, part, its}}
      gone = for part <- Map.keys(before), not is_map_key(wanted, part), do: {:update, name, {:remove, part}}
      if puts ++ gone == [], do: :ok, else: State.mutate(@state, puts ++ gone)
    end
  end

  @spec delete(Variable.t()) :: :ok | {:error, term}
  def delete(%{name: name}), do: State.mutate(@state, {:remove, name})

  defp parts(%{name: name}) do
    case State.read(@state, [name]) do
      {:ok, parts} -> {:ok, Map.new(parts, fn {part, value} -> {part, {:ok, value}} end)}
      {:error, :not_found} -> {:ok, %{}}
      error -> error
    end
  end

  defp to_parts(type, value) when type in [:allocation, :topology], do: value
  defp to_parts(_type, value), do: %{@whole => value}

  # Links to agents that another node has taken away lead nowhere.
  defp whole(:topology, parts),
    do: Map.new(parts, fn {who, links} -> {who, Enum.filter(links, &is_map_key(parts, &1))} end)

  defp whole(:allocation, parts), do: parts
  defp whole(_type, parts), do: Map.get(parts, @whole)
end
