defmodule Foundation.MABEAM.Coordination.Ballot do
  @moduledoc false
  # What voting protocols have in common: the question, the options, and counting. A protocol's state has the ballot under
  # `:ballot`; one whose agents vote for one option counts in `:tally` and `:votes`.

  alias Foundation.MABEAM.Protocol
  alias Foundation.MABEAM.Types.Fields

  @doc "The ballot that agents get, of the user's problem."
  @spec new(term) :: {:ok, map} | {:error, term}
  def new(%{options: options} = problem) do
    if is_list(options) and options != [] and not List.improper?(options) and Enum.uniq(options) == options,
      do: {:ok, Map.put_new(problem, :question, nil)},
      else: Fields.invalid(:options, options, "a list of different values")
  end

  def new(other), do: Fields.invalid(:problem, other, "a map with :options")

  @doc "What the agents see: no weights, and nothing else that is the protocol's own."
  @spec shown(map) :: map
  def shown(ballot), do: Map.take(ballot, [:question, :options, :data])

  @doc "Asks all for their vote."
  @spec ask(map) :: {[Protocol.ask()], map}
  def ask(state), do: {[{:all, :vote, shown(state.ballot)}], state}

  @doc "Takes an answer that is a vote for one option, and counts it with that weight."
  @spec take(map, term, non_neg_integer) :: {:ok, map} | {:invalid, atom, map}
  def take(state, answer, weight \\ 1)

  def take(state, {:vote, choice}, weight) do
    if option?(state.ballot, choice),
      do: {:ok, %{state | tally: count(state.tally, choice, weight), votes: state.votes + weight}},
      else: {:invalid, :no_option, state}
  end

  def take(state, _other, _weight), do: {:invalid, :not_a_vote, state}

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
