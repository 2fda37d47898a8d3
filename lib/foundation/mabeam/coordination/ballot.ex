defmodule Foundation.MABEAM.Coordination.Ballot do
  @moduledoc false
  # What voting protocols have in common: the question, the options, and counting.

  @doc "The ballot that agents get, of the user's problem."
  @spec new(term) :: {:ok, map} | {:error, term}
  def new(%{options: options} = problem) do
    if is_list(options) and options != [] and not List.improper?(options) and Enum.uniq(options) == options,
      do: {:ok, Map.put_new(problem, :question, nil)},
      else: {:error, {:invalid, %{field: :options, value: options, expected: "a list of different values"}}}
  end

  def new(other), do: {:error, {:invalid, %{field: :problem, value: other, expected: "a map with :options"}}}

  @doc "What the agents see: no weights, and nothing else that is the protocol's own."
  @spec shown(map) :: map
  def shown(ballot), do: Map.take(ballot, [:question, :options, :data])

  @spec option?(map, term) :: boolean
  def option?(%{options: options}, choice), do: Enum.any?(options, &(&1 === choice))

  @doc "Adds to the count of an option."
  @spec count(map, term, number) :: map
  def count(tally, choice, weight), do: Map.update(tally, choice, weight, &(&1 + weight))

  @doc "The options by their counts, best first; where counts are equal, in the ballot's order."
  @spec ranking(map, map) :: [{term, number}]
  def ranking(%{options: options}, tally),
    do: options |> Enum.map(&{&1, Map.get(tally, &1, 0)}) |> Enum.sort_by(fn {_, n} -> -n end)

  @doc "A share of a whole as a number from 0 to 1."
  @spec share(number, number) :: float
  def share(_part, whole) when whole == 0, do: 0.0
  def share(part, whole), do: part / whole
end
