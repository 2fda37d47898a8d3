defmodule Foundation.ConfigContractTest do
  # The 1.x contract of Foundation.Config, its server and its logic, table by table.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Config
  alias Foundation.Logic.ConfigLogic
  alias Foundation.Services.ConfigServer
  alias Foundation.Types.Config, as: ConfigType
  alias Foundation.Types.Error

  setup do
    :ok = ConfigServer.reset_state()
    on_exit(fn -> ConfigServer.reset_state() end)
  end

  defp error({:error, %Error{} = error}), do: error

  @updatable [
    [:ai, :planning, :sampling_rate],
    [:ai, :planning, :performance_target],
    [:capture, :processing, :batch_size],
    [:capture, :processing, :flush_interval],
    [:interface, :query_timeout],
    [:interface, :max_results],
    [:dev, :debug_mode],
    [:dev, :verbose_logging],
    [:dev, :performance_monitoring],
    [:infrastructure, :rate_limiting, :enabled],
    [:infrastructure, :circuit_breaker, :enabled],
    [:infrastructure, :connection_pool, :enabled],
    [:infrastructure, :rate_limiting, :cleanup_interval]
  ]

  describe "defaults" do
    test "are those of the contract" do
      config = ConfigType.new()

      assert config.ai == %{
               provider: :mock,
               api_key: nil,
               model: "gpt-4",
               analysis: %{max_file_size: 1_000_000, timeout: 30_000, cache_ttl: 3600},
               planning: %{default_strategy: :balanced, performance_target: 0.01, sampling_rate: 1.0}
             }

      assert config.capture == %{
               ring_buffer: %{
                 size: 1024,
                 max_events: 1000,
                 overflow_strategy: :drop_oldest,
                 num_buffers: :schedulers
               },
               processing: %{batch_size: 100, flush_interval: 50, max_queue_size: 1000},
               vm_tracing: %{
                 enable_spawn_trace: true,
                 enable_exit_trace: true,
                 enable_message_trace: false,
                 trace_children: true
               }
             }

      assert config.storage == %{
               hot: %{max_events: 100_000, max_age_seconds: 3600, prune_interval: 60_000},
               warm: %{enable: false, path: "./foundation_data", max_size_mb: 100, compression: :zstd},
               cold: %{enable: false}
             }

      assert config.interface == %{query_timeout: 10_000, max_results: 1000, enable_streaming: true}
      assert config.dev == %{debug_mode: false, verbose_logging: false, performance_monitoring: true}

      assert config.infrastructure == %{
               rate_limiting: %{
                 default_rules: %{
                   api_calls: %{scale: 60_000, limit: 100},
                   db_queries: %{scale: 60_000, limit: 500},
                   file_operations: %{scale: 1_000, limit: 10}
                 },
                 enabled: true,
                 cleanup_interval: 300_000
               },
               circuit_breaker: %{
                 default_config: %{failure_threshold: 5, recovery_time: 30_000, call_timeout: 5_000},
                 enabled: true
               },
               connection_pool: %{
                 default_config: %{size: 10, max_overflow: 5, strategy: :lifo},
                 enabled: true
               }
             }
    end

    test "are valid" do
      assert Config.validate(ConfigType.new()) == :ok
    end
  end

  describe "get" do
    test "gives the whole, for no path and for the empty one" do
      assert {:ok, %ConfigType{} = config} = Config.get()
      assert Config.get([]) == {:ok, config}
      assert ConfigServer.get() == {:ok, config}
    end

    test "gives sections and values, nil included" do
      assert Config.get([:ai, :provider]) == {:ok, :mock}
      assert Config.get([:ai, :api_key]) == {:ok, nil}
      assert {:ok, %{debug_mode: false}} = Config.get([:dev])
    end

    test "of a missing path is config_path_not_found" do
      for path <- [[:no], [:ai, :no], [:ai, :provider, :deeper], ["ai"]] do
        error = error(Config.get(path))
        assert error.error_type == :config_path_not_found
        assert error.code == nil
        assert error.severity == :medium
        assert error.category == :config
        assert error.subcategory == :access
        assert error.context == %{path: path}
        assert error.message == "Configuration path not found: #{inspect(path)}"
      end
    end

    test "of an unsafe path is security_violation 1000" do
      for path <- [
            List.duplicate(:a, 51),
            [:__struct__],
            [:ai, :__info__],
            [System],
            [File.Stat],
            [Code],
            [Process],
            [Node],
            [Kernel],
            [1],
            [:ai, {1, 2}],
            ["../up"],
            ["ETC/passwd"],
            ["x; drop table users"],
            ["<SCRIPT>"],
            ["eval_string"],
            [:ai | :provider]
          ] do
        error = error(Config.get(path))
        assert {error.error_type, error.code, error.severity} == {:security_violation, 1000, :high}
        assert error.context == %{path: path, reason: :malicious_path}
      end
    end

    test "of 50 parts is merely not found" do
      assert error(Config.get(List.duplicate(:a, 50))).error_type == :config_path_not_found
    end

    test "of what is no list has no clause" do
      assert_raise FunctionClauseError, fn -> apply(Config, :get, [:ai]) end
    end

    test "get_with_default" do
      assert Config.get_with_default([:ai, :provider], :x) == :mock
      assert Config.get_with_default([:ai, :api_key], :x) == nil
      assert Config.get_with_default([:ai, :no], :x) == :x
      assert Config.get_with_default([1], :x) == :x
    end
  end

  describe "update" do
    test "works on the 13 updatable paths, in their order" do
      assert Config.updatable_paths() == @updatable
      assert ConfigServer.updatable_paths() == @updatable
      assert ConfigLogic.updatable_paths() == @updatable

      for path <- @updatable do
        {:ok, old} = Config.get(path)

        new =
          cond do
            is_boolean(old) -> not old
            is_float(old) -> old / 2
            true -> old + 1
          end

        assert Config.update(path, new) == :ok
        assert Config.get(path) == {:ok, new}
      end

      assert {:ok, %{updates_count: 13, last_update: at}} = Config.status()
      assert is_integer(at)
    end

    test "of any other path is config_update_forbidden" do
      error = error(Config.update([:ai, :provider], :openai))
      assert {error.error_type, error.code, error.severity} == {:config_update_forbidden, nil, :medium}
      assert error.context == %{path: [:ai, :provider], allowed_paths: @updatable}
      assert Config.get([:ai, :provider]) == {:ok, :mock}
    end

    test "looks at the path first, then the value, then whether it is updatable" do
      dangerous = fn -> :ok end
      assert error(Config.update([:__struct__], dangerous)).code == 1000
      assert error(Config.update([:ai, :provider], dangerous)).code == 1005
      assert error(Config.update([:ai, :provider], 1)).error_type == :config_update_forbidden
    end

    test "of a dangerous value is security_violation 1005" do
      deep = Enum.reduce(1..21, 1, fn _, inner -> [inner] end)

      for {value, type} <- [
            {fn -> 1 end, :function},
            {String.duplicate("x", 1_000_001), :binary},
            {%{__struct__: System}, :struct},
            {%{__struct__: Process}, :struct},
            {deep, :list},
            {%{a: [1, %{b: &is_atom/1}]}, :map},
            {%{fn -> 1 end => 1}, :map}
          ] do
        error = error(Config.update([:dev, :debug_mode], value))
        assert {error.error_type, error.code, error.severity} == {:security_violation, 1005, :high}
        assert error.context == %{value_type: type, reason: :dangerous_value}
      end
    end

    test "lets 20 levels pass to the validator" do
      deep = Enum.reduce(1..20, 1, fn _, inner -> [inner] end)
      assert error(Config.update([:dev, :debug_mode], deep)).code == 1001
    end

    test "checks the outcome" do
      assert error(Config.update([:ai, :planning, :sampling_rate], 1.1)).code == 1004
      assert error(Config.update([:ai, :planning, :performance_target], -1)).code == 1003
      assert error(Config.update([:capture, :processing, :batch_size], 0)).code == 1001
      assert Config.get([:capture, :processing, :batch_size]) == {:ok, 100}
    end

    test "of what is no list has no clause" do
      assert_raise FunctionClauseError, fn -> apply(Config, :update, [:dev, true]) end
    end
  end

  describe "safe_update" do
    test "turns away what is no path and what is secret, with a Foundation.Error" do
      assert {:error, %Foundation.Error{error_type: :invalid_path, code: 9999}} = Config.safe_update(:dev, 1)

      for path <- [[:ai, :api_key], [:storage, :encryption_key], [:security], [:system, :node_name]] do
        assert {:error, %Foundation.Error{error_type: :config_update_forbidden, code: 1401}} =
                 Config.safe_update(path, 1)
      end
    end

    test "else updates" do
      assert Config.safe_update([:dev, :debug_mode], true) == :ok
      assert error(Config.safe_update([:ai, :provider], :openai)).error_type == :config_update_forbidden
    end
  end

  describe "subscribers" do
    test "hear of updates and resets, once" do
      assert Config.subscribe() == :ok
      assert Config.subscribe() == :ok
      assert {:ok, %{subscribers_count: 1}} = Config.status()

      :ok = Config.update([:dev, :debug_mode], true)
      assert_receive {:config_notification, {:config_updated, [:dev, :debug_mode], true}}
      :ok = Config.reset()
      assert_receive {:config_notification, {:config_reset, %ConfigType{}}}
      refute_received {:config_notification, _}

      assert Config.unsubscribe() == :ok
      assert Config.unsubscribe() == :ok
      :ok = Config.update([:dev, :debug_mode], true)
      assert {:ok, %{subscribers_count: 0}} = Config.status()
      refute_received {:config_notification, _}
    end

    test "read what they are told of" do
      :ok = Config.subscribe()
      test = self()

      spawn_link(fn ->
        :ok = Config.update([:interface, :max_results], 7)
        send(test, :updated)
      end)

      assert_receive {:config_notification, {:config_updated, path, 7}}
      assert Config.get(path) == {:ok, 7}
      assert_receive :updated
    end

    test "are forgotten when they die" do
      {pid, ref} = spawn_monitor(fn -> :ok = Config.subscribe() end)
      assert_receive {:DOWN, ^ref, :process, ^pid, :normal}

      assert_eventually(match?({:ok, %{subscribers_count: 0}}, Config.status()))
    end

    test "a refused update tells nobody" do
      :ok = Config.subscribe()
      {:error, _} = Config.update([:dev, :debug_mode], 3)
      {:ok, _} = Config.status()
      refute_received {:config_notification, _}
    end
  end

  describe "events and counters" do
    setup do
      :ok = Foundation.Services.EventStore.reset_state()
      :ok = Foundation.Services.TelemetryService.reset_metrics()
    end

    test "an update stores an event and counts" do
      :ok = Config.update([:dev, :debug_mode], true)
      assert {:ok, [event]} = Foundation.Events.query(%{event_type: :config_updated})

      assert %{path: [:dev, :debug_mode], new_value: true, previous_value: {:ok, false}, timestamp: at} =
               event.data

      assert is_integer(at)
      {:ok, metrics} = Foundation.Telemetry.get_metrics()
      assert get_in(metrics, [:foundation, :config_updates]) == 1
    end

    test "a reset does" do
      :ok = Config.update([:dev, :debug_mode], true)
      :ok = Config.reset()
      assert {:ok, [event]} = Foundation.Events.query(%{event_type: :config_reset})
      assert %{timestamp: at, reset_from_updates_count: 1} = event.data
      assert is_integer(at)
      {:ok, metrics} = Foundation.Telemetry.get_metrics()
      assert get_in(metrics, [:foundation, :config_resets]) == 1
    end

    test "a refused update does neither" do
      {:error, _} = Config.update([:dev, :debug_mode], 1)
      assert Foundation.Events.query(%{event_type: :config_updated}) == {:ok, []}
    end

    test "secrets are not in the event" do
      :ok = Config.register_schema(Foundation.ConfigSchemas.PaymentsConfig)

      {:ok, _} =
        Config.validate_and_update([{[:payments, :provider], :stripe}, {[:payments, :key], "sk_very_secret"}])

      {:ok, events} = Foundation.Events.query(%{event_type: :config_updated})
      assert length(events) == 3
      refute inspect(events, limit: :infinity) =~ "very_secret"
    end
  end

  describe "service" do
    test "status has five keys" do
      assert {:ok, status} = Config.status()

      assert status |> Map.keys() |> Enum.sort() ==
               [:last_update, :status, :subscribers_count, :updates_count, :uptime_ms]

      assert %{status: :running, updates_count: 0, last_update: nil} = status
      assert is_integer(status.uptime_ms) and status.uptime_ms >= 0
    end

    test "initialize is :ok when it runs" do
      assert Config.initialize() == :ok
      assert Config.initialize(cache_size: 1) == :ok
      assert_raise FunctionClauseError, fn -> apply(Config, :initialize, [%{}]) end
      assert Config.available?()
    end

    test "reset goes back to the compiled defaults and keeps the count" do
      Application.put_env(:foundation, :dev, debug_mode: true)
      on_exit(fn -> Application.delete_env(:foundation, :dev) end)
      :ok = ConfigServer.reset_state()
      assert Config.get([:dev, :debug_mode]) == {:ok, true}
      :ok = Config.update([:interface, :max_results], 5)
      assert Config.reset() == :ok
      assert Config.get() == {:ok, ConfigType.new()}
      assert {:ok, %{updates_count: 1}} = Config.status()
    end

    test "reset_state needs the test mode" do
      Application.put_env(:foundation, :test_mode, false)
      on_exit(fn -> Application.put_env(:foundation, :test_mode, true) end)
      error = error(ConfigServer.reset_state())
      Application.put_env(:foundation, :test_mode, true)

      assert {error.error_type, error.code, error.severity, error.category, error.subcategory} ==
               {:operation_forbidden, 5002, :high, :security, :authorization}
    end

    test "reset_state drops subscribers and counts" do
      :ok = Config.subscribe()
      :ok = Config.update([:dev, :debug_mode], true)
      :ok = ConfigServer.reset_state()
      assert {:ok, %{subscribers_count: 0, updates_count: 0}} = Config.status()
      assert Config.get([:dev, :debug_mode]) == {:ok, false}
    end

    test "that is down answers service_unavailable 5000, and can be started and stopped" do
      pid = server()

      Foundation.ServiceDown.without(ConfigServer, fn ->
        refute Process.alive?(pid)

        for result <- [
              Config.get(),
              Config.get([:ai, :provider]),
              Config.update([:dev, :debug_mode], true),
              Config.reset(),
              Config.status(),
              Config.subscribe(),
              Config.history(),
              Config.version(),
              Config.rollback(0),
              Config.validate_and_update([]),
              ConfigServer.reset_state()
            ] do
          error = error(result)

          assert {error.error_type, error.code, error.severity, error.category, error.subcategory} ==
                   {:service_unavailable, 5000, :high, :system, :initialization}

          assert error.message == "Configuration service not started"
        end

        assert Config.get_with_default([:ai, :provider], :none) == :none
        refute Config.available?()
        assert Config.unsubscribe() == :ok
        assert ConfigServer.stop() == :ok

        assert Config.initialize(cache_size: 1000) == :ok
        assert Config.available?()
        assert Config.get([:cache_size]) == {:ok, 1000}
        assert ConfigServer.stop() == :ok
        refute Config.available?()

        Process.flag(:trap_exit, true)
        assert {:error, %Error{code: 5000, message: message}} = Config.initialize(dev: %{})
        assert message =~ "Failed to start ConfigServer"
      end)

      assert Config.get([:ai, :provider]) == {:ok, :mock}
    end

    test "unknown requests answer unauthorized_access, unknown messages are ignored" do
      assert GenServer.call(server(), :what) == {:error, :unauthorized_access}
      assert GenServer.call(server(), {:update_config, :no_list, 1}) == {:error, :unauthorized_access}
      send(server(), :what)
      assert {:ok, _} = Config.status()
    end
  end

  describe "test namespaces" do
    setup do
      namespace = {:test, make_ref()}
      {:ok, pid: start_supervised!({ConfigServer, namespace: namespace}), namespace: namespace}
    end

    test "are isolated and answer the call tuples", %{pid: pid, namespace: namespace} do
      assert Foundation.ProcessRegistry.lookup(namespace, :config_server) == {:ok, pid}
      assert {:ok, %ConfigType{} = config} = GenServer.call(pid, :get_config)
      assert Map.keys(config) == Map.keys(ConfigType.new())
      assert GenServer.call(pid, {:get_config_path, [:ai, :provider]}) == {:ok, :mock}
      assert GenServer.call(pid, {:subscribe, self()}) == :ok
      assert GenServer.call(pid, {:update_config, [:dev, :debug_mode], true}) == :ok
      assert_receive {:config_notification, {:config_updated, [:dev, :debug_mode], true}}
      assert Config.get([:dev, :debug_mode]) == {:ok, false}
      assert GenServer.call(pid, {:unsubscribe, self()}) == :ok
      assert {:ok, %{updates_count: 1, subscribers_count: 0}} = GenServer.call(pid, :get_status)
      assert GenServer.call(pid, :reset_config) == :ok
      assert GenServer.call(pid, {:get_config_path, [:dev, :debug_mode]}) == {:ok, false}
      assert GenServer.call(pid, :reset_state) == :ok
      assert {:ok, %{updates_count: 0}} = GenServer.call(pid, :get_status)
      assert GenServer.call(pid, :nonsense) == {:error, :unauthorized_access}
    end

    test "a second server of the same namespace is refused", %{pid: pid, namespace: namespace} do
      assert {:error, {:already_started, ^pid}} = ConfigServer.start_link(namespace: namespace)
    end

    test "a configuration that is not valid stops the start" do
      Process.flag(:trap_exit, true)

      assert {:error, {:config_validation_failed, %Error{code: 1001}}} =
               ConfigServer.start_link(namespace: {:test, make_ref()}, dev: %{debug_mode: 1})
    end
  end

  describe "ConfigLogic" do
    test "get_config_value" do
      config = ConfigType.new()
      assert ConfigLogic.get_config_value(config, [:ai, :model]) == {:ok, "gpt-4"}
      assert ConfigLogic.get_config_value(config, []) == {:ok, config}
      assert error(ConfigLogic.get_config_value(config, :ai)).error_type == :invalid_path
      assert error(ConfigLogic.get_config_value(config, [:ai, :x])).error_type == :config_path_not_found
    end

    test "update_config" do
      config = ConfigType.new()

      assert {:ok, %{dev: %{debug_mode: true}}} = ConfigLogic.update_config(config, [:dev, :debug_mode], true)

      assert error(ConfigLogic.update_config(config, [:dev], %{})).error_type == :config_update_forbidden
    end

    test "merge_env_config takes known sections only, keyword lists as maps, deep" do
      merged =
        ConfigLogic.merge_env_config(ConfigType.new(),
          ai: [provider: :openai, planning: [sampling_rate: 0.5]],
          dev: %{debug_mode: true},
          unknown: [a: 1]
        )

      assert merged.ai.provider == :openai
      assert merged.ai.planning.sampling_rate == 0.5
      assert merged.ai.planning.default_strategy == :balanced
      assert merged.ai.model == "gpt-4"
      assert merged.dev.debug_mode
      refute Map.has_key?(merged, :unknown)
    end

    test "merge_opts_config replaces, and may add" do
      merged = ConfigLogic.merge_opts_config(ConfigType.new(), dev: %{debug_mode: true}, extra: 1)
      assert merged.dev == %{debug_mode: true}
      assert Map.fetch!(merged, :extra) == 1
    end

    test "build_config validates" do
      assert {:ok, %ConfigType{}} = ConfigLogic.build_config()
      assert error(ConfigLogic.build_config(interface: %{})).code == 1001
    end

    test "reset_config and diff_configs" do
      assert ConfigLogic.reset_config() == ConfigType.new()
      old = ConfigType.new()
      assert ConfigLogic.diff_configs(old, old) == %{}
      new = old |> put_in([:ai, :model], "x") |> put_in([:dev, :debug_mode], true)

      assert ConfigLogic.diff_configs(old, new) == %{
               ai: %{model: %{old: "gpt-4", new: "x", path: [:ai, :model]}},
               dev: %{debug_mode: %{old: false, new: true, path: [:dev, :debug_mode]}}
             }
    end
  end

  describe "Types.Config" do
    test "new/1 merges maps deep" do
      config = ConfigType.new(ai: %{planning: %{sampling_rate: 0.1}}, dev: %{debug_mode: true})

      assert config.ai.planning == %{
               default_strategy: :balanced,
               performance_target: 0.01,
               sampling_rate: 0.1
             }

      assert config.dev.debug_mode
    end

    test "is an Access container" do
      config = ConfigType.new()
      assert config[:ai][:provider] == :mock
      assert config[:no] == nil
      assert put_in(config, [:ai, :model], "m").ai.model == "m"
      assert {%{provider: :mock}, %ConfigType{}} = pop_in(config, [:ai])
      assert {"gpt-4", %ConfigType{} = without} = pop_in(config, [:ai, :model])
      refute Map.has_key?(without.ai, :model)
    end
  end

  defp server do
    {:ok, pid} = Foundation.ProcessRegistry.lookup(:production, :config_server)
    pid
  end
end
