defmodule Foundation.MABEAM.Coordination.Approval do
  @moduledoc """
  Decides for what most agents approve of: the protocol `:approval`.

  The problem is a map with `options:`, `question:`, `data:`, as that of `Foundation.MABEAM.Coordination.Majority`. Agents vote with a list of
  options, each at most once; an empty list approves of none.

  Decision: the option with the most approvals; of those with the same number the first in the list. `confidence` is the
  share of the voters that approve of it; `detail` has `:tally`. Fails with `:no_votes` when nobody approves of anything. Quorum:
  a majority.

  Properties: two messages an agent. An agent for which options are only good or bad does best by its true list (Brams and
  Fishburn, Approval Voting, 1978); others may not.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Ballot

  @impl true
  def defaults, do: [rounds: 1, quorum: :majority]

  @impl true
  def properties do
    %{
      truthful: :dichotomous,
      efficient: false,
      budget_balanced: true,
      messages: "2n",
      source: "Brams and Fishburn 1978"
    }
  end

  @impl true
  def init(problem, _participants) do
    with {:ok, ballot} <- Ballot.new(problem), do: {:ok, %{ballot: ballot, tally: %{}, voters: 0}}
  end

  @impl true
  def ask(state, _round), do: Ballot.ask(state)

  @impl true
  def answer(_id, {:vote, approved}, state) when is_list(approved) do
    if not List.improper?(approved) and Enum.uniq(approved) == approved and
         Enum.all?(approved, &Ballot.option?(state.ballot, &1)) do
      tally = Enum.reduce(approved, state.tally, &Ballot.count(&2, &1, 1))
      {:ok, %{state | tally: tally, voters: state.voters + 1}}
    else
      {:invalid, :no_option, state}
    end
  end

  def answer(_id, _other, state), do: {:invalid, :not_a_vote, state}

  @impl true
  def decide(_report, %{tally: tally} = state) when tally == %{},
    do: {:failed, :no_votes, %{tally: %{}}, state}

  def decide(_report, state) do
    [{winner, count} | _] = Ballot.ranking(state.ballot, state.tally)
    {:decided, winner, %{confidence: Ballot.share(count, state.voters), tally: state.tally}, state}
  end
end
