defmodule Foundation.MABEAM.Coordination.MarketTest do
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination.Market
  alias Foundation.MABEAM.Economics

  doctest Foundation.MABEAM.Coordination.Market

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  defp market(kind \\ :continuous, opts \\ []) do
    {:ok, market} = Market.create_market(kind, opts)
    market
  end

  defp order(market, agent, side, price, quantity, type \\ :limit) do
    Market.submit_order(market, %{agent: agent, side: side, price: price, quantity: quantity, type: type})
  end

  describe "continuous" do
    test "the best price first, at one price the oldest, at the price of the one that waited" do
      market = market()
      {:ok, %{id: dear, resting: 5}} = order(market, :a, :sell, 102, 5)
      {:ok, %{id: old}} = order(market, :b, :sell, 101, 3)
      {:ok, %{id: young}} = order(market, "c", :sell, 101, 3)
      assert {:ok, %{filled: 8, resting: 0, trades: trades}} = order(market, :d, :buy, 102, 8)

      assert trades == [
               %{order: old, agent: :b, price: 101, quantity: 3, done: true},
               %{order: young, agent: "c", price: 101, quantity: 3, done: true},
               %{order: dear, agent: :a, price: 102, quantity: 2, done: false}
             ]

      {:ok, %{id: bid}} = order(market, :d, :buy, 99, 4)

      assert {:ok, book} = Market.order_book(market)
      assert book.asks == [%{price: 102, quantity: 3, orders: 1}]
      assert book.bids == [%{price: 99, quantity: 4, orders: 1}]
      assert {book.orders, book.placed, book.trades, book.volume, book.last_price} == {2, 5, 3, 8, 102}
      assert Market.order(market, bid) == {:ok, %{id: bid, agent: :d, side: :buy, price: 99, quantity: 4}}
      assert Market.order(market, old) == {:error, :not_found}
    end

    test "kinds of order" do
      market = market(:continuous, tick: 5)
      {:ok, _} = order(market, :a, :sell, 100, 5)
      assert order(market, :b, :buy, 100, 6, :fok) == {:error, :unfillable}
      assert order(market, :b, :buy, 100, 1, :post_only) == {:error, :would_trade}
      assert order(market, :b, :buy, 101, 1) == {:error, {:invalid, :price}}
      assert {:ok, %{filled: 0, dropped: 1}} = order(market, :b, :buy, 95, 1, :ioc)
      assert {:ok, %{filled: 2}} = order(market, :b, :buy, 100, 2, :fok)

      assert {:ok, %{filled: 3, dropped: 2}} =
               Market.submit_order(market, %{agent: :b, side: :buy, quantity: 5, type: :market})

      {:ok, _} = order(market, :a, :sell, 100, 1)
      # Nobody trades with itself.
      assert {:ok, %{filled: 0, dropped: 1}} = order(market, :a, :buy, 100, 1)
      both = market(:continuous, self_trade: :cancel_both)
      {:ok, %{id: id}} = order(both, :a, :sell, 100, 1)
      assert {:ok, %{filled: 0, cancelled: [^id]}} = order(both, :a, :buy, 100, 1)
    end

    test "an order is its agent's to cancel and to change" do
      market = market()
      {:ok, %{id: first}} = order(market, :a, :buy, 100, 5)
      {:ok, %{id: second}} = order(market, :b, :buy, 100, 5)
      assert Market.cancel_order(market, :b, first) == {:error, :not_found}
      assert Market.replace_order(market, :b, first, %{price: 100, quantity: 1}) == {:error, :not_found}

      assert {:error, {:invalid, %{field: :quantity}}} =
               Market.replace_order(market, :a, first, %{price: 1, quantity: 0})

      # Less at the same price keeps its place.
      assert {:ok, %{id: ^first, resting: 2}} =
               Market.replace_order(market, :a, first, %{price: 100, quantity: 2})

      assert {:ok, %{trades: [%{order: ^first, quantity: 2}]}} = order(market, :c, :sell, 100, 2)
      assert {:ok, %{quantity: 5, agent: :b}} = Market.cancel_order(market, :b, second)
      assert {:ok, %{bids: [], orders: 0}} = Market.order_book(market)
    end

    test "what is no order is refused and changes nothing" do
      market = market(:continuous, max_orders: 1)
      good = %{agent: :a, side: :buy, price: 10, quantity: 1}

      for {field, value} <- [
            agent: nil,
            agent: self(),
            agent: "",
            side: :hold,
            price: 0,
            price: -1,
            price: 1.5,
            price: :nan,
            price: 10 ** 30,
            quantity: 0,
            quantity: 1.0,
            quantity: 10 ** 30,
            type: :iceberg
          ] do
        assert {:error, {:invalid, %{field: ^field}}} =
                 Market.submit_order(market, Map.put(good, field, value))
      end

      assert {:error, {:invalid, %{field: :price}}} = Market.submit_order(market, Map.delete(good, :price))
      assert {:error, {:invalid, %{field: :order}}} = Market.submit_order(market, :rubbish)
      assert {:ok, %{orders: 0, placed: 0}} = Market.order_book(market)
      assert {:ok, _} = Market.submit_order(market, good)
      assert Market.submit_order(market, good) == {:error, :full}
      assert {:error, {:invalid, %{field: :tick}}} = Market.create_market(:continuous, tick: 0)
      assert_raise ArgumentError, fn -> Market.create_market(:bazaar) end
    end

    test "many processes at once: what is bought is sold" do
      market = market()

      filled =
        1..4
        |> Task.async_stream(
          fn n ->
            for i <- 1..2_000, reduce: 0 do
              sum ->
                side = if rem(i + n, 2) == 0, do: :buy, else: :sell

                {:ok, %{filled: filled}} =
                  order(market, "agent-#{n}", side, 100 + rem(i * 7, 5), 1 + rem(i, 3))

                sum + filled
            end
          end,
          timeout: 30_000
        )
        |> Enum.map(&elem(&1, 1))
        |> Enum.sum()

      assert {:ok, %{volume: ^filled, placed: 8_000, bids: bids, asks: asks}} = Market.order_book(market)
      assert filled > 0
      # Nothing that could trade is left waiting, but for what would have met its own agent.
      with [%{price: bid} | _] <- bids, [%{price: ask} | _] <- asks, do: assert(bid < ask)
    end

    test "who listens hears of trades; an ended market is not there" do
      market = market()
      :ok = Market.subscribe(market)
      {:ok, %{id: maker}} = order(market, :a, :sell, 7, 1)
      {:ok, %{id: taker}} = order(market, :b, :buy, 7, 1)
      id = market.id

      assert_receive {:market, ^id, {:traded, %{order: ^taker, agent: :b, side: :buy, trades: [trade]}}}

      assert %{order: ^maker, agent: :a, price: 7, quantity: 1, done: true} = trade
      assert Market.end_market(market) == :ok
      assert_eventually(order(market, :a, :sell, 7, 1) == {:error, :not_found})
      assert Market.end_market(market) == :ok
      assert Market.clear(market) == {:error, :unsupported}
    end
  end

  describe "call" do
    test "all trade at the price with the largest volume" do
      market = market(:call)
      # Bids 10, 9, 8, 7 and asks 6, 7, 8, 9, one each: three trade between 7 and 8.
      for {price, n} <- Enum.with_index([10, 9, 8, 7]), do: {:ok, _} = order(market, "b#{n}", :buy, price, 1)
      for {price, n} <- Enum.with_index([6, 7, 8, 9]), do: {:ok, _} = order(market, "s#{n}", :sell, price, 1)

      assert {:ok, %{orders: 8, bids: [%{price: 10} | _], asks: [%{price: 6} | _]}} =
               Market.order_book(market)

      assert {:ok, cleared} = Market.clear(market)
      assert {cleared.price, cleared.volume, cleared.imbalance} == {8, 3, 0}
      assert cleared.fills |> Enum.map(& &1.agent) |> Enum.sort() == ["b0", "b1", "b2", "s0", "s1", "s2"]
      assert {:ok, %{orders: 2, last_price: 8, volume: 3}} = Market.order_book(market)
      assert {:ok, %{price: nil, volume: 0}} = Market.clear(market)
    end

    test "what is partly filled waits for the next call" do
      market = market(:call)
      {:ok, %{id: id}} = order(market, :a, :buy, 5, 10)
      {:ok, _} = order(market, :b, :sell, 5, 4)
      assert {:ok, %{volume: 4, imbalance: 6}} = Market.clear(market)
      assert {:ok, %{quantity: 6}} = Market.order(market, id)
      assert Market.cancel_order(market, :b, id) == {:error, :not_found}
      assert {:ok, %{quantity: 6}} = Market.cancel_order(market, :a, id)
      assert order(market, :a, :buy, 5, 1, :fok) == {:error, {:unsupported, :fok}}
      assert {:error, {:invalid, %{field: :price}}} = order(market, :a, :buy, 1.5, 1)
    end
  end

  describe "prediction" do
    @unit 1_000_000

    test "prices and costs by Hanson's formula, and the loss is bounded" do
      market = market(:prediction, outcomes: [:yes, :no], liquidity: 100 * @unit)
      assert {:ok, %{prices: %{yes: 0.5, no: 0.5}, max_loss: bound}} = Market.order_book(market)
      assert_in_delta bound / @unit, 100 * :math.log(2), 1.0e-5
      bet = %{agent: :a, outcome: :yes, shares: 100 * @unit}
      assert {:ok, %{cost: cost, prices: %{yes: yes}, shares: 100_000_000}} = Market.submit_order(market, bet)
      assert_in_delta cost / @unit, 100 * :math.log((:math.exp(1) + 1) / 2), 1.0e-5
      assert_in_delta yes, :math.exp(1) / (1 + :math.exp(1)), 1.0e-9
      # Buying and selling again never gains.
      assert {:ok, %{cost: back}} = Market.submit_order(market, %{bet | shares: -100 * @unit})
      assert cost + back >= 0
      for _ <- 1..20, do: {:ok, _} = Market.submit_order(market, bet)
      assert {:ok, %{payouts: %{a: 2_000_000_000}, loss: loss}} = Market.resolve(market, :yes)
      assert loss > 0 and loss <= bound
      assert Market.submit_order(market, bet) == {:error, :closed}
      assert {:ok, %{loss: ^loss}} = Market.resolve(market, :no)
    end

    test "nobody sells what it does not have, or pays more than it said" do
      market = market(:prediction, outcomes: [:x, :y, :z], liquidity: 10 * @unit)
      bet = %{agent: :a, outcome: :x, shares: @unit}
      assert Market.submit_order(market, %{bet | shares: -1}) == {:error, :not_enough_shares}
      assert Market.submit_order(market, Map.put(bet, :limit, 1)) == {:error, :over_limit}
      assert Market.submit_order(market, %{bet | outcome: :w}) == {:error, :no_such_outcome}
      assert {:error, {:invalid, %{field: :shares}}} = Market.submit_order(market, %{bet | shares: 1.5})
      assert {:error, {:invalid, %{field: :shares}}} = Market.submit_order(market, %{bet | shares: 0})
      assert {:error, {:invalid, :change}} = Market.submit_order(market, %{bet | shares: 10 ** 15})
      assert {:ok, %{trades: 0, collected: 0, holdings: none}} = Market.order_book(market)
      assert none == %{}
      assert Market.resolve(market, :w) == {:error, :no_such_outcome}

      assert {:error, {:invalid, %{field: :outcomes}}} =
               Market.create_market(:prediction, outcomes: [:x], liquidity: 1)
    end

    test "bets are paid, and payouts too: all or none" do
      for id <- [:house, :a, :b], do: :ok = Economics.open_account(id)
      for id <- [:a, :b], do: {:ok, _} = Economics.deposit(id, 10 * @unit)
      market = market(:prediction, outcomes: [:yes, :no], liquidity: 10 * @unit, to: :house)
      {:ok, %{cost: cost}} = Market.submit_order(market, %{agent: :a, outcome: :yes, shares: 5 * @unit})
      assert {:ok, %{available: available}} = Economics.balance(:a)
      assert available == 10 * @unit - cost

      assert Market.submit_order(market, %{agent: :b, outcome: :yes, shares: 50 * @unit}) ==
               {:error, :over_balance}

      assert Market.submit_order(market, %{agent: :c, outcome: :yes, shares: 1}) == {:error, :no_account}
      # The house has what was paid, which is less than it owes.
      assert {:error, {:insufficient, _}} = Market.resolve(market, :yes)
      {:ok, _} = Economics.deposit(:house, 10 * @unit)
      assert {:ok, %{payouts: %{a: 5_000_000}}} = Market.resolve(market, :yes)
      assert Economics.balance(:a) == {:ok, %{available: 15 * @unit - cost, held: 0}}
      assert Economics.audit() == {:ok, 0}
    end
  end

  describe "equilibrium" do
    test "Cobb-Douglas: prices by the closed form" do
      # With shares a of x: p_x/p_y = sum(a y) / sum((1 - a) x) over what each brings.
      ann = %{endowment: %{x: 2, y: 1}, weights: %{x: 0.3, y: 0.7}}
      bob = %{endowment: %{x: 1, y: 4}, weights: %{x: 0.6, y: 0.4}}
      assert {:ok, %{cleared: true, prices: prices, demand: [a, b]}} = Market.find_equilibrium([ann, bob])
      assert_in_delta prices.x / prices.y, (0.3 * 1 + 0.6 * 4) / (0.7 * 2 + 0.4 * 1), 1.0e-4
      assert_in_delta a.x + b.x, 3, 1.0e-4
    end

    test "what is no economy" do
      good = %{endowment: %{x: 1}, weights: %{x: 1}}
      assert {:error, {:invalid, %{field: :traders}}} = Market.find_equilibrium([])

      assert {:error, {:invalid, %{field: :endowment}}} =
               Market.find_equilibrium([%{good | endowment: %{x: -1}}])

      assert {:error, {:invalid, %{field: :weights}}} =
               Market.find_equilibrium([%{good | weights: %{x: 10 ** 400}}])

      assert {:error, {:invalid, :supply}} = Market.find_equilibrium([%{good | endowment: %{}}])
      assert {:error, {:invalid, :weights}} = Market.find_equilibrium([%{good | weights: %{}}])
      assert {:error, {:invalid, %{field: :tolerance}}} = Market.find_equilibrium([good], tolerance: 0)
    end
  end

  describe "simulation" do
    defp induced(strategy) do
      # Ten units of demand from 200 down and of supply from 100 up: they cross at 150, six trades.
      for n <- 0..9, {side, value} <- [buy: 200 - n * 10, sell: 100 + n * 10] do
        %{agent: "#{side}-#{n}", side: side, values: [value], strategy: strategy}
      end
    end

    test "traders that act at random within their means find nearly all of the surplus (Gode and Sunder 1993)" do
      results = for seed <- 1..40, do: simulated(induced(:zero_intelligence), seed: seed, range: {1, 300})
      efficiencies = Enum.map(results, & &1.efficiency)
      assert Enum.sum(efficiencies) / 40 > 0.95
      assert Enum.all?(results, &(&1.max_surplus == 300))
      # At random without limits they do not.
      wild = for seed <- 1..40, do: simulated(induced(:unconstrained), seed: seed, range: {1, 300}).efficiency
      assert Enum.sum(wild) / 40 < Enum.sum(efficiencies) / 40 - 0.1
    end

    defp simulated(traders, opts) do
      {:ok, result} = Market.simulate(traders, opts)
      # What the traders gained is what was traded.
      gained = result.traders |> Map.values() |> Enum.map(& &1.surplus) |> Enum.sum()
      assert gained == result.surplus

      assert length(result.trades) * 2 ==
               result.traders |> Map.values() |> Enum.map(& &1.traded) |> Enum.sum()

      result
    end

    test "the seed decides, and nothing else" do
      assert simulated(induced(:zero_intelligence), seed: 3) ==
               simulated(induced(:zero_intelligence), seed: 3)

      assert simulated(induced(:zero_intelligence), seed: 3) !=
               simulated(induced(:zero_intelligence), seed: 4)
    end

    test "strategies of one's own see the book" do
      own = fn view, random ->
        price = if view.side == :buy, do: view.best_ask || 1, else: max(view.value, view.best_bid || 0)
        {if(view.side == :buy and price > view.value, do: :pass, else: price), random}
      end

      result = simulated(induced(own), seed: 1)
      assert result.failures == 0 and result.trades != []
      assert Enum.all?(result.traders, fn {_id, %{surplus: surplus}} -> surplus >= 0 end)
    end

    test "a strategy that fails passes" do
      traders = [
        %{agent: :a, side: :buy, values: [10], strategy: fn _view, _random -> raise "boom" end},
        %{agent: :b, side: :buy, values: [10], strategy: fn _view, random -> {1.5, random} end},
        %{agent: :c, side: :sell, values: [5], strategy: :truthful}
      ]

      assert %{failures: failures, trades: [], surplus: 0, max_surplus: 5} = simulated(traders, steps: 300)
      assert failures > 100
      assert {:error, {:invalid, %{field: :traders}}} = Market.simulate([%{agent: :a}])
      assert {:error, {:invalid, %{field: :traders}}} = Market.simulate(traders ++ traders)
      assert {:ok, %{efficiency: 1.0, trades: []}} = Market.simulate([])
    end
  end
end
