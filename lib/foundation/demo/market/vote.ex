defmodule Foundation.Demo.Market.Vote do
  @moduledoc false
  # Which ranking heads the report: the agents say, each by what stood out in its own work; counted by the
  # method of Schulze.

  alias Foundation.Demo.Market.Analyst
  alias Foundation.Distributed.Context
  alias Foundation.MABEAM.Coordination

  require Context

  @timeout 10_000

  @type t :: %{
          winner: atom | nil,
          ranking: [[atom]],
          ballots: %{String.t() => [atom]},
          abstained: [String.t()],
          missing: [String.t()],
          preferences: [{atom, atom, non_neg_integer}],
          duration_us: non_neg_integer,
          failed: String.t() | nil
        }

  @doc "Asks the agents; `studies` are those whose means the agents compare their own work with."
  @spec hold([String.t()], [map]) :: t
  def hold(agents, studies) do
    problem = %{
      question: "Which ranking heads the report?",
      options: Analyst.rankings(),
      data: %{means: means(studies)}
    }

    Context.with_global_context %{market: "vote"} do
      :condorcet |> Coordination.coordinate(agents, problem, timeout: @timeout) |> told()
    end
  end

  defp means(studies) do
    Map.new(Analyst.rankings(), fn ranking ->
      sum = studies |> Enum.map(&Analyst.weight(ranking, &1)) |> Enum.sum()
      {ranking, sum / max(length(studies), 1)}
    end)
  end

  defp told({:ok, outcome}) do
    preferences = for {{one, other}, votes} <- outcome.detail.preferences, do: {one, other, votes}

    outcome
    |> of()
    |> Map.merge(%{winner: outcome.decision, ranking: outcome.detail.ranking, preferences: preferences})
  end

  defp told({:error, {reason, %{answers: _} = outcome}}), do: %{of(outcome) | failed: inspect(reason)}
  defp told({:error, reason}), do: %{of(nil) | failed: inspect(reason)}

  defp of(outcome) do
    answers = if outcome, do: outcome.answers, else: %{}

    %{
      winner: nil,
      ranking: [Analyst.rankings()],
      ballots: Map.new(answers, fn {id, {:vote, ballot}} -> {id, ballot} end),
      abstained: if(outcome, do: outcome.abstentions, else: []),
      missing: if(outcome, do: Map.keys(outcome.failures), else: []),
      preferences: [],
      duration_us: if(outcome, do: outcome.duration_us, else: 0),
      failed: nil
    }
  end
end
