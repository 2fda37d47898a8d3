defmodule Foundation.Native.MarketTest do
  # The market's native functions, from Elixir: what they take, what they give, what they refuse. That their answers are
  # right is shown by the core's own tests.
  use ExUnit.Case, async: true

  alias Foundation.Native

  @unit 1_000_000
  @limits {1_000_000, 10_000}

  defp open!(description) do
    {:ok, state} = Native.market_open(description)
    state
  end

  defp event!(kind, state, event) do
    {:ok, state, answer} = Native.market_event(kind, state, event)
    {state, answer}
  end

  describe "votes" do
    test "are counted by every rule" do
      choices = [{0, 42}, {1, 26}, {2, 15}, {3, 17}]
      ballots = [{[0, 1, 2, 3], 42}, {[1, 2, 3, 0], 26}, {[2, 3, 1, 0], 15}, {[3, 2, 1, 0], 17}]

      assert {:ok, %{winner: 0, total: 100}} = Native.market_vote(:plurality, 4, choices, :none)
      assert {:ok, %{winner: nil, winners: []}} = Native.market_vote({:majority, 100}, 4, choices, :none)
      assert {:ok, %{winner: 0}} = Native.market_vote({:unanimity, 3}, 4, [{0, 3}], :none)
      assert {:ok, %{winner: 1, denominator: 2}} = Native.market_vote(:borda, 4, ballots, :none)
      assert {:ok, %{winners: [0, 1, 2, 3]}} = Native.market_vote(:approval, 4, ballots, :none)
      assert {:ok, %{winner: 1, condorcet: 1}} = Native.market_vote(:schulze, 4, ballots, :none)
      assert {:ok, %{winner: 3, rounds: rounds}} = Native.market_vote(:instant_runoff, 4, ballots, :none)
      assert Enum.map(rounds, & &1.eliminated) == [2, 1, nil]
    end

    test "break ties as they are told" do
      level = [{1, 1}, {2, 1}]
      assert {:ok, %{winner: nil, winners: [1, 2]}} = Native.market_vote(:plurality, 3, level, :none)
      assert {:ok, %{winner: 1}} = Native.market_vote(:plurality, 3, level, :lowest)
      assert {:ok, %{winner: by_chance}} = Native.market_vote(:plurality, 3, level, {:seed, 5})
      assert by_chance in [1, 2]
    end

    test "that are none are refused" do
      assert {:error, {:invalid, :option}} = Native.market_vote(:plurality, 2, [{2, 1}], :none)
      assert {:error, {:invalid, :ranking}} = Native.market_vote(:borda, 2, [{[0, 0], 1}], :none)
      assert {:error, {:too_large, :options}} = Native.market_vote(:borda, 10_000, [], :none)
      assert_raise ArgumentError, fn -> Native.market_vote(:borda, 2, [{[0 | 1], 1}], :none) end
      assert_raise ArgumentError, fn -> Native.market_vote(:guess, 2, [], :none) end
    end

    test "of a sample say how sure they are" do
      assert {:ok, 600} = Native.market_sample_size(600, 0.0001, 0.05)
      assert {:ok, asked} = Native.market_sample_choose(10_000, 400, 1)
      assert length(Enum.uniq(asked)) == 400
      assert {:ok, %{verdict: :passes, low: low}} = Native.market_sample_decide({350, 400, 10_000}, 0.5, 0.01)
      assert low > 0.5
      assert {:error, {:invalid, :delta}} = Native.market_sample_size(600, 0.1, 0)
    end
  end

  describe "auctions" do
    test "of sealed bids" do
      bids = [{7, 30 * @unit}, {8, 100 * @unit}, {9, 70 * @unit}]
      assert {:ok, %{bidder: 8, bid: 1, price: 70_000_000}} = Native.market_sealed(:vickrey, 0, bids)
      assert {:ok, %{price: 100_000_000}} = Native.market_sealed(:first_price, 0, bids)
      assert {:ok, nil} = Native.market_sealed(:vickrey, 101 * @unit, bids)

      assert {:ok, %{wins: [%{bidder: 1, units: 2, total: 12}], unsold: 0, revenue: 12}} =
               Native.market_sealed({:uniform, 2}, 0, [{0, 1, 6}, {1, 2, 9}])
    end

    test "of two sides" do
      assert {:ok, %{buyers: [0], sellers: [0], surplus: surplus}} =
               Native.market_double([{1, 9}, {2, 8}], [{3, 2}, {4, 3}])

      assert surplus >= 0
    end

    test "of bundles, with payments, a gap, and a deadline" do
      bids = [{0, [0], 5}, {0, [1], 5}, {1, [0], 2}, {1, [1], 2}, {2, [0, 1], 6}]
      assert {:ok, result} = Native.market_combinatorial(2, bids, :xor, :vcg, @limits)
      assert %{value: 7, exact: true, optimal: true, gap: 0, revenue: 5} = result
      assert [%{bidder: 0, amount: 4, offered: 5}, %{bidder: 1, amount: 1}] = result.payments

      assert {:ok, %{winners: winners}} = Native.market_combinatorial(2, bids, :or, :first_price, @limits)
      assert winners == [0, 1]

      many =
        for n <- 0..199,
            do: {n, for(k <- 0..5, do: rem(n * 7 + k * (1 + rem(n, 5)), 50)), 100 + rem(n * 37, 91)}

      assert {:ok, stopped} = Native.market_combinatorial(50, many, :xor, :first_price, {1_000_000, 0})
      assert stopped.bound >= stopped.value and stopped.gap == stopped.bound - stopped.value
      assert {:ok, solved} = Native.market_combinatorial(50, many, :xor, :first_price, @limits)
      assert solved.optimal and solved.value >= stopped.value and solved.value <= stopped.bound

      assert {:error, {:invalid, :items}} = Native.market_combinatorial(1, [{0, [1], 5}], :or, :vcg, @limits)
    end

    test "go on from their state, anywhere" do
      state = open!({:english, 10, 0, 2, 1_000, 100})
      {state, 1_000} = event!(:english, state, {:bid, 0, 1, 10})
      assert {:error, :too_low} = Native.market_event(:english, state, {:bid, 1, 2, 11})
      assert {:error, :not_your_turn} = Native.market_event(:english, state, {:bid, 1, 1, 20})
      {state, 1_050} = event!(:english, state, {:bid, 950, 2, 12})
      {state, %{asking: 14, bids: [{1, 10}, {2, 12}]}} = event!(:english, state, {:status})
      {state, true} = event!(:english, state, {:tick, 1_050})
      assert {:error, :closed} = Native.market_event(:english, state, {:bid, 1_051, 1, 99})
      assert {_, %{bidder: 2, price: 12}} = event!(:english, state, {:close})

      state = open!({:dutch, 100, 75, 10, 50, 1_000})
      assert {_, 90} = event!(:dutch, state, {:price, 1_060})
      assert {state, %{bidder: 7, price: 90}} = event!(:dutch, state, {:accept, 1_060, 7})
      assert {:error, :closed} = Native.market_event(:dutch, state, {:accept, 1_061, 8})

      state = open!({:sealed, :vickrey, 5, nil})
      {state, :ok} = event!(:sealed, state, {:bid, 0, 1, 10})
      {state, :ok} = event!(:sealed, state, {:bid, 0, 2, 8})
      assert {_, %{bidder: 1, price: 8}} = event!(:sealed, state, {:close})

      assert {:error, {:invalid, :decrement}} = Native.market_open({:dutch, 100, 75, 0, 50, 0})
      assert {:error, :malformed} = Native.market_event(:dutch, "nonsense", {:close})
      assert {:error, :malformed} = Native.market_event(:english, open!({:dutch, 2, 1, 1, 1, 0}), {:close})
      assert_raise ArgumentError, fn -> Native.market_event(:dutch, state, {:dance}) end
    end
  end

  describe "an order book" do
    setup do
      {:ok, book} = Native.market_book_new(:cancel_incoming, 1, 1_000)
      %{book: book}
    end

    test "trades by price and time", %{book: book} do
      assert {:ok, {1, 0, 10, 0, [], []}} = Native.market_book_place(book, 1, :sell, :limit, 105, 10)
      assert {:ok, {2, 0, 10, 0, [], []}} = Native.market_book_place(book, 2, :sell, :limit, 104, 10)
      assert {:ok, {3, 15, 0, 0, trades, []}} = Native.market_book_place(book, 3, :buy, :limit, 105, 15)
      assert trades == [{2, 2, 104, 10, true}, {1, 1, 105, 5, false}]
      assert {:error, :would_trade} = Native.market_book_place(book, 4, :buy, :post_only, 105, 1)
      assert {:error, :unfillable} = Native.market_book_place(book, 4, :buy, :fok, 105, 6)
      assert {:ok, {4, 0, 0, 9, [], []}} = Native.market_book_place(book, 1, :buy, :market, 0, 9)
      assert {:ok, {1, 1, :sell, 105, 5}} = Native.market_book_order(book, 1)
      assert {:ok, %{bids: [], asks: [{105, 5, 1}], orders: 1}} = Native.market_book_depth(book, 10)
      assert {:error, :not_found} = Native.market_book_cancel(book, 1, 2)
      assert {:ok, {1, 0, 3, 0, [], []}} = Native.market_book_replace(book, 1, 1, 105, 3)
      assert {:ok, {1, 1, :sell, 105, 3}} = Native.market_book_cancel(book, 1, 1)
      assert {:error, :not_found} = Native.market_book_order(book, 1)
    end

    test "leaves long work to a dirty scheduler", %{book: book} do
      for n <- 1..300, do: {:ok, _} = Native.market_book_place(book, n, :sell, :limit, 100, 1)
      assert {:ok, {301, 200, 0, 0, _, []}} = Native.market_book_place(book, 999, :buy, :limit, 100, 200)
      for n <- 1..300, do: {:ok, _} = Native.market_book_place(book, n, :sell, :limit, 100, 1)
      assert :dirty = Native.market_book_place(book, 999, :buy, :limit, 100, 300)
      assert {:ok, %{orders: 400}} = Native.market_book_depth(book, 1)

      assert {:ok, {_, 300, 0, 0, trades, []}} =
               Native.market_book_place_large(book, 999, :buy, :limit, 100, 300)

      assert length(trades) == 300
    end

    test "takes many orders at once, each with its answer", %{book: book} do
      orders = [{1, :sell, :limit, 5, 3}, {2, :buy, :limit, 5, 2}, {2, :buy, :limit, 0, 2}]

      assert {:ok, [{:ok, {1, 0, 3, 0, [], []}}, {:ok, {2, 2, 0, 0, [_], []}}, {:error, {:invalid, :price}}]} =
               Native.market_book_place_all(book, orders)
    end

    test "loses nothing when many processes use it", %{book: book} do
      placed =
        1..8
        |> Task.async_stream(fn owner ->
          for n <- 1..2_000 do
            side = if rem(n + owner, 2) == 0, do: :buy, else: :sell
            args = [book, owner, side, :ioc, 100 + rem(n * owner, 7), 1 + rem(n, 5)]
            args = if rem(n, 3) == 0, do: List.replace_at(args, 3, :limit), else: args

            answer =
              with :dirty <- apply(Native, :market_book_place, args),
                   do: apply(Native, :market_book_place_large, args)

            case answer do
              {:ok, {_, filled, _, _, trades, _}} -> {filled, Enum.sum(Enum.map(trades, &elem(&1, 3)))}
              {:error, :full} -> {0, 0}
            end
          end
        end)
        |> Enum.flat_map(fn {:ok, list} -> list end)

      assert Enum.all?(placed, fn {filled, traded} -> filled == traded end)
      {:ok, depth} = Native.market_book_depth(book, 100)
      {bids, asks} = {Enum.map(depth.bids, &elem(&1, 0)), Enum.map(depth.asks, &elem(&1, 0))}
      assert bids == Enum.sort(bids, :desc) and asks == Enum.sort(asks)
      assert Enum.max(bids, fn -> 0 end) < Enum.min(asks, fn -> 1_000 end)
    end
  end

  describe "markets" do
    test "clear a call" do
      orders = [{1, :buy, 20, 10}, {2, :sell, 10, 8}]
      assert {:ok, cleared} = Native.market_call(orders, nil)
      assert %{price: 15, volume: 8, imbalance: 2, fills: [{0, 1, 8}, {1, 2, 8}]} = cleared
      assert {:ok, %{price: 12}} = Native.market_call(orders, 12)
      assert {:ok, %{price: nil, volume: 0}} = Native.market_call([], nil)
    end

    test "find prices at which all goods clear" do
      traders = [{[1.0, 2.0], [0.5, 0.5], 1.0}, {[2.0, 1.0], [0.5, 0.5], 1}]

      assert {:ok, %{cleared: true, prices: [a, b]}} =
               Native.market_equilibrium(traders, 1.0e-9, 1_000, @limits)

      assert_in_delta a / b, 1.0, 1.0e-6
      assert {:error, {:invalid, :supply}} = Native.market_equilibrium([], 1.0e-9, 1_000, @limits)
    end

    test "price predictions with a bounded loss" do
      state = open!({:lmsr, 2, 100 * @unit})
      {state, cost} = event!(:lmsr, state, {:trade, [10 * @unit, 0]})
      assert_in_delta cost / @unit, 5.125, 0.001
      {state, %{prices: [yes, no], sold: [10_000_000, 0], max_loss: most}} = event!(:lmsr, state, {:status})
      assert yes > no
      {state, back} = event!(:lmsr, state, {:trade, [-10 * @unit, 0]})
      assert cost + back >= 0
      assert {_, loss} = event!(:lmsr, state, {:loss, 0})
      assert loss <= most
      assert {:error, {:invalid, :change}} = Native.market_event(:lmsr, state, {:quote, [1]})
    end
  end

  describe "games" do
    test "have equilibria, values and answers that no one would give" do
      sexes = {2, 2, [3, 0, 0, 2], [2, 0, 0, 3]}

      assert {:ok, %{profiles: profiles, complete: true, degenerate: false}} =
               Native.market_game(:nash, sexes, @limits)

      assert length(profiles) == 3
      assert {:ok, {[_, _], [_, _]}} = Native.market_game({:lemke_howson, 0}, sexes, @limits)
      dilemma = {2, 2, [-1, -3, 0, -2], [-1, 0, -3, -2]}
      assert {:ok, %{rows: [1], cols: [1]}} = Native.market_game(:undominated, dilemma, @limits)
      chicken = {2, 2, [6, 2, 7, 0], [6, 7, 2, 0]}
      assert {:ok, %{payoffs: {sum, _}}} = Native.market_game({:correlated, 1, 1}, chicken, @limits)
      assert_in_delta sum, 5.25, 1.0e-9
      pennies = {2, 2, [1, -1, -1, 1], [-1, 1, 1, -1]}

      assert {:ok, %{regret: regret}} =
               Native.market_game({:fictitious_play, 100_000, 0.02}, pennies, @limits)

      assert regret <= 0.02
      start = {[0.5, 0.5], [0.5, 0.5]}

      assert {:ok, %{row: [_, all]}} =
               Native.market_game({:replicator, start, 0.1, 10_000, 1.0e-9}, dilemma, @limits)

      assert_in_delta all, 1.0, 1.0e-6
      assert {:ok, %{value: value}} = Native.market_minimax(2, 2, [4, 1, 2, 3], @limits)
      assert_in_delta value, 2.5, 1.0e-9
      assert {:ok, %{complete: false}} = Native.market_game(:nash, sexes, {1, 10_000})
      assert {:error, {:invalid, :payoffs}} = Native.market_game(:nash, {2, 2, [1], [1]}, @limits)
    end

    test "have fair shares, exact and sampled" do
      gloves = for s <- 0..7, do: if(s >= 5, do: @unit, else: 0)
      assert {:ok, [166_667, 166_667, 666_666]} = Native.market_shapley(gloves, @limits)
      assert {:error, {:invalid, :worth}} = Native.market_shapley([0, 1, 2], @limits)

      state = open!({:shapley, 3, 0.0, 1.0, 1})

      state =
        for _ <- 1..2_000, reduce: state do
          state ->
            {state, order} = event!(:shapley, state, {:order})

            {added, _} =
              Enum.map_reduce(order, [], fn player, there -> {adds(player, there), [player | there]} end)

            {state, _} = event!(:shapley, state, {:report, order, added})
            state
        end

      {_, [{left, within}, _, {right, _}]} = event!(:shapley, state, {:estimate, 0.01})
      assert_in_delta left, 1 / 6, within
      assert_in_delta right, 2 / 3, within
      assert within < 0.06
    end

    defp adds(2, there), do: if(there == [], do: 0.0, else: 1.0)
    defp adds(_, there), do: if(2 in there and length(there) == 1, do: 1.0, else: 0.0)

    test "match and divide" do
      men = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
      women = [[1, 2, 0], [2, 0, 1], [0, 1, 2]]
      assert {:ok, %{partner: [0, 1, 2]}} = Native.market_matching(men, women, [1, 1, 1], :from_first)
      assert {:ok, %{partner: [2, 0, 1]}} = Native.market_matching(men, women, [1, 1, 1], :from_second)

      assert {:ok, %{first: parts, shared: shared}} =
               Native.market_fair(:adjusted_winner, [[60, 40], [30, 70]])

      assert parts == [{1, 1}, {10, 110}] and shared == 1
      assert {:ok, [[0], [1]]} = Native.market_fair(:round_robin, [[5, 4], [9, 8]])

      assert {:ok, [{_, zero, cut, _}, {_, cut, one, _}]} =
               Native.market_fair(:divide_and_choose, [[1, 1], [3, 1]])

      assert {zero, one} == {0.0, 1.0}
      assert {:ok, pieces} = Native.market_fair(:moving_knife, [[1, 1], [3, 1], [1, 2]])
      assert Enum.all?(pieces, fn {_, _, _, share} -> share >= 1 / 3 - 1.0e-9 end)
    end
  end

  describe "assignment" do
    test "is optimal by both methods, and knows what cannot be" do
      costs = [[4, 1, 3], [2, nil, 5], [3, 2, 2]]

      for method <- [:hungarian, :auction] do
        assert {:ok, %{columns: [1, 0, 2], cost: 5, gap: 0}} = Native.market_assign(method, costs, @limits)
        assert {:ok, %{columns: [nil], cost: 0}} = Native.market_assign(method, [[nil]], @limits)
      end

      assert {:error, :stopped} = Native.market_assign(:hungarian, [[1, 2], [1, 2]], {0, 0})
      assert_raise ArgumentError, fn -> Native.market_assign(:hungarian, [[1, 2], [1]], @limits) end
    end

    test "respects what workers can and how much they take" do
      tasks = [{[0], 10}, {[1], 10}, {[0, 1], 10}, {[127], 1}]
      workers = [{[0], 1, 1}, {[0, 1], 5, 2}]

      assert {:ok, %{columns: [0, 1, 1, nil], cost: 110}} =
               Native.market_assign_tasks(:hungarian, tasks, workers, @limits)

      assert {:ok, %{columns: [0, 1, 1, nil]}} = Native.market_assign_tasks(:auction, tasks, workers, @limits)

      assert_raise ArgumentError, fn ->
        Native.market_assign_tasks(:auction, [{[128], 1}], workers, @limits)
      end
    end
  end

  describe "a search" do
    test "learns which arm is best, and goes on from its state" do
      {:ok, search} = Native.market_search_new({:bandit, :thompson, 3}, 1)
      for _ <- 1..300, do: pull(search)

      assert {:ok, %{best: {[2.0], _}, told: 300, done: false, arms: arms}} =
               Native.market_search_status(search)

      assert Enum.sum(Enum.map(arms, &elem(&1, 0))) == 300

      {:ok, again} = Native.market_search_load(Native.market_search_dump(search))
      assert Native.market_search_ask(again) == Native.market_search_ask(search)
    end

    defp pull(search) do
      {:ok, %{id: id, values: [arm]}} = Native.market_search_ask(search)
      :ok = Native.market_search_tell(search, id, if(arm == 2.0, do: 0.9, else: 0.2))
    end

    test "of every kind gives values of its space" do
      space = [{:real, -1, 1}, {:log, 1.0e-3, 1}, {:integer, 0, 9}, {:choice, 4}]

      for method <- [{:tpe, space}, {:cma_es, Enum.take(space, 3)}] do
        {:ok, search} = Native.market_search_new(method, 7)

        for _ <- 1..40 do
          {:ok, %{id: id, values: [a, b, c | rest]}} = Native.market_search_ask(search)
          assert a >= -1 and a <= 1 and b >= 1.0e-3 and b <= 1 and c in Enum.map(0..9, &(&1 / 1))
          assert Enum.all?(rest, &(&1 in [0.0, 1.0, 2.0, 3.0]))
          :ok = Native.market_search_tell(search, id, -abs(a - 0.5))
        end

        assert {:ok, %{best: {[_ | _], score}}} = Native.market_search_status(search)
        assert score > -0.5
      end
    end

    test "by halving ends" do
      {:ok, search} = Native.market_search_new({:halving, 4, 2, 10}, 1)
      budgets = race(search, [])
      assert Enum.frequencies(budgets) == %{10 => 4, 20 => 2, 40 => 1}
      assert {:ok, %{done: true, best: {[3.0], 3.0}}} = Native.market_search_status(search)
    end

    defp race(search, budgets) do
      case Native.market_search_ask(search) do
        {:ok, %{id: id, values: [which], budget: budget}} ->
          :ok = Native.market_search_tell(search, id, which)
          race(search, [budget | budgets])

        :none ->
          budgets
      end
    end

    test "refuses what it cannot use" do
      {:ok, search} = Native.market_search_new({:bandit, {:exp3, 0.1}, 2}, 1)
      {:ok, %{id: id}} = Native.market_search_ask(search)
      assert {:error, {:invalid, :score}} = Native.market_search_tell(search, id, 2)
      assert :ok = Native.market_search_tell(search, id, nil)
      assert {:error, :not_found} = Native.market_search_tell(search, id, 1)
      assert {:error, :malformed} = Native.market_search_load("nonsense")
      assert {:error, {:invalid, :arms}} = Native.market_search_new({:bandit, :ucb1, 0}, 1)
      assert {:error, {:invalid, :space}} = Native.market_search_new({:tpe, []}, 1)
    end
  end

  test "negotiations are worked out" do
    assert {:ok, share} = Native.market_negotiate({:rubinstein, 0.5, 0.5}, @limits)
    assert_in_delta share, 2 / 3, 1.0e-12
    assert {:ok, 1.0} = Native.market_negotiate({:rubinstein, 0.5, 0.5, 1}, @limits)
    assert {:ok, %{deal: 1}} = Native.market_negotiate({:zeuthen, [9, 5, 1], [1, 5, 9], {0, 0}}, @limits)
    points = [[[1, 5], [4, 2]], [[1, 9], [3, 5]]]

    assert {:ok, %{deal: [1, _], complete: true}} =
             Native.market_negotiate({:improve, points, [0, 0]}, @limits)

    assert {:ok, [{[1, 0], [9, 12]}, {[1, 1], [7, 14]}]} =
             Native.market_negotiate({:frontier, points}, @limits)

    state = open!({:alternating_offers, 100, 3})
    {state, {:answer, 1}} = event!(:alternating_offers, state, {:offer, 0, 90})
    assert {:error, :not_your_turn} = Native.market_event(:alternating_offers, state, {:accept, 0})
    {state, {:offer, 1}} = event!(:alternating_offers, state, {:reject, 1})
    {state, _} = event!(:alternating_offers, state, {:offer, 1, 60})
    {state, :over} = event!(:alternating_offers, state, {:accept, 0})
    assert {_, %{agreement: true, shares: {40, 60}, round: 1}} = event!(:alternating_offers, state, {:status})
  end
end
