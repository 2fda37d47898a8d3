defmodule Foundation.MABEAM.DurableSessionsTest do
  # Sessions whose coordinator dies: auctions that are paid once, and a vote whose coordinator dies in every round.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.{DistributedSupervisor, MABEAM, MabeamAgents}
  alias Foundation.MABEAM.{AgentRegistry, Coordination, Economics}
  alias Foundation.MABEAM.Coordination.Auction

  @moduletag timeout: 240_000

  setup do
    cluster = Nodes.start(3, durable: false, coordination: [expect: 3, session_ms: 1_500])
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.formed(cluster)
    options = [placement: [placement: :least_load, down_after: 100], replicas: names]
    for node <- names, do: {:ok, _} = on(cluster, node, MABEAM, :start, [options])
    Nodes.placing(cluster)
    for node <- names, do: assert_eventually(on(cluster, node, Economics, :audit, []) == {:ok, 0}, 60_000)
    {:ok, cluster: cluster, names: names}
  end

  defp on(cluster, node, module, function, arguments),
    do: Nodes.rpc(cluster, node, module, function, arguments, 60_000)

  defp coordinator(cluster, node, id) do
    case on(cluster, node, Coordination, :status, [id]) do
      {:ok, %{status: :running, node: node}} -> node
      _ -> nil
    end
  end

  defp money(cluster, node, account) do
    {:ok, %{available: available}} = on(cluster, node, Economics, :balance, [account])
    available
  end

  test "auctions of which a coordinator's node is killed have one outcome, and are paid once", context do
    %{cluster: cluster, names: [a | _] = names} = context

    sealed =
      MabeamAgents.start_each(
        cluster,
        names,
        "sealed",
        &%{bid: {:say, {MabeamAgents, :waits, [:bids, 10 + &1]}}}
      )

    bundles =
      MabeamAgents.start_each(
        cluster,
        names,
        "bundle",
        &%{bid: {:say, {MabeamAgents, :waits, [:bids, {Enum.at([[:x], [:y], [:x, :y]], &1), 10}]}}}
      )

    for account <- [:house | sealed ++ bundles] do
      :ok = on(cluster, a, Economics, :open_account, [account])
      {:ok, _} = on(cluster, a, Economics, :deposit, [account, 100])
    end

    opts = [accounts: true, to: :house, durable: true, async: true, timeout: 60_000]
    {:ok, one} = on(cluster, a, Auction, :run_auction, [:sealed_first_price, sealed, [item: 1] ++ opts])

    {:ok, two} =
      on(cluster, a, Auction, :run_auction, [
        :combinatorial,
        bundles,
        [items: [:x, :y], pricing: :first_price] ++ opts
      ])

    for node <- names, do: assert_eventually(on(cluster, node, MabeamAgents, :waits?, [:bids]), 20_000)
    doomed = assert_eventually(coordinator(cluster, a, one), 10_000)
    Nodes.kill(cluster, doomed)
    [near, far] = names -- [doomed]
    for node <- [near, far], do: on(cluster, node, MabeamAgents, :go, [:bids])

    for id <- [one, two] do
      assert {:ok, outcome} = result = on(cluster, near, Coordination, :await, [id, 50_000])
      assert on(cluster, far, Coordination, :await, [id, 10_000]) == result
      assert {:error, :not_found} = on(cluster, far, Coordination, :cancel, [id])
      # Each payment is in the ledger, once.
      {:ok, entries} = on(cluster, far, Economics, :history, [:house])

      for %{payment: number, from: from, amount: amount} <- outcome.detail.payments,
          do: assert([%{from: ^from, amount: ^amount}] = Enum.filter(entries, &(&1.number == number)))

      send(self(), {:paid, outcome.detail.payments |> Enum.map(& &1.amount) |> Enum.sum()})
    end

    assert_received {:paid, first}
    assert_received {:paid, second}
    assert first in 10..12 and second in 10..20
    assert money(cluster, near, :house) == 100 + first + second
    assert on(cluster, far, Economics, :audit, []) == {:ok, 0}

    # One that is called off before it has settled is called off, and paid by nobody.
    left = Enum.map([near, far], fn node -> Enum.at(sealed, Enum.find_index(names, &(&1 == node))) end)

    slow =
      for node <- [near, far],
          do: on(cluster, node, MabeamAgents, :start, ["slow-#{node}", %{bid: {:stall, 5_000}}, []])

    {:ok, id} =
      on(cluster, near, Auction, :run_auction, [:sealed_first_price, left ++ slow, [item: 2] ++ opts])

    assert :ok = on(cluster, far, Coordination, :cancel, [id])
    assert {:error, :cancelled} = on(cluster, near, Coordination, :await, [id, 10_000])
    assert money(cluster, near, :house) == 100 + first + second
  end

  test "a coordinator that dies in each round: one outcome, and nobody is asked twice", %{
    cluster: cluster,
    names: names
  } do
    [a | _] = names
    numbers = [[10, 14, 18], [40, 36, 28], [90, 60, 30]]

    experts =
      MabeamAgents.start_each(
        cluster,
        names,
        "expert",
        &%{proposal: {:say, {MabeamAgents, :waits, [:rounds, Enum.at(numbers, &1)]}}}
      )

    opts = [durable: true, async: true, rounds: 3, timeout: 90_000, round_timeout: 80_000]

    {:ok, id} =
      on(cluster, a, Coordination, :coordinate, [:refinement, experts, %{question: "how much?"}, opts])

    for round <- 1..3 do
      for node <- names,
          do: assert_eventually(on(cluster, node, MabeamAgents, :waits?, [:rounds, round]), 30_000)

      pid =
        assert_eventually(
          on(cluster, a, DistributedSupervisor, :whereis, [Foundation.MABEAM.Placed, {:session, id}]),
          20_000
        )

      on(cluster, a, :erlang, :exit, [pid, :kill])

      again = fn ->
        new = on(cluster, a, DistributedSupervisor, :whereis, [Foundation.MABEAM.Placed, {:session, id}])
        new != nil and new != pid
      end

      assert_eventually(again.(), 30_000)
      for node <- names, do: on(cluster, node, MabeamAgents, :go, [:rounds, round])
    end

    assert {:ok, outcome} = on(cluster, a, Coordination, :await, [id, 60_000])
    assert {outcome.decision, outcome.detail.path, outcome.failures} == {28, [40, 36, 28], %{}}
    for node <- names, do: assert({:ok, ^outcome} = on(cluster, node, Coordination, :await, [id, 5_000]))

    for {node, id} <- Enum.zip(names, experts) do
      {:ok, %{handled: handled}} = on(cluster, node, AgentRegistry, :get_agent_info, [id])
      # It has begun, and answered three rounds.
      assert handled == 4
    end
  end
end
