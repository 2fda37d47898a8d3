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

  @doc "The value that parts make; `default` of none."
  @spec value(Variable.t(), map, term) :: term
  def value(_variable, parts, default) when parts == %{}, do: default
  def value(%{type: type}, parts, _default), do: whole(type, parts)

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
  def write(variable, value) do
    with {:ok, parts} <- parts(variable), do: write(variable, parts, value)
  end

  @doc "Writes what `value` makes different from these parts, and leaves what others have changed since."
  @spec write(Variable.t(), map, term) :: :ok | {:error, term}
  def write(%{name: name, type: type}, parts, value) do
    seen = if parts == %{}, do: %{}, else: to_parts(type, whole(type, parts))
    wanted = to_parts(type, value)
    puts = for {part, its} <- wanted, not same?(seen, part, its), do: {:update, name, {:put, part, its}}
    gone = for part <- Map.keys(parts), not is_map_key(wanted, part), do: {:update, name, {:remove, part}}
    if puts ++ gone == [], do: :ok, else: State.mutate(@state, puts ++ gone)
  end

  defp same?(parts, part, its), do: is_map_key(parts, part) and parts[part] === its

  @spec delete(Variable.t()) :: :ok | {:error, term}
  def delete(%{name: name}), do: State.mutate(@state, {:remove, name})

  @doc "What there is, by parts: none when no node has written one."
  @spec parts(Variable.t()) :: {:ok, map} | {:error, term}
  def parts(%{name: name}) do
    with {:error, :not_found} <- State.read(@state, [name]), do: {:ok, %{}}
  end

  defp to_parts(type, value) when type in [:allocation, :topology], do: value
  defp to_parts(_type, value), do: %{@whole => value}

  # Links to agents that another node has taken away lead nowhere.
  defp whole(:topology, parts),
    do: Map.new(parts, fn {who, links} -> {who, Enum.filter(links, &is_map_key(parts, &1))} end)

  defp whole(:allocation, parts), do: parts
  defp whole(_type, parts), do: Map.get(parts, @whole)
end
