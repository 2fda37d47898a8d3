defmodule Foundation.MABEAM.Coordination.Ranked do
  @moduledoc false
  # What votes by rankings have in common: options as numbers, ballots with weights, ties, and the count in the native
  # library. A ranking may leave options out; they are level with one another, below the others.
  #
  # `use Ranked, source: "…"` makes a module such a protocol, but for `decide/2`, for which there is `decide/4`.

  alias Foundation.MABEAM.Coordination.Ballot
  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields
  alias Foundation.Native

  @type t :: %{
          ballot: map,
          index: %{term => non_neg_integer},
          weights: map,
          tie: :none | :lowest | {:seed, non_neg_integer},
          votes: [{[non_neg_integer], pos_integer}]
        }

  @heaviest 2 ** 40

  defmacro __using__(source: source) do
    quote do
      use Foundation.MABEAM.Protocol

      @impl true
      def defaults, do: [rounds: 1, quorum: :majority]

      @impl true
      def properties do
        %{truthful: false, efficient: false, budget_balanced: true, messages: "2n", source: unquote(source)}
      end

      @impl true
      def init(problem, _participants), do: unquote(__MODULE__).new(problem)

      @impl true
      def ask(state, _round), do: Ballot.ask(state)

      @impl true
      def answer(id, {:vote, ranking}, state), do: unquote(__MODULE__).take(state, id, ranking)
      def answer(_id, _other, state), do: {:invalid, :not_a_vote, state}
    end
  end

  @spec new(term) :: {:ok, t} | {:error, term}
  def new(problem) do
    with {:ok, ballot} <- Ballot.new(problem),
         {:ok, tie} <- tie(Map.get(ballot, :tie, :first)),
         {:ok, weights} <- weights(Map.get(ballot, :weights, %{})) do
      index = ballot.options |> Enum.with_index() |> Map.new()
      {:ok, %{ballot: ballot, index: index, weights: weights, tie: tie, votes: []}}
    end
  end

  defp tie(:first), do: {:ok, :lowest}
  defp tie(:none), do: {:ok, :none}
  defp tie({:seed, seed} = tie) when seed in 0..0xFFFFFFFFFFFFFFFF, do: {:ok, tie}
  defp tie(other), do: Fields.invalid(:tie, other, ":first, :none or {:seed, a whole number below 2^64}")

  defp weights(%{} = weights) when not is_struct(weights) do
    fits? = fn {id, weight} -> Types.agent_id?(id) and is_integer(weight) and weight in 1..@heaviest end
    if Enum.all?(weights, fits?), do: {:ok, weights}, else: bad_weights(weights)
  end

  defp weights(other), do: bad_weights(other)

  defp bad_weights(value),
    do: Fields.invalid(:weights, value, "a map from agents to whole numbers from 1 to 2^40")

  @doc "Takes the ranking of an agent."
  @spec take(t, term, term) :: {:ok, t} | {:invalid, atom, t}
  def take(state, id, ranking) do
    case numbers(ranking, state.index, []) do
      {:ok, numbers} -> {:ok, %{state | votes: [{numbers, Map.get(state.weights, id, 1)} | state.votes]}}
      :error -> {:invalid, :not_a_ranking, state}
    end
  end

  # Each option once, at least one; a list without an end that is a list is none.
  defp numbers([], _left, [_ | _] = found), do: {:ok, Enum.reverse(found)}

  defp numbers([option | rest], left, found) do
    case Map.pop(left, option) do
      {nil, _left} -> :error
      {number, left} -> numbers(rest, left, [number | found])
    end
  end

  defp numbers(_other, _left, _found), do: :error

  @doc """
  Counts by the rule and decides. `detail` makes the outcome's details of the count and a function that names options,
  `confidence` its confidence.
  """
  @spec decide(t, :schulze | :instant_runoff, (map, (non_neg_integer | nil -> term) -> map), (map -> float)) ::
          {:decided, term, map, t} | {:failed, term, map, t}
  def decide(%{votes: []} = state, _rule, _detail, _confidence), do: {:failed, :no_votes, %{}, state}

  def decide(state, rule, detail, confidence) do
    name = names(state)

    case count(state, rule) do
      {:ok, %{winner: nil} = count} ->
        {:failed, :tie, detail.(count, name), state}

      {:ok, count} ->
        detail = count |> detail.(name) |> Map.put(:confidence, confidence.(count))
        {:decided, name.(count.winner), detail, state}

      {:error, reason} ->
        {:failed, reason, %{}, state}
    end
  end

  defp count(state, rule) do
    votes = state.votes |> Enum.group_by(&elem(&1, 0), &elem(&1, 1)) |> Enum.sort()
    votes = Enum.map(votes, fn {ranking, weights} -> {ranking, Enum.sum(weights)} end)
    Native.market_vote(rule, map_size(state.index), votes, state.tie)
  end

  # The names of options, of their numbers.
  defp names(%{ballot: %{options: options}}) do
    options = List.to_tuple(options)
    fn number -> number && elem(options, number) end
  end
end
