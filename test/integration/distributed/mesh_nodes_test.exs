defmodule Foundation.Distributed.MeshNodesTest do
  # Services of real nodes, over plain distribution and over the fabric: found, called, failed over, while nodes die, stop
  # and part.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.Discovery
  alias Foundation.{HealthCheck, MeshEcho, RealNode, ServiceMesh, ServiceRegistry}

  @moduletag timeout: 120_000

  setup context do
    cluster = Nodes.start(3, durable: false, fabric: Map.get(context, :fabric, false))
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.names(cluster)
    # A node in zone x, two in zone y.
    for {node, zone} <- Enum.zip(names, ["x", "y", "y"]),
        do: Nodes.rpc(cluster, node, Application, :put_env, [:foundation, :zone, zone])

    pids =
      for node <- names,
          do: Nodes.rpc(cluster, node, MeshEcho, :provide, [:echo, [capabilities: [:talk]], node])

    for node <- names, do: assert_eventually(found(cluster, node) == names, 10_000)
    {:ok, cluster: cluster, names: names, pids: pids}
  end

  defp found(cluster, node) do
    cluster
    |> Nodes.rpc(node, ServiceRegistry, :discover_services, [[name: :echo, health: :healthy]])
    |> Enum.map(& &1.node)
    |> Enum.sort()
  end

  defp call(cluster, node, request, options),
    do: Nodes.rpc(cluster, node, ServiceMesh, :call, [:echo, request, options])

  defp answers(cluster, node, count, options),
    do: Enum.frequencies(for _ <- 1..count, do: call(cluster, node, :who, options))

  test "each node finds all, and calls those near it first", %{cluster: cluster, names: [a, b, c] = names} do
    assert answers(cluster, a, 9, policy: :round_robin) == Map.new(names, &{{:ok, &1}, 3})
    assert answers(cluster, a, 5, policy: :locality_aware) == %{{:ok, a} => 5}
    :ok = Nodes.rpc(cluster, b, HealthCheck, :drain, [true])
    assert_eventually(found(cluster, a) == [a, c])
    # In its zone, where there is one, and not elsewhere.
    assert answers(cluster, b, 5, policy: :locality_aware) == %{{:ok, c} => 5}
    :ok = Nodes.rpc(cluster, b, HealthCheck, :drain, [false])
    assert_eventually(found(cluster, a) == names)
    assert {:ok, %{node: _}} = Nodes.rpc(cluster, a, ServiceRegistry, :route_to_best_instance, [:talk])
  end

  test "a node that is killed is failed over without an error", %{cluster: cluster, names: [a, b, c]} do
    caller =
      Task.async(fn ->
        for _ <- 1..400, do: call(cluster, a, :who, policy: :round_robin, idempotent: true, retries: 3)
      end)

    Nodes.kill(cluster, c)
    answers = Task.await(caller, 60_000)
    assert Enum.all?(answers, &match?({:ok, _}, &1))
    assert_eventually(found(cluster, a) == [a, b], 10_000)
  end

  test "a node that stops answering is set aside by those who call it", %{
    cluster: cluster,
    names: [a, _b, c] = names
  } do
    options = [policy: :round_robin, attempt_timeout: 1_000, timeout: 15_000, idempotent: true, retries: 2]

    :ok =
      Nodes.rpc(cluster, a, ServiceMesh, :configure, [:echo, [outlier: [consecutive: 3, base_ms: 60_000]]])

    os_pid = RealNode.os_pid(cluster.nodes[c].peer)
    RealNode.signal(os_pid, "STOP")

    try do
      answers = for _ <- 1..30, do: call(cluster, a, :who, options)
      assert Enum.all?(answers, &match?({:ok, _}, &1))

      assert_eventually(ejected(cluster, a) == [c], 10_000)
      assert usable(cluster, a) == names -- [c]
    after
      RealNode.signal(os_pid, "CONT")
    end
  end

  defp ejected(cluster, node) do
    {:ok, %{providers: providers}} = Nodes.rpc(cluster, node, ServiceMesh, :status, [:echo])
    for %{ejected: true, node: node} <- providers, do: node
  end

  # The nodes that calls go to.
  defp usable(cluster, node) do
    for(
      {{:ok, name}, _} <-
        answers(cluster, node, 6, policy: :round_robin, attempt_timeout: 1_000, idempotent: true, retries: 0),
      do: name
    )
    |> Enum.sort()
  end

  test "parts of a split find their own, and all again when it heals", %{
    cluster: cluster,
    names: [a, b, c] = names
  } do
    Nodes.split(cluster, [[a], [b, c]])
    assert_eventually(found(cluster, a) == [a], 10_000)
    assert_eventually(found(cluster, b) == [b, c], 10_000)
    assert answers(cluster, a, 4, policy: :round_robin) == %{{:ok, a} => 4}
    # What happened meanwhile is known afterwards.
    {:ok, late} = Nodes.rpc(cluster, c, MeshEcho, :start, [:late])
    :ok = Nodes.rpc(cluster, c, Discovery, :register_service, [:late, late])
    Nodes.heal(cluster)
    for node <- names, do: assert_eventually(found(cluster, node) == names, 10_000)
    assert_eventually(Nodes.rpc(cluster, a, ServiceMesh, :call, [:late, :who]) == {:ok, :late}, 10_000)
  end

  test "news that were lost are found out", %{cluster: cluster, names: [a, b, c]} do
    # As if the message had been dropped.
    Nodes.rpc(cluster, a, :erlang, :send, [
      Discovery,
      {:foundation_services, b, [], [{:echo, provider(cluster, a, b)}]}
    ])

    assert_eventually(found(cluster, a) == [a, c])
    assert_eventually(found(cluster, a) == [a, b, c], 10_000)
  end

  defp provider(cluster, node, at) do
    [%{pid: pid}] = Nodes.rpc(cluster, node, ServiceRegistry, :discover_services, [[name: :echo, node: at]])
    pid
  end

  @tag fabric: []
  test "over the fabric: calls, deadlines and failing over", %{cluster: cluster, names: [a, b, c] = names} do
    for node <- names,
        do:
          assert_eventually(
            length(Nodes.rpc(cluster, node, Foundation.Distributed.Fabric, :nodes, [])) == 2,
            10_000
          )

    assert answers(cluster, a, 9, policy: :round_robin) == Map.new(names, &{{:ok, &1}, 3})

    # What is left of the caller's time is known to a provider on another node.
    :ok = Nodes.rpc(cluster, a, Discovery, :set_status, [:echo, provider(cluster, a, a), :draining])
    run = [%{user: 1}, ServiceMesh, :call, [:echo, :time_left, [timeout: 15_000]]]
    assert {_trace, {:ok, left}} = Nodes.rpc(cluster, a, Foundation.ContextVisitor, :within, run)
    assert left in 1..15_100

    Nodes.kill(cluster, c)

    calls =
      for _ <- 1..50,
          do: call(cluster, a, :who, policy: :round_robin, idempotent: true, attempt_timeout: 1_000)

    assert Enum.uniq(calls) == [{:ok, b}]
  end
end
