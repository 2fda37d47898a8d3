defmodule Foundation.MABEAM.Coordination.Auction.Sealed do
  @moduledoc false
  # What the auctions of one round have in common: all are asked at once, and nobody sees what the others bid.

  alias Foundation.MABEAM.Coordination.Auction.{Payment, Rules, Solve}

  defmacro __using__(options) do
    quote do
      use Foundation.MABEAM.Protocol

      alias Foundation.MABEAM.Coordination.Auction.Sealed

      @impl true
      def init(problem, participants), do: Sealed.init(unquote(options[:kind]), problem, participants)

      @impl true
      def ask(state, round), do: Sealed.ask(state, round)

      @impl true
      def answer(id, answer, state), do: Sealed.answer(id, answer, state)

      @impl true
      def decide(report, state), do: Sealed.decide(report, state)
    end
  end

  def init(kind, problem, participants) do
    with {:ok, rules} <- Rules.new(kind, problem, length(participants)),
         do: {:ok, %{rules: rules, order: participants, bids: %{}}}
  end

  def ask(%{rules: rules} = state, round) do
    shown = [:item, :data, :items, :units, :bidding, :pricing, :reserve]
    payload = rules |> Map.take(shown) |> Map.reject(fn {_name, value} -> value == nil end)
    {[{:all, :bid, Map.merge(payload, %{auction: rules.kind, round: round})}], state}
  end

  def answer(id, {:bid, bid}, %{rules: rules} = state) do
    with {:ok, bid, cost} <- Rules.bid(rules, bid), :ok <- Payment.covered(rules, id, cost) do
      {:ok, put_in(state.bids[id], bid)}
    else
      {:error, reason} -> {:invalid, reason, state}
    end
  end

  def answer(_id, _other, state), do: {:invalid, :not_a_bid, state}

  # In the order of the participants, so that a tie does not go to who is nearest.
  def decide(_report, %{bids: bids} = state) do
    ordered = for id <- state.order, is_map_key(bids, id), do: {id, bids[id]}
    decide(ordered, [], state)
  end

  # Who cannot pay any more is as if it had not bid. Each time there is one bidder less.
  defp decide(bids, without, %{rules: rules} = state) do
    detail = %{bids: Map.new(bids), cannot_pay: without}

    case settled(rules, Solve.solve(rules, bids)) do
      {:ok, decision, payments} ->
        {:decided, decision, Map.merge(detail, %{payments: payments, confidence: 1.0}), state}

      {:cannot_pay, ids} ->
        bids |> Enum.reject(&(elem(&1, 0) in ids)) |> decide(ids ++ without, state)

      {:error, reason} ->
        {:failed, reason, detail, state}
    end
  end

  defp settled(rules, {:ok, decision}), do: Payment.settle(rules, decision)
  defp settled(rules, {:error, reason}), do: Payment.unsold(rules, reason)
end
