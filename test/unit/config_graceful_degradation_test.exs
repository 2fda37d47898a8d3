defmodule Foundation.ConfigGracefulDegradationTest do
  use ExUnit.Case, async: false

  alias Foundation.Config
  alias Foundation.Config.GracefulDegradation, as: Degraded
  alias Foundation.Services.ConfigServer
  alias Foundation.Types.Error

  @table :config_fallback_cache

  setup do
    :ok = ConfigServer.reset_state()
    Degraded.cleanup_fallback_system()
    on_exit(fn -> ConfigServer.reset_state() end)
  end

  defp without_service(fun), do: Foundation.ServiceDown.without(ConfigServer, fun)

  test "the table is made and deleted, again and again" do
    assert Degraded.get_cache_stats() == %{error: :table_not_found}
    assert Degraded.initialize_fallback_system() == :ok
    assert Degraded.initialize_fallback_system() == :ok
    assert :ets.info(@table, :owner) == self()

    assert %{total_entries: 0, memory_words: words, config_cache_entries: 0, pending_update_entries: 0} =
             Degraded.get_cache_stats()

    assert is_integer(words)
    assert Degraded.cleanup_fallback_system() == :ok
    assert Degraded.cleanup_fallback_system() == :ok
  end

  test "what was read answers while the service is down" do
    :ok = Degraded.initialize_fallback_system()
    assert Degraded.get_with_fallback([:ai, :provider]) == {:ok, :mock}
    assert [{{:config_cache, [:ai, :provider]}, :mock, at}] = :ets.tab2list(@table)
    assert_in_delta at, System.system_time(:second), 5

    without_service(fn ->
      assert Degraded.get_with_fallback([:ai, :provider]) == {:ok, :mock}

      assert {:error, %Error{error_type: :config_unavailable, severity: :medium}} =
               Degraded.get_with_fallback([:ai, :model])

      :ets.insert(@table, {{:config_cache, [:ai, :provider]}, :mock, System.system_time(:second) - 301})
      assert {:error, %Error{error_type: :config_unavailable}} = Degraded.get_with_fallback([:ai, :provider])
    end)
  end

  test "updates that fail are kept and tried again" do
    :ok = Degraded.initialize_fallback_system()

    without_service(fn ->
      assert {:error, %Error{error_type: :service_unavailable}} =
               Degraded.update_with_fallback([:dev, :debug_mode], true)

      assert Degraded.retry_pending_updates() == :ok
      assert %{pending_update_entries: 1} = Degraded.get_cache_stats()
    end)

    assert [{{:pending_update, [:dev, :debug_mode]}, true, _}] = :ets.tab2list(@table)
    assert Degraded.retry_pending_updates() == :ok
    assert %{pending_update_entries: 0} = Degraded.get_cache_stats()
    assert Config.get([:dev, :debug_mode]) == {:ok, true}
  end

  test "an update that succeeds is pending no longer" do
    :ok = Degraded.initialize_fallback_system()
    :ets.insert(@table, {{:pending_update, [:dev, :debug_mode]}, 5, 0})
    assert Degraded.update_with_fallback([:dev, :debug_mode], true) == :ok
    assert :ets.tab2list(@table) == []
  end

  test "old entries are cleaned up" do
    :ok = Degraded.initialize_fallback_system()
    {:ok, _} = Degraded.get_with_fallback([:ai, :provider])
    :ets.insert(@table, {{:config_cache, [:old]}, 1, System.system_time(:second) - 301})
    assert Degraded.cleanup_expired_cache() == :ok
    assert %{total_entries: 1, config_cache_entries: 1} = Degraded.get_cache_stats()
  end
end
