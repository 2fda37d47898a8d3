defmodule Foundation.MABEAM.Coordination.Unanimity do
  @moduledoc """
  Decides only what all vote for: the protocol `:unanimity`.

  The problem is a map with `options:`, `question:`, `data:`, as that of `Foundation.MABEAM.Coordination.Majority`, and `abstaining:`
  `:blocks` (the default) or `:allowed`. Agents vote for one option or abstain.

  Decision: the option that every agent voted for; with `abstaining: :allowed`, every one that did not abstain, and at
  least one did not. `confidence` is 1.0. Fails with `:not_unanimous`, with `:tally`; an agent that does not answer blocks (`quorum:
  :all`).

  Properties: two messages an agent; whoever prefers that nothing changes can see to it (Wicksell, A New Principle of Just
  Taxation, 1896), so what is decided makes nobody worse off.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Ballot
  alias Foundation.MABEAM.Types.Fields

  @impl true
  def defaults, do: [rounds: 1, quorum: :all]

  @impl true
  def properties,
    do: %{truthful: false, efficient: :pareto, budget_balanced: true, messages: "2n", source: "Wicksell 1896"}

  @impl true
  def init(problem, _participants) do
    with {:ok, ballot} <- Ballot.new(problem) do
      case Map.get(problem, :abstaining, :blocks) do
        rule when rule in [:blocks, :allowed] -> {:ok, %{ballot: ballot, rule: rule, tally: %{}, votes: 0}}
        other -> Fields.invalid(:abstaining, other, ":blocks or :allowed")
      end
    end
  end

  @impl true
  def ask(state, _round), do: Ballot.ask(state)

  @impl true
  def answer(_id, answer, state), do: Ballot.take(state, answer)

  @impl true
  def decide(report, state) do
    case Map.to_list(state.tally) do
      [{choice, _count}] when report.failures == %{} and (state.rule == :allowed or report.abstained == []) ->
        {:decided, choice, %{confidence: 1.0, tally: state.tally}, state}

      _ ->
        {:failed, :not_unanimous, %{tally: state.tally}, state}
    end
  end
end
