defmodule Foundation.ProcessLifecycleTest do
  # One set of managed processes a node.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.{HealthCheck, ProcessLifecycle}

  setup do
    on_exit(fn -> ProcessLifecycle.graceful_shutdown(:all, timeout: 1_000, forget: true) end)
    :ok
  end

  defp agent(name \\ nil), do: {Agent, if(name, do: fn -> name end, else: fn -> nil end)}
  defp status(name), do: elem(ProcessLifecycle.get_process_health(name), 1).status
  defp pid(name), do: elem(ProcessLifecycle.get_process_health(name), 1).pid

  # The pid of one that is well.
  defp up(name) do
    {:ok, health} = ProcessLifecycle.get_process_health(name)
    if health.status == :healthy, do: health.pid
  end

  defp linked(test) do
    {Task,
     fn ->
       Process.flag(:trap_exit, true)
       receive do: ({:EXIT, _, reason} -> send(test, {:ended, reason}))
       Process.sleep(:infinity)
     end}
  end

  describe "starting" do
    test "a process comes after what it depends on, and not without" do
      assert {:error, {:missing_dependency, :db}} =
               ProcessLifecycle.register_managed_process(:api, agent(), depends_on: [:db])

      assert {:ok, db} = ProcessLifecycle.register_managed_process(:db, agent())
      assert {:ok, _} = ProcessLifecycle.register_managed_process(:api, agent(), depends_on: [:db])

      assert {:ok, _} =
               ProcessLifecycle.register_managed_process(:web, fn -> Agent.start(fn -> 1 end) end,
                 depends_on: [:api, :db]
               )

      assert {:error, :already_registered} = ProcessLifecycle.register_managed_process(:db, agent())
      assert Process.alive?(db)
      assert {:ok, [:db, :api, :web]} = ProcessLifecycle.start_order()
    end

    test "what does not start is not registered" do
      assert {:error, {:start_failed, :no}} =
               ProcessLifecycle.register_managed_process(:bad, fn -> {:error, :no} end)

      assert {:error, :not_found} = ProcessLifecycle.get_process_health(:bad)
      assert {:ok, _} = ProcessLifecycle.register_managed_process(:bad, agent())
    end

    test "arguments that cannot be right are named" do
      for {start, opts, text} <- [
            {7, [], "start"},
            {agent(), [depends_on: :db], "depends_on"},
            {agent(), [restart: :never], "restart"},
            {agent(), [surprise: 1], "surprise"}
          ],
          do:
            assert_raise(ArgumentError, ~r/#{text}/, fn ->
              ProcessLifecycle.register_managed_process(:x, start, opts)
            end)
    end
  end

  describe "ends" do
    test "a process that is killed is started again, and those on it are degraded meanwhile" do
      {:ok, first} = ProcessLifecycle.register_managed_process(:db, agent())
      {:ok, _} = ProcessLifecycle.register_managed_process(:api, agent(), depends_on: [:db])
      Process.exit(first, :kill)
      assert_eventually(status(:api) == :degraded)
      {:ok, %{reason: {:dependency, :db}}} = ProcessLifecycle.get_process_health(:api)
      assert_eventually(up(:db) not in [nil, first])
      assert status(:api) == :healthy
      assert {:ok, %{restarts: 1}} = ProcessLifecycle.get_process_health(:db)
    end

    test "after too many restarts it has failed, until it is started on request" do
      {:ok, first} = ProcessLifecycle.register_managed_process(:weak, agent(), max_restarts: 1)
      Process.exit(first, :kill)
      assert_eventually(up(:weak) not in [nil, first])
      Process.exit(pid(:weak), :kill)
      assert_eventually(status(:weak) == :failed)
      assert {:ok, third} = ProcessLifecycle.restart(:weak)
      assert_eventually(pid(:weak) == third and status(:weak) == :healthy)
    end

    test "transient and temporary ones, and a pid, are not started again" do
      {:ok, a} = ProcessLifecycle.register_managed_process(:transient, agent(), restart: :transient)
      {:ok, b} = ProcessLifecycle.register_managed_process(:temporary, agent(), restart: :temporary)
      {:ok, c} = Agent.start(fn -> nil end)
      assert {:ok, ^c} = ProcessLifecycle.register_managed_process(:pid, c)
      Agent.stop(a)
      Process.exit(b, :kill)
      Process.exit(c, :kill)
      for name <- [:transient, :temporary, :pid], do: assert_eventually(status(name) == :stopped)
      assert {:error, :not_managed} = ProcessLifecycle.restart(:pid)
    end

    test "a restart waits until the old one has gone" do
      start = fn -> Agent.start(fn -> nil end, name: :lifecycle_named) end
      {:ok, first} = ProcessLifecycle.register_managed_process(:named, start)
      assert {:ok, second} = ProcessLifecycle.restart(:named)
      assert second != first and Process.whereis(:lifecycle_named) == second
    end
  end

  describe "health" do
    test "checks say how it is; failures in a row make it unhealthy, one success healthy" do
      {:ok, _} = ProcessLifecycle.register_managed_process(:db, agent())
      {:ok, mood} = Agent.start_link(fn -> :ok end)
      check = fn pid when is_pid(pid) -> Agent.get(mood, & &1) end
      assert :ok = ProcessLifecycle.set_health_check(:db, check, interval: 10, failures: 2)
      assert_eventually(status(:db) == :healthy)
      Agent.update(mood, fn _ -> {:degraded, :slow} end)
      assert_eventually(status(:db) == :degraded)
      Agent.update(mood, fn _ -> {:error, :down} end)
      assert_eventually(status(:db) == :unhealthy)
      {:ok, %{reason: :down, failures: failures}} = ProcessLifecycle.get_process_health(:db)
      assert failures >= 2
      Agent.update(mood, fn _ -> :ok end)
      assert_eventually(status(:db) == :healthy)
      assert :ok = ProcessLifecycle.set_health_check(:db, nil)
      assert {:error, :not_found} = ProcessLifecycle.set_health_check(:none, nil)
    end

    test "a check that hangs or raises is a failure, and an unhealthy process is restarted when asked" do
      {:ok, first} = ProcessLifecycle.register_managed_process(:hang, agent())
      check = fn pid -> if pid == first, do: Process.sleep(:infinity), else: true end

      :ok =
        ProcessLifecycle.set_health_check(:hang, check,
          interval: 10,
          timeout: 20,
          failures: 2,
          on_unhealthy: :restart
        )

      assert_eventually(up(:hang) not in [nil, first])
      refute Process.alive?(first)
    end

    test "a change is told" do
      {:ok, first} = ProcessLifecycle.register_managed_process(:told, agent())
      Process.exit(first, :kill)
      assert_eventually(up(:told) not in [nil, first])
      {:ok, found} = Foundation.Telemetry.get_metrics_for([:foundation, :lifecycle, :health_changed])
      assert found.foundation.lifecycle.health_changed.count >= 3
    end
  end

  describe "shutdown" do
    test "dependents end first, after their hooks by priority" do
      me = self()

      for {name, on} <- [db: [], api: [:db], web: [:api]],
          do: {:ok, _} = ProcessLifecycle.register_managed_process(name, agent(), depends_on: on)

      {:ok, general} = ProcessLifecycle.add_shutdown_hook(:all, fn -> send(me, :general) end)
      on_exit(fn -> ProcessLifecycle.remove_shutdown_hook(general) end)
      {:ok, low} = ProcessLifecycle.add_shutdown_hook(:api, fn -> send(me, :low) end)

      {:ok, high} =
        ProcessLifecycle.add_shutdown_hook(:api, fn name -> send(me, {:high, name}) end, priority: 5)

      {:ok, gone} = ProcessLifecycle.add_shutdown_hook(:api, fn -> send(me, :gone) end)
      :ok = ProcessLifecycle.remove_shutdown_hook(gone)
      assert {:ok, report} = ProcessLifecycle.graceful_shutdown(:all)
      assert Enum.map(report, & &1.name) == [:all, :web, :api, :db]
      assert Enum.at(report, 2).hooks == [{high, :ok}, {low, :ok}]
      assert {:messages, [:general, {:high, :api}, :low]} = Process.info(me, :messages)
      assert status(:db) == :stopped
    end

    test "of one takes those on it along, and nothing else" do
      for {name, on} <- [db: [], api: [:db], other: []],
          do: {:ok, _} = ProcessLifecycle.register_managed_process(name, agent(), depends_on: on)

      assert {:ok, [%{name: :api}, %{name: :db}]} = ProcessLifecycle.graceful_shutdown(:db)
      assert status(:other) == :healthy
      assert {:error, :not_found} = ProcessLifecycle.graceful_shutdown(:none)

      assert {:error, {:dependency_down, :db}} =
               ProcessLifecycle.register_managed_process(:late, agent(), depends_on: [:db])
    end

    test "hooks and processes that take too long are ended" do
      me = self()
      {:ok, pid} = ProcessLifecycle.register_managed_process(:slow, linked(me), shutdown: 50)
      {:ok, ref} = ProcessLifecycle.add_shutdown_hook(:slow, fn -> Process.sleep(:infinity) end, timeout: 20)
      {:ok, bad} = ProcessLifecycle.add_shutdown_hook(:slow, fn -> raise "no" end)

      assert {:ok, [%{outcome: :killed, hooks: [{^ref, :timeout}, {^bad, {:failed, _}}]}]} =
               ProcessLifecycle.graceful_shutdown(:slow)

      assert_receive {:ended, :shutdown}
      refute Process.alive?(pid)
    end

    test "what was shut down starts again on request" do
      {:ok, _} = ProcessLifecycle.register_managed_process(:db, agent())
      {:ok, _} = ProcessLifecycle.graceful_shutdown(:db)
      assert {:ok, _} = ProcessLifecycle.restart(:db)
      assert_eventually(status(:db) == :healthy)
    end
  end

  describe "the node's health" do
    setup do
      on_exit(fn ->
        for name <- [:a, :b, :c], do: HealthCheck.unregister(name)
        HealthCheck.drain(false)
      end)
    end

    test "follows from its checks and managed processes" do
      :ok = HealthCheck.register(:a, fn -> :ok end)
      assert {:ok, %{status: :healthy, checks: %{a: %{status: :healthy}}}} = HealthCheck.run()
      :ok = HealthCheck.register(:b, fn -> raise "no" end, critical: false)
      assert {:ok, %{status: :degraded}} = HealthCheck.run()
      assert HealthCheck.ready?()
      :ok = HealthCheck.register(:c, fn -> Process.sleep(:infinity) end, timeout: 20)
      assert {:ok, %{status: :unhealthy, checks: %{c: %{reason: :timeout}}}} = HealthCheck.run()
      refute HealthCheck.ready?()
      for name <- [:b, :c], do: HealthCheck.unregister(name)

      {:ok, _} = ProcessLifecycle.register_managed_process(:db, agent(), max_restarts: 0)
      assert {:ok, %{status: :healthy}} = HealthCheck.run()
      Process.exit(pid(:db), :kill)
      assert_eventually(match?({:ok, %{status: :unhealthy}}, HealthCheck.run()))
    end

    test "a draining node says so, and is not ready" do
      :ok = HealthCheck.drain(true)
      assert {:ok, %{status: :draining}} = HealthCheck.run()
      refute HealthCheck.ready?()
    end

    test "arguments that cannot be right are named" do
      assert_raise ArgumentError, ~r/timeout/, fn -> HealthCheck.register(:a, fn -> :ok end, timeout: 0) end
      assert_raise ArgumentError, ~r/surprise/, fn -> HealthCheck.register(:a, fn -> :ok end, surprise: 1) end
    end
  end

  test "the code of the guide runs and gives what it says" do
    assert Foundation.Guide.run("guides/lifecycle.md") == 6
  end
end
