defmodule Foundation.MABEAM.Coordination.InstantRunoff do
  @moduledoc """
  Decides by rankings of which the weakest option is struck out until one has a majority: the protocol `:instant_runoff`.

  The problem and the ballots are those of `Foundation.MABEAM.Coordination.Condorcet`. Each ballot counts for the first of its options
  that is left; a ballot without one is exhausted. While no option has more than half of what is not exhausted, the one with the
  fewest is struck out: of several, the one that had fewer in the last count in which they differed, then the last in the list.
  When all that are left have the same, they tie, and `tie:` says who wins.

  Decision: the option with the majority. `confidence` is its share of the last count. `detail`: `:counts`, of each count
  `%{counts: %{option => votes}, exhausted: n, eliminated: option | nil}`, and `:winners`, who tie at the end. Fails with `:no_votes`, and with
  `:tie`. Quorum: a majority.

  Properties: two messages an agent. An option that is first on more than half of the ballots wins, one that loses against
  every other does not, clones do not matter; but one that beats every other may lose, and ranking a winner higher may
  hurt it. Not truthful. Source: Ware 1871; Robert's Rules of Order Newly Revised, "preferential voting"; Tideman,
  Independence of Clones as a Criterion for Voting Rules, 1987.

  **Scheduling**: one count on a dirty CPU scheduler a session, O(votes · options²).
  """

  use Foundation.MABEAM.Coordination.Ranked, source: "Ware 1871"

  alias Foundation.MABEAM.Coordination.{Ballot, Ranked}

  @impl true
  def decide(_report, state), do: Ranked.decide(state, :instant_runoff, &detail/2, &confidence/1)

  # The winner's share of the last count.
  defp confidence(%{winner: winner, rounds: rounds}) do
    counts = List.last(rounds).counts
    Ballot.share(Enum.at(counts, winner), Enum.sum(counts))
  end

  defp detail(count, name) do
    {rounds, _out} = Enum.map_reduce(count.rounds, [], &round(&1, &2, name))
    %{winners: Enum.map(count.winners, name), counts: rounds}
  end

  defp round(%{counts: counts, exhausted: exhausted, eliminated: eliminated}, out, name) do
    counts =
      for {votes, option} <- Enum.with_index(counts), option not in out, into: %{}, do: {name.(option), votes}

    {%{counts: counts, exhausted: exhausted, eliminated: name.(eliminated)}, [eliminated | out]}
  end
end
