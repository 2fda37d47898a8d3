defmodule Foundation.MABEAM.Coordination.Condorcet do
  @moduledoc """
  Decides for the option that beats the others one by one, by the method of Schulze: the protocol `:condorcet`.

      Coordination.coordinate(:condorcet, agents, %{question: "Where to?", options: [:sea, :hills, :city]})

  The problem is a map: `options:`, `question:`, `data:`, as that of `Foundation.MABEAM.Coordination.Majority`; `weights:` how much an
  agent's ballot counts (1), whole numbers; `tie:` who wins among options that nothing tells apart, `:first` in the list (the
  default), `:none`, or `{:seed, n}` by lot, the same for the same number. Agents vote with a list of options, best first;
  those that they leave out are level, below the others.

  Decision: the option from which the strongest path of victories to each other option is at least as strong as the one
  back, the strength of a path being that of its weakest victory, counted by the votes for the winning side. `confidence` is its
  share of the votes with an opinion in its narrowest comparison, which it may have lost; 1.0 where there is no other option. `detail`: `:winners`
  (all that tie), `:condorcet` the option that beats every other, or nil, `:ranking` all options in groups that tie, best first,
  `:preferences` how many rank the one above the other as `%{{one, other} => votes}`. Fails with `:no_votes`, and with `:tie` when `tie:` is
  `:none`. Quorum: a majority.

  Properties: two messages an agent. Of the method: a Condorcet winner wins; clones do not matter; ranking a winner higher
  does not hurt it. Not truthful (Gibbard 1973, Satterthwaite 1975). Source: Schulze, A New Monotonic, Clone-Independent,
  Reversal Symmetric, and Condorcet-Consistent Single-Winner Election Method, Social Choice and Welfare 36, 2011.

  **Scheduling**: one count on a dirty CPU scheduler a session, O(votes · options² + options³).
  """

  use Foundation.MABEAM.Coordination.Ranked, source: "Schulze 2011"

  alias Foundation.MABEAM.Coordination.Ranked

  @impl true
  def decide(_report, state), do: Ranked.decide(state, :schulze, &detail/2, &confidence/1)

  defp detail(count, name) do
    %{
      winners: Enum.map(count.winners, name),
      condorcet: name.(count.condorcet),
      ranking: Enum.map(count.ranking, fn place -> Enum.map(place, name) end),
      preferences: pairs(count.preferences, name)
    }
  end

  defp pairs(rows, name) do
    for {row, one} <- Enum.with_index(rows),
        {votes, other} <- Enum.with_index(row),
        one != other,
        into: %{},
        do: {{name.(one), name.(other)}, votes}
  end

  # The winner's share in its narrowest comparison.
  defp confidence(%{winner: winner, preferences: rows}) do
    own = Enum.at(rows, winner)

    for {row, other} <- Enum.with_index(rows), other != winner, reduce: 1.0 do
      least ->
        {won, lost} = {Enum.at(own, other), Enum.at(row, winner)}
        if won + lost == 0, do: least, else: min(least, won / (won + lost))
    end
  end
end
