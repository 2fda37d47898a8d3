defmodule Foundation.MABEAM.Coordination.AuctionLivesTest do
  # Auctions that are run more than once, as a durable session is when its node dies: what was settled first is the outcome.
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{Coordination, Economics}
  alias Foundation.MABEAM.Coordination.Auction
  alias Foundation.MABEAM.Coordination.Auction.Payment

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)

    for account <- [:ann, :bob, :cec, :house] do
      :ok = Economics.open_account(account)
      {:ok, _} = Economics.deposit(account, 100)
    end

    :ok
  end

  defp live(kind, agents, fields, once) do
    problem = Map.merge(%{accounts: true, to: :house, once: once}, Map.new(fields))
    Coordination.live("durable-#{once}", kind, agents, problem, timeout: 5_000)
  end

  defp money,
    do: for(account <- [:ann, :bob, :cec, :house], do: elem(Economics.balance(account), 1).available)

  test "each kind is paid once, and the second life has the outcome of the first" do
    start(:ann, %{bid: {:say, 10}})
    start(:bob, %{bid: {:say, 8}})
    start(:cec, %{bid: {:say, 50}})

    kinds = [
      sealed_first_price: [],
      vickrey: [],
      english: [start: 5, increment: 5],
      dutch: [start: 10, decrement: 2]
    ]

    for {kind, fields} <- kinds do
      assert {:ok, first} = live(kind, [:ann, :bob], fields, "#{kind}")
      assert {first.decision.agent, length(first.detail.payments)} == {:ann, 1}
      before = money()
      # The first bidder is gone, and another one bids more.
      assert {:ok, second} = live(kind, [:bob, :cec], fields, "#{kind}")
      assert {second.decision, second.detail.payments} == {first.decision, first.detail.payments}
      assert money() == before
    end

    assert {:ok, 0} = Economics.audit()
  end

  test "bundles, too" do
    start(:ann, %{bid: {:say, {[:x, :y], 10}}})
    start(:bob, %{bid: {:say, [{[:x], 6}]}})
    start(:cec, %{bid: {:say, [{[:y], 20}]}})
    assert {:ok, first} = live(:combinatorial, [:ann, :bob], [items: [:x, :y]], "bundles")
    before = money()
    assert {:ok, second} = live(:combinatorial, [:bob, :cec], [items: [:x, :y]], "bundles")
    assert {second.decision, second.detail.payments} == {first.decision, first.detail.payments}
    assert money() == before
    assert before == [94, 100, 100, 106]
  end

  test "what was unsold or called off stays so, what is sold cannot be called off" do
    start(:ann, %{bid: {:say, :no_bid}})
    start(:bob, %{bid: {:say, 8}})
    assert {:error, {:unsold, _}} = live(:vickrey, [:ann], [], "unsold")
    assert {:error, {:unsold, _}} = live(:vickrey, [:bob], [], "unsold")
    assert :ok = Payment.call_off("off")
    assert {:error, {:cancelled, _}} = live(:vickrey, [:bob], [], "off")
    assert money() == [100, 100, 100, 100]
    assert {:ok, _} = live(:sealed_first_price, [:bob], [], "sold")
    assert {:error, :not_found} = Payment.call_off("sold")
    assert money() == [100, 92, 100, 108]
  end

  test "who cannot pay counts as if it had not bid, in each life" do
    start(:ann, %{bid: {:say, 90}})
    start(:bob, %{bid: {:say, 8}})
    assert {:ok, %{decision: %{agent: :ann}}} = live(:sealed_first_price, [:ann, :bob], [], "first")
    # Its bid is refused at once, for it has 10 left.
    assert {:ok, outcome} = live(:sealed_first_price, [:ann, :bob], [], "second")
    assert {outcome.decision.agent, outcome.failures} == {:bob, %{ann: {:invalid, :over_balance}}}
    assert money() == [10, 92, 100, 198]
  end

  test "a durable auction with accounts needs a ledger that outlives its node" do
    start(:ann, %{bid: {:say, 10}})
    fields = [item: 1, accounts: true, to: :house, durable: true]
    assert {:error, :no_replicas} = Auction.run_auction(:vickrey, [:ann], fields)
    assert {:error, :no_placement} = Auction.run_auction(:vickrey, [:ann], item: 1, durable: true)
  end
end
