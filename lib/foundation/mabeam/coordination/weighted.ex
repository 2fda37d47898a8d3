defmodule Foundation.MABEAM.Coordination.Weighted do
  @moduledoc """
  Decides by the most weight of votes: the protocol `:weighted`.

      Coordination.coordinate(:weighted, [:ann, :bob], %{options: [:a, :b], weights: %{ann: 3, bob: 2}})

  The problem is that of `Foundation.MABEAM.Coordination.Majority` and `weights:`, a map from agents to whole numbers from 0;
  who is not in it has 1. The threshold (`{1, 2}`) is of the weight of the votes cast.

  Decision, tie-break, failures, quorum (of agents, not of weight) and messages: as there. `detail` has `:tally` of weights. For
  weights that are log odds of being right the decision is the most likely one to be (Nitzan and Paroush, Optimal
  Decision Rules in Uncertain Dichotomous Choice Situations, 1982); whole numbers approximate them.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.{Ballot, Majority}
  alias Foundation.MABEAM.Types.Fields

  @impl true
  def defaults, do: Majority.defaults()

  @impl true
  def properties, do: %{Majority.properties() | source: "Nitzan and Paroush 1982"}

  @impl true
  def init(problem, participants) do
    with {:ok, state} <- Majority.init(problem, participants),
         {:ok, weights} <- weights(Map.get(problem, :weights, %{})),
         do: {:ok, Map.put(state, :weights, weights)}
  end

  defp weights(%{} = weights) do
    if Enum.all?(weights, fn {_id, weight} -> is_integer(weight) and weight >= 0 end),
      do: {:ok, weights},
      else: bad_weights(weights)
  end

  defp weights(other), do: bad_weights(other)

  defp bad_weights(other), do: Fields.invalid(:weights, other, "a map to whole numbers from 0")

  @impl true
  defdelegate ask(state, round), to: Majority

  @impl true
  def answer(id, answer, state), do: Ballot.take(state, answer, Map.get(state.weights, id, 1))

  @impl true
  defdelegate decide(report, state), to: Majority
end
