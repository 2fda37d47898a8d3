defmodule Foundation.ProcessRegistry.GlobalTest do
  # The names of the cluster, on one node.
  use ExUnit.Case, async: false
  import Foundation.Eventually
  import ExUnit.CaptureLog

  alias Foundation.Opaque
  alias Foundation.ProcessRegistry
  alias Foundation.ProcessRegistry.Global

  setup do
    scope = make_ref()
    {:ok, scope: scope, in: [scope: scope]}
  end

  defp process do
    pid = spawn(fn -> receive(do: (:end -> :ok)) end)
    on_exit(fn -> Process.exit(pid, :kill) end)
    pid
  end

  test "a name is found, with all that is known of it", %{scope: scope, in: within} do
    before = System.os_time(:microsecond)

    assert :ok =
             ProcessRegistry.register_global({:any, %{term: 1}}, self(), [metadata: %{version: 2}] ++ within)

    assert {:ok, entry} = ProcessRegistry.lookup_global({:any, %{term: 1}}, within)
    here = node()
    me = self()

    assert %{scope: ^scope, name: {:any, %{term: 1}}, pid: ^me, node: ^here, metadata: %{version: 2}} = entry
    assert %{consistency: :crdt, fencing_token: nil} = entry
    assert entry.registered_at in before..(System.os_time(:microsecond) + 1_000)
    assert ProcessRegistry.whereis_global({:any, %{term: 1}}, within) == self()
    assert ProcessRegistry.list_global(within) == [entry]
    assert ProcessRegistry.count_global(within) == 1
    assert {:error, :not_found} = ProcessRegistry.lookup_global({:any, %{term: 1}})
    assert ProcessRegistry.whereis_global({:any, %{term: 1}}) == nil
  end

  test "1 and 1.0 are two names, and scopes that look like patterns are scopes", %{in: within} do
    :ok = Global.register(1, self(), within)
    other = process()
    assert :ok = Global.register(1.0, other, within)
    assert {Global.whereis(1, within), Global.whereis(1.0, within)} == {self(), other}
    :ok = Global.register(:name, self(), scope: :_)
    assert [%{scope: :_}] = Global.list(scope: :_)
    assert Global.count(scope: :"$1") == 0
    :ok = Global.unregister(:name, scope: :_)
  end

  test "of two only one gets it; the same may have it again", %{in: within} do
    other = process()
    assert :ok = Global.register(:name, other, within)
    assert {:error, {:already_registered, ^other}} = Global.register(:name, self(), within)
    assert :ok = Global.register(:name, other, [metadata: :more] ++ within)
    assert {:ok, %{metadata: :more}} = Global.lookup(:name, within)
    assert :ok = Global.register(:name, other, within)
    assert {:ok, %{metadata: :more}} = Global.lookup(:name, within)
  end

  test "of many at once exactly one wins", %{in: within} do
    parent = self()

    for _ <- 1..50 do
      spawn_link(fn ->
        send(parent, {self(), Global.register(:name, self(), within)})
        receive(do: (:end -> :ok))
      end)
    end

    answers = for _ <- 1..50, do: receive(do: ({pid, answer} when is_pid(pid) -> {pid, answer}))
    assert [{winner, :ok}] = Enum.filter(answers, &match?({_, :ok}, &1))
    assert Global.whereis(:name, within) == winner
    for {pid, _} <- answers, do: send(pid, :end)
  end

  test "a name ends with its process, at once for who looks", %{in: within} do
    {:ok, agent} = Agent.start(fn -> nil end)
    for n <- 1..100, do: :ok = Global.register(n, agent, within)
    assert Global.count(within) == 100
    Agent.stop(agent, :normal)
    assert Global.whereis(1, within) == nil
    assert {:error, :not_found} = Global.lookup(1, within)
    assert :ok = Global.register(1, self(), within)
    assert_eventually(Global.count(within) == 1)
    assert {:error, :noproc} = Global.register(2, agent, within)
  end

  test "a name is taken away, and may be had again", %{in: within} do
    other = process()
    :ok = Global.register(:name, other, within)
    assert :ok = Global.unregister(:name, within)
    assert {:error, :not_found} = Global.unregister(:name, within)
    assert {:error, :not_found} = Global.lookup(:name, within)
    assert :ok = Global.register(:name, self(), within)
  end

  test "metadata change by a function; one that fails changes nothing", %{in: within} do
    :ok = Global.register(:name, self(), [metadata: 1] ++ within)
    assert {:ok, 2} = Global.update(:name, &(&1 + 1), within)
    assert {:error, {:error, _}} = Global.update(:name, fn _ -> raise "no" end, within)
    assert {:ok, %{metadata: 2}} = Global.lookup(:name, within)
    assert {:error, :not_found} = Global.update(:none, & &1, within)
  end

  test "who watches is told, by name or by scope", %{in: within} do
    :ok = Global.monitor(:all, within)
    :ok = Global.monitor(:all, within)
    me = self()
    :ok = Global.register(:name, self(), [metadata: 1] ++ within)
    assert_receive {:foundation_registry, %{event: :registered, name: :name, pid: ^me, metadata: 1}}
    {:ok, 2} = Global.update(:name, fn 1 -> 2 end, within)
    assert_receive {:foundation_registry, %{event: :updated, metadata: 2}}
    :ok = Global.unregister(:name, within)
    assert_receive {:foundation_registry, %{event: :unregistered, pid: ^me}}
    :ok = Global.demonitor(:all, within)

    :ok = Global.monitor({:name, :all}, within)
    other = process()
    :ok = Global.register(:other, other, within)
    :ok = Global.register(:all, other, within)
    assert_receive {:foundation_registry, %{event: :registered, name: :all}}
    Process.exit(other, :kill)
    assert_receive {:foundation_registry, %{event: :unregistered, name: :all}}
    refute_received {:foundation_registry, _}
  end

  test "processes are started and called by it", %{scope: scope, in: within} do
    via = ProcessRegistry.via_global(:agent, scope: scope, metadata: :m)
    {:ok, agent} = Agent.start_link(fn -> 7 end, name: via)
    assert Agent.get(via, & &1) == 7
    assert {:error, {:already_started, ^agent}} = Agent.start_link(fn -> 8 end, name: via)
    assert {:ok, %{metadata: :m}} = Global.lookup(:agent, within)
    GenServer.stop(via)
    assert catch_exit(GenServer.call(via, :x)) |> elem(0) == :noproc
    assert {:badarg, _} = catch_exit(Foundation.ProcessRegistry.Via.send({:in, scope, :agent, []}, :hello))
    plain = {:via, Foundation.ProcessRegistry.Via, {scope, :plain}}
    {:ok, _} = Agent.start_link(fn -> 9 end, name: plain)
    assert Agent.get(plain, & &1) == 9
  end

  test "names outlive the process that keeps them", %{in: within} do
    :ok = Global.register(:name, self(), [metadata: 1] ++ within)
    {:ok, agent} = Agent.start(fn -> nil end)
    :ok = Global.register(:agent, agent, within)
    server = Process.whereis(Global.Server)
    monitor = Process.monitor(server)
    Process.exit(server, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}
    assert {:ok, %{metadata: 1}} = Global.lookup(:name, within)
    assert_eventually(Process.whereis(Global.Server) not in [nil, server])
    Agent.stop(agent)
    assert_eventually(Global.count(within) == 1)
    assert :ok = Global.unregister(:name, within)
  end

  test "what makes no sense is refused" do
    assert_raise ArgumentError, ~r/no option :scop/, fn -> Global.register(:n, self(), scop: 1) end

    assert_raise ArgumentError, ~r/consistency: is :crdt or :consensus/, fn ->
      Global.register(:n, self(), consistency: 1)
    end

    assert_raise ArgumentError, ~r/on_lost: is/, fn -> Global.register(:n, self(), on_lost: :cry) end
    assert_raise ArgumentError, ~r/resolve: is {module/, fn -> Global.register(:n, self(), resolve: & &1) end
    assert_raise ArgumentError, ~r/timeout: is/, fn -> Global.register(:n, self(), timeout: 0) end
    assert_raise ArgumentError, ~r/keyword list/, fn -> Global.unregister(:n, Opaque.term(:scope)) end
    assert_raise ArgumentError, ~r/:local or :linearizable/, fn -> Global.lookup(:n, consistency: :crdt) end
    assert_raise FunctionClauseError, fn -> Global.register(:n, Opaque.term(:no_pid)) end
  end

  test "with the application stopped it says so" do
    capture_log(fn -> :ok = Application.stop(:foundation) end)

    try do
      assert {:error, :not_running} = Global.register(:name, self())
      assert {:error, :not_running} = Global.register(:name, self(), consistency: :consensus)
      assert {:error, :not_running} = Global.lookup(:name)
      assert {:error, :not_running} = Global.unregister(:name)
      assert {:error, :not_running} = Global.monitor(:all)
      assert {:error, :not_running} = Global.sync()
      assert Global.whereis(:name) == nil
      assert {Global.list(), Global.count()} == {[], 0}
    after
      {:ok, _} = Application.ensure_all_started(:foundation)
    end
  end

  test "there is nothing to wait for on a node alone, and nothing moves that nobody supervises" do
    assert Global.sync() == :ok
    assert {:ok, %{number: _, contested: []}} = Global.status()
    assert {:error, :not_supervised} = ProcessRegistry.migrate(:nothing, node())
  end
end
