defmodule Foundation.MABEAM.Coordination.Auction.Dutch do
  @moduledoc """
  Sells one item by falling prices, to the first that takes it: the protocol `:dutch`.

      Coordination.coordinate(:dutch, agents, %{item: "slot 7", start: Economics.units(10), decrement: Economics.units(1)}, timeout: 30_000)

  The problem: `start:` the first price, `decrement:` what is taken off each round, `reserve:` the last price
  (0); `item:`, `data:`, and the fields that all auctions have. In each round all are asked, with
  `%{auction: :dutch, item: _, price: money, round: n}`. A bid of the price or more, or `:accept`, takes it,
  at the price of the round; the first answer to arrive counts. Who does not bid, or bids less, is asked again
  at the next price; who fails is not.

  Decision: `%{agent: id, price: money}`. `detail`: `:prices` how many were called, `:payments`,
  `:cannot_pay`. Fails with `:unsold`: nobody took the last price, or the rounds are over (1,000).

  Properties: Vickrey 1961: strategically the same as `:sealed_first_price`, so not truthful. At most 2n
  messages a price. Budget-balanced. Speed of an answer decides between two that take the same price.

  **Scheduling**: a call on a dirty CPU scheduler a round, O(1).
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Auction.{Payment, Rules}
  alias Foundation.Native

  @impl true
  def defaults, do: [rounds: 1_000, slices: 20, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: :in_symmetric_equilibrium,
      budget_balanced: true,
      messages: "2n a price",
      source: "Vickrey 1961"
    }
  end

  @impl true
  def init(problem, participants) do
    with {:ok, rules} <- Rules.new(:dutch, problem, length(participants)),
         {:ok, machine} <- Native.market_open({:dutch, rules.start, rules.reserve, rules.decrement, 1, 0}) do
      places = participants |> Enum.with_index() |> Map.new()
      state = %{rules: rules, machine: machine, places: places, active: participants, price: rules.start}
      {:ok, Map.merge(state, %{taker: nil, cannot_pay: []})}
    end
  end

  @impl true
  def ask(state, round) do
    payload =
      state.rules
      |> Map.take([:item, :data])
      |> Map.merge(%{auction: :dutch, price: state.price, round: round})

    {for(id <- state.active, do: {id, :bid, payload}), %{state | taker: nil}}
  end

  @impl true
  def answer(id, {:bid, :accept}, state), do: take(id, state)

  def answer(id, {:bid, bid}, state) do
    case Rules.bid(state.rules, bid) do
      {:ok, amount, _} when amount >= state.price -> take(id, state)
      {:ok, _less, _} -> {:ok, state}
      {:error, reason} -> {:invalid, reason, state}
    end
  end

  def answer(_id, _other, state), do: {:invalid, :not_a_bid, state}

  defp take(id, state) do
    case Payment.covered(state.rules, id, state.price) do
      :ok -> {:enough, %{state | taker: id}}
      {:error, reason} -> {:invalid, reason, state}
    end
  end

  @impl true
  def decide(report, %{taker: nil} = state) do
    active = Enum.reject(state.active, &is_map_key(report.failures, &1))
    lower(report, %{state | active: active})
  end

  def decide(report, %{taker: id} = state) do
    with {:ok, _machine, sale} <- event(state.machine, {:accept, report.round - 1, state.places[id]}),
         {:ok, decision, payments} <- Payment.settle(state.rules, %{agent: id, price: sale.price}) do
      sold(decision, payments, report, state)
    else
      {:cannot_pay, ids} ->
        lower(report, %{state | active: state.active -- ids, cannot_pay: ids ++ state.cannot_pay})

      {:error, reason} ->
        {:failed, reason, detail(report, state), state}
    end
  end

  defp lower(report, state) do
    case event(state.machine, {:price, report.round}) do
      {:ok, machine, price} when price != nil and state.active != [] and not report.last ->
        {:again, %{state | machine: machine, price: price}}

      _ ->
        unsold(report, state)
    end
  end

  # An earlier life of the session may have sold it.
  defp unsold(report, state) do
    case Payment.unsold(state.rules, :unsold) do
      {:ok, decision, payments} -> sold(decision, payments, report, state)
      {:error, reason} -> {:failed, reason, detail(report, state), state}
    end
  end

  defp sold(decision, payments, report, state),
    do: {:decided, decision, Map.merge(detail(report, state), %{payments: payments, confidence: 1.0}), state}

  defp detail(report, state), do: %{prices: report.round, cannot_pay: state.cannot_pay}

  defp event(machine, event), do: Native.market_event(:dutch, machine, event)
end
