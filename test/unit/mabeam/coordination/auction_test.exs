defmodule Foundation.MABEAM.Coordination.AuctionTest do
  # Auctions over agents, open auctions, and answers that books give.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination
  alias Foundation.MABEAM.Coordination.Auction
  alias Foundation.MABEAM.Economics
  alias Foundation.Opaque

  doctest Foundation.MABEAM.Coordination.Auction

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  # Strategies of agents, called with the request.
  def up_to(%{auction: :english, asking: asking}, most) when asking <= most, do: asking
  def up_to(%{auction: :dutch}, most), do: most
  def up_to(_request, _most), do: 0

  defp bidders(bids),
    do: for({id, bid} <- bids, do: start(id, if(bid == nil, do: %{}, else: %{bid: {:say, bid}})))

  defp straight(limits),
    do: for({id, most} <- limits, do: start(id, %{bid: {:say, {__MODULE__, :up_to, [most]}}}))

  defp accounts(balances) do
    :ok = Economics.open_account(:house)

    for {id, amount} <- balances do
      :ok = Economics.open_account(id)
      if amount > 0, do: {:ok, _} = Economics.deposit(id, amount)
    end
  end

  defp available(id) do
    {:ok, %{available: available, held: 0}} = Economics.balance(id)
    available
  end

  describe "known answers" do
    test "Vickrey pays the second price; the first price its own; ties go to the first" do
      bids = [a: 100, b: 90, c: 90]
      assert Auction.determine(:vickrey, bids) == {:ok, %{agent: :a, price: 90}}
      assert Auction.determine(:sealed_first_price, bids) == {:ok, %{agent: :a, price: 100}}
      assert Auction.determine(:vickrey, a: 5, b: 7, c: 7) == {:ok, %{agent: :b, price: 7}}
      assert Auction.determine(:vickrey, [a: 100], reserve: 60) == {:ok, %{agent: :a, price: 60}}
      assert Auction.determine(:vickrey, []) == {:error, :unsold}
    end

    test "VCG: the example of two apples that is in every text (Nisan et al., Algorithmic Game Theory, 9.3.3)" do
      # A wants one apple for 5, B one for 2, C both for 6: A and B win and pay 4 and 1.
      bids = [a: {[:x], 5}, b: {[:y], 2}, c: {[:x, :y], 6}]
      assert {:ok, result} = Auction.determine(:combinatorial, bids, items: [:x, :y])
      assert result.optimal and result.exact and result.gap == 0
      assert {result.value, result.revenue} == {7, 5}

      assert result.wins == [
               %{agent: :a, items: [:x], offered: 5, price: 4},
               %{agent: :b, items: [:y], offered: 2, price: 1}
             ]

      assert {:ok, %{revenue: 7}} =
               Auction.determine(:combinatorial, bids, items: [:x, :y], pricing: :first_price)
    end

    test "XOR: one offer of an agent wins; OR: any number" do
      bids = [a: [{[:x], 5}, {[:y], 4}], b: {[:y], 1}]
      assert {:ok, %{value: 6}} = Auction.determine(:combinatorial, bids, items: [:x, :y], bidding: :xor)
      assert {:ok, both} = Auction.determine(:combinatorial, bids, items: [:x, :y], bidding: :or)
      # What B would have had is all that A takes from anyone.
      assert [%{agent: :a, items: [:x, :y], offered: 9, price: 1}] = both.wins
    end

    test "McAfee: both of the cases of his paper of 1992" do
      # The mean of the first two left out, 6 and 6.5, is accepted by the last pair: all three trade at it.
      bids =
        [b1: {:buy, 10}, b2: {:buy, 9}, b3: {:buy, 8}, b4: {:buy, 4}] ++
          [s1: {:sell, 2}, s2: {:sell, 3}, s3: {:sell, 5}, s4: {:sell, 8}]

      assert {:ok, result} = Auction.determine(:double_auction, bids)

      assert result == %{
               buyers: [:b1, :b2, :b3],
               sellers: [:s1, :s2, :s3],
               buy_price: 6,
               sell_price: 6,
               surplus: 0
             }

      # It is not: the last pair sets the prices and does not trade.
      bids =
        [b1: {:buy, 10}, b2: {:buy, 5}, b3: {:buy, 1}] ++ [s1: {:sell, 2}, s2: {:sell, 4}, s3: {:sell, 20}]

      assert {:ok, result} = Auction.determine(:double_auction, bids)
      assert result == %{buyers: [:b1], sellers: [:s1], buy_price: 5, sell_price: 4, surplus: 1}
    end

    test "units: the uniform price is the highest that lost; Krishna, Auction Theory, example 12.1" do
      # Six units; bid vectors (50, 47, 40, 32, 15, 5), (42, 28, 20, 12, 7, 3), (45, 35, 24, 14, 9, 6).
      bids = [
        one: Enum.map([50, 47, 40, 32, 15, 5], &{1, &1}),
        two: Enum.map([42, 28, 20, 12, 7, 3], &{1, &1}),
        three: Enum.map([45, 35, 24, 14, 9, 6], &{1, &1})
      ]

      assert {:ok, own} = Auction.determine(:multi_unit, bids, units: 6, pricing: :discriminatory)
      assert units(own) == %{one: 3, two: 1, three: 2}
      assert own.revenue == 50 + 47 + 40 + 42 + 45 + 35
      assert {:ok, one} = Auction.determine(:multi_unit, bids, units: 6)
      assert units(one) == units(own)
      assert one.revenue == 6 * 32
      assert {:ok, %{unsold: 4}} = Auction.determine(:multi_unit, [a: {2, 5}], units: 6)
    end

    defp units(result),
      do:
        Enum.reduce(result.wins, %{}, fn win, sums ->
          Map.update(sums, win.agent, win.units, &(&1 + win.units))
        end)
  end

  test "what is no bid is said to be none" do
    nan = :nan

    for {bid, reason} <- [
          {-1, :not_an_amount},
          {1.5, :not_an_amount},
          {nan, :not_an_amount},
          {"1", :not_an_amount},
          {10 ** 40, :too_much},
          {[1 | 2], :not_an_amount},
          {%{amount: 1.0}, :not_an_amount}
        ] do
      assert Auction.determine(:vickrey, a: bid) == {:error, {:invalid_bid, :a, reason}}
    end

    for {bid, reason} <- [
          {[{[:x], 1} | :improper], :not_a_bid},
          {{[:x | :y], 1}, :not_a_bid},
          {{[:x, :x], 1}, :item_twice},
          {{[:z], 1}, :no_such_item},
          {{[], 1}, :not_a_bid},
          {{[:x], -1}, :not_an_amount},
          {List.duplicate({[:x], 1}, 101), :too_many_offers},
          {:x, :not_a_bid}
        ] do
      result = Auction.determine(:combinatorial, [a: bid], items: [:x, :y])
      assert result in [{:error, {:invalid_bid, :a, reason}}, {:error, {:invalid_bid, :a, :too_many_offers}}]
    end

    assert Auction.determine(:vickrey, a: 1, a: 2) == {:error, {:twice, :a}}
    assert {:error, {:invalid, %{field: :units}}} = Auction.determine(:multi_unit, [a: {1, 1}], units: 0)
    assert {:error, {:invalid, %{field: :items}}} = Auction.determine(:combinatorial, [], items: [:x, :x])
    assert {:error, {:invalid, %{field: :attributes}}} = Auction.determine(:vickrey, [], pricing: :vcg)
    assert_raise ArgumentError, ~r/kind/, fn -> Auction.determine(Opaque.term(:english), []) end
  end

  describe "with agents" do
    test "all kinds of sealed bids" do
      agents = bidders(a: 7, b: 9, c: 8, d: nil)
      assert {:ok, outcome} = Auction.run_auction(:vickrey, agents, item: :x)
      assert outcome.decision == %{agent: :b, price: 8}
      assert {outcome.messages, outcome.abstentions} == {4, [:d]}
      assert outcome.detail.bids == %{a: 7, b: 9, c: 8}

      assert {:ok, %{decision: %{agent: :b, price: 9}}} =
               Auction.run_auction(:sealed_first_price, agents, reserve: 8)

      assert {:error, {:unsold, %{failures: %{b: {:invalid, :too_low}}}}} =
               Auction.run_auction(:vickrey, agents, reserve: 10)
    end

    test "a tie goes to who comes first in the list, not to who answers first" do
      start(:z, %{bid: {:say, {__MODULE__, :slowly, [7]}}})
      start(:a, %{bid: {:say, 7}})
      assert {:ok, %{decision: %{agent: :z, price: 7}}} = Auction.run_auction(:vickrey, [:z, :a])
      assert {:ok, %{decision: %{agent: :a, price: 7}}} = Auction.run_auction(:vickrey, [:a, :z])
    end

    def slowly(_request, bid) do
      receive do
      after
        30 -> bid
      end
    end

    test "bundles, units and two sides" do
      agents = bidders(a: {[:x], 5}, b: {[:y], 2}, c: {[:x, :y], 6})
      assert {:ok, %{decision: %{revenue: 5}}} = Auction.run_auction(:combinatorial, agents, items: [:x, :y])
      agents = bidders(e: {3, 10}, f: {3, 8})

      assert {:ok, %{decision: %{revenue: 32, unsold: 0}}} =
               Auction.run_auction(:multi_unit, agents, units: 4)

      agents = bidders(g: {:buy, 9}, h: {:sell, 3}, i: {:buy, 7}, j: {:sell, 5})

      assert {:ok, %{decision: %{buyers: [:g], sellers: [:h], surplus: 2}}} =
               Auction.run_auction(:double_auction, agents)
    end

    test "English: it ends where the second gives up" do
      agents = straight(a: 40, b: 73, c: 60)
      assert {:ok, outcome} = Auction.run_auction(:english, agents, start: 10, increment: 5)
      assert outcome.decision.agent == :b
      assert outcome.decision.price in 60..65
      assert outcome.detail.reason in [:alone, :nobody_bids]
      amounts = Enum.map(outcome.detail.history, &elem(&1, 1))
      assert amounts == Enum.sort(amounts) and hd(amounts) == 10

      assert {:error, {:unsold, _}} =
               Auction.run_auction(:english, agents, start: 10, increment: 5, reserve: 80)

      assert {:error, {:unsold, _}} = Auction.run_auction(:english, agents, start: 90, increment: 5)

      assert {:ok, %{detail: %{reason: :rounds}}} =
               Auction.run_auction(:english, agents, start: 10, increment: 1, rounds: 3)
    end

    test "Dutch: the first price that somebody takes" do
      agents = straight(a: 40, b: 73)
      assert {:ok, outcome} = Auction.run_auction(:dutch, agents, start: 100, decrement: 10)
      assert outcome.decision == %{agent: :b, price: 70}
      assert outcome.rounds == 4

      assert {:error, {:unsold, _}} =
               Auction.run_auction(:dutch, agents, start: 200, reserve: 100, decrement: 10)

      assert {:error, {:unsold, _}} = Auction.run_auction(:dutch, agents, start: 200, decrement: 1, rounds: 5)
    end

    test "winners pay, losers do not" do
      accounts(a: 10, b: 10, c: 3)
      agents = bidders(a: 7, b: 9, c: 8)
      assert {:ok, outcome} = Auction.run_auction(:vickrey, agents, accounts: true, to: :house)
      # C has bid what it does not have.
      assert outcome.failures == %{c: {:invalid, :over_balance}}
      assert outcome.decision == %{agent: :b, price: 7}
      assert [%{from: :b, to: :house, amount: 7, payment: payment}] = outcome.detail.payments
      assert {available(:a), available(:b), available(:house)} == {10, 3, 7}
      assert Economics.rate(payment, :b, 1) == :ok
      assert Economics.audit() == {:ok, 0}
    end

    test "both sides of a double auction are paid, and the house keeps the surplus" do
      accounts(g: 9, h: 0, i: 7, j: 0)
      agents = bidders(g: {:buy, 9}, h: {:sell, 3}, i: {:buy, 7}, j: {:sell, 5})
      assert {:ok, _} = Auction.run_auction(:double_auction, agents, accounts: true, to: :house)
      assert {available(:g), available(:h), available(:house)} == {2, 5, 2}
    end

    test "a winner that cannot pay any more counts as if it had not bid" do
      accounts(liar: 10, good: 10)
      # The liar has its money when its bid is checked, and not when the auction is decided.
      start(:liar, %{bid: {:say, 9}})
      start(:good, %{bid: {:say, {__MODULE__, :when_told, [5]}}})
      Process.register(self(), :auction_test)

      {:ok, id} =
        Auction.run_auction(:vickrey, [:liar, :good], accounts: true, to: :house, async: true, timeout: 30_000)

      assert_receive {:asked, good}
      assert_eventually(match?({:ok, %{answered: 1}}, Coordination.status(id)))
      {:ok, _} = Economics.withdraw(:liar, 10)
      send(good, :go_on)
      assert {:ok, outcome} = Coordination.await(id)
      assert outcome.decision == %{agent: :good, price: 0}
      assert outcome.detail.cannot_pay == [:liar]
      assert available(:house) == 0
    end

    def when_told(_request, bid) do
      send(:auction_test, {:asked, self()})

      receive do
        :go_on -> bid
      after
        30_000 -> bid
      end
    end

    test "an English leader that cannot pay loses it to who led before" do
      accounts(a: 100, b: 100)
      start(:a, %{bid: {:say, {__MODULE__, :fifty_then_rob_b, []}}})
      start(:b, %{bid: {:say, {__MODULE__, :ten_more_than_fifty, []}}})
      fields = [increment: 5, accounts: true, to: :house]
      assert {:ok, outcome} = Auction.run_auction(:english, [:a, :b], fields)
      assert outcome.decision == %{agent: :a, price: 50}
      assert outcome.detail.history == [a: 50, b: 60]
      assert outcome.detail.cannot_pay == [:b]
      assert {available(:a), available(:b), available(:house)} == {50, 0, 50}
    end

    def ten_more_than_fifty(%{round: round}), do: if(round == 1, do: 5, else: 60)
    def fifty_then_rob_b(%{round: 1}), do: 50

    def fifty_then_rob_b(_request) do
      {:ok, _} = Economics.withdraw(:b, 100)
      0
    end
  end

  describe "open to whoever comes" do
    test "sealed bids: one each, hidden until it is closed" do
      {:ok, id} = Auction.open(:vickrey, item: :x, reserve: 3, bidders: [:a, :b, :c])
      :ok = Auction.subscribe(id)
      assert Auction.bid(id, :a, 7) == :ok
      assert Auction.bid(id, :b, 9) == :ok

      {:ok, before} = Auction.history(id)

      for {who, bid, reason} <- [
            {:a, 8, :already_bid},
            {:z, 8, :unknown_bidder},
            {self(), 8, :unknown_bidder},
            {:c, -1, :not_an_amount},
            {:c, :nan, :not_an_amount},
            {:c, 8.5, :not_an_amount},
            {:c, 2, :too_low},
            {:c, 10 ** 30, :too_much}
          ],
          do: assert(Auction.bid(id, who, bid) == {:error, reason})

      assert Auction.history(id) == {:ok, before}
      assert [%{event: :opened}, %{event: {:bid, :a}}, %{event: {:bid, :b}}] = before
      assert {:ok, %{status: :open, bids: 2, result: nil}} = Auction.status(id)
      result = {:ok, %{agent: :b, price: 7, payments: []}}
      assert Auction.close(id) == result
      assert Auction.close(id) == result
      assert Auction.bid(id, :c, 8) == {:error, :closed}
      assert {:ok, %{status: :closed, result: ^result}} = Auction.status(id)
      assert {:ok, history} = Auction.history(id)
      assert [:opened, {:bid, :a, 7}, {:bid, :b, 9}, {:closed, ^result}] = Enum.map(history, & &1.event)
      assert_receive {:auction, ^id, {:bid, :b}}
      assert_receive {:auction, ^id, {:closed, ^result}}
      refute_received {:auction, ^id, {:bid, _, _}}
    end

    test "English: the asking price rises, and a late bid moves the end" do
      {:ok, id} = Auction.open(:english, start: 10, increment: 5, duration_ms: 60_000, extend_ms: 120_000)
      assert {:ok, %{asking: 10, leader: nil, ends_in_ms: ends}} = Auction.status(id)
      assert ends <= 60_000
      assert Auction.bid(id, :a, 9) == {:error, :too_low}
      assert Auction.bid(id, :a, 10) == :ok
      assert Auction.bid(id, :a, 20) == {:error, :leading}
      assert Auction.bid(id, :b, 14) == {:error, :too_low}
      assert Auction.bid(id, :b, 15) == :ok
      assert {:ok, %{asking: 20, leader: :b, ends_in_ms: ends}} = Auction.status(id)
      assert ends > 60_000
      assert Auction.close(id) == {:ok, %{agent: :b, price: 15, payments: []}}
      {:ok, id} = Auction.open(:english, increment: 5, reserve: 50)
      assert Auction.bid(id, :a, 49) == :ok
      assert Auction.close(id) == {:error, :unsold}
    end

    test "Dutch: the price falls with the time, and ends with the last one" do
      {:ok, id} = Auction.open(:dutch, start: 100, reserve: 80, decrement: 10, interval_ms: 500)
      assert Auction.bid(id, :a, 79) == {:error, :too_low}
      assert_eventually(match?({:ok, %{price: price}} when price < 100, Auction.status(id)))
      assert_eventually(match?({:ok, %{status: :closed, result: {:error, :unsold}}}, Auction.status(id)))
      {:ok, id} = Auction.open(:dutch, start: 100, decrement: 10, interval_ms: 60_000)
      assert Auction.bid(id, :a, 120) == :ok
      assert Auction.bid(id, :b, 120) == {:error, :closed}
      assert Auction.close(id) == {:ok, %{agent: :a, price: 100, payments: []}}
    end

    test "the other kinds decide by their rules when they close" do
      {:ok, id} = Auction.open(:combinatorial, items: [:x, :y])
      for {who, bid} <- [a: {[:x], 5}, b: {[:y], 2}, c: {[:x, :y], 6}], do: :ok = Auction.bid(id, who, bid)
      assert {:ok, %{revenue: 5}} = Auction.close(id)
      {:ok, id} = Auction.open(:double_auction)

      for {who, bid} <- [a: {:buy, 9}, b: {:sell, 2}, c: {:buy, 7}, d: {:sell, 5}],
          do: :ok = Auction.bid(id, who, bid)

      assert {:ok, %{surplus: 2}} = Auction.close(id)
    end

    test "it closes by itself, and is forgotten" do
      {:ok, id} = Auction.open(:vickrey, duration_ms: 1_000, keep_ms: 1_000)
      :ok = Auction.bid(id, :a, 5)
      assert_eventually(match?({:ok, %{status: :closed}}, Auction.status(id)))
      assert_eventually(Auction.status(id) == {:error, :not_found})
      assert Auction.bid(id, :a, 5) == {:error, :not_found}
    end

    test "money is on hold from the bid on, and paid by the winner alone" do
      accounts(a: 10, b: 10, c: 10)
      {:ok, id} = Auction.open(:vickrey, accounts: true, to: :house)
      for {who, bid} <- [a: 7, b: 9, c: 5], do: :ok = Auction.bid(id, who, bid)
      assert Economics.balance(:b) == {:ok, %{available: 1, held: 9}}
      # What is on hold cannot be promised again.
      {:ok, other} = Auction.open(:vickrey, accounts: true, to: :house)
      assert Auction.bid(other, :b, 2) == {:error, :over_balance}
      assert Auction.bid(other, :nobody, 2) == {:error, :no_account}
      assert Auction.bid(other, :bank, 2) == {:error, :no_account}
      assert {:ok, %{agent: :b, price: 7, payments: [%{payment: payment}]}} = Auction.close(id)
      assert Economics.rate(payment, :b, 1) == :ok
      assert for(who <- [:a, :b, :c, :house], do: available(who)) == [10, 3, 10, 7]
    end

    test "only the leader's money is on hold in an English auction" do
      accounts(a: 10, b: 20)
      {:ok, id} = Auction.open(:english, increment: 1, accounts: true, to: :house)
      assert Auction.bid(id, :a, 11) == {:error, :over_balance}
      assert {:ok, %{leader: nil}} = Auction.status(id)
      :ok = Auction.bid(id, :a, 10)
      assert Economics.balance(:a) == {:ok, %{available: 0, held: 10}}
      :ok = Auction.bid(id, :b, 11)
      assert available(:a) == 10
      assert {:ok, %{payments: [_]}} = Auction.close(id)
      assert {available(:b), available(:house)} == {9, 11}
    end

    test "all are paid or none: one payment that fails undoes the others" do
      accounts(a: 10, b: 10)
      {:ok, id} = Auction.open(:multi_unit, units: 2, pricing: :discriminatory, accounts: true, to: :house)
      for who <- [:a, :b], do: :ok = Auction.bid(id, who, {1, 5})
      # Someone ends B's hold behind the auction's back.
      {:ok, [%{to: {:hold, hold}} | _]} = Economics.history(:b)
      :ok = Economics.release(hold)
      assert Auction.close(id) == {:error, {:payment, :b, :not_found}}
      assert for(who <- [:a, :b, :house], do: available(who)) == [10, 10, 0]
    end

    test "what is on hold is given back when the auction ends without a result" do
      accounts(a: 10)
      {:ok, id} = Auction.open(:vickrey, accounts: true, to: :house)
      :ok = Auction.bid(id, :a, 10)
      [{pid, _}] = Registry.lookup(Foundation.MABEAM.Markets, {:auction, id})
      :ok = DynamicSupervisor.terminate_child(Foundation.MABEAM.OpenMarkets, pid)
      assert available(:a) == 10
      assert Auction.close(id) == {:error, :not_found}
    end

    test "what is wrong with an auction is said when it is opened" do
      assert {:error, {:invalid, %{field: :to}}} = Auction.open(:vickrey, accounts: true)
      assert {:error, {:invalid, %{field: :increment}}} = Auction.open(:english)

      assert {:error, {:invalid, %{field: :reserve}}} =
               Auction.open(:dutch, start: 1, reserve: 2, decrement: 1)

      assert_raise ArgumentError, ~r/duration_ms/, fn -> Auction.open(:vickrey, duration_ms: 0) end
      assert_raise ArgumentError, ~r/kind/, fn -> Auction.open(:raffle) end
      MABEAM.stop()
      assert Auction.open(:vickrey) == {:error, :not_running}
      assert Auction.bid("x", :a, 1) == {:error, :not_running}
    end
  end
end
