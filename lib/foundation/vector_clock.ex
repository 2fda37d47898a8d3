defmodule Foundation.VectorClock do
  @moduledoc """
  Tells which of two things happened first, or that neither knew of the other, without a clock on the wall.

      iex> alias Foundation.VectorClock
      iex> written = VectorClock.new() |> VectorClock.increment(:a)
      iex> read = written |> VectorClock.increment(:b)
      iex> VectorClock.compare(written, read)
      :before
      iex> VectorClock.compare(read, VectorClock.increment(written, :c))
      :concurrent

  A clock counts the events of each party (a node, a process, any term) that its holder knows of. It is a plain map from
  parties to counts: keep it in a state, send it, store it. Functions cost O(parties) unless they say otherwise.

  No function here calls the native library.
  """

  @type party :: term
  @type t :: %{party => pos_integer}
  @type order :: :before | :after | :equal | :concurrent

  @doc """
  A clock that knows of nothing. O(1).

      iex> Foundation.VectorClock.get(Foundation.VectorClock.new(), :a)
      0
  """
  @spec new() :: t
  def new, do: %{}

  @doc """
  A clock of these counts, a map or keyword list; counts of 0 say nothing. Raises ArgumentError for what is no count.

      iex> Foundation.VectorClock.new(a: 2, b: 0)
      %{a: 2}
  """
  @spec new(Enumerable.t()) :: t
  def new(counts) do
    for {party, n} <- counts, count!(party, n) > 0, into: %{}, do: {party, n}
  end

  @doc """
  Counts one more event of the party. O(log parties).

      iex> Foundation.VectorClock.new() |> Foundation.VectorClock.increment(:a) |> Foundation.VectorClock.get(:a)
      1
  """
  @spec increment(t, party) :: t
  def increment(clock, party) when is_map(clock), do: Map.update(clock, party, 1, &(&1 + 1))

  @doc """
  The least clock that knows all that both know.

      iex> alias Foundation.VectorClock
      iex> VectorClock.merge(VectorClock.new(a: 2, b: 1), VectorClock.new(a: 1, c: 3))
      %{a: 2, b: 1, c: 3}
  """
  @spec merge(t, t) :: t
  def merge(one, other) when is_map(one) and is_map(other),
    do: Map.merge(one, other, fn _party, m, n -> max(m, n) end)

  @doc """
  How the first stands to the second: `:before`, `:after`, `:equal`, or `:concurrent` when each knows what the other does
  not.

      iex> alias Foundation.VectorClock
      iex> VectorClock.compare(VectorClock.new(a: 1), VectorClock.new(a: 1, b: 1))
      :before
      iex> VectorClock.compare(VectorClock.new(a: 1), VectorClock.new(b: 1))
      :concurrent
  """
  @spec compare(t, t) :: order
  def compare(one, other) when is_map(one) and is_map(other) do
    case {descends?(one, other), descends?(other, one)} do
      {true, true} -> :equal
      {true, false} -> :after
      {false, true} -> :before
      {false, false} -> :concurrent
    end
  end

  @doc """
  Whether the first knows all that the second knows: it comes after it, or is equal.

      iex> alias Foundation.VectorClock
      iex> VectorClock.descends?(VectorClock.new(a: 2), VectorClock.new(a: 1))
      true
  """
  @spec descends?(t, t) :: boolean
  def descends?(one, other) when is_map(one) and is_map(other),
    do: Enum.all?(other, fn {party, n} -> Map.get(one, party, 0) >= n end)

  @doc "How many events of the party it knows of; 0 when none. O(log parties)."
  @spec get(t, party) :: non_neg_integer
  def get(clock, party) when is_map(clock), do: Map.get(clock, party, 0)

  defp count!(_party, n) when is_integer(n) and n >= 0, do: n

  defp count!(party, n),
    do: raise(ArgumentError, "the count of #{inspect(party)} is an integer of 0 or more, got: #{inspect(n)}")
end
