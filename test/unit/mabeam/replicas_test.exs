defmodule Foundation.MABEAM.ReplicasUnitTest do
  # Where the ledger is, on a node by itself.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{Economics, Replicas}
  alias Foundation.MABEAM.Coordination.Market

  setup do
    on_exit(&MABEAM.stop/0)
  end

  test "replicas are a list of one to seven nodes" do
    for bad <- [[], :here, [nil], ["a@b"], [:a | :b], for(n <- 1..8, do: :"n#{n}@h")],
        do: assert_raise(ArgumentError, ~r/replicas:/, fn -> MABEAM.start(replicas: bad) end)

    refute MABEAM.running?()
  end

  test "without a replica nothing is done, and it says so; the setting ends with MABEAM" do
    {:ok, _} = MABEAM.start(replicas: [:nobody@nowhere])
    assert {:error, :unreachable} = Economics.open_account(:ann)
    :ok = MABEAM.stop()
    assert Replicas.nodes() == nil
    assert {:error, :not_running} = Economics.open_account(:ann)
    {:ok, _} = MABEAM.start()
    assert :ok = Economics.open_account(:ann)
    assert {:error, :no_replicas} = Market.create_market(:continuous, durable: true)
    assert {:error, :no_replicas} = Market.find_market("none")
    assert {:error, {:invalid, %{field: :attributes}}} = Market.create_market(:prediction, durable: true)
    {:ok, market} = Market.create_market(:continuous)
    assert_raise ArgumentError, ~r/durable/, fn -> Market.submit_order(market, %{}, id: 1) end
  end

  test "one replica is a ledger too, which outlives MABEAM on it" do
    {:ok, _} = MABEAM.start(replicas: [node()])
    assert_eventually(Economics.audit() == {:ok, 0}, 20_000)
    account = "one-#{System.unique_integer([:positive])}"
    assert :ok = Economics.open_account(account)
    assert {:ok, _} = Economics.deposit(account, 5)
    {:ok, market} = Market.create_market(:call, durable: true, max_orders: 2)

    for n <- 1..2,
        do: {:ok, %{id: ^n}} = Market.submit_order(market, %{agent: :a, side: :buy, price: 5, quantity: 1})

    assert {:error, :full} = Market.submit_order(market, %{agent: :a, side: :buy, price: 5, quantity: 1})
    assert {:error, {:invalid, _}} = Market.submit_order(market, :nonsense)
    assert {:ok, %{quantity: 1}} = Market.cancel_order(market, :a, 1)
    assert {:error, :not_found} = Market.order(market, 1)
    assert {:ok, %{agent: :a}} = Market.order(market, 2)
    assert {:error, :unsupported} = Market.replace_order(market, :a, 2, %{price: 1, quantity: 1})
    :ok = MABEAM.stop()
    {:ok, _} = MABEAM.start(replicas: [node()])
    assert_eventually(Economics.balance(account) == {:ok, %{available: 5, held: 0}}, 20_000)
    assert {:ok, ^market} = Market.find_market(market.id)
    assert :ok = Market.end_market(market)
    Foundation.Distributed.Consensus.stop_group(Replicas.group())
  end
end
