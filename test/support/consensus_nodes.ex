defmodule Foundation.ConsensusNodes do
  @moduledoc false
  # Real nodes for tests of consensus: OS processes that know each other, each with a directory of its own, which can be
  # killed, started again with the same name and directory, and split.

  import Foundation.Eventually

  alias Foundation.{ClusterNodes, DistributedSupervisor, MABEAM}
  alias Foundation.Distributed.Consensus
  alias Foundation.Test.Netsplit

  @doc """
  Boots that many connected nodes. Options: `durable:` (true), `sync:` (false: killing a process loses nothing the system
  has), `consensus:` more options, `coordination:`, `fabric:`, `env:` more of Foundation's environment.
  """
  def start(count, options \\ []) do
    group = ClusterNodes.group()

    nodes =
      1..count
      |> Task.async_stream(&boot(group, "n#{&1}", options), timeout: 120_000, max_concurrency: count)
      |> Enum.map(fn {:ok, node} -> node end)

    cluster = %{group: group, options: options, nodes: Map.new(nodes, &{&1.node, &1})}
    connect(cluster)
    cluster
  end

  defp boot(group, name, options) do
    dir = if Keyword.get(options, :durable, true), do: Path.join(group.directory, name)
    consensus = [dir: dir, sync: Keyword.get(options, :sync, false)] ++ Keyword.get(options, :consensus, [])

    peer =
      ClusterNodes.boot(group,
        name: String.to_charlist(name),
        args: ["-kernel", "prevent_overlapping_partitions", "false", "-kernel", "logger_level", "critical"],
        env:
          [
            test_mode: true,
            consensus: consensus,
            fabric: Keyword.get(options, :fabric, false),
            coordination: options[:coordination]
          ] ++ Keyword.get(options, :env, [])
      )

    %{name: name, peer: peer, node: ClusterNodes.name(peer)}
  end

  @doc "Waits until all nodes are members of the group that `coordination:` forms; gives their names."
  def formed(cluster, timeout \\ 60_000) do
    names = names(cluster)

    for node <- names,
        do: assert_eventually(rpc(cluster, node, Consensus, :members, [:foundation]) == {:ok, names}, timeout)

    names
  end

  @doc "As `formed/2`, and waits until every node places agents on all of them."
  def placing(cluster) do
    names = formed(cluster)

    for node <- names do
      assert_eventually(rpc(cluster, node, DistributedSupervisor, :nodes, [MABEAM.Placed]) == names, 20_000)

      assert_eventually(
        match?({:ok, _}, rpc(cluster, node, MABEAM.AgentRegistry, :placed_agents, [])),
        20_000
      )
    end

    names
  end

  def names(cluster), do: cluster.nodes |> Map.keys() |> Enum.sort()

  def connect(cluster) do
    up = for {node, %{peer: peer}} <- cluster.nodes, Process.alive?(peer), do: node

    for node <- up,
        other <- up,
        node != other,
        do: rpc(cluster, node, Node, :connect, [other])

    :ok
  end

  @doc "Calls a function there, over the node's standard input and output."
  def rpc(cluster, node, module, function, arguments, timeout \\ 30_000),
    do: ClusterNodes.call(Map.fetch!(cluster.nodes, node).peer, module, function, arguments, timeout)

  @doc "Kills a node as `kill -9` does."
  def kill(cluster, node) do
    %{peer: peer} = Map.fetch!(cluster.nodes, node)
    monitor = Process.monitor(peer)
    ClusterNodes.kill(peer)

    receive do
      {:DOWN, ^monitor, _, _, _} -> :ok
    after
      10_000 -> raise "#{node} does not die"
    end
  end

  @doc "Boots a killed node again, with its directory."
  def restart(cluster, node) do
    %{name: name} = Map.fetch!(cluster.nodes, node)
    again = boot(cluster.group, name, cluster.options)
    cluster = put_in(cluster.nodes[node], again)
    connect(cluster)
    cluster
  end

  def split(cluster, parts), do: Netsplit.split(parts, call: &rpc(cluster, &1, &2, &3, &4))
  def heal(cluster), do: Netsplit.heal(names(cluster), call: &rpc(cluster, &1, &2, &3, &4))

  def stop(cluster) do
    for {_node, %{peer: peer}} <- cluster.nodes, Process.alive?(peer), do: ClusterNodes.stop(peer)
    ClusterNodes.stop_group(cluster.group)
  end
end
