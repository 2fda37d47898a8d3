defmodule Foundation.MABEAM.Coordination.AlternatingOffers do
  @moduledoc """
  Has agents make offers in turn until one is accepted by all others: the protocol `:alternating_offers`.

      Coordination.coordinate(:alternating_offers, [:seller, :buyer], %{subject: "10 h of GPU"}, rounds: 20)

  The problem is a map with `subject:`, `data:`, and `deadline:` the number of offers there may be (10). In each round one agent,
  the next in the list, gets in `handle_proposal/2` `%{subject: _, data: _, turn: n, offer: offer, from: agent, history: [{agent, offer}]}`
  (newest first; `offer` nil in the first turn). It may `:accept` the offer that stands, answer `{:counter, offer}`, or
  reject, which ends the negotiation. With more than two agents an offer is agreed when all but who made it have accepted
  it, one after the other.

  Decision: the offer. `detail`: `:by` who made it, `:turns`, `:history` oldest first. `confidence` 1.0. Fails with `:rejected`, `:no_agreement` (the deadline),
  `:broken_off` (an agent did not answer).

  Properties: Rubinstein, Perfect Equilibrium in a Bargaining Model, 1982: two agents with discount factors a (who begins) and b, dividing
  1, agree at once in the only subgame perfect equilibrium, at (1 - b) / (1 - ab) for the first; what agents discount is their
  own affair. Two messages an offer. Not truthful.
  """

  use Foundation.MABEAM.Protocol

  @deadline 10

  @impl true
  def defaults, do: [rounds: 100, slices: 10, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: :in_equilibrium,
      budget_balanced: true,
      messages: "2 an offer",
      source: "Rubinstein 1982"
    }
  end

  @impl true
  def init(_problem, [_alone]),
    do: {:error, {:invalid, %{field: :participants, value: 1, expected: "two agents or more"}}}

  def init(%{} = problem, participants) do
    case Map.get(problem, :deadline, @deadline) do
      deadline when is_integer(deadline) and deadline > 0 ->
        {:ok,
         %{
           shown: Map.take(problem, [:subject, :data]),
           deadline: deadline,
           order: participants,
           turn: [],
           offer: nil,
           by: nil,
           accepted: 0,
           history: [],
           answer: nil
         }}

      other ->
        {:error, {:invalid, %{field: :deadline, value: other, expected: "a whole number from 1"}}}
    end
  end

  def init(problem, _participants),
    do: {:error, {:invalid, %{field: :problem, value: problem, expected: "a map"}}}

  @impl true
  def ask(%{turn: []} = state, round), do: ask(%{state | turn: state.order}, round)

  def ask(%{turn: [id | _]} = state, round) do
    payload =
      Map.merge(state.shown, %{turn: round, offer: state.offer, from: state.by, history: state.history})

    {[{id, :proposal, payload}], %{state | answer: nil}}
  end

  @impl true
  def answer(_id, :accept, %{by: nil} = state), do: {:invalid, :no_offer_yet, state}
  def answer(_id, :accept, state), do: {:ok, %{state | answer: :accept}}
  def answer(_id, {:counter, offer}, state), do: {:ok, %{state | answer: {:counter, offer}}}
  def answer(_id, {:reject, reason}, state), do: {:ok, %{state | answer: {:reject, reason}}}
  def answer(_id, _other, state), do: {:invalid, :not_an_answer, state}

  @impl true
  def decide(report, %{turn: [id | rest]} = state) do
    state = %{state | turn: rest}

    case state.answer do
      :accept ->
        accepted(state)

      {:counter, _offer} when length(state.history) >= state.deadline ->
        failed(:no_agreement, nil, state)

      {:counter, offer} ->
        {:again, %{state | offer: offer, by: id, accepted: 0, history: [{id, offer} | state.history]}}

      {:reject, reason} ->
        failed(:rejected, {id, reason}, state)

      nil ->
        failed(:broken_off, {id, Map.get(report.failures, id, :abstained)}, state)
    end
  end

  defp accepted(%{accepted: accepted, order: order} = state) when accepted + 2 < length(order),
    do: {:again, %{state | accepted: accepted + 1}}

  defp accepted(state) do
    detail = %{
      by: state.by,
      turns: length(state.history),
      history: Enum.reverse(state.history),
      confidence: 1.0
    }

    {:decided, state.offer, detail, state}
  end

  defp failed(reason, why, state),
    do: {:failed, reason, %{why: why, history: Enum.reverse(state.history)}, state}
end
