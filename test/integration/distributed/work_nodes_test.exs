defmodule Foundation.Distributed.WorkNodesTest do
  # Work over real nodes, one of which is slow, dies, or comes late.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.{Context, Work}
  alias Foundation.{PeerNodes, WorkSteps}

  @moduletag timeout: 120_000

  setup do
    peers = PeerNodes.start(2, app: false)
    on_exit(fn -> PeerNodes.leave(peers) end)
    {:ok, peers: peers, nodes: [node() | Enum.map(peers, & &1.node)]}
  end

  test "every node has its part", %{nodes: nodes} do
    assert {:ok, run} = Work.run(1..300, {WorkSteps, :square, []}, nodes: nodes)
    assert run.results == Enum.map(1..300, &{:ok, &1 * &1})
    assert Enum.sort(Map.keys(run.nodes)) == Enum.sort(nodes)
    assert run.lost_nodes == []
  end

  test "the idle take from the slow", %{nodes: [_, slow, _] = nodes} do
    work = {WorkSteps, :uneven, [slow, 150]}
    assert {:ok, run} = Work.run(1..90, work, nodes: nodes, concurrency: 1)
    assert run.stolen > 0
    assert run.nodes[slow] < 30
    assert Enum.map(run.results, fn {:ok, {_node, square}} -> square end) == Enum.map(1..90, &(&1 * &1))
  end

  test "a node that is killed loses nothing and nothing counts twice", %{nodes: nodes, peers: [peer, _]} do
    me = self()
    victim = peer.node
    os_pid = :erpc.call(victim, System, :pid, [])

    announce = fn index, {:ok, {where, _}} ->
      send(me, {:result, index})
      if where == victim, do: System.cmd("kill", ["-9", os_pid], stderr_to_stdout: true)
    end

    work = {WorkSteps, :slow_square, [20]}
    assert {:ok, run} = Work.run(1..120, work, nodes: nodes, on_result: announce)
    assert Enum.map(run.results, fn {:ok, {_, square}} -> square end) == Enum.map(1..120, &(&1 * &1))
    assert [{^victim, _}] = run.lost_nodes
    assert run.reassigned > 0

    indexes =
      for _ <- 1..120 do
        assert_received {:result, index}
        index
      end

    assert length(Enum.uniq(indexes)) == 120
    refute_received {:result, _}
  end

  test "an item that kills nodes is given up, and the rest is done", %{peers: peers} do
    nodes = Enum.map(peers, & &1.node)

    assert {:ok, run} = Work.run(1..20, {WorkSteps, :deadly, [7]}, nodes: nodes, attempts: 1, concurrency: 1)
    # The poison took one node with it, and what else that node had begun or was handed counts as begun.
    assert Enum.at(run.results, 6) == {:error, :node_down}
    assert length(run.lost_nodes) == 1
    assert Enum.all?(run.results, &(match?({:ok, _}, &1) or &1 == {:error, :node_down}))
  end

  test "a node that joins gets its part", %{nodes: nodes} do
    me = self()

    run =
      Task.async(fn ->
        Work.run(1..300, {WorkSteps, :slow_square, [100]},
          concurrency: 1,
          on_result: fn i, _ -> send(me, {:result, i}) end
        )
      end)

    assert_receive {:result, _}
    late = PeerNodes.start(1, app: false)
    on_exit(fn -> PeerNodes.stop(late) end)
    [%{node: node}] = late
    assert {:ok, run} = Task.await(run, 60_000)
    assert run.nodes[node] > 0
    assert map_size(run.nodes) == length(nodes) + 1
  end

  test "the context reaches the nodes, and the runners end with the run", %{nodes: [_ | others]} do
    assert {:ok, run} =
             Context.run(%{user: 1}, fn -> Work.run([1, 2], {WorkSteps, :context, []}, nodes: others) end)

    assert run.results == [ok: %{user: 1}, ok: %{user: 1}]

    assert_eventually(
      Enum.all?(others, fn node ->
        :erpc.call(node, WorkSteps, :runners, []) == []
      end)
    )
  end

  test "map_reduce counts words over the nodes", %{nodes: nodes} do
    lines = for i <- 1..100, do: "a b #{rem(i, 3)}"

    assert {:ok, counts} =
             Work.map_reduce(lines, {WorkSteps, :words, []}, &WorkSteps.sum/2, nodes: nodes, combine: true)

    assert counts == %{"a" => 100, "b" => 100, "0" => 33, "1" => 34, "2" => 33}
  end
end
