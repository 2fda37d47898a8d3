defmodule Foundation.MABEAM.Coordination.Auction.English do
  @moduledoc """
  Sells one item by rising bids, each of which all can see: the protocol `:english`.

      Coordination.coordinate(:english, agents, %{item: "slot 7", start: Economics.units(1), increment: Economics.units("0.10")}, timeout: 30_000)

  The problem: `increment:`, by how much a bid must exceed the one before; `start:` the least first bid (0);
  `reserve:` what the last bid must have reached, which agents are not told (0); `item:`, `data:`, and the
  fields that all auctions have.

  In each round all but the leader are asked, with
  `%{auction: :english, item: _, asking: money, standing: money | nil, leader: id | nil, round: n}`, for a bid
  of `asking` or more; who does not bid, fails or bids less is out. The highest of a round leads; of equal
  ones the agent that comes first in the list of participants. It ends when nobody bids any more, nobody is
  left against the leader, or the rounds are over (100).

  Decision: `%{agent: id, price: money}`. `detail`: `:history` of who led with what, the first one first,
  `:reason` (`:nobody_bids`, `:alone`, `:rounds`), `:payments`, `:cannot_pay`. A leader that cannot pay in the
  end loses it to who led before, at that bid. Fails with `:unsold`.

  Properties: Milgrom and Weber, A Theory of Auctions and Competitive Bidding, 1982. 2 messages a round for
  each that is still in, at most 2n(rounds). To bid the asking price until it exceeds the item's value is an
  equilibrium, in which the outcome is that of `:vickrey` to an increment. Budget-balanced.

  **Scheduling**: a call on a dirty CPU scheduler a round, O(rounds).
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Auction.{Payment, Rules}
  alias Foundation.Native

  # Rounds take the place of time.
  @never 2 ** 53

  @impl true
  def defaults, do: [rounds: 100, slices: 20, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: :in_equilibrium,
      efficient: :to_an_increment,
      budget_balanced: true,
      messages: "2 a round for each that is in",
      source: "Milgrom and Weber 1982"
    }
  end

  @impl true
  def init(problem, participants) do
    with {:ok, rules} <- Rules.new(:english, problem, length(participants)),
         {:ok, machine} <-
           Native.market_open({:english, rules.start, rules.reserve, rules.increment, @never, 0}) do
      places = participants |> Enum.with_index() |> Map.new()
      state = %{rules: rules, machine: machine, order: participants, places: places, active: participants}
      {:ok, Map.merge(state, %{asking: rules.start, leader: nil, standing: nil, bids: []})}
    end
  end

  @impl true
  def ask(state, round) do
    payload =
      state.rules |> Map.take([:item, :data]) |> Map.merge(Map.take(state, [:asking, :standing, :leader]))

    payload = Map.merge(payload, %{auction: :english, round: round})
    {for(id <- state.active, id != state.leader, do: {id, :bid, payload}), %{state | bids: []}}
  end

  @impl true
  def answer(id, {:bid, bid}, %{rules: rules} = state) do
    with {:ok, amount, _} <- Rules.bid(rules, bid),
         true <- amount >= state.asking || {:error, :too_low},
         :ok <- Payment.covered(rules, id, amount) do
      {:ok, %{state | bids: [{id, amount} | state.bids]}}
    else
      {:error, reason} -> {:invalid, reason, state}
    end
  end

  def answer(_id, _other, state), do: {:invalid, :not_a_bid, state}

  @impl true
  def decide(_report, %{bids: []} = state), do: sold(:nobody_bids, state)

  def decide(report, %{bids: bids} = state) do
    {id, amount} = Enum.min_by(bids, fn {id, amount} -> {-amount, state.places[id]} end)
    bidders = Map.new(bids)
    still_in = Enum.filter(state.active, &(is_map_key(bidders, &1) or &1 == state.leader))

    with {:ok, machine, _ends} <- event(state.machine, {:bid, report.round, state.places[id], amount}),
         {:ok, machine, %{asking: asking}} <- event(machine, {:status}) do
      state = %{state | machine: machine, asking: asking, leader: id, standing: amount, active: still_in}

      cond do
        still_in == [id] -> sold(:alone, state)
        report.last -> sold(:rounds, state)
        true -> {:again, state}
      end
    else
      {:error, reason} -> {:failed, reason, %{}, state}
    end
  end

  defp sold(reason, %{rules: rules} = state) do
    {:ok, _machine, %{bids: bids}} = event(state.machine, {:status})
    names = List.to_tuple(state.order)
    history = for {place, amount} <- bids, do: {elem(names, place), amount}
    detail = %{history: history, reason: reason, confidence: 1.0}

    case event(state.machine, {:close}) do
      {:ok, _machine, nil} ->
        unsold(:unsold, detail, state)

      {:ok, _machine, _sale} ->
        history |> Enum.reverse() |> Enum.filter(&(elem(&1, 1) >= rules.reserve)) |> paid([], detail, state)
    end
  end

  defp paid([], without, detail, state), do: unsold(:unsold, Map.put(detail, :cannot_pay, without), state)

  defp paid([{id, amount} | before], without, detail, state) do
    decision = %{agent: id, price: amount}

    case Payment.settle(state.rules, decision) do
      {:ok, decision, payments} ->
        {:decided, decision, Map.merge(detail, %{payments: payments, cannot_pay: without}), state}

      {:cannot_pay, [id]} ->
        before |> Enum.reject(&(elem(&1, 0) == id)) |> paid([id | without], detail, state)

      {:error, reason} ->
        {:failed, reason, detail, state}
    end
  end

  # An earlier life of the session may have sold it.
  defp unsold(reason, detail, state) do
    case Payment.unsold(state.rules, reason) do
      {:ok, decision, payments} -> {:decided, decision, Map.put(detail, :payments, payments), state}
      {:error, reason} -> {:failed, reason, detail, state}
    end
  end

  defp event(machine, event), do: Native.market_event(:english, machine, event)
end
