defmodule Foundation.Contract.ApplicationTest do
  # Section 0 and 1 of the 1.x contract: the supervision tree, names, environment, start and stop.
  use ExUnit.Case, async: false
  import ExUnit.CaptureLog
  alias Foundation.ProcessRegistry
  alias Foundation.TestSupport.TestSupervisor

  doctest Foundation

  @services [
    config_server: Foundation.Services.ConfigServer,
    event_store: Foundation.Services.EventStore,
    telemetry_service: Foundation.Services.TelemetryService
  ]

  # Whatever a test does to the application, the next one finds it running as before.
  setup do
    environment = Application.get_all_env(:foundation)

    on_exit(fn ->
      Application.stop(:foundation)
      for {key, _} <- Application.get_all_env(:foundation), do: Application.delete_env(:foundation, key)
      Application.put_all_env(foundation: environment)
      {:ok, _} = Application.ensure_all_started(:foundation)
    end)
  end

  defp restart(environment) do
    :ok = Application.stop(:foundation)
    for {key, value} <- environment, do: Application.put_env(:foundation, key, value)
    {:ok, _} = Application.ensure_all_started(:foundation)
    :ok
  end

  defp children, do: Foundation.Supervisor |> Supervisor.which_children() |> Enum.reverse()
  defp ids, do: Enum.map(children(), &elem(&1, 0))

  test "the application" do
    assert Application.spec(:foundation, :mod) == {Foundation.Application, []}
    assert [:logger, :crypto] -- Application.spec(:foundation, :applications) == []
  end

  test "the children of 1.x come first, in its order" do
    restart(test_mode: false)

    assert Enum.take(ids(), 7) == [
             Registry,
             Foundation.Services.ConfigServer,
             Foundation.Services.EventStore,
             Foundation.Services.TelemetryService,
             Foundation.Infrastructure.ConnectionManager,
             Foundation.Infrastructure.RateLimiter.HammerBackend,
             Foundation.TaskSupervisor
           ]

    refute TestSupervisor in ids()
    refute Foundation.TidewaveEndpoint in ids()
  end

  test "in test mode the test supervisor follows them" do
    restart(test_mode: true)
    assert Enum.at(ids(), 7) == TestSupervisor
    assert is_pid(Process.whereis(TestSupervisor))
  end

  test "services have their names in the registry and nowhere else" do
    for {service, module} <- @services do
      assert Process.whereis(module) == nil
      assert {:ok, pid} = ProcessRegistry.lookup(:production, service)
      assert {module, pid, :worker, [module]} in children()
      assert GenServer.whereis(ProcessRegistry.via_tuple(:production, service)) == pid
    end

    assert Enum.sort(ProcessRegistry.list_services(:production)) == Enum.sort(Keyword.keys(@services))
  end

  test "the other processes have local names" do
    for name <- [
          Foundation.Supervisor,
          Foundation.ProcessRegistry,
          Foundation.Infrastructure.ConnectionManager,
          Foundation.Infrastructure.RateLimiter.HammerBackend,
          Foundation.TaskSupervisor
        ],
        do: assert(is_pid(Process.whereis(name)), "#{inspect(name)} is not registered")
  end

  test "one child at a time is started again" do
    {_, before, _, _} = List.keyfind(children(), Foundation.Services.ConfigServer, 0)
    others = Enum.reject(children(), &(elem(&1, 0) == Foundation.Services.ConfigServer))
    monitor = Process.monitor(before)
    Process.exit(before, :kill)
    assert_receive {:DOWN, ^monitor, :process, _, _}
    assert {:ok, later} = Foundation.ServiceRegistry.wait_for_service(:production, :config_server)
    assert later != before
    assert others -- children() == []
  end

  test "sections of the environment are merged over the defaults" do
    restart(ai: [provider: :openai, planning: [sampling_rate: 0.5]], interface: [max_results: 7])
    assert Foundation.Config.get([:ai, :provider]) == {:ok, :openai}
    assert Foundation.Config.get([:ai, :planning, :sampling_rate]) == {:ok, 0.5}
    assert Foundation.Config.get([:ai, :planning, :default_strategy]) == {:ok, :balanced}
    assert Foundation.Config.get([:interface, :max_results]) == {:ok, 7}
  end

  test "start and stop are logged at info" do
    Logger.configure(level: :info)
    on_exit(fn -> Logger.configure(level: :warning) end)
    log = capture_log(fn -> restart([]) end)
    assert log =~ "Starting Foundation"
    assert log =~ "Foundation stopped"
    assert log =~ "[info]"
  end

  describe "the facade" do
    test "answers while running" do
      assert Foundation.initialize() == :ok
      assert Foundation.initialize(config: [dev: [debug_mode: true]]) == :ok
      assert Foundation.start_link() == {:ok, self()}
      assert Foundation.start_link([]) == {:ok, self()}
      assert Foundation.available?()
      assert Foundation.version() == to_string(Application.spec(:foundation, :vsn))
      assert {:ok, status} = Foundation.status()
      assert status |> Map.keys() |> Enum.sort() == [:config, :events, :telemetry]
      assert Enum.all?(Map.values(status), &(&1.status == :running))

      assert {:ok, health} = Foundation.health()

      assert health |> Map.keys() |> Enum.sort() == [
               :elixir_version,
               :foundation_available,
               :otp_release,
               :services,
               :status,
               :timestamp
             ]

      assert %{status: :healthy, foundation_available: true, timestamp: timestamp} = health
      assert health.services |> Map.keys() == Map.keys(status)
      assert abs(timestamp - System.monotonic_time(:millisecond)) < 5_000
      assert health.elixir_version == System.version()
      assert health.otp_release == System.otp_release()
    end

    test "is not available without one of the services" do
      :ok = Supervisor.terminate_child(Foundation.Supervisor, Foundation.Services.EventStore)
      refute Foundation.available?()
      assert {:error, %{error_type: :service_unavailable, code: 3000}} = Foundation.status()
      assert {:error, %{error_type: :service_unavailable, code: 3000}} = Foundation.health()
    end

    test "shuts down, answers then as 1.x did, and can be started again" do
      assert Foundation.shutdown() == :ok
      assert Process.whereis(Foundation.Supervisor) == nil
      assert Foundation.shutdown() == :ok
      assert_raise ArgumentError, fn -> Foundation.available?() end
      assert Foundation.version() =~ ~r/^\d+\.\d+\.\d+/
      assert Application.start(:foundation) == :ok
      assert Foundation.available?()
    end

    test "start_link/1 turns a failed start into an error" do
      Foundation.shutdown()
      assert {:error, %Foundation.Error{error_type: :internal_error}} = Foundation.start_link()
    end
  end

  describe "the test supervisor" do
    setup do
      restart(test_mode: true)
    end

    test "starts services that share nothing with production" do
      reference = make_ref()
      namespace = {:test, reference}
      assert {:ok, [_, _, _] = pids} = TestSupervisor.start_isolated_services(reference)
      assert TestSupervisor.wait_for_services_ready(reference) == :ok
      assert TestSupervisor.namespace_healthy?(reference)

      assert Enum.sort(ProcessRegistry.list_services(namespace)) == Enum.sort(Keyword.keys(@services))

      assert %{active_children: 3, test_namespaces: 1, total_test_services: 3} =
               TestSupervisor.get_test_namespaces_info()

      {:ok, config} = ProcessRegistry.lookup(namespace, :config_server)
      :ok = GenServer.call(config, {:update_config, [:dev, :debug_mode], true})
      assert GenServer.call(config, {:get_config_path, [:dev, :debug_mode]}) == {:ok, true}
      assert Foundation.Config.get([:dev, :debug_mode]) == {:ok, false}

      {:ok, store} = ProcessRegistry.lookup(namespace, :event_store)
      {:ok, before} = Foundation.Events.stats()
      {:ok, event} = Foundation.Events.new_event(:test, %{})
      {:ok, id} = GenServer.call(store, {:store_event, event})
      assert {:ok, %{event_id: ^id}} = GenServer.call(store, {:get_event, id})
      assert {:error, %{error_type: :not_found}} = Foundation.Events.get(id)
      {:ok, later} = Foundation.Events.stats()
      assert later.current_event_count == before.current_event_count

      {:ok, telemetry} = ProcessRegistry.lookup(namespace, :telemetry_service)
      GenServer.cast(telemetry, {:execute_event, [:isolated, :probe], %{counter: 1}, %{}})
      assert {:ok, %{isolated: %{probe: %{count: 1}}}} = GenServer.call(telemetry, :get_metrics)
      assert {:ok, metrics} = Foundation.Telemetry.get_metrics()
      refute Map.has_key?(metrics, :isolated)

      assert TestSupervisor.cleanup_namespace(reference) == :ok
      refute Enum.any?(pids, &Process.alive?/1)
      assert Foundation.available?()
      refute TestSupervisor.namespace_healthy?(reference)
      assert TestSupervisor.wait_for_services_ready(reference, 20) == {:error, :timeout}
    end
  end
end
