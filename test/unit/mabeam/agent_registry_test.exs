defmodule Foundation.MABEAM.AgentRegistryTest do
  # One registry a node.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{AgentRegistry, Comms}
  alias Foundation.MabeamAgents.Scripted

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  defp info(id), do: elem(AgentRegistry.get_agent_info(id), 1)

  describe "a life" do
    test "is begun, ended and begun again" do
      assert :ok = AgentRegistry.register_agent(:a, module: Scripted, args: %{})
      assert {:error, :already_registered} = AgentRegistry.register_agent(:a, module: Scripted)
      assert status(:a) == :registered
      assert {:error, :not_started} = Comms.request(:a, {:task, 1})
      assert :ok = AgentRegistry.start_agent(:a)
      assert {:error, :already_started} = AgentRegistry.start_agent(:a)
      assert {:ok, {:done, {1, :x}}} = Comms.request(:a, {:task, :x})
      assert :ok = AgentRegistry.stop_agent(:a)
      assert status(:a) == :stopped
      assert :ok = AgentRegistry.stop_agent(:a)
      assert :ok = AgentRegistry.start_agent(:a)
      assert {:ok, {:done, {1, :x}}} = Comms.request(:a, {:task, :x})
      assert info(:a).handled >= 2
      assert :ok = AgentRegistry.deregister_agent(:a)
      assert {:error, :not_found} = AgentRegistry.get_agent_info(:a)
      assert {:error, :not_found} = AgentRegistry.start_agent(:a)
      assert {:error, :not_found} = Comms.request(:a, {:task, 1})
    end

    test "that does not begin is told to who asked, and not tried again" do
      for {script, reason} <- [
            {%{init: {:error, :no}}, :no},
            {%{init: {:raise, "boom"}}, {:crashed, {RuntimeError, "boom"}}}
          ] do
        :ok = AgentRegistry.register_agent(:bad, module: Scripted, args: script)
        assert {:error, {:start_failed, ^reason}} = AgentRegistry.start_agent(:bad)
        assert status(:bad) == :failed
        :ok = AgentRegistry.deregister_agent(:bad)
      end
    end

    test "that is slow to begin holds up nobody else, and ends when it takes too long" do
      :ok =
        AgentRegistry.register_agent(:slow,
          module: Scripted,
          args: %{init: {:stall, 60_000}},
          callback_timeout: 1_500
        )

      waiting = Task.async(fn -> AgentRegistry.start_agent(:slow) end)
      assert_eventually(status(:slow) == :starting)
      assert start(:quick) == :quick
      assert {:error, {:start_failed, {:stalled, ms}}} = Task.await(waiting)
      assert ms >= 1_500
    end

    test "runs terminate/2 when it is stopped, and is killed when that takes too long" do
      Process.register(self(), :registry_test)
      start(:a, %{terminate: {:tell, :registry_test}})
      :ok = AgentRegistry.stop_agent(:a)
      assert_received {:terminated, :shutdown}
    end
  end

  describe "an agent that dies" do
    test "is started again, later each time, until it is too often" do
      start(:a, %{}, backoff: {1, 8}, max_restarts: 3)

      for n <- 1..3 do
        first = pid(:a)
        Process.exit(first, :kill)
        assert_eventually(status(:a) == :running and pid(:a) != first)
        assert info(:a).restarts == n
      end

      Process.exit(pid(:a), :kill)
      assert_eventually(status(:a) == :failed)
      assert info(:a).reason == :killed
      assert :ok = AgentRegistry.start_agent(:a)
      assert {:ok, {:done, _}} = Comms.request(:a, {:task, 1})
    end

    test "is started again as its policy says" do
      start(:permanent, %{}, backoff: {1, 1})
      start(:transient, %{}, restart: :transient, backoff: {1, 1})
      start(:temporary, %{}, restart: :temporary)
      first = pid(:permanent)
      for id <- [:permanent, :transient, :temporary], do: GenServer.stop(pid(id), :normal)
      assert_eventually(status(:transient) == :stopped and status(:temporary) == :stopped)
      assert_eventually(status(:permanent) == :running and pid(:permanent) != first)
      assert :ok = AgentRegistry.start_agent(:transient)
      first = pid(:transient)
      Process.exit(first, :kill)
      assert_eventually(status(:transient) == :running and pid(:transient) != first)
    end

    test "goes on from its snapshot, and from the beginning when it is restarted by request" do
      start(:a, %{}, snapshot_every: 2, backoff: {1, 1})
      for n <- 1..3, do: assert({:ok, {:done, {^n, :x}}} = Comms.request(:a, {:task, :x}))
      first = pid(:a)
      Process.exit(first, :kill)
      assert_eventually(status(:a) == :running and pid(:a) != first)
      assert {:ok, {:done, {3, :x}}} = Comms.request(:a, {:task, :x})
      assert :ok = AgentRegistry.snapshot(:a)
      assert :ok = AgentRegistry.restart_agent(:a)
      assert {:ok, {:done, {1, :x}}} = Comms.request(:a, {:task, :x})
    end

    test "is found again by a registry that was started anew" do
      start(:a, %{}, backoff: {1, 1})
      first = pid(:a)
      registry = Process.whereis(AgentRegistry.Server)
      Process.exit(registry, :kill)
      assert_eventually(Process.whereis(AgentRegistry.Server) not in [nil, registry])
      assert {:ok, {:done, _}} = Comms.request(:a, {:task, 1})
      assert pid(:a) == first
      Process.exit(first, :kill)
      assert_eventually(status(:a) == :running and pid(:a) != first)
    end
  end

  describe "draining" do
    test "lets what was asked be done, and nothing more; the next life goes on from there" do
      held_up = %{proposal: {:say, {Foundation.MabeamAgents, :waits, [:drained_later, :accept]}}}
      start(:a, held_up, callback_timeout: :infinity)
      asked = Task.async(fn -> Comms.request(:a, {:proposal, 1}, timeout: 60_000) end)
      assert_eventually(info(:a).busy_ms > 0)
      then = Task.async(fn -> Comms.request(:a, {:task, :queued}, timeout: 60_000) end)
      assert_eventually(info(:a).waiting == 1)
      drained = Task.async(fn -> AgentRegistry.drain(:a) end)
      assert_eventually(status(:a) == :draining)
      assert {:error, :draining} = Comms.request(:a, {:task, :late})
      go(:drained_later)
      assert {:ok, :accept} = Task.await(asked, 30_000)
      assert {:ok, {:done, {1, :queued}}} = Task.await(then, 30_000)
      assert :ok = Task.await(drained, 30_000)
      assert status(:a) == :stopped
      :ok = AgentRegistry.start_agent(:a)
      assert {:ok, {:done, {2, :x}}} = Comms.request(:a, {:task, :x})
    end

    test "ends at its deadline" do
      start(:a, %{proposal: {:stall, 60_000}}, callback_timeout: :infinity)
      spawn(fn -> Comms.request(:a, {:proposal, 1}) end)
      assert_eventually(info(:a).busy_ms > 0)
      assert :ok = AgentRegistry.drain(:a, timeout: 50)
      assert status(:a) == :stopped
    end
  end

  describe "health" do
    test "tells those that answer from those that do not" do
      start(:a)
      assert {:ok, %{status: :healthy, latency_us: us, waiting: 0}} = AgentRegistry.health(:a)
      assert us >= 0
      start(:b, %{proposal: {:stall, 60_000}}, max_mailbox: 2, callback_timeout: :infinity)
      spawn(fn -> Comms.request(:b, {:proposal, 1}) end)
      assert_eventually(info(:b).busy_ms > 0)
      assert {:ok, %{status: :unresponsive, latency_us: nil}} = AgentRegistry.health(:b, timeout: 20)
      assert {:ok, %{status: :unresponsive}} = AgentRegistry.health(:b, timeout: 20)
      assert {:ok, %{status: :overloaded, waiting: 2}} = AgentRegistry.health(:b, timeout: 20)
      Process.exit(pid(:b), :kill)
      assert {:error, :not_found} = AgentRegistry.health(:c)
    end
  end

  test "agents are found by what they are" do
    start(:a, %{}, capabilities: [:read, :write], type: :scribe)
    start(:b, %{}, capabilities: [:read])
    :ok = AgentRegistry.register_agent("c", module: Scripted, type: :scribe)
    assert AgentRegistry.list_agents() == [:a, :b, "c"]
    assert AgentRegistry.find_agents(capabilities: [:read]) == [:a, :b]
    assert AgentRegistry.find_agents(capabilities: [:read, :write]) == [:a]
    assert AgentRegistry.find_agents(type: :scribe) == [:a, "c"]
    assert AgentRegistry.find_agents(type: :scribe, status: :running) == [:a]
    assert AgentRegistry.find_agents(node: :all, status: :registered) == ["c"]
    assert_raise ArgumentError, ~r/criteria/, fn -> AgentRegistry.find_agents(colour: :red) end
  end

  test "what cannot be an agent is not registered" do
    assert {:error, {:invalid, %{field: :id}}} = AgentRegistry.register_agent(nil, module: Scripted)
    assert {:error, {:invalid, %{field: :module}}} = AgentRegistry.register_agent(:a, module: NoSuchModule)
    assert {:error, {:invalid, %{field: :module}}} = AgentRegistry.register_agent(:a, module: Enum)
    assert AgentRegistry.list_agents() == []
  end

  test "without MABEAM there is nothing to ask" do
    :ok = MABEAM.stop()
    refute MABEAM.running?()
    assert {:error, :not_running} = AgentRegistry.register_agent(:a, module: Scripted)
    assert {:error, :not_running} = AgentRegistry.start_agent(:a)
    assert {:error, :not_running} = AgentRegistry.get_agent_info(:a)
    assert {:error, :not_running} = Comms.request(:a, {:task, 1})
    assert AgentRegistry.list_agents() == []
  end
end
