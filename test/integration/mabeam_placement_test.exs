defmodule Foundation.MABEAM.PlacementTest do
  # Agents that run once in the cluster: moved, and on another node when theirs is killed.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.MABEAM.{AgentRegistry, Comms, Coordination}
  alias Foundation.MabeamAgents.Scripted

  @moduletag timeout: 240_000

  setup do
    cluster =
      Nodes.start(3,
        durable: false,
        coordination: [expect: 3, session_ms: 1_500],
        env: [mabeam: [placement: [placement: :least_load, down_after: 100]]]
      )

    on_exit(fn -> Nodes.stop(cluster) end)
    {:ok, cluster: cluster, names: Nodes.placing(cluster)}
  end

  defp on(cluster, node, module, function, arguments),
    do: Nodes.rpc(cluster, node, module, function, arguments, 60_000)

  defp place(cluster, node, id, opts \\ [], script \\ %{}) do
    attributes = [module: Scripted, args: script, snapshot_every: 1]
    on(cluster, node, AgentRegistry, :place_agent, [id, attributes, opts])
  end

  defp task(cluster, node, id), do: on(cluster, node, Comms, :request, [id, {:task, :x}])
  defp where(cluster, node, id), do: on(cluster, node, AgentRegistry, :where, [id])

  # The nodes on which it really runs.
  defp running(cluster, nodes, id) do
    for node <- nodes,
        match?({:ok, %{status: :running}}, on(cluster, node, AgentRegistry, :get_agent_info, [id])),
        do: node
  end

  test "run once, are moved with their state, and live on when their node is killed", context do
    %{cluster: cluster, names: [a | _] = names} = context
    for n <- 1..6, do: assert(:ok = place(cluster, Enum.at(names, rem(n, 3)), "agent-#{n}"))
    {:ok, placed} = on(cluster, a, AgentRegistry, :placed_agents, [])
    assert placed |> Enum.frequencies_by(& &1.node) |> Map.values() == [2, 2, 2]
    assert {:error, {:already_started, _}} = place(cluster, a, "agent-1")
    assert {:error, :no_node} = place(cluster, a, "needy", needs: [:gpu])
    assert {:error, {:start_failed, :no}} = place(cluster, a, "bad", [], %{init: {:error, :no}})
    assert {:error, :not_found} = where(cluster, a, "bad")
    "taken" = on(cluster, a, Foundation.MabeamAgents, :start, ["taken", %{}, []])
    assert {:error, {:start_failed, :already_registered}} = place(cluster, a, "taken", nodes: [a])
    assert {:ok, {:done, {1, :x}}} = task(cluster, a, "taken")

    # Every node reaches it, and what it counts is one count.
    for {node, n} <- Enum.with_index(names, 1),
        do: assert({:ok, {:done, {^n, :x}}} = task(cluster, node, "agent-1"))

    {:ok, %{node: first, fencing_token: token}} = where(cluster, a, "agent-1")
    assert running(cluster, names, "agent-1") == [first]

    target = hd(names -- [first])
    assert :ok = on(cluster, a, AgentRegistry, :migrate, ["agent-1", target])
    assert_eventually(match?({:ok, %{node: ^target}}, where(cluster, a, "agent-1")))
    {:ok, %{fencing_token: later}} = where(cluster, target, "agent-1")
    assert later > token

    for {node, n} <- Enum.with_index(names, 4),
        do: assert({:ok, {:done, {^n, :x}}} = task(cluster, node, "agent-1"))

    assert running(cluster, names, "agent-1") == [target]

    # Its node is killed in the middle of what it does.
    Nodes.kill(cluster, target)
    rest = [near | _] = names -- [target]
    assert_eventually(match?({:ok, {:done, {_, :x}}}, task(cluster, near, "agent-1")), 30_000)
    # What was answered was in a snapshot that others had: six, the one above, and this one.
    assert {:ok, {:done, {8, :x}}} = task(cluster, near, "agent-1")
    assert [_one] = running(cluster, rest, "agent-1")

    agents = for n <- 1..6, do: "agent-#{n}"
    problem = %{options: [:a]}

    assert_eventually(
      match?(
        {:error, {:no_votes, %{abstentions: ^agents}}},
        on(cluster, near, Coordination, :coordinate, [:majority, agents, problem])
      ),
      30_000
    )

    for id <- agents, do: assert([_one] = running(cluster, rest, id))
    assert :ok = on(cluster, near, AgentRegistry, :remove_agent, ["agent-1"])
    assert {:error, :not_found} = task(cluster, near, "agent-1")
  end

  test "a session goes on when its coordinator's node is killed, and has one outcome for all", context do
    %{cluster: cluster, names: [a, b, c] = names} = context
    problem = %{question: "which?", options: [:a, :b]}

    # All but one answer at once; the one makes the session last until after its first node's death.
    for node <- names do
      on(cluster, node, Foundation.MabeamAgents, :start, [
        "voter-#{node}",
        %{vote: {:say, :a}, task: {:say, :done}},
        []
      ])
    end

    agents = for node <- names, do: "voter-#{node}"

    assert {:ok, quick} =
             on(cluster, a, Coordination, :coordinate, [:majority, agents, problem, [durable: true]])

    assert quick.decision == :a

    for node <- names,
        do: on(cluster, node, Foundation.MabeamAgents, :start, ["slow-#{node}", %{vote: {:stall, 3_000}}, []])

    slow = for node <- names, do: "slow-#{node}"
    opts = [durable: true, async: true, timeout: 60_000, quorum: 1]
    {:ok, id} = on(cluster, a, Coordination, :coordinate, [:majority, agents ++ slow, problem, opts])

    running =
      assert_eventually(
        case on(cluster, a, Coordination, :status, [id]) do
          {:ok, %{status: :running, node: node}} -> node
          _ -> nil
        end,
        10_000
      )

    Nodes.kill(cluster, running)
    [one, other] = [a, b, c] -- [running]
    result = on(cluster, one, Coordination, :await, [id, 50_000])
    assert {:ok, outcome} = result
    assert outcome.decision == :a
    assert map_size(outcome.answers) == 2
    assert Map.keys(outcome.failures) |> Enum.sort() == Enum.sort(["voter-#{running}", "slow-#{running}"])
    # Every node has the same, as often as it asks, and nobody can change it.
    assert on(cluster, other, Coordination, :await, [id]) == result
    assert {:error, :not_found} = on(cluster, other, Coordination, :cancel, [id])
    assert {:ok, %{status: :ended}} = on(cluster, other, Coordination, :status, [id])
    assert :ok = on(cluster, other, Coordination, :forget, [id])
    assert_eventually(on(cluster, one, Coordination, :status, [id]) == {:error, :not_found})

    # One that is called off is so for all.
    {:ok, id} = on(cluster, one, Coordination, :coordinate, [:majority, slow, problem, opts])
    assert :ok = on(cluster, other, Coordination, :cancel, [id])
    assert {:error, :cancelled} = on(cluster, one, Coordination, :await, [id])
    # What an agent has answered in one life of a session it does not do again in the next.
    {:ok, %{handled: handled}} = on(cluster, one, AgentRegistry, :get_agent_info, ["voter-#{one}"])
    assert handled == 3
  end

  test "a variable that is agreed on is one for all nodes, and none for a side without a majority", context do
    %{cluster: cluster, names: [a, b, c] = names} = context
    alias Foundation.MABEAM.Core
    variable = [name: :price, type: :numeric, conflict: :consensus, value: 1]
    for node <- names, do: assert(:ok = on(cluster, node, Core, :register_variable, [variable]))
    {:ok, 1, version} = on(cluster, b, Core, :get_version, [:price])

    # All want to change the same version: one does.
    results =
      names
      |> Enum.with_index(10)
      |> Enum.map(fn {node, value} ->
        Task.async(fn ->
          on(cluster, node, Core, :update_variable, [:price, value, :ann, [expected_version: version]])
        end)
      end)
      |> Task.await_many(60_000)

    assert Enum.count(results, &match?({:ok, _}, &1)) == 1
    assert Enum.count(results, &match?({:error, {:conflict, _}}, &1)) == 2

    [value] =
      for node <- names,
          {:ok, value} <- [on(cluster, node, Core, :get_variable, [:price])],
          uniq: true,
          do: value

    assert value in 10..12
    # Those who did not write it hear of it.
    for node <- names do
      assert_eventually(match?({:ok, [%{value: ^value} | _]}, on(cluster, node, Core, :history, [:price])))
    end

    Nodes.kill(cluster, b)
    assert_eventually(match?({:ok, _}, on(cluster, a, Core, :update_variable, [:price, 20, :ann])), 30_000)
    Nodes.kill(cluster, c)
    assert {:error, reason} = on(cluster, a, Core, :update_variable, [:price, 30, :ann])
    assert reason in [:no_leader, :unknown]
  end
end
