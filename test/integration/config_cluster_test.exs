defmodule Foundation.ConfigClusterTest do
  # The cluster's configuration, in a cluster of one: what is agreed on, what of it is in force, and who hears of it.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Config
  alias Foundation.ConfigSchemas.{Numbers, PaymentsConfig}
  alias Foundation.Distributed.{Consensus, State}
  alias Foundation.Services.{ConfigServer, EventStore}

  setup do
    for node <- Node.list(), do: Node.disconnect(node)
    clean()
    on_exit(&clean/0)
    # A group of its own, as what a group knows outlives its members' stop.
    group = :"config_#{System.unique_integer([:positive])}"
    {:ok, _} = Consensus.start_group(group)
    configure(group)
    {:ok, group: group}
  end

  defp configure(group, more \\ []),
    do: Application.put_env(:foundation, :shared_config, [group: group] ++ more)

  defp clean do
    Config.disable_cluster_wide_sync()
    _ = State.stop(:foundation_config)
    for group <- Consensus.groups(), do: Consensus.stop_group(group)
    Application.delete_env(:foundation, :shared_config)
    :ok = ConfigServer.reset_state()
  end

  defp sync!, do: :ok = Config.enable_cluster_wide_sync()

  describe "without sync" do
    test "what is set is agreed on and not in force here" do
      assert Config.set_cluster_wide([:interface, :max_results], 77) == {:ok, 1}
      assert Config.get_with_consensus([:interface, :max_results]) == {:ok, 77}
      assert Config.get_with_consensus([:interface], consistency: :local) == {:ok, %{max_results: 77}}
      assert Config.get([:interface, :max_results]) == {:ok, 1000}
      assert Config.cluster_version() == {:ok, 1}
      assert %{synced: false, version: nil, paths: [], writable: true} = Config.cluster_status()
      assert {:error, %{error_type: :config_path_not_found}} = Config.get_with_consensus([:dev, :debug_mode])
    end

    test "it is refused as update/2 refuses it, and nothing is agreed on then" do
      for {path, value, error} <- [
            {[:interface, :max_results], 0, :validation_failed},
            {[:interface, :max_results], fn -> 1 end, :security_violation},
            {[:ai, :provider], :openai, :config_update_forbidden},
            {[:__struct__], 1, :security_violation},
            {[:numbers, :a], 1, :config_update_forbidden}
          ] do
        assert {:error, %{error_type: ^error}} = Config.set_cluster_wide(path, value)
      end

      assert Config.cluster_version() == {:ok, 0}

      for path <- [:a, [:a | :b], %{}] do
        assert_raise ArgumentError, ~r/a path is a list/, fn -> Config.set_cluster_wide(path, 1) end
        assert_raise ArgumentError, ~r/a path is a list/, fn -> Config.get_with_consensus(path) end
      end

      assert {:error, _} = Config.validate_and_update([{[:a | :b], 1}], scope: :cluster)
      assert {:error, _} = Config.get_with_consensus(List.duplicate(:a, 10_000))
      assert {:error, :too_large} = too_large()
      assert_raise ArgumentError, ~r/consistency/, fn -> Config.set_cluster_wide([:a], 1, consistency: :x) end
      assert_raise ArgumentError, ~r/no option :nope/, fn -> Config.set_cluster_wide([:a], 1, nope: 1) end
    end

    # More than the group keeps of one value.
    defp too_large do
      :ok = Config.register_schema(PaymentsConfig)
      currencies = for n <- 1..4, do: String.duplicate("#{n}", 300_000)
      Config.set_cluster_wide([:payments, :currencies], currencies)
    end

    test "a change is checked together with all that is agreed on" do
      :ok = Config.register_schema(PaymentsConfig)
      assert {:error, error} = Config.set_cluster_wide([:payments, :provider], :stripe)
      assert [%{path: [:payments, :key], code: :required}] = error.context.violations

      changes = %{[:payments, :provider] => :stripe, [:payments, :key] => "sk_secret"}
      assert Config.validate_and_update(changes, scope: :cluster, author: "ann", note: "go") == {:ok, 1}
      # Here the provider is still none: what counts is what is agreed on.
      assert Config.set_cluster_wide([:payments, :key], "sk_other") == {:ok, 2}
      assert {:error, _} = Config.set_cluster_wide([:payments, :provider], :none)

      assert {:ok, [second, first]} = Config.history(scope: :cluster)
      assert %{version: 1, kind: :update, author: "ann", note: "go", node: node} = first
      assert node == node()
      assert abs(DateTime.diff(first.at, DateTime.utc_now())) < 60
      assert second.author == node()
      assert inspect([first, second]) =~ "REDACTED"
      refute inspect([first, second]) =~ "sk_"
      assert {:ok, [%{version: 2}]} = Config.history(scope: :cluster, since: 1)
      assert {:ok, []} = Config.history(scope: :cluster, path: [:dev])
    end

    test "rollback goes back for the cluster, and is itself a change" do
      for n <- 1..3, do: {:ok, ^n} = Config.set_cluster_wide([:interface, :max_results], n)
      assert Config.rollback(1, scope: :cluster, author: :bob) == {:ok, 4}
      assert Config.get_with_consensus([:interface, :max_results]) == {:ok, 1}
      assert {:ok, [%{kind: :rollback, note: 1, author: :bob} | _]} = Config.history(scope: :cluster)
      assert Config.rollback(0, scope: :cluster) == {:ok, 5}
      assert {:error, %{error_type: :config_path_not_found}} = Config.get_with_consensus([:interface])
      assert {:error, %{error_type: :config_version_not_found}} = Config.rollback(99, scope: :cluster)
      assert_raise ArgumentError, ~r/scope: :cluster/, fn -> Config.rollback(0, author: :x) end
      assert_raise ArgumentError, ~r/scope:/, fn -> Config.rollback(0, scope: :planet) end
    end

    test "of changes made at the same time none is lost" do
      :ok = Config.register_schema(Numbers)
      paths = [[:numbers, :a], [:numbers, :b], [:interface, :max_results], [:interface, :query_timeout]]

      versions =
        paths
        |> Task.async_stream(fn path -> for n <- 1..10, do: Config.set_cluster_wide(path, n) |> elem(1) end,
          timeout: 30_000
        )
        |> Enum.flat_map(fn {:ok, versions} -> versions end)

      assert Enum.sort(versions) == Enum.to_list(1..40)
      for path <- paths, do: assert(Config.get_with_consensus(path) == {:ok, 10})
    end
  end

  describe "with sync" do
    test "what is agreed on is what get/1 answers, with the messages and events of 1.x" do
      {:ok, 1} = Config.set_cluster_wide([:interface, :max_results], 77)
      sync!()
      assert Config.get([:interface, :max_results]) == {:ok, 77}
      :ok = Config.subscribe()
      {:ok, 2} = Config.set_cluster_wide([:dev, :debug_mode], true)
      assert Config.get([:dev, :debug_mode]) == {:ok, true}
      assert_receive {:config_notification, {:config_updated, [:dev, :debug_mode], true}}
      :ok = Config.unsubscribe()
      assert {:ok, [entry | _]} = Config.history()

      assert %{kind: :cluster, note: 2, changes: [%{path: [:dev, :debug_mode], old: false, new: true}]} =
               entry

      assert_eventually(Enum.any?(stored(), &(&1.data.path == [:dev, :debug_mode] and &1.data.new_value)))

      assert %{synced: true, version: 2, refused: refused, paths: [[:dev, :debug_mode], _]} =
               Config.cluster_status()

      assert refused == %{}
    end

    defp stored, do: EventStore.query(%{event_type: :config_updated}) |> elem(1)

    test "this node alone cannot change it, and its own value comes back" do
      sync!()
      :ok = Config.update([:interface, :max_results], 5)
      {:ok, 1} = Config.set_cluster_wide([:interface, :max_results], 77)

      assert {:error, %{error_type: :config_update_forbidden, context: context}} =
               Config.update([:interface, :max_results], 6)

      assert context.reason == :set_cluster_wide
      assert {:error, _} = Config.validate_and_update(%{[:interface, :max_results] => 6})
      assert Config.update([:interface, :query_timeout], 9) == :ok
      :ok = Config.reset()
      assert Config.get([:interface, :max_results]) == {:ok, 77}
      {:ok, _} = Config.rollback(0)
      assert Config.get([:interface, :max_results]) == {:ok, 77}

      :ok = Config.disable_cluster_wide_sync()
      # It was reset meanwhile.
      assert Config.get([:interface, :max_results]) == {:ok, 1000}
      assert Config.update([:interface, :max_results], 6) == :ok
    end

    test "a rollback of the cluster gives the node's own value back" do
      sync!()
      :ok = Config.update([:interface, :max_results], 5)
      {:ok, 1} = Config.set_cluster_wide([:interface, :max_results], 77)
      assert Config.get([:interface, :max_results]) == {:ok, 77}
      {:ok, 2} = Config.rollback(0, scope: :cluster)
      assert Config.get([:interface, :max_results]) == {:ok, 5}
    end

    test "a section that is registered later has what is agreed on" do
      sync!()
      :ok = Config.register_schema(Numbers)
      {:ok, 1} = Config.set_cluster_wide([:numbers, :a], 5)
      :ok = ConfigServer.reset_state()
      # As on a node that does not know the schema yet.
      assert_eventually(Map.keys(Config.cluster_status().refused) == [[:numbers, :a]], 5_000)
      assert {:error, _} = Config.get([:numbers, :a])
      :ok = Config.register_schema(Numbers)
      assert Config.get([:numbers, :a]) == {:ok, 5}
      assert Config.cluster_status().refused == %{}
    end

    test "it outlives the configuration server, the process that syncs, and the group's" do
      sync!()
      {:ok, 1} = Config.set_cluster_wide([:interface, :max_results], 77)
      {:ok, server} = Foundation.ProcessRegistry.lookup(:production, :config_server)
      Process.exit(server, :kill)
      assert_eventually(Config.get([:interface, :max_results]) == {:ok, 77}, 5_000)

      sync = Process.whereis(Foundation.Config.Shared.Sync)
      Process.exit(sync, :kill)
      assert_eventually(Process.whereis(Foundation.Config.Shared.Sync) not in [nil, sync], 5_000)
      {:ok, 2} = Config.set_cluster_wide([:interface, :max_results], 78)
      assert_eventually(Config.get([:interface, :max_results]) == {:ok, 78}, 5_000)
    end

    test "configured, it is there when the application starts", %{group: group} do
      configure(group, sync: true, timeout: 10_000)
      {:ok, 1} = Config.set_cluster_wide([:interface, :max_results], 77)
      assert Foundation.Config.Shared.at_start() == :ok
      assert Config.get([:interface, :max_results]) == {:ok, 77}

      for wrong <- [[sync: :yes], [nope: 1], [timeout: 0], [available: [:a]], :x] do
        Application.put_env(:foundation, :shared_config, wrong)

        assert_raise ArgumentError, ~r/shared_config/, fn ->
          Config.set_cluster_wide([:dev, :debug_mode], true)
        end
      end
    end
  end

  describe "available paths" do
    test "are set without asking, in force at once, and give way to what is agreed on", %{group: group} do
      sync!()
      configure(group, available: [[:interface]])
      assert Config.set_cluster_wide([:interface, :max_results], 5) == :ok
      assert Config.get([:interface, :max_results]) == {:ok, 5}
      assert Config.cluster_version() == {:ok, 0}
      assert Config.get_with_consensus([:interface, :max_results]) == {:error, {:consistency, :available}}
      assert {:error, %{}} = Config.set_cluster_wide([:interface, :max_results], 0)

      assert Config.set_cluster_wide([:interface, :max_results], 6, consistency: :strong) == {:ok, 1}
      assert Config.get([:interface, :max_results]) == {:ok, 6}
      assert Config.set_cluster_wide([:interface, :max_results], 7) == {:error, {:consistency, :strong}}
      assert Config.set_cluster_wide([:dev, :debug_mode], true, consistency: :available) == :ok
      assert Config.get([:dev, :debug_mode]) == {:ok, true}
      assert Config.config_conflicts() == []
      assert Config.resolve_config_conflicts(:timestamp_wins) == {:ok, []}
      assert_raise ArgumentError, fn -> Config.resolve_config_conflicts(:coin) end
    end
  end

  test "where the group is not configured, nothing is set" do
    Application.put_env(:foundation, :shared_config, group: :no_such_group)
    assert Config.set_cluster_wide([:dev, :debug_mode], true) == {:error, :no_group}
    assert Config.get_with_consensus([:dev, :debug_mode]) == {:error, :no_group}
    Application.put_env(:foundation, :shared_config, group: :no_such_group, timeout: 100)
    assert Config.enable_cluster_wide_sync() == {:error, :no_group}
  end
end
