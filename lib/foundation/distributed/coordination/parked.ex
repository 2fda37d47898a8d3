defmodule Foundation.Distributed.Coordination.Parked do
  @moduledoc false
  # Calls of a server that wait until its session is good, each no longer than its deadline, as a value.

  @opaque t :: [{entry :: term, GenServer.from(), deadline :: integer}]

  @spec new() :: t
  def new, do: []

  @spec add(t, term, GenServer.from(), integer) :: t
  def add(parked, entry, from, deadline), do: [{entry, from, deadline} | parked]

  @doc "All of them, in the order in which they came."
  @spec all(t) :: [{term, GenServer.from()}]
  def all(parked), do: for({entry, from, _deadline} <- Enum.reverse(parked), do: {entry, from})

  @doc "Answers those whose deadline is over with `{:error, :no_leader}`; gives the others."
  @spec in_time(t, integer) :: t
  def in_time(parked, now) do
    {late, parked} = Enum.split_with(parked, fn {_entry, _from, deadline} -> deadline <= now end)
    for {_entry, from, _deadline} <- late, do: GenServer.reply(from, {:error, :no_leader})
    parked
  end
end
