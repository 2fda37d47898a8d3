# Auctions and markets through their API: mix run bench/trade_bench.exs
Code.require_file("support.exs", __DIR__)

defmodule Foundation.Bench.Trade do
  alias Foundation.Bench
  alias Foundation.MABEAM.Coordination.{Auction, Market}
  alias Foundation.MABEAM.Economics

  def run do
    {:ok, _} = Foundation.MABEAM.start()
    Logger.configure(level: :error)
    IO.puts("auctions and markets")
    sealed()
    bundles()
    orders(1)
    orders(2)
    calls()
    Foundation.MABEAM.stop()
  end

  defp sealed do
    :ok = Economics.open_account(:seller)
    :rand.seed(:exsss, 1)
    bids = for n <- 1..10_000, do: {"bidder-#{n}", :rand.uniform(1_000_000_000)}
    sorted = bids |> Enum.map(&elem(&1, 1)) |> Enum.sort(:desc)
    for {id, _} <- bids, do: :ok = Economics.open_account(id)
    for {id, amount} <- bids, do: {:ok, _} = Economics.deposit(id, 100 * amount)

    figure("sealed bid, 10,000 bids, winner and payment", 5.0, 31, fn ->
      {:ok, %{agent: winner, price: price}} = Auction.determine(:vickrey, bids)
      true = price == Enum.at(sorted, 1)
      {winner, price}
    end)

    figure("the same, paid by Economics", 5.0, 31, fn ->
      {:ok, %{agent: winner, price: price}} = Auction.determine(:vickrey, bids)
      {:ok, _} = Economics.pay(winner, :seller, price)
    end)

    units = for {id, amount} <- bids, do: {id, {1, amount}}

    # No figure is wanted of it.
    figure("100 units, 10,000 bids, uniform price, all payments", nil, 31, fn ->
      {:ok, %{wins: wins, revenue: revenue}} = Auction.determine(:multi_unit, units, units: 100)
      true = length(wins) == 100 and revenue == 100 * Enum.at(sorted, 100)
    end)
  end

  # Bundles that grow from an item to its neighbours, with substitutes for each, after the distributions of CATS
  # (Leyton-Brown, Pearson, Shoham 2000): neighbours in a grid, or as chance ties any two items.
  defp bundles do
    for {name, ties} <- [regions: &grid/2, arbitrary: &anyone/2] do
      times =
        for seed <- 1..9 do
          :rand.seed(:exsss, seed)
          bids = instance(ties, 50, 200)
          fields = [items: Enum.to_list(0..49), search_ms: 60_000]

          {us, {:ok, result}} =
            :timer.tc(fn -> Auction.determine(:combinatorial, bids, [pricing: :first_price] ++ fields) end)

          true = result.optimal
          {paid_us, {:ok, paid}} = :timer.tc(fn -> Auction.determine(:combinatorial, bids, fields) end)
          true = paid.exact and paid.value == result.value
          {us / 1_000, paid_us / 1_000}
        end

      optimal = times |> Enum.map(&elem(&1, 0)) |> Bench.median()
      paid = times |> Enum.map(&elem(&1, 1)) |> Bench.median()
      show("200 bids on 50 items, #{name}, optimal", optimal, 1_000.0)
      Bench.figure("200 bids on 50 items, #{name}, with VCG payments", "median #{Float.round(paid, 1)} ms")
    end
  end

  defp instance(ties, goods, count) do
    weights =
      for a <- 0..(goods - 1), b <- 0..(goods - 1), a != b, w = ties.(a, b), w > 0, into: %{}, do: {{a, b}, w}

    common = for _ <- 1..goods, do: 1 + :rand.uniform(99)

    1..count
    |> Stream.map(fn n -> {"bidder-#{n}", offers(weights, goods, common)} end)
    |> Enum.reduce_while({[], 0}, fn {id, offers}, {bids, sum} ->
      offers = Enum.take(offers, count - sum)
      bids = [{id, offers} | bids]

      if sum + length(offers) >= count,
        do: {:halt, {bids, count}},
        else: {:cont, {bids, sum + length(offers)}}
    end)
    |> elem(0)
    |> Enum.reverse()
  end

  defp offers(weights, goods, common) do
    own = List.to_tuple(for price <- common, do: price * (0.5 + :rand.uniform()))
    size = size(1, goods)
    first = grow([:rand.uniform(goods) - 1], size, weights, goods)
    others = for good <- first, do: grow([good], size, weights, goods)

    for bundle <- Enum.uniq([first | Enum.take(others, 5)]) do
      worth = bundle |> Enum.map(&elem(own, &1)) |> Enum.sum()
      {bundle, trunc((worth + :math.pow(length(bundle), 1.2)) * 1_000_000)}
    end
  end

  defp size(size, goods),
    do: if(size < goods and :rand.uniform() < 0.9, do: size(size + 1, goods), else: size)

  defp grow(bundle, size, _weights, _goods) when length(bundle) >= size, do: Enum.sort(bundle)

  defp grow(bundle, size, weights, goods) do
    pulls =
      for good <- 0..(goods - 1),
          good not in bundle,
          pull = Enum.sum(for(b <- bundle, do: Map.get(weights, {b, good}, 0))),
          pull > 0,
          do: {good, pull}

    case pulls do
      [] -> Enum.sort(bundle)
      _ -> grow([drawn(pulls) | bundle], size, weights, goods)
    end
  end

  defp drawn(pulls) do
    at = :rand.uniform() * (pulls |> Enum.map(&elem(&1, 1)) |> Enum.sum())

    Enum.reduce_while(pulls, at, fn {good, pull}, left ->
      if left <= pull or good == elem(List.last(pulls), 0), do: {:halt, good}, else: {:cont, left - pull}
    end)
  end

  defp grid(a, b) do
    {dx, dy} = {abs(rem(a, 7) - rem(b, 7)), abs(div(a, 7) - div(b, 7))}

    cond do
      dx + dy == 1 -> 1.0
      dx == 1 and dy == 1 and :erlang.phash2({min(a, b), max(a, b)}, 5) == 0 -> 1.0
      true -> 0
    end
  end

  defp anyone(a, b), do: :erlang.phash2({min(a, b), max(a, b)}, 1_000_000) / 1_000_000

  # A market around a price: most orders wait near it, and about half of what is placed trades.
  defp orders(processes) do
    {:ok, market} = Market.create_market(:continuous, self_trade: :allow)
    each = div(600_000, processes)

    work =
      for p <- 1..processes do
        :rand.seed(:exsss, p)

        for _ <- 1..each do
          side = if :rand.uniform(2) == 1, do: :buy, else: :sell
          away = :rand.uniform(20) - 8
          price = if side == :buy, do: 10_000 - away, else: 10_000 + away
          %{agent: "agent-#{:rand.uniform(100)}", side: side, price: price, quantity: :rand.uniform(10)}
        end
      end

    # Once before, so that all names are known and the book has some orders.
    for order <- Enum.take(hd(work), 10_000), do: {:ok, _} = Market.submit_order(market, order)

    {us, filled} =
      :timer.tc(fn ->
        work
        |> Enum.map(&Task.async(fn -> place(market, &1, 0) end))
        |> Task.await_many(60_000)
        |> Enum.sum()
      end)

    {:ok, book} = Market.order_book(market)
    true = book.placed == processes * each + 10_000 and filled > 0 and filled <= book.volume
    true = hd(book.bids).price < hd(book.asks).price
    rate = processes * each / us * 1_000_000
    verdict = if rate >= 300_000, do: "met (wanted 300000)", else: "MISSED (wanted 300000)"
    traded = Float.round(book.trades / book.placed, 2)

    Bench.figure(
      "orders a second, one market, #{processes} process(es)",
      "#{round(rate)}, #{traded} trades an order",
      verdict
    )

    Market.end_market(market)
  end

  defp place(_market, [], filled), do: filled

  defp place(market, [order | rest], filled) do
    {:ok, placed} = Market.submit_order(market, order)
    place(market, rest, filled + placed.filled)
  end

  defp calls do
    {:ok, market} = Market.create_market(:call)

    for n <- 1..10_000,
        do:
          {:ok, _} =
            Market.submit_order(market, %{
              agent: "a#{n}",
              side: if(rem(n, 2) == 0, do: :buy, else: :sell),
              price: 1_000 + rem(n * 7_919, 200),
              quantity: 1 + rem(n, 9)
            })

    {us, {:ok, %{volume: volume, fills: fills}}} = :timer.tc(fn -> Market.clear(market) end)

    true =
      volume > 0 and
        fills |> Enum.filter(&(&1.side == :buy)) |> Enum.map(& &1.quantity) |> Enum.sum() == volume

    Bench.figure("call market, 10,000 orders cleared", "#{Float.round(us / 1_000, 2)} ms")
  end

  defp figure(name, most_ms, rounds, fun) do
    for _ <- 1..5, do: fun.()
    times = for _ <- 1..rounds, do: fun |> :timer.tc() |> elem(0)
    show(name, Bench.median(times) / 1_000, most_ms)
  end

  defp show(name, ms, most) do
    verdict =
      cond do
        most == nil -> ""
        ms <= most -> "met (wanted #{most} ms)"
        true -> "MISSED (wanted #{most} ms)"
      end

    Bench.figure(name, "median #{Float.round(ms / 1, 2)} ms", verdict)
  end
end

Foundation.Bench.Trade.run()
