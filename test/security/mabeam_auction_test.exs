defmodule Foundation.MABEAM.HostileAuctionTest do
  # Auctions with agents that do what they must not, and callers that ask what they must not.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{Coordination, Economics}
  alias Foundation.MABEAM.Coordination.{Auction, Market}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  def own(_input), do: self()

  @misdeeds [
    raise: {{:raise, "boom"}, {:crashed, {RuntimeError, "boom"}}},
    throw: {{:throw, 1}, {:crashed, {:throw, 1}}},
    rubbish: {{:return, {:bid, 9}}, {:bad_return, :handle_bid_request}},
    die: {:die, :down},
    stall: {{:stall, 60_000}, :timeout},
    nan: {{:say, :nan}, {:invalid, :not_an_amount}},
    float: {{:say, 1.0e9}, {:invalid, :not_an_amount}},
    negative: {{:say, -5}, {:invalid, :not_an_amount}},
    huge: {{:say, 10 ** 400}, {:invalid, :too_much}},
    improper: {{:say, [1 | 2]}, {:invalid, :not_an_amount}},
    pid: {{:say, {__MODULE__, :own, []}}, {:invalid, :not_an_amount}}
  ]

  defp spoilers do
    for {id, {deed, _reason}} <- @misdeeds,
        do: start(id, %{bid: deed}, callback_timeout: 60_000, backoff: {1_000, 1_000})

    Keyword.keys(@misdeeds)
  end

  test "each misdeed is a failure of its agent; the auction is decided among the others" do
    agents = spoilers() ++ [start(:good, %{bid: {:say, 7}}), start(:better, %{bid: {:say, 8}})]
    fields = [timeout: 30_000, round_timeout: 2_000]
    assert {:ok, outcome} = Auction.run_auction(:vickrey, agents, fields)
    assert outcome.decision == %{agent: :better, price: 7}
    assert outcome.failures == Map.new(@misdeeds, fn {id, {_deed, reason}} -> {id, reason} end)
  end

  test "the open kinds too, and who has failed is not asked again" do
    agents =
      spoilers() ++
        [
          start(:good, %{bid: {:say, {__MODULE__, :up_to, [70]}}}),
          start(:better, %{bid: {:say, {__MODULE__, :up_to, [80]}}})
        ]

    fields = [timeout: 60_000, round_timeout: 2_000]
    assert {:ok, english} = Auction.run_auction(:english, agents, [start: 0, increment: 10] ++ fields)
    assert english.decision.agent == :better and english.decision.price in 70..80
    assert english.messages < length(agents) + 2 * 10
    assert {:ok, dutch} = Auction.run_auction(:dutch, agents, [start: 200, decrement: 15] ++ fields)
    assert dutch.decision == %{agent: :better, price: 80}
    assert dutch.messages < length(agents) + 2 * 10
  end

  def up_to(%{asking: asking}, most) when asking <= most, do: asking
  def up_to(%{price: _}, most), do: most
  def up_to(_request, _most), do: 0

  test "bids that come twice, late or from strangers do not count" do
    start(:a, %{bid: {:say, 5}})

    start(:slow, %{bid: {:say, {Foundation.MabeamAgents, :waits, [:slow_bid, 1]}}},
      callback_timeout: :infinity
    )

    {:ok, id} = Auction.run_auction(:sealed_first_price, [:a, :slow], async: true, timeout: 60_000)
    assert_eventually(match?({:ok, %{waiting_for: [:slow]}}, Coordination.status(id)))
    [{_, session, _, _}] = DynamicSupervisor.which_children(MABEAM.Sessions)
    %{ref: ref} = :sys.get_state(session)
    for from <- [:a, :stranger], do: send(session, {{ref, from}, {:answer, {:bid, 500}, nil}})
    send(session, {{make_ref(), :a}, {:answer, {:bid, 600}, nil}})
    go(:slow_bid)
    assert {:ok, outcome} = Coordination.await(id, 30_000)
    assert outcome.decision == %{agent: :a, price: 5}
    assert {outcome.doubled, outcome.late} == {2, 1}
  end

  test "bids for bundles that would take for ever end with their time and say so" do
    :rand.seed(:exsss, 7)

    bids =
      for n <- 1..40 do
        {"b#{n}", for(_ <- 1..40, do: {Enum.take_random(0..59, 5), 1_000 + :rand.uniform(100)})}
      end

    fields = [items: Enum.to_list(0..59), search_ms: 200, bidding: :xor]
    {us, answer} = :timer.tc(fn -> Auction.determine(:combinatorial, bids, fields) end)
    assert us < 5_000_000

    case answer do
      {:ok, %{gap: gap, optimal: optimal, value: value, bound: bound}} ->
        assert optimal == (gap == 0)
        assert bound - value == gap or optimal

      {:error, reason} ->
        assert reason == :stopped
    end
  end

  test "amounts that add up to more than 64 bits do not end an auction" do
    most = 10 ** 15
    bids = for n <- 1..200, do: {"b#{n}", for(i <- 1..100, do: {[i], div(most, 100)})}
    result = Auction.determine(:combinatorial, bids, items: Enum.to_list(1..100), search_ms: 100)
    assert match?({:ok, _}, result) or match?({:error, {:invalid_bid, _, :too_much}}, result)

    assert {:ok, %{revenue: revenue}} =
             Auction.determine(:multi_unit, [a: {10 ** 9, 9 * 10 ** 9}, b: {1, 9 * 10 ** 9}], units: 10 ** 9)

    assert revenue == 9 * 10 ** 18

    assert {:error, {:invalid_bid, :a, :too_much}} =
             Auction.determine(:multi_unit, [a: {1, 10 ** 15}], units: 10 ** 9)
  end

  test "money runs out in the middle: nobody pays twice, nobody pays what it does not have" do
    :ok = Economics.open_account(:house)

    for n <- 1..10 do
      id = start("p#{n}", %{bid: {:say, 10}})
      :ok = Economics.open_account(id)
      {:ok, _} = Economics.deposit(id, 25)
    end

    agents = for n <- 1..10, do: "p#{n}"

    # 40 auctions at once for what 10 agents with money for two each can pay.
    results =
      1..40
      |> Task.async_stream(
        fn _ ->
          Auction.run_auction(:sealed_first_price, agents, accounts: true, to: :house, timeout: 20_000)
        end,
        max_concurrency: 40,
        timeout: 30_000
      )
      |> Enum.map(&elem(&1, 1))

    sold = Enum.count(results, &match?({:ok, _}, &1))
    assert sold == 20
    assert Economics.balance(:house) == {:ok, %{available: 200, held: 0}}
    for id <- agents, do: assert(Economics.balance(id) == {:ok, %{available: 5, held: 0}})
    assert Economics.audit() == {:ok, 0}
  end

  test "servers go on after what no caller should send" do
    {:ok, id} = Auction.open(:vickrey)
    [{auction, _}] = Registry.lookup(MABEAM.Markets, {:auction, id})
    {:ok, market} = Market.create_market(:call)

    for pid <- [auction, market.pid] do
      for rubbish <- [:x, {:bid}, {:tick, 1}, {:DOWN, 1, 2, 3, 4}], do: send(pid, rubbish)
      GenServer.cast(pid, :rubbish)

      for request <- [:rubbish, {:submit}, {:enter, :a}],
          do: assert({:error, _} = GenServer.call(pid, request))
    end

    assert Auction.bid(id, :a, 5) == :ok
    assert {:ok, %{agent: :a}} = Auction.close(id)
    assert {:ok, _} = Market.submit_order(market, %{agent: :a, side: :buy, price: 1, quantity: 1})
  end
end
