defmodule Foundation.MABEAM.ReplicasTest do
  # One ledger and one market for the nodes of a cluster, of which some are killed.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.Consensus
  alias Foundation.{MABEAM, Spender}
  alias Foundation.MABEAM.{Economics, Replicas}
  alias Foundation.MABEAM.Coordination.Market

  @moduletag timeout: 240_000
  @accounts 8

  setup context do
    cluster = Nodes.start(4, durable: Map.get(context, :disk, true))
    on_exit(fn -> Nodes.stop(cluster) end)
    [_, _, _, client] = names = Nodes.names(cluster)
    replicas = names -- [client]
    for node <- names, do: switch_on(cluster, node, replicas)
    for node <- names, do: assert_eventually(on(cluster, node, Economics, :audit, []) == {:ok, 0}, 60_000)
    {:ok, cluster: cluster, names: names, replicas: replicas, client: client}
  end

  defp switch_on(cluster, node, replicas) do
    {:ok, _} = on(cluster, node, MABEAM, :start, [[replicas: replicas]])
  end

  defp on(cluster, node, module, function, arguments),
    do: Nodes.rpc(cluster, node, module, function, arguments, 120_000)

  defp later(cluster, node, module, function, arguments) do
    Task.async(fn ->
      try do
        on(cluster, node, module, function, arguments)
      catch
        # The node was killed.
        :exit, reason -> {:lost, reason}
      end
    end)
  end

  defp leader(cluster, node) do
    {:ok, leader} = on(cluster, node, Consensus, :leader, [Replicas.group()])
    leader
  end

  defp journal(cluster, node) do
    {:ok, entries} = on(cluster, node, Economics, :history, [:all, [limit: 10_000]])
    entries
  end

  # What a replica has by itself.
  defp own(cluster, node) do
    question = {:books, {{:entries, :all, 10_000}, 0}}
    on(cluster, node, Consensus, :query, [Replicas.group(), question, [consistency: :local]])
  end

  @tag :slow
  test "no payment is lost, doubled or made up when the leader of the ledger is killed in the middle",
       context do
    %{cluster: cluster, names: names, replicas: replicas, client: client} = context

    for n <- 1..@accounts do
      :ok = on(cluster, Enum.at(names, rem(n, 4)), Economics, :open_account, [Spender.account(n)])
      {:ok, _} = on(cluster, Enum.at(names, rem(n + 1, 4)), Economics, :deposit, [Spender.account(n), 1_000])
    end

    assert {:error, :already_open} = on(cluster, client, Economics, :open_account, [Spender.account(1)])
    doomed = leader(cluster, hd(replicas))

    spenders =
      for {node, n} <- Enum.with_index(names),
          do: {node, later(cluster, node, Spender, :pay, [node, 150, @accounts, n + 1])}

    # All are at it, and none has done.
    assert_eventually(length(journal(cluster, client)) > 2 * @accounts + 60, 30_000)
    Nodes.kill(cluster, doomed)

    made =
      for {node, spender} <- spenders, answers = Task.await(spender, 120_000), node != doomed do
        assert is_list(answers)

        assert Enum.all?(answers, fn {_id, _what, answer} ->
                 match?({:ok, _}, answer) or match?({:error, {:insufficient, _}}, answer)
               end)

        for {id, {from, to, amount}, {:ok, number}} <- answers, do: {number, id, from, to, amount}
      end
      |> Enum.concat()

    near = hd(replicas -- [doomed])
    entries = journal(cluster, near)
    payments = for %{kind: :payment} = entry <- entries, do: entry
    # Each id once, by whichever node, and what was answered is there as it was answered.
    assert payments |> Enum.map(& &1.memo) |> Enum.uniq() |> length() == length(payments)
    by_number = Map.new(payments, &{&1.number, {&1.number, &1.memo, &1.from, &1.to, &1.amount}})
    for payment <- made, do: assert(by_number[elem(payment, 0)] == payment)
    others = for %{memo: {node, _}} <- payments, node != doomed, do: node
    assert length(others) == length(made)
    assert length(made) > 100

    balances = for n <- 1..@accounts, do: on(cluster, client, Economics, :balance, [Spender.account(n)])
    assert Enum.sum(for {:ok, %{available: money}} <- balances, do: money) == @accounts * 1_000
    assert Enum.all?(balances, fn {:ok, %{available: money}} -> money >= 0 end)
    assert on(cluster, client, Economics, :audit, []) == {:ok, 0}

    # Rated once by each side, whichever node it comes from.
    {number, _id, from, to, _amount} = hd(made)
    assert :ok = on(cluster, near, Economics, :rate, [number, from, 1])
    assert {:error, :not_rateable} = on(cluster, client, Economics, :rate, [number, from, 1])
    assert {:ok, %{score: score, ratings: 1}} = on(cluster, client, Economics, :reputation, [to])
    assert_in_delta score, 1 / 3, 0.001

    # One who was away catches up, and has the same books.
    cluster = Nodes.restart(cluster, doomed)
    switch_on(cluster, doomed, replicas)
    all = {:ok, {:ok, entries}}
    for node <- replicas, do: assert_eventually(own(cluster, node) == all, 30_000)

    # A side without a majority changes nothing, and says so.
    [one, other, last] = replicas
    Nodes.kill(cluster, one)
    Nodes.kill(cluster, other)
    assert {:error, reason} = on(cluster, last, Economics, :deposit, [Spender.account(1), 5])
    assert reason in [:unknown, :no_leader, :unreachable]
    assert {:error, _} = on(cluster, client, Economics, :balance, [Spender.account(1)])

    # All of them were killed in the end, and what was answered is on their disks.
    Nodes.kill(cluster, last)
    cluster = Enum.reduce(replicas, cluster, &Nodes.restart(&2, &1))
    for node <- replicas, do: switch_on(cluster, node, replicas)
    assert_eventually(on(cluster, client, Economics, :audit, []) == {:ok, 0}, 60_000)
    assert entries -- journal(cluster, client) == []
  end

  test "a budget is one budget, whichever nodes spend of it; a hold is given back in time", context do
    %{cluster: cluster, names: names, client: client} = context
    for account <- [:budget, :shop], do: :ok = on(cluster, client, Economics, :open_account, [account])
    {:ok, _} = on(cluster, client, Economics, :deposit, [:budget, 100, nil, [id: :fill]])
    {:ok, _} = on(cluster, hd(names), Economics, :deposit, [:budget, 100, nil, [id: :fill]])

    answers =
      for(node <- names, do: later(cluster, node, Spender, :pay_each, [node, 40, :budget, :shop]))
      |> Enum.flat_map(&Task.await(&1, 120_000))

    assert Enum.count(answers, &match?({:ok, _}, &1)) == 100
    assert Enum.count(answers, &match?({:error, {:insufficient, _}}, &1)) == 60
    assert on(cluster, hd(names), Economics, :balance, [:shop]) == {:ok, %{available: 100, held: 0}}

    {:ok, hold} = on(cluster, client, Economics, :hold, [:shop, 60, [for_ms: 60_000, id: "h"]])
    assert {:ok, ^hold} = on(cluster, hd(names), Economics, :hold, [:shop, 60, [for_ms: 60_000, id: "h"]])
    assert {:ok, %{available: 40, held: 60}} = on(cluster, hd(names), Economics, :balance, [:shop])
    assert {:ok, _} = on(cluster, hd(names), Economics, :capture, [hold, :budget, [amount: 10]])
    {:ok, short} = on(cluster, client, Economics, :hold, [:shop, 20, [for_ms: 300]])
    assert_eventually(on(cluster, client, Economics, :balance, [:shop]) == {:ok, %{available: 90, held: 0}})
    assert {:error, :not_found} = on(cluster, hd(names), Economics, :capture, [short, :budget])

    # Two who come to different ends of one affair have one.
    ends =
      for(
        {node, n} <- Enum.with_index(names),
        do: later(cluster, node, Economics, :conclude, ["lot", [{:shop, :budget, n + 1}], n])
      )
      |> Enum.map(&Task.await(&1, 60_000))

    assert [{:ok, %{note: n, payments: [{:shop, :budget, amount}]}}] = Enum.uniq(ends)
    assert amount == n + 1
    assert on(cluster, client, Economics, :balance, [:budget]) == {:ok, %{available: 10 + amount, held: 0}}
  end

  @tag disk: false
  test "the same money is not spent on both sides of a split", context do
    %{cluster: cluster, names: names, replicas: replicas, client: client} = context
    for account <- [:purse, :shop, :bar], do: :ok = on(cluster, client, Economics, :open_account, [account])
    {:ok, _} = on(cluster, client, Economics, :deposit, [:purse, 100])
    # The one that leads is cut off: it may have taken in what it can bring to nobody.
    alone = leader(cluster, hd(replicas))
    :ok = Nodes.split(cluster, [[alone], names -- [alone]])
    there = later(cluster, alone, Economics, :pay, [:purse, :bar, 100, nil, [id: :there]])
    here = fn -> on(cluster, client, Economics, :pay, [:purse, :shop, 100, nil, [id: :here]]) end
    assert_eventually(match?({:ok, _}, here.()), 30_000)
    assert {:error, reason} = Task.await(there, 60_000)
    assert reason in [:unknown, :no_leader, :unreachable]
    assert {:error, _} = on(cluster, alone, Economics, :balance, [:purse])
    :ok = Nodes.heal(cluster)
    again = fn -> on(cluster, alone, Economics, :pay, [:purse, :bar, 100, nil, [id: :there]]) end
    assert_eventually(match?({:error, {:insufficient, _}}, again.()), 30_000)
    for node <- names, do: assert({:ok, %{available: 100}} = on(cluster, node, Economics, :balance, [:shop]))
    assert on(cluster, alone, Economics, :audit, []) == {:ok, 0}
  end

  @tag disk: false
  test "a market lives on when the node dies that made it, and who comes back in memory joins again",
       context do
    %{cluster: cluster, names: names, replicas: replicas, client: client} = context
    maker = leader(cluster, hd(replicas))
    {:ok, market} = on(cluster, maker, Market, :create_market, [:continuous, [durable: true]])

    traders =
      for {node, n} <- Enum.with_index(names),
          do: {node, later(cluster, node, Spender, :trade, [market, "trader-#{n}", 60, n + 1])}

    assert_eventually(
      match?({:ok, %{placed: n}} when n > 40, on(cluster, client, Market, :order_book, [market])),
      30_000
    )

    Nodes.kill(cluster, maker)

    answers =
      for {node, trader} <- traders,
          answers = Task.await(trader, 120_000),
          node != maker,
          answer <- answers,
          do: answer

    assert length(answers) == 3 * 60
    assert Enum.all?(answers, &match?({_id, _order, {:ok, _}}, &1))
    ids = for {_id, _order, {:ok, %{id: id}}} <- answers, do: id
    assert length(Enum.uniq(ids)) == length(ids)

    assert {:ok, ^market} = on(cluster, client, Market, :find_market, [market.id])
    assert {:ok, book} = on(cluster, client, Market, :order_book, [market, 100])
    with [%{price: bid} | _] <- book.bids, [%{price: ask} | _] <- book.asks, do: assert(bid < ask)
    # Sent again, each is answered as it was and nothing has happened.
    for {id, order, answer} <- Enum.take(answers, 5),
        do: assert(on(cluster, client, Market, :submit_order, [market, order, [id: id]]) == answer)

    assert {:ok, ^book} = on(cluster, client, Market, :order_book, [market, 100])

    assert {:error, :id_reused} =
             on(cluster, client, Market, :submit_order, [market, %{agent: :x}, [id: elem(hd(answers), 0)]])

    assert {:error, :unsupported} = on(cluster, client, Market, :subscribe, [market])
    assert {:error, :unsupported} = on(cluster, client, Market, :clear, [market])

    # In memory it is another member now, which has all of it again.
    cluster = Nodes.restart(cluster, maker)
    switch_on(cluster, maker, replicas)
    question = {:markets, {:depth, market.id, 100}}

    local = fn ->
      on(cluster, maker, Consensus, :query, [Replicas.group(), question, [consistency: :local]])
    end

    assert_eventually(local.() == {:ok, {:ok, book}}, 60_000)
    # So the next may go.
    Nodes.kill(cluster, hd(replicas -- [maker]))
    assert_eventually(match?({:ok, %{}}, on(cluster, client, Market, :order_book, [market])), 30_000)

    {:ok, call} = on(cluster, client, Market, :create_market, [:call, [durable: true]])

    {:ok, _} =
      on(cluster, maker, Market, :submit_order, [call, %{agent: :a, side: :buy, price: 10, quantity: 3}])

    {:ok, _} =
      on(cluster, client, Market, :submit_order, [call, %{agent: :b, side: :sell, price: 8, quantity: 2}])

    assert {:ok, %{price: 9, volume: 2}} = on(cluster, maker, Market, :clear, [call])
    assert :ok = on(cluster, client, Market, :end_market, [call])
    assert {:error, :not_found} = on(cluster, maker, Market, :order_book, [call])
  end
end
