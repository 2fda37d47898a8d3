defmodule Foundation.Distributed.SharedLimitsNodesTest do
  # A limit that real nodes share: whatever happens to them, no window holds more than what is promised.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.Consensus
  alias Foundation.Infrastructure.Limits
  alias Foundation.Infrastructure.Limits.Cluster
  alias Foundation.QuotaSpender

  @moduletag timeout: 180_000
  @unit 1_000_000_000
  @limit 150
  @per 1_000

  setup context do
    cluster = Nodes.start(3, durable: false, coordination: [expect: 3, session_ms: 2_000])
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.formed(cluster)

    options = [scope: :cluster, lease_ms: 300, timeout: 20_000] ++ Map.get(context, :shared, [])
    limits = [requests: [limit: @limit, per: @per]]

    for node <- names,
        do: assert(Nodes.rpc(cluster, node, Limits, :set_limits, [:quota, limits, options]) == :ok)

    for node <- names, do: assert_eventually(members(cluster, node) == names, 20_000)
    {:ok, cluster: cluster, names: names}
  end

  defp members(cluster, node) do
    {:ok, members} = Nodes.rpc(cluster, node, Consensus, :members, [:foundation_limits])
    members
  end

  defp spender(cluster, node) do
    {:ok, pid} = Nodes.rpc(cluster, node, QuotaSpender, :start, [:quota, %{requests: 1}])
    {node, pid}
  end

  defp granted(cluster, {node, pid}), do: Nodes.rpc(cluster, node, QuotaSpender, :granted, [pid])

  # The most that any window held, and all there was.
  defp most(times) do
    times = times |> Enum.sort() |> :array.from_list()
    {most(times, 0, 0, 0), :array.size(times)}
  end

  defp most(times, first, last, most) do
    cond do
      last == :array.size(times) -> most
      :array.get(last, times) - :array.get(first, times) >= @per -> most(times, first + 1, last, most)
      true -> most(times, first, last + 1, max(most, last - first + 1))
    end
  end

  defp wait(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  test "three nodes together get the limit, and in no window more", %{cluster: cluster, names: names} do
    spenders = Enum.map(names, &spender(cluster, &1))
    began = System.monotonic_time(:millisecond)
    wait(6 * @per)
    times = Enum.map(spenders, &granted(cluster, &1))
    took = System.monotonic_time(:millisecond) - began
    {most, all} = most(Enum.concat(times))
    assert most <= @limit
    # Each node gets some, and together most of what there is.
    for of_one <- times, do: assert(length(of_one) > 0)
    assert all >= 0.6 * @limit * took / @per

    IO.puts(
      "shared limit: at most #{most} of #{@limit} in a window, #{round(all / took * @per)} in one on average"
    )
  end

  @tag shared: [overshoot: 0.1]
  test "what a killed node had comes back, and no window holds more than the overshoot besides", %{
    cluster: cluster,
    names: names
  } do
    [a, b, c] = names
    dead = spender(cluster, c)
    # Until it has spent some, and leases ahead.
    assert_eventually(length(granted(cluster, dead)) > 50, 10_000)
    spenders = [spender(cluster, a), spender(cluster, b)]
    before = granted(cluster, dead)
    Nodes.kill(cluster, c)
    wait(4 * @per)
    times = Enum.map(spenders, &granted(cluster, &1))
    # What the dead one granted after it was last asked is unknown: a few ms of it.
    {most, _} = most(Enum.concat([before | times]))
    assert most <= @limit * 1.1
    recent = System.system_time(:millisecond) - @per
    assert Enum.count(Enum.concat(times), &(&1 > recent)) > @limit / 2
    assert {:ok, %{requests: %{holders: holders}}} = Nodes.rpc(cluster, a, Cluster, :status, [:quota])
    refute List.keymember?(holders, c, 0)
  end

  @tag :slow
  test "a node that is cut off refuses when its lease is over, and goes on when it is back", %{
    cluster: cluster,
    names: names
  } do
    [a | others] = names
    spenders = Enum.map(names, &spender(cluster, &1))
    wait(@per)
    Nodes.split(cluster, [[a], others])
    wait(1_000)
    cut = length(granted(cluster, hd(spenders)))
    wait(2 * @per)
    assert length(granted(cluster, hd(spenders))) == cut
    {most, _} = most(Enum.flat_map(spenders, &granted(cluster, &1)))
    assert most <= @limit * 1.05
    Nodes.heal(cluster)
    assert_eventually(length(granted(cluster, hd(spenders))) > cut, 20_000)
    wait(@per)
    {most, _} = most(Enum.flat_map(spenders, &granted(cluster, &1)))
    assert most <= @limit * 1.05
  end

  @tag :slow
  test "a member that stays away is taken out, and joins again when it is back", %{
    cluster: cluster,
    names: names
  } do
    for node <- names,
        do: Nodes.rpc(cluster, node, Application, :put_env, [:foundation, :shared_limits, [forget_ms: 1_500]])

    [a | others] = names
    Nodes.split(cluster, [[a], others])
    assert_eventually(members(cluster, hd(others)) == others, 20_000)
    Nodes.heal(cluster)
    for node <- names, do: assert_eventually(members(cluster, node) == names, 20_000)
    alone = spender(cluster, a)
    assert_eventually(length(granted(cluster, alone)) > 10, 10_000)
  end

  @tag :slow
  @tag shared: [on_partition: :fail_open]
  test "with :fail_open it goes on with its share", %{cluster: cluster, names: names} do
    [a | others] = names
    alone = spender(cluster, a)
    wait(@per)
    Nodes.split(cluster, [[a], others])
    # No majority, nor leases, for so long.
    wait(2_000)
    cut = granted(cluster, alone)
    wait(3 * @per)
    {most, more} = most(granted(cluster, alone) -- cut)
    assert more > 0
    assert most <= @limit / 3
    Nodes.heal(cluster)
    # What it spent alone is told of.
    assert_eventually(
      match?(
        {:ok, %{requests: %{charged: charged}}} when charged > 0,
        Nodes.rpc(cluster, hd(others), Cluster, :status, [:quota])
      ),
      20_000
    )

    back = length(granted(cluster, alone))
    assert_eventually(length(granted(cluster, alone)) > back + @limit / 2, 20_000)
    assert {:ok, %{requests: %{limit: limit}}} = Nodes.rpc(cluster, a, Cluster, :status, [:quota])
    assert limit == @limit * @unit
  end
end
