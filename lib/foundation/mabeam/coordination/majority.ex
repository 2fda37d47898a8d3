defmodule Foundation.MABEAM.Coordination.Majority do
  @moduledoc """
  Decides by most votes: the protocol `:majority`.

      Coordination.coordinate(:majority, agents, %{question: "Lunch?", options: [:soup, :salad]})

  The problem is a map: `options:`, a list; `question:` and `data:`, which the agents also see; `threshold:` the share of the
  votes cast that the winner has to exceed, as `{numerator, denominator}`, `{1, 2}` unless given; `{0, 1}` makes it
  a plurality. Agents see `%{question: _, options: _}` in `handle_vote/2` and vote for one option, or abstain.

  Decision: the option with the most votes; of options with the same number the first in the list, if it exceeds the
  threshold. `confidence` is its share of the votes cast; `detail` has `:tally`. Fails with `:no_majority` (and the tally),
  `:no_votes`. At least half of the agents, and one more, must answer or abstain (`quorum: :majority`).

  Properties: two messages an agent. With two options truthful (May, A Set of Independent Necessary and Sufficient
  Conditions for Simple Majority Decision, 1952); with more it is not (Gibbard 1973, Satterthwaite 1975). Nothing is paid.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Ballot
  alias Foundation.MABEAM.Types.Fields

  @impl true
  def defaults, do: [rounds: 1, quorum: :majority]

  @impl true
  def properties do
    %{
      truthful: :two_options,
      efficient: false,
      budget_balanced: true,
      messages: "2n",
      source: "May 1952"
    }
  end

  @impl true
  def init(problem, _participants) do
    with {:ok, ballot} <- Ballot.new(problem), {:ok, threshold} <- threshold(ballot) do
      {:ok, %{ballot: ballot, threshold: threshold, tally: %{}, votes: 0}}
    end
  end

  defp threshold(ballot) do
    case Map.get(ballot, :threshold, {1, 2}) do
      {part, whole} = threshold
      when is_integer(part) and is_integer(whole) and part >= 0 and part <= whole and whole > 0 ->
        {:ok, threshold}

      other ->
        Fields.invalid(:threshold, other, "{numerator, denominator} from 0 to 1")
    end
  end

  @impl true
  def ask(state, _round), do: Ballot.ask(state)

  @impl true
  def answer(_id, answer, state), do: Ballot.take(state, answer)

  @impl true
  def decide(_report, %{votes: 0} = state), do: {:failed, :no_votes, %{tally: %{}}, state}

  def decide(_report, %{votes: votes, threshold: {part, whole}} = state) do
    [{winner, count} | _] = Ballot.ranking(state.ballot, state.tally)

    if count * whole > part * votes,
      do: {:decided, winner, %{confidence: Ballot.share(count, votes), tally: state.tally}, state},
      else: {:failed, :no_majority, %{tally: state.tally}, state}
  end
end
