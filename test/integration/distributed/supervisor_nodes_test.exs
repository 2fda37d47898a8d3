defmodule Foundation.Distributed.SupervisorNodesTest do
  # Children of a distributed supervisor on real nodes that are drained, split and killed.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.{Cluster, DistributedSupervisor, HealthCheck, ProcessRegistry, RegistryProbe}
  alias Foundation.DistributedSupervisor.Move

  @moduletag timeout: 240_000

  # Short leases, so that what is lost is missed soon.
  defp cluster(options, session_ms \\ 1_500) do
    cluster = Nodes.start(3, durable: false, coordination: [expect: 3, session_ms: session_ms])
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.formed(cluster)

    for {node, n} <- Enum.with_index(names),
        do:
          Nodes.rpc(cluster, node, RegistryProbe, :supervise, [
            [name: Sup, metadata: %{gpu: n == 2}] ++ options
          ])

    for node <- names,
        do: assert_eventually(Nodes.rpc(cluster, node, DistributedSupervisor, :nodes, [Sup]) == names, 20_000)

    for node <- names,
        do:
          assert_eventually(
            match?({:ok, _}, Nodes.rpc(cluster, node, DistributedSupervisor, :list_children, [Sup])),
            20_000
          )

    {cluster, names}
  end

  defp start(cluster, node, name, options \\ []),
    do:
      Nodes.rpc(
        cluster,
        node,
        DistributedSupervisor,
        :start_child,
        [Sup, {RegistryProbe, {Sup, name}}, options],
        60_000
      )

  defp whereis(cluster, node, name),
    do: Nodes.rpc(cluster, node, DistributedSupervisor, :whereis, [Sup, name])

  defp ask(cluster, node, pid, what), do: Nodes.rpc(cluster, node, GenServer, :call, [pid, what])

  # Where processes of that child live: on each node, those that say so themselves.
  defp running(cluster, nodes, name) do
    for node <- nodes,
        pid <- Nodes.rpc(cluster, node, RegistryProbe, :running, [name]),
        do: pid
  end

  test "children run once, are moved with their state, and elsewhere when their node is drained or dies" do
    {cluster, [a, b, c] = names} = cluster(placement: :least_load)

    pids =
      for n <- 1..6 do
        assert {:ok, pid} = start(cluster, Enum.at(names, rem(n, 3)), {:child, n}, handoff: true)
        pid
      end

    assert pids |> Enum.frequencies_by(&node/1) |> Map.values() == [2, 2, 2]
    assert {:error, {:already_started, _}} = start(cluster, b, {:child, 1})

    for n <- 1..6,
        node <- names,
        do: assert_eventually(whereis(cluster, node, {:child, n}) == Enum.at(pids, n - 1))

    %{specs: 6, active: 6, workers: 6} = Nodes.rpc(cluster, c, DistributedSupervisor, :count_children, [Sup])

    # Only the third node has what it takes.
    assert {:ok, pid} = start(cluster, a, :wants_gpu, filter: &RegistryProbe.gpu?/2)
    assert node(pid) == c
    assert {:error, :no_node} = start(cluster, a, :nowhere, nodes: [:nowhere@h])
    assert {:error, :no_node} = Nodes.rpc(cluster, a, DistributedSupervisor, :migrate, [Sup, :wants_gpu, a])

    # Moved, with what it has counted.
    [first | _] = pids
    for _ <- 1..5, do: ask(cluster, a, first, :count)
    {from, token, 5} = ask(cluster, a, first, :where)
    target = hd(names -- [from])
    assert {:ok, moved} = Nodes.rpc(cluster, a, ProcessRegistry, :migrate, [{:child, 1}, target], 60_000)
    assert {^target, later, 5} = ask(cluster, a, moved, :where)
    assert later > token
    assert_eventually(Enum.all?(names, &(whereis(cluster, &1, {:child, 1}) == moved)))
    assert_eventually(running(cluster, names, {:child, 1}) == [moved])

    # It is started again where it is, and keeps its lease.
    catch_exit(ask(cluster, a, moved, :crash))
    again = assert_eventually(with pid when pid in [nil, moved] <- whereis(cluster, a, {:child, 1}), do: nil)
    assert {^target, ^later, 0} = ask(cluster, a, again, :where)

    # Emptied.
    kept = for n <- 1..6, pid = whereis(cluster, a, {:child, n}), node(pid) != b, do: {n, pid}
    for _ <- 1..3, {_, pid} <- kept, do: ask(cluster, a, pid, :count)

    for n <- 1..6,
        pid = whereis(cluster, a, {:child, n}),
        node(pid) == b,
        do: for(_ <- 1..7, do: ask(cluster, a, pid, :count))

    Nodes.rpc(cluster, b, HealthCheck, :drain, [true])
    :ok = Nodes.rpc(cluster, b, Move, :drain, [Sup], 60_000)
    assert Nodes.rpc(cluster, a, DistributedSupervisor, :nodes, [Sup]) == [a, c]

    for n <- 1..6 do
      pid =
        assert_eventually(
          with(
            pid when pid != nil and node(pid) != b <- whereis(cluster, a, {:child, n}),
            do: pid,
            else: (_ -> nil)
          )
        )

      {_, _, count} = ask(cluster, a, pid, :where)
      assert count == if(List.keymember?(kept, n, 0), do: 3, else: 7) or n == 1
    end

    # Killed.
    dead = for n <- 1..6, pid = whereis(cluster, a, {:child, n}), node(pid) == c, do: n
    assert dead != []
    Nodes.kill(cluster, c)

    for n <- dead,
        do:
          assert_eventually(
            with(pid when pid != nil <- whereis(cluster, a, {:child, n}), do: node(pid) == a),
            30_000
          )

    for n <- 1..6, do: assert_eventually(match?([_], running(cluster, [a, b], {:child, n})), 10_000)

    # Its only node is gone; it is still a child.
    assert whereis(cluster, a, :wants_gpu) == nil
    assert :ok = Nodes.rpc(cluster, a, DistributedSupervisor, :terminate_child, [Sup, {:child, 1}], 60_000)
    assert running(cluster, [a, b], {:child, 1}) == []

    assert {:error, :not_found} =
             Nodes.rpc(cluster, a, DistributedSupervisor, :terminate_child, [Sup, {:child, 1}])

    {:ok, children} = Nodes.rpc(cluster, b, DistributedSupervisor, :list_children, [Sup])
    assert length(children) == 6
  end

  test "a node that leaves the cluster hands its children over, with their states, before it goes" do
    # The node that leaves may lead the group: leases have to outlive the election.
    {cluster, [a, b, c] = names} = cluster([], 10_000)
    for node <- names, do: :ok = Nodes.rpc(cluster, node, Cluster, :start, [{:static, nodes: []}])

    for n <- 1..4 do
      assert {:ok, pid} = start(cluster, a, {:child, n}, handoff: true, nodes: [b | Enum.take([a, c], n - 1)])
      for _ <- 1..n, do: ask(cluster, a, pid, :count)
    end

    moved = for n <- 2..4, pid = whereis(cluster, b, {:child, n}), node(pid) == b, do: {n, pid}
    assert :ok = Nodes.rpc(cluster, b, Cluster, :drain, [[timeout: 20_000]], 60_000)

    for {n, old} <- moved do
      pid =
        assert_eventually(
          with(pid when pid not in [nil, old] <- whereis(cluster, a, {:child, n}), do: pid, else: (_ -> nil))
        )

      assert {_, _, ^n} = ask(cluster, a, pid, :where)
    end

    for n <- 1..4, do: assert(running(cluster, [b], {:child, n}) == [])
    # There is no other for this one.
    assert whereis(cluster, a, {:child, 1}) == nil
    assert_eventually(Nodes.rpc(cluster, a, DistributedSupervisor, :nodes, [Sup]) == [a, c])
  end

  test "who is cut off ends its children before the others start them, and nothing runs twice after the split" do
    {cluster, [a, b, c] = names} = cluster(down_after: 300)
    for n <- 1..9, do: assert({:ok, _} = start(cluster, a, {:child, n}))
    before = Map.new(1..9, &{&1, assert_eventually(whereis(cluster, a, {:child, &1}))})
    alone = for {n, pid} <- before, node(pid) == c, do: n
    assert alone != []
    Nodes.split(cluster, [[a, b], [c]])

    for n <- alone do
      pid =
        assert_eventually(
          with(pid when pid != nil <- whereis(cluster, a, {:child, n}), do: node(pid) != c && pid),
          30_000
        )

      # Now, and not a moment ago, the old one is dead.
      assert Nodes.rpc(cluster, c, Process, :alive?, [before[n]]) == false
      {_, token, 0} = ask(cluster, node(pid), pid, :where)
      assert is_integer(token)
    end

    assert {:error, _} = start(cluster, c, :in_the_minority)
    Nodes.heal(cluster)
    for n <- 1..9, do: assert_eventually(match?([_], running(cluster, names, {:child, n})), 20_000)

    for n <- 1..9, node <- names do
      assert_eventually(running(cluster, names, {:child, n}) == [whereis(cluster, node, {:child, n})], 20_000)
    end
  end

  test "without consensus each side runs them, and one of each stays" do
    {cluster, [a, b, c] = names} = cluster(consistency: :crdt, down_after: 300)
    for n <- 1..6, do: assert({:ok, _} = start(cluster, a, {:child, n}))
    for n <- 1..6, node <- names, do: assert_eventually(whereis(cluster, node, {:child, n}))
    Nodes.split(cluster, [[a, b], [c]])
    for n <- 1..6, node <- [a, c], do: assert_eventually(whereis(cluster, node, {:child, n}), 20_000)
    assert {:ok, _} = start(cluster, c, :in_the_minority)
    Nodes.heal(cluster)

    for name <- [:in_the_minority | for(n <- 1..6, do: {:child, n})] do
      assert_eventually(
        case running(cluster, names, name) do
          [pid] -> Enum.all?(names, &(whereis(cluster, &1, name) == pid))
          _ -> false
        end,
        30_000
      )
    end
  end
end
