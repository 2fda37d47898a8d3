defmodule Foundation.Distributed.ConsensusFabricTest do
  # Consensus between real nodes that have the fabric: frames go by it, and go on when it is started again.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.{Channels, Consensus, Coordination, Fabric}
  alias Foundation.Tally

  @moduletag timeout: 120_000
  @group :tally

  setup do
    cluster = Nodes.start(3, fabric: true)
    on_exit(fn -> Nodes.stop(cluster) end)
    [first | _] = names = Nodes.names(cluster)
    for node <- names, do: assert_eventually(fabric_nodes(cluster, node) == names -- [node], 20_000)

    assert Nodes.rpc(cluster, first, Coordination, :create_consensus_group, [@group, names, [machine: Tally]]) ==
             {:ok, @group}

    {:ok, cluster: cluster, names: names}
  end

  defp fabric_nodes(cluster, node), do: Nodes.rpc(cluster, node, Fabric, :nodes, [])

  defp propose(cluster, node, command),
    do: Nodes.rpc(cluster, node, Consensus, :propose, [@group, command, [timeout: 20_000]])

  defp query(cluster, node, options \\ []),
    do: Nodes.rpc(cluster, node, Consensus, :query, [@group, :list, options])

  defp sent(cluster, node) do
    {:ok, metrics} = Nodes.rpc(cluster, node, Channels, :get_channel_metrics, [])
    for %{channel: :coordination, node: to, sent: sent} <- metrics, into: %{}, do: {to, sent}
  end

  # Frames that could not go by the fabric were left to this process.
  defp left(cluster, node) do
    pid = Nodes.rpc(cluster, node, Process, :whereis, [Foundation.Distributed.Consensus.Sender])
    {:reductions, reductions} = Nodes.rpc(cluster, node, Process, :info, [pid, :reductions])
    reductions
  end

  test "frames go by the fabric, without a process between", %{cluster: cluster, names: names} do
    assert {:ok, 1} = propose(cluster, hd(names), {:append, 1})

    {:ok, leader} =
      assert_eventually(
        match?({:ok, _}, Nodes.rpc(cluster, hd(names), Consensus, :leader, [@group])) and
          Nodes.rpc(cluster, hd(names), Consensus, :leader, [@group]),
        10_000
      )

    {before, idle} = {sent(cluster, leader), left(cluster, leader)}
    for n <- 2..51, do: assert({:ok, ^n} = propose(cluster, leader, {:append, n}))
    now = sent(cluster, leader)
    for node <- names -- [leader], do: assert(now[node] - Map.get(before, node, 0) >= 50)
    assert left(cluster, leader) - idle < 50 * 20

    for node <- names, level <- [:linearizable, :quorum] do
      assert query(cluster, node, consistency: level) == {:ok, Enum.to_list(1..51)}
    end
  end

  test "they go on when the fabric of a node is started again", %{cluster: cluster, names: names} do
    for {node, n} <- Enum.with_index(names, 1), do: assert({:ok, ^n} = propose(cluster, node, {:append, n}))

    for {node, n} <- Enum.with_index(names, 4) do
      pid = Nodes.rpc(cluster, node, Process, :whereis, [Fabric])
      Nodes.rpc(cluster, node, Process, :exit, [pid, :kill])
      assert {:ok, ^n} = propose(cluster, node, {:append, n})

      assert_eventually(
        Nodes.rpc(cluster, node, Process, :whereis, [Fabric]) not in [nil, pid] and
          fabric_nodes(cluster, node) == names -- [node],
        20_000
      )
    end

    assert {:ok, 7} = propose(cluster, hd(names), {:append, 7})
    for node <- names, do: assert(query(cluster, node) == {:ok, Enum.to_list(1..7)})
  end
end
