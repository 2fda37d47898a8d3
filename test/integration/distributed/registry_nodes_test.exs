defmodule Foundation.Distributed.RegistryNodesTest do
  # The names of the cluster on real nodes, which are split, frozen and killed.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.{ClusterNodes, RegistryProbe}
  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.ProcessRegistry.Global

  @moduletag timeout: 180_000

  setup_all do
    cluster = Nodes.start(3, durable: false, coordination: [expect: 3, session_ms: 1_500])
    on_exit(fn -> Nodes.stop(cluster) end)
    [a, b, c] = names = Nodes.formed(cluster)

    {:ok, cluster: cluster, a: a, b: b, c: c, names: names}
  end

  setup %{cluster: cluster, names: names} do
    on_exit(fn -> Nodes.heal(cluster) end)
    known(cluster, names)
    # What a test before split or froze may be without a leader or a session still.
    ready = [scope: make_ref(), consistency: :consensus, timeout: 1_000]
    for node <- names, do: assert_eventually(match?({_, :ok}, name(cluster, node, node, ready)), 30_000)
    {:ok, scope: make_ref()}
  end

  # Until all nodes know each other's names.
  defp known(cluster, names) do
    for node <- names do
      assert_eventually(
        match?(
          {:ok, %{peers: peers}} when map_size(peers) == length(names) - 1,
          Nodes.rpc(cluster, node, Global, :status, [])
        ),
        20_000
      )
    end
  end

  defp whereis(cluster, node, name, scope),
    do: Nodes.rpc(cluster, node, Global, :whereis, [name, [scope: scope]])

  defp everywhere?(cluster, names, name, scope, pid),
    do: Enum.all?(names, &(whereis(cluster, &1, name, scope) == pid))

  defp name(cluster, node, name, options), do: Nodes.rpc(cluster, node, RegistryProbe, :name, [name, options])
  defp messages(cluster, pid), do: Nodes.rpc(cluster, node(pid), RegistryProbe, :messages, [pid])

  test "a name is known everywhere, changed from anywhere, and goes with its process", context do
    %{cluster: cluster, a: a, b: b, c: c, names: names, scope: scope} = context
    {pid, :ok} = name(cluster, a, :name, scope: scope, metadata: 1)
    assert_eventually(everywhere?(cluster, names, :name, scope, pid))
    assert {_, {:error, {:already_registered, ^pid}}} = name(cluster, b, :name, scope: scope)
    assert {:ok, 2} = Nodes.rpc(cluster, c, Global, :update, [:name, &RegistryProbe.two/1, [scope: scope]])

    for node <- names,
        do:
          assert_eventually(
            match?(
              {:ok, %{metadata: 2, node: ^a}},
              Nodes.rpc(cluster, node, Global, :lookup, [:name, [scope: scope]])
            )
          )

    # A process of another node is registered there.
    assert :ok = Nodes.rpc(cluster, c, Global, :register, [:second, pid, [scope: scope]])
    assert :ok = Nodes.rpc(cluster, b, Global, :sync, [])
    assert whereis(cluster, b, :second, scope) == pid
    assert :ok = Nodes.rpc(cluster, b, Global, :unregister, [:second, [scope: scope]])
    assert_eventually(everywhere?(cluster, names, :second, scope, nil))
    Nodes.rpc(cluster, a, Process, :exit, [pid, :kill])
    assert_eventually(everywhere?(cluster, names, :name, scope, nil))
  end

  test "thousands of names come and go in order", %{
    cluster: cluster,
    a: a,
    b: b,
    c: c,
    names: names,
    scope: scope
  } do
    pids =
      for {node, from} <- [{a, 0}, {b, 3_000}, {c, 6_000}],
          do: Nodes.rpc(cluster, node, RegistryProbe, :names, [(from + 1)..(from + 3_000), [scope: scope]])

    for node <- names,
        do: assert_eventually(Nodes.rpc(cluster, node, Global, :count, [[scope: scope]]) == 9_000)

    Nodes.rpc(cluster, b, Process, :exit, [Enum.at(pids, 1), :kill])

    for node <- names,
        do: assert_eventually(Nodes.rpc(cluster, node, Global, :count, [[scope: scope]]) == 6_000)
  end

  test "after a split the older one keeps the name everywhere, and the other one is told, once", context do
    %{cluster: cluster, a: a, b: b, c: c, names: names, scope: scope} = context
    {elsewhere, :ok} = name(cluster, b, :elsewhere, scope: scope)
    Nodes.split(cluster, [[a], [b, c]])
    assert_eventually(whereis(cluster, a, :elsewhere, scope) == nil)
    {older, :ok} = name(cluster, a, :name, scope: scope)
    {newer, :ok} = name(cluster, c, :name, scope: scope, on_lost: :kill)
    {told, :ok} = name(cluster, c, :other, scope: scope)
    {_first, :ok} = name(cluster, a, :mine, scope: scope)
    assert whereis(cluster, b, :name, scope) in [newer, nil]
    Nodes.heal(cluster)
    known(cluster, names)
    assert_eventually(everywhere?(cluster, names, :name, scope, older))
    assert_eventually(everywhere?(cluster, names, :elsewhere, scope, elsewhere))
    assert_eventually(everywhere?(cluster, names, :other, scope, told))
    assert_eventually(Nodes.rpc(cluster, c, Process, :alive?, [newer]) == false)
    assert messages(cluster, older) == []

    for node <- names,
        do: assert_eventually(match?({:ok, %{contested: []}}, Nodes.rpc(cluster, node, Global, :status, [])))
  end

  test "the function of the older one decides, and is asked once", context do
    %{cluster: cluster, a: a, b: b, c: c, names: names, scope: scope} = context
    Nodes.split(cluster, [[a], [b, c]])
    {older, :ok} = name(cluster, a, :name, scope: scope, resolve: {RegistryProbe, :newer})
    {newer, :ok} = name(cluster, c, :name, scope: scope)
    {gone, :ok} = name(cluster, a, :none, scope: scope, resolve: {RegistryProbe, :none})
    {gone_too, :ok} = name(cluster, c, :none, scope: scope)
    {stays, :ok} = name(cluster, a, :rubbish, scope: scope, resolve: {RegistryProbe, :rubbish})
    {_, :ok} = name(cluster, c, :rubbish, scope: scope)
    {stays_too, :ok} = name(cluster, a, :crash, scope: scope, resolve: {RegistryProbe, :crash})
    {_, :ok} = name(cluster, c, :crash, scope: scope)
    Nodes.heal(cluster)
    known(cluster, names)
    assert_eventually(everywhere?(cluster, names, :name, scope, newer))
    assert_eventually(everywhere?(cluster, names, :none, scope, nil))
    assert_eventually(everywhere?(cluster, names, :rubbish, scope, stays))
    assert_eventually(everywhere?(cluster, names, :crash, scope, stays_too))
    assert [{:foundation_lost, :name, {^scope, :name}, nil, {:conflict, ^newer}}] = messages(cluster, older)
    assert [{:foundation_lost, :name, _, nil, {:conflict, nil}}] = messages(cluster, gone)
    assert [{:foundation_lost, :name, _, nil, {:conflict, nil}}] = messages(cluster, gone_too)
    assert messages(cluster, newer) == []
    asked = for node <- names, do: length(Nodes.rpc(cluster, node, RegistryProbe, :asked, []))
    assert Enum.sort(asked) == [0, 0, 1]
  end

  test "three sides with one name have one process in the end", context do
    %{cluster: cluster, a: a, b: b, c: c, names: names, scope: scope} = context
    Nodes.split(cluster, [[a], [b], [c]])
    {older, :ok} = name(cluster, b, :name, scope: scope)
    {_, :ok} = name(cluster, a, :name, scope: scope)
    {_, :ok} = name(cluster, c, :name, scope: scope)
    Nodes.heal(cluster)
    known(cluster, names)
    assert_eventually(everywhere?(cluster, names, :name, scope, older))

    for node <- names,
        do: assert_eventually(match?({:ok, %{contested: []}}, Nodes.rpc(cluster, node, Global, :status, [])))
  end

  test "the group gives a name once, with a greater token each time", context do
    %{cluster: cluster, a: a, b: b, names: names, scope: scope} = context
    options = [scope: scope, consistency: :consensus, metadata: :m]
    {pid, :ok} = name(cluster, a, :leased, options)
    assert_eventually(everywhere?(cluster, names, :leased, scope, pid))

    {:ok, %{fencing_token: token, consistency: :consensus}} =
      Nodes.rpc(cluster, b, Global, :lookup, [:leased, [scope: scope]])

    assert is_integer(token)
    assert Nodes.rpc(cluster, a, Global, :held?, [:leased, [scope: scope]])
    refute Nodes.rpc(cluster, b, Global, :held?, [:leased, [scope: scope]])

    assert {:ok, %{pid: ^pid, fencing_token: ^token, metadata: :m}} =
             Nodes.rpc(cluster, b, Global, :lookup, [:leased, [scope: scope, consistency: :linearizable]])

    assert {_, {:error, {:already_registered, ^pid}}} = name(cluster, b, :leased, options)
    assert {_, {:error, {:already_registered, ^pid}}} = name(cluster, b, :leased, scope: scope)
    assert :ok = Nodes.rpc(cluster, b, Global, :unregister, [:leased, [scope: scope]])
    {second, :ok} = name(cluster, b, :leased, options)

    assert {:ok, %{pid: ^second, fencing_token: later}} =
             Nodes.rpc(cluster, b, Global, :lookup, [:leased, [scope: scope]])

    assert later > token
    Nodes.rpc(cluster, b, Process, :exit, [second, :kill])
    assert_eventually(everywhere?(cluster, names, :leased, scope, nil))
    assert_eventually(match?({_, :ok}, name(cluster, a, :leased, options)))
  end

  test "many at once on all nodes: one has it", %{cluster: cluster, names: names, scope: scope} do
    answers =
      for(node <- names, _ <- 1..4, do: node)
      |> Task.async_stream(&name(cluster, &1, :leased, scope: scope, consistency: :consensus),
        max_concurrency: 12,
        timeout: 30_000
      )
      |> Enum.map(fn {:ok, answer} -> answer end)

    assert [{winner, :ok}] = Enum.filter(answers, &match?({_, :ok}, &1))
    for {_, {:error, reason}} <- answers, do: assert(reason == {:already_registered, winner})
  end

  test "a minority refuses; who is cut off loses its names before the others have them", context do
    %{cluster: cluster, a: a, b: b, c: c, names: names, scope: scope} = context
    options = [scope: scope, consistency: :consensus, timeout: 1_000]
    patient = [scope: scope, consistency: :consensus, timeout: 15_000]
    {cut_off, :ok} = name(cluster, a, :leased, patient)
    {killed, :ok} = name(cluster, a, :killed, patient ++ [on_lost: :kill])
    {:ok, %{fencing_token: token}} = Nodes.rpc(cluster, a, Global, :lookup, [:leased, [scope: scope]])
    Nodes.split(cluster, [[a], [b, c]])
    assert {_, {:error, reason}} = name(cluster, a, :another, options)
    assert reason in [:no_leader, :unknown]
    # The others have it when the session ends, not before.
    second = eventually_named(cluster, b, :leased, options)
    assert [{:foundation_lost, :name, {^scope, :leased}, ^token, :session}] = messages(cluster, cut_off)
    assert whereis(cluster, a, :leased, scope) == nil
    refute Nodes.rpc(cluster, a, Process, :alive?, [killed])
    Nodes.heal(cluster)
    known(cluster, names)
    assert_eventually(everywhere?(cluster, names, :leased, scope, second))
    {:ok, %{fencing_token: later}} = Nodes.rpc(cluster, c, Global, :lookup, [:leased, [scope: scope]])
    assert later > token
  end

  test "who was frozen finds its names lost when it wakes", context do
    %{cluster: cluster, b: b, c: c, scope: scope} = context
    options = [scope: scope, consistency: :consensus, timeout: 1_000]
    {frozen, :ok} = name(cluster, c, :leased, Keyword.put(options, :timeout, 15_000))
    system = ClusterNodes.pid_of_system(cluster.nodes[c].peer)
    System.cmd("kill", ["-STOP", system])

    second =
      try do
        eventually_taken(cluster, b, :leased, options, frozen)
      after
        System.cmd("kill", ["-CONT", system])
      end

    assert_eventually(match?([{:foundation_lost, :name, _, _, _} | _], messages(cluster, frozen)))
    assert_eventually(whereis(cluster, c, :leased, scope) == second)
  end

  # Named by the group, whatever this node's table says.
  defp eventually_taken(cluster, node, name, options, _from),
    do: eventually_named(cluster, node, name, options)

  defp eventually_named(cluster, node, name, options) do
    assert_eventually(
      case name(cluster, node, name, options) do
        {pid, :ok} -> pid
        {_pid, {:error, _}} -> nil
      end,
      15_000
    )
  end
end
