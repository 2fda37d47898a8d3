defmodule Foundation.Distributed.CoordinationNodesTest do
  # The default group on real nodes, formed by the configuration.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Coordination
  alias Foundation.Distributed.Consensus

  @moduletag timeout: 120_000

  defp start(options) do
    cluster = Nodes.start(3, options)
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.names(cluster)
    for node <- names, do: assert_eventually(ready?(cluster, node, names), 30_000)
    {cluster, names}
  end

  defp ready?(cluster, node, names),
    do:
      Nodes.rpc(cluster, node, Consensus, :members, [:foundation]) == {:ok, names} and
        on(cluster, node, :holders, [lock(:probe)]) != :wait

  defp lock(name),
    do: %Foundation.Distributed.Coordination.Object{kind: :lock, name: name, group: :foundation}

  defp on(cluster, node, function, arguments), do: Nodes.rpc(cluster, node, Coordination, function, arguments)

  # A process on that node that holds a lock and tells this one what it hears.
  defp holder(cluster, node, name) do
    {:ok, agent} = Nodes.rpc(cluster, node, Foundation.Mailbag, :start, [])
    grant = Nodes.rpc(cluster, node, GenServer, :call, [agent, {:acquire, name}, 20_000])
    {agent, grant}
  end

  test "expect: three nodes form the group in memory, and one that comes back joins again" do
    {cluster, names} = start(durable: false, coordination: [expect: 3, session_ms: 2_000])
    [a, b, c] = names
    assert {:ok, counter} = on(cluster, a, :create_distributed_counter, [:visits])
    for node <- names, do: assert({:ok, _} = on(cluster, node, :increment, [counter]))
    assert on(cluster, b, :value, [counter]) == {:ok, 3}

    # The lock of a node that dies is had by another one, with a greater token, after the session has ended.
    {_agent, {:ok, held}} = holder(cluster, c, :printer)
    assert on(cluster, a, :acquire, [:printer, [wait: false]]) == {:error, :taken}
    Nodes.kill(cluster, c)
    assert {:ok, later} = on(cluster, a, :acquire, [:printer, [timeout: 20_000]])
    assert later.token > held.token

    cluster = Nodes.restart(cluster, c)
    on_exit(fn -> Nodes.stop(cluster) end)
    assert_eventually(Nodes.rpc(cluster, c, Consensus, :members, [:foundation]) == {:ok, names}, 30_000)
    assert on(cluster, c, :value, [counter]) == {:ok, 3}
  end

  test "a lock that a node keeps goes to another that asks, and a holder that is cut off is told before that" do
    {cluster, names} = start(coordination: [expect: 3, session_ms: 2_000])
    [a, b, _c] = names

    # Kept by a, wanted by b.
    for _ <- 1..3, do: assert(on(cluster, a, :with_lock, [:kept, &Function.identity/1]) |> elem(0) == :ok)
    assert {:ok, _} = on(cluster, b, :with_lock, [:kept, [timeout: 5_000], &Function.identity/1])

    {agent, {:ok, held}} = holder(cluster, a, :cut)
    Nodes.split(cluster, [[a], names -- [a]])
    assert {:ok, later} = on(cluster, b, :acquire, [:cut, [timeout: 20_000]])
    assert later.token > held.token
    # At that moment the other side knew already.
    refute Nodes.rpc(cluster, a, Coordination, :held?, [held])
    heard = Nodes.rpc(cluster, a, GenServer, :call, [agent, :heard])
    assert {:foundation_lost, :lock, :cut, held.token, :session} in heard
    assert {:error, reason} = on(cluster, a, :acquire, [:other, [timeout: 1_000]])
    assert reason in [:no_leader, :unknown]
    Nodes.heal(cluster)
    assert_eventually(match?({:ok, _}, on(cluster, a, :with_lock, [:other, &Function.identity/1])), 20_000)
  end

  test "over the fabric's channel" do
    {cluster, [a | _] = names} = start(durable: false, fabric: [], coordination: [expect: 3])
    assert {:ok, counter} = on(cluster, a, :create_distributed_counter, [:visits])
    for node <- names, do: assert({:ok, _} = on(cluster, node, :increment, [counter]))
    {:ok, rows} = Nodes.rpc(cluster, a, Foundation.Distributed.Channels, :get_channel_metrics, [])
    assert Enum.any?(rows, &(&1.channel == "coordination" and &1.sent > 0))
  end
end
