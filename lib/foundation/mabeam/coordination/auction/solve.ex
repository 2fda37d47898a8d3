defmodule Foundation.MABEAM.Coordination.Auction.Solve do
  @moduledoc false
  # From bids to winners and prices, by the market library; bidders are numbers there, by their place in the list.

  alias Foundation.MABEAM.Coordination.Auction.Rules
  alias Foundation.MABEAM.Types
  alias Foundation.Native

  @type bids :: [{Types.agent_id(), Rules.bid()}]

  @doc "The decision, of bids in the order that breaks ties; `{:error, :unsold}` when nobody gets anything."
  @spec solve(Rules.t(), bids) :: {:ok, map} | {:error, term}
  def solve(%{kind: kind} = rules, bids) when kind in [:sealed_first_price, :vickrey] do
    rule = if kind == :vickrey, do: :vickrey, else: :first_price

    case Native.market_sealed(rule, rules.reserve, numbered(bids, 0)) do
      {:ok, nil} -> {:error, :unsold}
      {:ok, sale} -> {:ok, %{agent: at(bids, sale.bidder), price: sale.price}}
      error -> error
    end
  end

  def solve(%{kind: :multi_unit} = rules, bids) do
    with {:ok, outcome} <- Native.market_sealed({rules.pricing, rules.units}, rules.reserve, flat(bids, 0)) do
      names = bids |> Enum.map(&elem(&1, 0)) |> List.to_tuple()

      wins =
        for win <- outcome.wins,
            do: %{
              agent: elem(names, win.bidder),
              units: win.units,
              unit_price: win.unit_price,
              price: win.total
            }

      if wins == [],
        do: {:error, :unsold},
        else: {:ok, %{wins: wins, revenue: outcome.revenue, unsold: outcome.unsold}}
    end
  end

  def solve(%{kind: :double_auction}, bids) do
    buyers = for {id, {:buy, amount}} <- bids, do: {id, amount}
    sellers = for {id, {:sell, amount}} <- bids, do: {id, amount}

    case Native.market_double(numbered(buyers, 0), numbered(sellers, length(buyers))) do
      {:ok, %{buyers: []}} ->
        {:error, :unsold}

      {:ok, outcome} ->
        {:ok, %{outcome | buyers: names(buyers, outcome.buyers), sellers: names(sellers, outcome.sellers)}}

      error ->
        error
    end
  end

  def solve(%{kind: :combinatorial} = rules, bids) do
    offers = flat(bids, 0)
    limits = {1_000_000_000, rules.search_ms}

    case Native.market_combinatorial(length(rules.items), offers, rules.bidding, rules.pricing, limits) do
      {:ok, %{winners: []}} -> {:error, :unsold}
      {:ok, found} -> {:ok, bundles(found, List.to_tuple(offers), bids, rules)}
      error -> error
    end
  end

  @doc "Who pays whom how much; nothing for what costs nothing."
  @spec payments(Rules.t(), map) :: [{Types.agent_id(), Types.agent_id(), pos_integer}]
  def payments(%{kind: :double_auction, to: house}, decision) do
    bought = for id <- decision.buyers, do: {id, house, decision.buy_price}
    sold = for id <- decision.sellers, do: {house, id, decision.sell_price}
    Enum.filter(bought ++ sold, &(elem(&1, 2) > 0))
  end

  def payments(%{to: to}, %{wins: wins}) do
    sums =
      Enum.reduce(wins, %{}, fn win, sums -> Map.update(sums, win.agent, win.price, &(&1 + win.price)) end)

    for {id, amount} <- Enum.sort(sums), amount > 0, do: {id, to, amount}
  end

  def payments(_rules, %{price: 0}), do: []
  def payments(%{to: to}, %{agent: id, price: price}), do: [{id, to, price}]

  defp numbered([], _n), do: []
  defp numbered([{_id, bid} | rest], n), do: [{n, bid} | numbered(rest, n + 1)]

  # Each of a bidder's offers, with the bidder's number.
  defp flat([], _n), do: []
  defp flat([{_id, [{what, amount}]} | rest], n), do: [{n, what, amount} | flat(rest, n + 1)]

  defp flat([{_id, offers} | rest], n),
    do: Enum.map(offers, fn {what, amount} -> {n, what, amount} end) ++ flat(rest, n + 1)

  defp at(bids, n), do: bids |> Enum.at(n) |> elem(0)

  defp names(bids, places) do
    names = bids |> Enum.map(&elem(&1, 0)) |> List.to_tuple()
    Enum.map(places, &elem(names, &1))
  end

  defp bundles(found, offers, bids, rules) do
    names = bids |> Enum.map(&elem(&1, 0)) |> List.to_tuple()
    items = List.to_tuple(rules.items)

    wins =
      for {bidder, places, offered, price} <- won(found, offers) do
        bundle = for place <- places, item <- elem(elem(offers, place), 1), do: elem(items, item)
        %{agent: elem(names, bidder), items: bundle, offered: offered, price: price}
      end

    found
    |> Map.take([:value, :bound, :gap, :optimal, :nodes])
    |> Map.merge(%{
      wins: wins,
      exact: Map.get(found, :exact, found.optimal),
      revenue: wins |> Enum.map(& &1.price) |> Enum.sum()
    })
  end

  defp won(%{payments: payments}, _offers),
    do: for(p <- payments, do: {p.bidder, p.bids, p.offered, p.amount})

  defp won(%{winners: winners}, offers) do
    winners
    |> Enum.group_by(&elem(elem(offers, &1), 0))
    |> Enum.sort()
    |> Enum.map(fn {bidder, places} ->
      offered = places |> Enum.map(&elem(elem(offers, &1), 2)) |> Enum.sum()
      {bidder, places, offered, offered}
    end)
  end
end
