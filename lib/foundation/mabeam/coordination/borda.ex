defmodule Foundation.MABEAM.Coordination.Borda do
  @moduledoc """
  Decides by the places that agents give to all options: the protocol `:borda`.

  The problem is a map with `options:`, `question:`, `data:`, as that of `Foundation.MABEAM.Coordination.Majority`. Agents vote with a
  list of all options, best first. Of m options the first gets m - 1 points, the last none.

  Decision: the option with the most points; of those with the same number the first in the list. `confidence` is its share of
  the points that it could have got; `detail` has `:ranking`, all options with their points, best first. Fails with `:no_votes`.
  Quorum: a majority.

  Properties: two messages an agent; not truthful ("my scheme is intended only for honest men", Borda, 1781). An option that
  loses against every other does not win.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Ballot

  @impl true
  def defaults, do: [rounds: 1, quorum: :majority]

  @impl true
  def properties,
    do: %{truthful: false, efficient: false, budget_balanced: true, messages: "2n", source: "Borda 1781"}

  @impl true
  def init(problem, _participants) do
    with {:ok, ballot} <- Ballot.new(problem),
         do: {:ok, %{ballot: ballot, sorted: Enum.sort(ballot.options), tally: %{}, voters: 0}}
  end

  @impl true
  def ask(state, _round), do: Ballot.ask(state)

  @impl true
  def answer(_id, {:vote, order}, state) when is_list(order) do
    if not List.improper?(order) and Enum.sort(order) === state.sorted do
      {tally, _} =
        Enum.reduce(order, {state.tally, length(order) - 1}, fn option, {tally, points} ->
          {Ballot.count(tally, option, points), points - 1}
        end)

      {:ok, %{state | tally: tally, voters: state.voters + 1}}
    else
      {:invalid, :not_a_ranking, state}
    end
  end

  def answer(_id, _other, state), do: {:invalid, :not_a_vote, state}

  @impl true
  def decide(_report, %{voters: 0} = state), do: {:failed, :no_votes, %{ranking: []}, state}

  def decide(_report, state) do
    [{winner, points} | _] = ranking = Ballot.ranking(state.ballot, state.tally)
    most = state.voters * (length(state.sorted) - 1)
    confidence = if most == 0, do: 1.0, else: Ballot.share(points, most)
    {:decided, winner, %{confidence: confidence, ranking: ranking}, state}
  end
end
