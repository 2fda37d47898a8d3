defmodule Foundation.MABEAM.MigrationTest do
  # A node is killed while an agent moves from it or to it: the agent runs once afterwards, with what it had answered.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.MabeamAgents
  alias Foundation.MABEAM.{AgentRegistry, Comms}
  alias Foundation.MabeamAgents.Scripted

  @moduletag :slow
  @moduletag timeout: 240_000

  setup do
    cluster =
      Nodes.start(3,
        durable: false,
        coordination: [expect: 3, session_ms: 1_500],
        env: [mabeam: [placement: [down_after: 100]]]
      )

    on_exit(fn -> Nodes.stop(cluster) end)
    {:ok, cluster: cluster, names: Nodes.placing(cluster)}
  end

  defp on(cluster, node, module, function, arguments),
    do: Nodes.rpc(cluster, node, module, function, arguments, 60_000)

  defp place(cluster, node, id, script) do
    attributes = [module: Scripted, args: script, snapshot_every: 1, callback_timeout: 60_000]
    assert :ok = on(cluster, node, AgentRegistry, :place_agent, [id, attributes])
  end

  defp task(cluster, node, id), do: on(cluster, node, Comms, :request, [id, {:task, :x}])

  defp later(function) do
    Task.async(fn ->
      try do
        function.()
      catch
        :exit, _reason -> :killed
      end
    end)
  end

  defp running(cluster, nodes, id) do
    for node <- nodes,
        match?({:ok, %{status: :running}}, on(cluster, node, AgentRegistry, :get_agent_info, [id])),
        do: node
  end

  # It answers again, once in the cluster, under a later right to run, and goes on from what it had answered: `least`, or one
  # more when there was work that nobody was told of.
  defp lives_on(cluster, nodes, id, least, token) do
    near = hd(nodes)

    {:ok, {:done, {count, :x}}} =
      assert_eventually(with({:error, _} <- task(cluster, near, id), do: nil), 40_000)

    assert count in (least + 1)..(least + 2)
    assert {:ok, {:done, {next, :x}}} = task(cluster, List.last(nodes), id)
    assert next == count + 1
    assert [where] = running(cluster, nodes, id)
    assert {:ok, %{node: ^where, fencing_token: later}} = on(cluster, near, AgentRegistry, :where, [id])
    assert later > token
    assert {:ok, placed} = on(cluster, near, AgentRegistry, :placed_agents, [])
    assert [%{node: ^where}] = Enum.filter(placed, &(&1.id == id))
  end

  test "to a node that dies while the agent begins there", %{cluster: cluster, names: [a, b, c]} do
    place(cluster, a, "to", %{restore: "to"})
    for n <- 1..5, do: assert({:ok, {:done, {^n, :x}}} = task(cluster, b, "to"))
    {:ok, %{node: from, fencing_token: token}} = on(cluster, a, AgentRegistry, :where, ["to"])
    [target, third] = [a, b, c] -- [from]
    # There it waits in the middle of its beginning.
    on(cluster, target, MabeamAgents, :hold, ["to"])
    moving = later(fn -> on(cluster, from, AgentRegistry, :migrate, ["to", target, [timeout: 60_000]]) end)

    assert_eventually(
      match?({:ok, %{status: :starting}}, on(cluster, target, AgentRegistry, :get_agent_info, ["to"])),
      20_000
    )

    Nodes.kill(cluster, target)
    _ = Task.await(moving, 90_000)
    lives_on(cluster, [from, third], "to", 5, token)
  end

  test "from a node that dies while the agent does what was asked of it before", %{
    cluster: cluster,
    names: names
  } do
    [a, b, c] = names
    place(cluster, a, "from", %{proposal: {:say, {MabeamAgents, :waits, [:from, :accept]}}})
    for n <- 1..5, do: assert({:ok, {:done, {^n, :x}}} = task(cluster, c, "from"))
    {:ok, %{node: from, fencing_token: token}} = on(cluster, b, AgentRegistry, :where, ["from"])
    [target, third] = names -- [from]
    asked = later(fn -> on(cluster, third, Comms, :request, ["from", {:proposal, 1}, [timeout: 60_000]]) end)
    assert_eventually(on(cluster, from, MabeamAgents, :waits?, [:from]), 20_000)
    moving = later(fn -> on(cluster, third, AgentRegistry, :migrate, ["from", target, [timeout: 60_000]]) end)

    assert_eventually(
      match?({:ok, %{status: :draining}}, on(cluster, from, AgentRegistry, :get_agent_info, ["from"])),
      20_000
    )

    Nodes.kill(cluster, from)
    assert {:error, _} = Task.await(asked, 90_000)
    _ = Task.await(moving, 90_000)
    lives_on(cluster, [target, third], "from", 5, token)
  end
end
