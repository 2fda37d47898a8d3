defmodule Foundation.BEAM.ProcessesTest do
  use ExUnit.Case, async: true
  import Foundation.Eventually
  alias Foundation.BEAM.Processes

  defmodule Coordinator do
    use GenServer
    def start_link(opts), do: GenServer.start_link(__MODULE__, opts)
    @impl true
    def init(opts), do: {:ok, opts}
    @impl true
    def handle_call(:opts, _from, opts), do: {:reply, opts, opts}
    @impl true
    def handle_info(:shutdown, opts), do: {:stop, :normal, opts}
  end

  defmodule Stubborn do
    use GenServer
    def start_link(opts), do: GenServer.start_link(__MODULE__, opts)
    @impl true
    def init(opts), do: {:ok, opts}
    @impl true
    def handle_call(:opts, _from, opts), do: {:reply, opts, opts}
    @impl true
    def handle_info(_other, opts), do: {:noreply, opts}
  end

  defp start(config) do
    {:ok, ecosystem} =
      %{coordinator: NoSuchCoordinator, workers: {NoSuchWorker, count: 3}}
      |> Map.merge(config)
      |> Processes.spawn_ecosystem()

    on_exit(fn -> Processes.shutdown_ecosystem(ecosystem) end)
    ecosystem
  end

  defp alive(ecosystem), do: Enum.filter([ecosystem.coordinator | ecosystem.workers], &Process.alive?/1)

  describe "spawn_ecosystem/1" do
    test "gives a tree of a coordinator and its workers, monitored by the caller" do
      config = %{coordinator: NoSuchCoordinator, workers: {NoSuchWorker, count: 3}}
      assert {:ok, ecosystem} = Processes.spawn_ecosystem(config)

      assert %{topology: :tree, supervisor: nil, config: ^config, workers: [_, _, _] = workers} = ecosystem
      assert length(ecosystem.monitors) == 4

      worker = hd(workers)
      Process.exit(worker, :kill)
      assert_receive {:DOWN, monitor, :process, ^worker, :killed}
      assert monitor in ecosystem.monitors
      assert Processes.shutdown_ecosystem(ecosystem) == :ok
    end

    test "one worker by default, two for a count of 0" do
      assert length(start(%{workers: {NoSuchWorker, []}}).workers) == 1
      assert length(start(%{workers: {NoSuchWorker, count: 0}}).workers) == 2
      assert length(start(%{workers: {NoSuchWorker, count: 100}}).workers) == 100
    end

    test "starts modules by their start_link/1" do
      ecosystem = start(%{coordinator: Coordinator, workers: {Stubborn, count: 2}})
      assert GenServer.call(ecosystem.coordinator, :opts) == []

      for worker <- ecosystem.workers,
          do: assert(GenServer.call(worker, :opts) == [coordinator: ecosystem.coordinator])

      assert Process.info(self(), :links) |> elem(1) |> Enum.member?(ecosystem.coordinator)
    end

    test "says what is wrong with a configuration" do
      for {config, message} <- [
            {:none, "Configuration must be a map"},
            {%{workers: {A, []}}, "Configuration must include :coordinator"},
            {%{coordinator: A}, "Configuration must include :workers"},
            {%{coordinator: "a", workers: 1}, "Coordinator must be a module name (atom)"},
            {%{coordinator: A, workers: A}, "Workers must be a {module, options} tuple"},
            {%{coordinator: A, workers: {"a", []}}, "Worker module must be an atom"},
            {%{coordinator: A, workers: {A, 3}}, "Worker options must be a keyword list"}
          ] do
        assert {:error, %Foundation.Types.Error{} = error} = Processes.spawn_ecosystem(config)
        assert %{code: 3001, error_type: :validation_error, severity: :high, message: ^message} = error
        assert Map.has_key?(error.context, :validation_context)
      end
    end
  end

  test "the built-in processes answer their messages" do
    %{coordinator: coordinator, workers: [worker | _]} = ecosystem = start(%{})
    send(coordinator, {:work_request, self(), :dig})
    assert_receive {:work_assigned, :dig}
    send(coordinator, {:test_message, :data, self()})
    assert_receive {:message_processed, :coordinator}
    send(worker, {:test_message, :data, self()})
    assert_receive {:message_processed, :worker}

    for pid <- [coordinator, worker], do: send(pid, :unknown)
    send(worker, {:work_request, self(), :dig})
    send(worker, :shutdown)
    assert_receive {:DOWN, _, :process, ^worker, :normal}
    refute_received {:work_assigned, _}
    assert length(alive(ecosystem)) == 3
  end

  describe "isolate_memory_intensive_work/2" do
    test "sends the result to the caller or another process" do
      parent = self()
      assert {:ok, pid} = Processes.isolate_memory_intensive_work(fn -> {self(), 42} end)
      assert_receive {:work_complete, {^pid, 42}}

      other = spawn(fn -> receive(do: (message -> send(parent, {:other, message}))) end)
      assert {:ok, _} = Processes.isolate_memory_intensive_work(fn -> 1 end, other)
      assert_receive {:other, {:work_complete, 1}}
    end

    test "sends the exception, also when it is no function" do
      {:ok, _} = Processes.isolate_memory_intensive_work(fn -> raise "no" end)
      assert_receive {:work_error, %RuntimeError{message: "no"}}
      {:ok, _} = Processes.isolate_memory_intensive_work(:none)
      assert_receive {:work_error, %BadFunctionError{}}

      assert_raise FunctionClauseError, fn ->
        Processes.isolate_memory_intensive_work(fn -> 1 end, Process.get(:no_such_key, :nobody))
      end
    end
  end

  describe "shutdown_ecosystem/1" do
    test "stops plain processes, and modules that will not stop, without hurting the caller" do
      for config <- [
            %{},
            %{coordinator: Coordinator, workers: {Stubborn, count: 2}},
            %{coordinator: Stubborn, workers: {Stubborn, count: 2}, fault_tolerance: :self_healing}
          ] do
        ecosystem = start(config)
        assert Processes.shutdown_ecosystem(ecosystem) == :ok
        assert alive(ecosystem) == []
        assert ecosystem.supervisor == nil or not Process.alive?(ecosystem.supervisor)
        assert Processes.shutdown_ecosystem(ecosystem) == :ok
      end
    end

    test "stops a coordinator that was started again" do
      ecosystem = start(%{coordinator: Coordinator, fault_tolerance: :self_healing})
      Process.exit(ecosystem.coordinator, :kill)
      assert_eventually(coordinator(ecosystem).pid != ecosystem.coordinator)
      healed = coordinator(ecosystem).pid
      assert Processes.shutdown_ecosystem(ecosystem) == :ok
      refute Process.alive?(healed)
    end
  end

  describe "ecosystem_info/1" do
    test "describes the processes" do
      ecosystem = start(%{})
      assert {:ok, info} = Processes.ecosystem_info(ecosystem)
      assert %{total_processes: 4, topology: :tree, workers: [_, _, _]} = info

      for process <- [info.coordinator | info.workers] do
        assert %{pid: pid, status: status, memory: memory, message_queue_len: 0} = process
        assert is_pid(pid) and status in [:running, :runnable, :waiting] and memory > 0
      end

      assert info.total_memory ==
               Enum.sum(for process <- [info.coordinator | info.workers], do: process.memory)
    end

    test "leaves dead workers out and says that a coordinator is dead" do
      ecosystem = start(%{})
      kill([ecosystem.coordinator, hd(ecosystem.workers)])
      assert {:ok, info} = Processes.ecosystem_info(ecosystem)
      assert %{status: :dead, memory: 0, message_queue_len: 0} = info.coordinator
      assert {info.total_processes, length(info.workers)} == {2, 2}
    end
  end

  describe "self-healing" do
    test "starts the coordinator again, also repeatedly; the caller is not hurt" do
      for module <- [Coordinator, NoSuchCoordinator] do
        ecosystem =
          start(%{coordinator: module, workers: {Stubborn, count: 2}, fault_tolerance: :self_healing})

        assert is_pid(ecosystem.supervisor)

        for _ <- 1..3 do
          before = coordinator(ecosystem).pid
          kill([before])
          assert_eventually(coordinator(ecosystem).pid != before and coordinator(ecosystem).status != :dead)
        end

        {:dictionary, dictionary} = Process.info(ecosystem.supervisor, :dictionary)
        assert dictionary[:current_coordinator] == coordinator(ecosystem).pid
        assert {:ok, %{total_processes: 3}} = Processes.ecosystem_info(ecosystem)
      end
    end

    test "gives up when the coordinator keeps dying, and the group goes down" do
      ecosystem = start(%{fault_tolerance: :self_healing})
      monitor = Process.monitor(ecosystem.supervisor)

      for _ <- 1..3 do
        before = coordinator(ecosystem).pid
        kill([before])
        assert_eventually(coordinator(ecosystem).pid != before)
      end

      kill([coordinator(ecosystem).pid])
      assert_receive {:DOWN, ^monitor, :process, _, :shutdown}
      assert_eventually(alive(ecosystem) == [])
    end

    test "does not replace workers, and outlives them" do
      ecosystem = start(%{fault_tolerance: :self_healing, workers: {Stubborn, count: 5}})
      kill(Enum.take(ecosystem.workers, 2))
      assert {:ok, %{total_processes: 4}} = Processes.ecosystem_info(ecosystem)
    end
  end

  defp coordinator(ecosystem) do
    {:ok, info} = Processes.ecosystem_info(ecosystem)
    info.coordinator
  end

  defp kill(pids) do
    for pid <- pids do
      monitor = Process.monitor(pid)
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, _}
    end
  end
end
