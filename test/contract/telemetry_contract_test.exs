defmodule Foundation.TelemetryContractTest do
  # The tables of the 1.x contract: Foundation.Telemetry, the TelemetryService and its behaviour, line by line.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog
  import Foundation.Eventually

  alias Foundation.{ProcessRegistry, Telemetry}
  alias Foundation.Services.TelemetryService
  alias Foundation.Types.Error

  setup do
    :ok = TelemetryService.reset_state()
    on_exit(fn -> TelemetryService.reset_state() end)
  end

  defp leaf(path) do
    {:ok, metrics} = Telemetry.get_metrics()
    get_in(metrics, path)
  end

  describe "status and life" do
    test "status has its four keys and the defaults" do
      {:ok, status} = Telemetry.status()

      assert Enum.sort(Map.keys(status)) == [:config, :handlers_count, :metrics_count, :status]
      assert status.status == :running
      assert status.handlers_count == 0

      assert %{
               enable_vm_metrics: true,
               enable_process_metrics: true,
               metric_retention_ms: 300_000,
               cleanup_interval: 60_000
             } = status.config
    end

    test "initialize is ok when running, available? says so" do
      assert Telemetry.initialize() == :ok
      assert TelemetryService.initialize([]) == :ok
      assert Telemetry.available?()
      assert TelemetryService.available?()
    end

    test "the service is registered by its namespace only" do
      assert Process.whereis(TelemetryService) == nil
      assert {:ok, pid} = ProcessRegistry.lookup(:production, :telemetry_service)
      assert Process.alive?(pid)
    end

    test "reset_state needs test mode" do
      Application.put_env(:foundation, :test_mode, false)
      on_exit(fn -> Application.put_env(:foundation, :test_mode, true) end)

      assert {:error, %Error{} = error} = TelemetryService.reset_state()

      assert {error.code, error.error_type, error.severity, error.category, error.subcategory} ==
               {7002, :operation_forbidden, :high, :security, :authorization}

      Application.put_env(:foundation, :test_mode, true)
    end

    test "the behaviour has its callbacks" do
      callbacks = Foundation.Contracts.Telemetry.behaviour_info(:callbacks)

      assert Enum.sort(callbacks) ==
               Enum.sort(
                 execute: 3,
                 measure: 3,
                 emit_counter: 2,
                 emit_gauge: 3,
                 emit_histogram: 3,
                 emit_histogram: 2,
                 get_metrics: 0,
                 attach_handlers: 1,
                 detach_handlers: 1,
                 available?: 0,
                 initialize: 0,
                 status: 0
               )

      for {name, arity} <- callbacks do
        assert function_exported?(TelemetryService, name, arity)
        assert function_exported?(Telemetry, name, arity)
      end
    end
  end

  describe "execute/3 and the aggregation" do
    test "counters add, gauges keep the last, other numbers halve" do
      for n <- [1, 2, 5] do
        assert :ok = Telemetry.execute([:t, :agg], %{counter: n, gauge: n, size: n, kind: :a}, %{n: n})
      end

      assert %{count: 3, measurements: measurements, metadata: %{n: 1}} = leaf([:t, :agg])
      assert measurements == %{counter: 8, gauge: 5, size: 3.25, kind: :a}
    end

    test "measurements that are no numbers keep the last value" do
      Telemetry.execute([:t, :odd], %{protection_key: :a, name: "x"}, %{})
      Telemetry.execute([:t, :odd], %{protection_key: :b, name: {1, [2]}}, %{})
      assert %{measurements: %{protection_key: :b, name: {1, [2]}}} = leaf([:t, :odd])
    end

    test "integers of any size, floats and mixtures add exactly" do
      big = Integer.pow(2, 100)
      Telemetry.execute([:t, :big], %{counter: big}, %{})
      Telemetry.execute([:t, :big], %{counter: 1}, %{})
      Telemetry.execute([:t, :mix], %{counter: 1}, %{})
      Telemetry.execute([:t, :mix], %{counter: 0.5}, %{})
      Telemetry.execute([:t, :low], %{counter: -big}, %{})

      assert leaf([:t, :big, :measurements, :counter]) == big + 1
      assert leaf([:t, :mix, :measurements, :counter]) === 1.5
      assert leaf([:t, :low, :measurements, :counter]) == -big
    end

    test "the timestamp is the native monotonic time of the last event" do
      Telemetry.execute([:t, :time], %{counter: 1}, %{})
      before = System.monotonic_time()
      Telemetry.execute([:t, :time], %{counter: 1}, %{})
      assert leaf([:t, :time, :timestamp]) in before..System.monotonic_time()
    end

    test "a name that is no list is a FunctionClauseError" do
      assert_raise FunctionClauseError, fn -> apply(Telemetry, :execute, [:name, %{}, %{}]) end
    end

    test "is :ok and drops nothing it need not when the service is down" do
      {:ok, pid} = ProcessRegistry.lookup(:production, :telemetry_service)
      :sys.suspend(pid)
      assert Telemetry.execute([:t, :down], %{counter: 1}, %{}) == :ok
      :sys.resume(pid)
      assert leaf([:t, :down, :count]) == 1
    end
  end

  describe "measure/3" do
    test "returns the result and records the duration as name ++ [:stop]" do
      assert Telemetry.measure([:t, :op], %{a: 1}, fn -> :result end) == :result
      assert %{count: 1, measurements: %{duration: d}, metadata: %{a: 1}} = leaf([:t, :op, :stop])
      assert is_integer(d) and d >= 0
    end

    test "a raise is recorded as name ++ [:exception] with the error, and goes on" do
      assert_raise RuntimeError, "no", fn -> Telemetry.measure([:t, :bad], %{a: 1}, fn -> raise "no" end) end
      assert %{metadata: %{a: 1, error: %RuntimeError{message: "no"}}} = leaf([:t, :bad, :exception])
      assert leaf([:t, :bad, :stop]) == nil
    end

    test "throws and exits pass without an event" do
      assert catch_throw(Telemetry.measure([:t, :thrown], %{}, fn -> throw(:x) end)) == :x
      assert catch_exit(Telemetry.measure([:t, :thrown], %{}, fn -> exit(:y) end)) == :y
      assert leaf([:t, :thrown]) == nil
    end

    test "time_function/3 measures [:foundation, :function, :execution]" do
      assert Telemetry.time_function(Enum, :map, fn -> 7 end) == 7
      assert %{metadata: %{module: Enum, function: :map}} = leaf([:foundation, :function, :execution, :stop])
    end
  end

  describe "emit_*" do
    test "emit_counter and emit_gauge" do
      assert Telemetry.emit_counter([:t, :c], %{x: 1}) == :ok
      assert Telemetry.emit_counter([:t, :c], %{x: 2}) == :ok
      assert TelemetryService.emit_counter([:t, :c], 10, %{}) == :ok
      assert Telemetry.emit_gauge([:t, :g], 2.5, %{}) == :ok
      assert leaf([:t, :c, :measurements]) == %{counter: 12}
      assert leaf([:t, :g, :measurements]) == %{gauge: 2.5}
    end

    test "emit_histogram halves, and feeds a distribution" do
      assert Telemetry.emit_histogram([:t, :h], 10) == :ok
      assert Telemetry.emit_histogram([:t, :h], 20, %{a: 1}) == :ok
      assert leaf([:t, :h, :measurements]) == %{histogram: 15.0}
      assert leaf([:t, :h, :metadata]) == %{}
      assert Telemetry.percentiles([:t, :h], [50, 100]) == {:ok, %{50 => 10, 100 => 20}}
    end

    test "emit_histogram refuses with the messages of 1.x" do
      for {args, message} <- [
            {[[], 1], "Event name cannot be empty"},
            {[:a, 1], "Event name must be a list of atoms, got: :a"},
            {[[:a, "b"], 1], "Event name must be a list of atoms, got: [:a, \"b\"]"},
            {[[:a], :x], "Value must be a number, got: :x"},
            {[[:a], 1, :m], "Metadata must be a map, got: :m"}
          ] do
        assert_raise ArgumentError, message, fn -> apply(Telemetry, :emit_histogram, args) end
      end
    end

    test "emit_performance and emit_system_event" do
      Telemetry.emit_performance(:latency, 12)
      Telemetry.emit_performance(:latency, 14, %{unit: :ms})
      Telemetry.emit_system_event(:started)
      assert leaf([:foundation, :performance, :latency, :measurements]) == %{gauge: 14}
      assert leaf([:foundation, :system, :started, :measurements]) == %{counter: 1}
    end
  end

  describe "get_metrics/0" do
    test "nests along the name, a prefix and a longer name share a map" do
      Telemetry.emit_counter([:t, :a], %{})
      Telemetry.emit_counter([:t, :a, :b], %{})
      {:ok, metrics} = Telemetry.get_metrics()
      assert is_integer(metrics.retrieved_at)
      assert %{count: 1, measurements: %{counter: 1}, b: %{count: 1}} = metrics.t.a
    end

    test "four names are bare counts" do
      Telemetry.execute([:foundation, :event_store, :events_stored], %{counter: 5}, %{})
      Telemetry.execute([:foundation, :event_store, :events_stored], %{counter: 5}, %{})
      Telemetry.emit_counter([:foundation, :config_updates], %{})
      Telemetry.emit_counter([:foundation, :config_resets], %{})
      Telemetry.emit_counter([:foundation, :config_operations], %{})
      {:ok, %{foundation: found}} = Telemetry.get_metrics()

      assert %{events_stored: 2, config_updates: 1, config_resets: 1, config_operations: 1} = found
      refute Map.has_key?(found, :event_store)
    end

    test "get_metrics_for/1 gives the names under a prefix" do
      Telemetry.emit_counter([:t, :a, :b], %{})
      Telemetry.emit_counter([:t, :c], %{})

      assert {:ok, %{t: %{a: %{b: %{count: 1}}} = under, retrieved_at: _}} =
               Telemetry.get_metrics_for([:t, :a])

      assert Map.keys(under) == [:a]
      assert {:ok, empty} = Telemetry.get_metrics_for([:nothing])
      assert Map.keys(empty) == [:retrieved_at]
    end

    test "the gauges of the VM are there after the start" do
      ref = make_ref()
      {:ok, pid} = TelemetryService.start_link(namespace: {:test, ref})
      {:ok, %{vm: vm}} = GenServer.call(pid, :get_metrics)

      for name <- [:memory, :total_run_queue_lengths, :system_counts] do
        assert %{measurements: %{gauge: 1}, metadata: %{source: :vm}, count: 1} = vm[name]
      end
    end

    test "reset_metrics/0 forgets all" do
      Telemetry.emit_counter([:t, :gone], %{})
      assert TelemetryService.reset_metrics() == :ok
      assert leaf([:t]) == nil
    end
  end

  describe "handlers" do
    test "attached names are logged at debug level, detached ones no more" do
      assert Telemetry.attach_handlers([[:t, :seen]]) == :ok
      assert {:ok, %{handlers_count: 1}} = Telemetry.status()
      level = Logger.level()
      Logger.configure(level: :debug)

      log =
        capture_log(fn ->
          Telemetry.emit_counter([:t, :seen], %{who: :me})
          Telemetry.emit_counter([:t, :unseen], %{})
          {:ok, _} = Telemetry.status()
        end)

      Logger.configure(level: level)
      assert log =~ "[:t, :seen]"
      refute log =~ "[:t, :unseen]"
      assert Telemetry.detach_handlers([[:t, :seen]]) == :ok
      assert {:ok, %{handlers_count: 0}} = Telemetry.status()
    end
  end

  describe "an isolated instance" do
    setup do
      ref = make_ref()
      {:ok, pid} = TelemetryService.start_link(namespace: {:test, ref}, enable_vm_metrics: false)
      %{pid: pid, ref: ref}
    end

    test "has metrics of its own and takes the requests of 1.x", %{pid: pid, ref: ref} do
      assert ProcessRegistry.lookup({:test, ref}, :telemetry_service) == {:ok, pid}
      GenServer.cast(pid, {:execute_event, [:own], %{counter: 2}, %{}})
      assert {:ok, %{own: %{count: 1, measurements: %{counter: 2}}}} = GenServer.call(pid, :get_metrics)
      assert leaf([:own]) == nil
      assert :ok = GenServer.call(pid, {:attach_handlers, [[:own], [:other]]})
      GenServer.cast(pid, {:detach_handlers, [[:other]]})

      assert {:ok, %{status: :running, metrics_count: 1, handlers_count: 1, config: config}} =
               GenServer.call(pid, :get_status)

      assert config.enable_vm_metrics == false
      assert :ok = GenServer.call(pid, :clear_metrics)
      assert {:ok, %{metrics_count: 0, handlers_count: 1}} = GenServer.call(pid, :get_status)
      assert :ok = GenServer.call(pid, :reset_state)
      assert {:ok, %{metrics_count: 0, handlers_count: 0}} = GenServer.call(pid, :get_status)
    end

    test "ignores unknown messages", %{pid: pid} do
      capture_log(fn ->
        send(pid, :what)
        assert {:ok, _} = GenServer.call(pid, :get_status)
      end)
    end

    test "an unknown call crashes it", %{pid: pid} do
      Process.flag(:trap_exit, true)
      capture_log(fn -> assert catch_exit(GenServer.call(pid, :what)) end)
      assert_receive {:EXIT, ^pid, {:function_clause, _}}
    end

    test "drops what was not updated within metric_retention_ms, at each cleanup" do
      {:ok, pid} =
        TelemetryService.start_link(
          namespace: {:test, make_ref()},
          enable_vm_metrics: false,
          metric_retention_ms: 1_500,
          cleanup_interval: 20
        )

      GenServer.cast(pid, {:execute_event, [:old], %{counter: 1}, %{}})
      {:ok, %{old: %{timestamp: at}}} = GenServer.call(pid, :get_metrics)
      assert_eventually(match?({:ok, %{metrics_count: 0}}, GenServer.call(pid, :get_status)))
      age = System.convert_time_unit(System.monotonic_time() - at, :native, :millisecond)
      assert age >= 1_500
    end
  end

  test "without the service, reading is service_unavailable without a code, recording is :ok" do
    parent = self()
    supervisor = Foundation.Supervisor
    :ok = Supervisor.terminate_child(supervisor, TelemetryService)
    on_exit(fn -> Supervisor.restart_child(supervisor, TelemetryService) end)

    for fun <- [
          &Telemetry.get_metrics/0,
          &Telemetry.status/0,
          fn -> Telemetry.attach_handlers([[:a]]) end,
          fn -> Telemetry.get_metrics_for([:a]) end,
          &TelemetryService.reset_metrics/0,
          &TelemetryService.reset_state/0
        ] do
      assert {:error, %Error{error_type: :service_unavailable, code: nil, severity: :medium}} = fun.()
    end

    refute Telemetry.available?()
    assert Telemetry.execute([:a], %{counter: 1}, %{}) == :ok
    assert Telemetry.detach_handlers([[:a]]) == :ok
    assert TelemetryService.stop() == :ok
    assert Process.alive?(parent)
    {:ok, _} = Supervisor.restart_child(supervisor, TelemetryService)
    assert leaf([:a, :count]) == 1
  end
end
