defmodule Foundation.MABEAM.Coordination.Market.Prediction do
  @moduledoc false
  # A market on what will come true: a market maker by the rule of Hanson sells and buys shares of each outcome, and keeps
  # who has how many. With an account, traders pay it and it pays them.

  alias Foundation.MABEAM.Coordination.Auction.Payment
  alias Foundation.MABEAM.{Economics, Types}
  alias Foundation.MABEAM.Types.Fields
  alias Foundation.Native

  defstruct [:machine, :outcomes, :places, :to, :resolved, holdings: %{}, trades: 0]

  @type t :: %__MODULE__{}
  @most 1_000_000_000_000_000

  @spec new(map) :: {:ok, t} | {:error, term}
  def new(%{outcomes: outcomes, liquidity: liquidity, to: to}) do
    with {:ok, machine} <- Native.market_open({:lmsr, length(outcomes), liquidity}) do
      places = outcomes |> Enum.with_index() |> Map.new()
      {:ok, %__MODULE__{machine: machine, outcomes: outcomes, places: places, to: to}}
    end
  end

  @doc "Buys shares of an outcome, or sells some that the agent has (below 0)."
  @spec submit(t, term) :: {:ok, map, t} | {:error, term}
  def submit(%{resolved: {_, _}}, _order), do: {:error, :closed}

  def submit(market, %{agent: agent, outcome: outcome, shares: shares} = order)
      when is_integer(shares) and shares != 0 and abs(shares) <= @most do
    limit = Map.get(order, :limit)

    cond do
      not Types.agent_id?(agent) -> Fields.invalid(:agent, agent, "an agent id")
      not is_map_key(market.places, outcome) -> {:error, :no_such_outcome}
      limit != nil and not is_integer(limit) -> Fields.invalid(:limit, limit, "a whole number of millionths")
      held(market, agent, outcome) + shares < 0 -> {:error, :not_enough_shares}
      true -> trade(market, order, limit)
    end
  end

  def submit(_market, %{agent: _, outcome: _, shares: shares}),
    do: Fields.invalid(:shares, shares, "a whole number of millionths of a share, not 0, at most 10^15")

  def submit(_market, order), do: Fields.invalid(:order, order, "a map of agent:, outcome: and shares:")

  defp held(market, agent, outcome), do: market.holdings |> Map.get(agent, %{}) |> Map.get(outcome, 0)

  defp trade(market, %{agent: agent, outcome: outcome, shares: shares}, limit) do
    change =
      for place <- 0..(length(market.outcomes) - 1),
          do: if(place == market.places[outcome], do: shares, else: 0)

    with {:ok, machine, cost} <- Native.market_event(:lmsr, market.machine, {:trade, change}),
         true <- limit == nil or cost <= limit || {:error, :over_limit},
         :ok <- paid(market.to, agent, cost) do
      own = Map.update(Map.get(market.holdings, agent, %{}), outcome, shares, &(&1 + shares))

      market = %{
        market
        | machine: machine,
          holdings: Map.put(market.holdings, agent, own),
          trades: market.trades + 1
      }

      {:ok, %{cost: cost, shares: own[outcome], prices: prices(market)}, market}
    end
  end

  defp paid(nil, _agent, _cost), do: :ok
  defp paid(_to, _agent, 0), do: :ok

  defp paid(to, agent, cost) when cost > 0 do
    with :ok <- Payment.covered(%{accounts: true, to: to}, agent, cost),
         do: done(Economics.pay(agent, to, cost, :prediction))
  end

  defp paid(to, agent, cost) do
    with :ok <- Payment.covered(%{accounts: true, to: to}, agent, 0),
         do: done(Economics.pay(to, agent, -cost, :prediction))
  end

  defp done({:ok, _number}), do: :ok
  defp done(error), do: error

  @doc "What is worth how much, by the market."
  @spec depth(t) :: {:ok, map}
  def depth(market) do
    {:ok, _machine, status} = Native.market_event(:lmsr, market.machine, {:status})

    {:ok,
     %{
       prices: market.outcomes |> Enum.zip(status.prices) |> Map.new(),
       shares: market.outcomes |> Enum.zip(status.sold) |> Map.new(),
       collected: status.collected,
       max_loss: status.max_loss,
       trades: market.trades,
       holdings: market.holdings,
       resolved: market.resolved && elem(market.resolved, 0)
     }}
  end

  defp prices(market) do
    {:ok, %{prices: prices}} = depth(market)
    prices
  end

  @doc "An outcome has come true: who is owed how much. All are paid, or nobody is."
  @spec resolve(t, term) :: {:ok, map, t} | {:error, term}
  def resolve(%{resolved: {_true, result}} = market, _outcome), do: {:ok, result, market}

  def resolve(market, outcome) when is_map_key(market.places, outcome) do
    {:ok, machine, loss} = Native.market_event(:lmsr, market.machine, {:loss, market.places[outcome]})
    owed = for {agent, %{^outcome => shares}} <- market.holdings, shares > 0, into: %{}, do: {agent, shares}

    with :ok <- pay_out(market.to, owed) do
      result = %{outcome: outcome, payouts: owed, loss: loss}
      {:ok, result, %{market | machine: machine, resolved: {outcome, result}}}
    end
  end

  def resolve(_market, _outcome), do: {:error, :no_such_outcome}

  defp pay_out(to, owed) when to == nil or owed == %{}, do: :ok

  defp pay_out(to, owed) do
    done(Economics.settle(for({agent, amount} <- Enum.sort(owed), do: {to, agent, amount}), :prediction))
  end
end
