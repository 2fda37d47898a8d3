defmodule Foundation.MABEAM.Coordination.MonotonicConcession do
  @moduledoc """
  Has two agents concede, step by step, from the deal that each likes best to one that both accept: the protocol
  `:monotonic_concession`.

      Coordination.coordinate(:monotonic_concession, [:buyer, :seller], %{subject: "price", deals: [80, 90, 100, 110]})

  The problem is a map: `deals:`, a list; `subject:`, `data:`. In the first round `handle_bid_request/2` of both gets `%{deals: deals, subject: _, data: _}`; a
  bid is `%{worths: numbers, conflict: number}`: what each deal is worth to the agent, in their order, and what no deal is (0 when it
  is left out), within ±1.0e100. The concessions follow from these: in each step the agent that risks less of its gain, by
  Zeuthen's measure, makes the least concession after which it is the other's turn. Then `handle_proposal/2` of both gets `%{deal: deal,
  subject: _, data: _, steps: n}`, and both have to accept it.

  Decision: the deal, one with the largest product of the gains of both over no deal (Nash). `confidence` 1.0. `detail`: `:path`, what both
  proposed in each step, and `:gains`. Fails with `:no_agreement` (no deal is as good as none for both), `:rejected` (`detail.by`), `:broken_off` (an agent
  did not answer).

  Properties: 8 messages. Who says the truth may get less than who does not (Rosenschein and Zlotkin, chapter 4). Sources:
  Zeuthen, Problems of Monopoly and Economic Warfare, 1930; Harsanyi 1956; Rosenschein and Zlotkin, Rules of Encounter, 1994.

  **Scheduling**: dirty CPU, one call a session, O(deals²), at most 10,000 deals.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Consent
  alias Foundation.MABEAM.Types.Fields
  alias Foundation.Native

  @limits {0xFFFFFFFFFFFFFFFF, 5_000}

  @impl true
  def defaults, do: [rounds: 2, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: :at_true_bids,
      budget_balanced: true,
      messages: "8",
      source: "Zeuthen 1930, Rosenschein and Zlotkin 1994"
    }
  end

  @impl true
  def init(%{deals: deals} = problem, [_one, _other] = pair) do
    if is_list(deals) and deals != [] and not List.improper?(deals) and length(deals) <= 10_000,
      do:
        {:ok,
         %{
           shown: Map.take(problem, [:subject, :data]),
           deals: deals,
           pair: pair,
           phase: :worths,
           bids: %{},
           deal: nil,
           detail: %{},
           accepted: %{}
         }},
      else: Fields.invalid(:deals, deals, "a list of 1 to 10,000 deals")
  end

  def init(%{deals: _}, participants),
    do: Fields.invalid(:participants, length(participants), "two agents")

  def init(problem, _participants), do: Fields.invalid(:problem, problem, "a map with :deals")

  @impl true
  def ask(%{phase: :worths} = state, _round),
    do: {[{:all, :bid, Map.put(state.shown, :deals, state.deals)}], state}

  def ask(%{phase: :consent} = state, _round) do
    payload = Map.merge(state.shown, %{deal: state.deal, steps: length(state.detail.path)})
    {[{:all, :proposal, payload}], state}
  end

  @impl true
  def answer(id, {:bid, bid}, %{phase: :worths} = state) do
    if bid?(bid, length(state.deals)),
      do: {:ok, %{state | bids: Map.put(state.bids, id, bid)}},
      else: {:invalid, :not_worths, state}
  end

  def answer(id, answer, %{phase: :consent} = state), do: Consent.answer(id, answer, state)
  def answer(_id, _other, state), do: {:invalid, :not_an_answer, state}

  defp bid?(%{worths: worths} = bid, count) when is_list(worths) do
    not List.improper?(worths) and length(worths) == count and Enum.all?(worths, &number?/1) and
      number?(Map.get(bid, :conflict, 0))
  end

  defp bid?(_other, _count), do: false

  defp number?(term), do: is_number(term) and abs(term) <= 1.0e100

  @impl true
  def decide(report, %{phase: :worths, pair: pair} = state) do
    case Enum.map(pair, &state.bids[&1]) do
      [%{} = one, %{} = other] -> concede(one, other, state)
      _ -> Consent.failed(:broken_off, Enum.find(pair, &(state.bids[&1] == nil)), report, state)
    end
  end

  def decide(report, %{phase: :consent} = state), do: Consent.decide(report, state.pair, state)

  defp concede(one, other, state) do
    conflict = {conflict(one), conflict(other)}

    case Native.market_negotiate({:zeuthen, one.worths, other.worths, conflict}, @limits) do
      {:ok, %{deal: nil}} -> {:failed, :no_agreement, %{path: []}, state}
      {:ok, %{deal: deal, path: path}} -> {:again, agreed(deal, path, [one, other], state)}
      {:error, reason} -> {:failed, reason, %{}, state}
    end
  end

  defp agreed(deal, path, bids, state) do
    deals = List.to_tuple(state.deals)
    path = Enum.map(path, fn {mine, yours} -> {elem(deals, mine), elem(deals, yours)} end)

    gains =
      for {id, bid} <- Enum.zip(state.pair, bids),
          into: %{},
          do: {id, Enum.at(bid.worths, deal) - conflict(bid)}

    %{state | phase: :consent, deal: elem(deals, deal), detail: %{path: path, gains: gains}}
  end

  defp conflict(bid), do: Map.get(bid, :conflict, 0)
end
