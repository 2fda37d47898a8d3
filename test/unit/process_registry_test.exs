defmodule Foundation.ProcessRegistryTest do
  # Not async: the backup table belongs to whichever process first needs it, and goes with it.
  use ExUnit.Case, async: false
  doctest Foundation.ProcessRegistry

  alias Foundation.ProcessRegistry

  setup do
    reference = make_ref()
    on_exit(fn -> ProcessRegistry.cleanup_test_namespace(reference) end)
    %{namespace: {:test, reference}, reference: reference}
  end

  defp sleeper, do: spawn(fn -> Process.sleep(:infinity) end)

  defp dead do
    {pid, monitor} = spawn_monitor(fn -> :ok end)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _}
    pid
  end

  defp via(namespace, service) do
    {:ok, pid} = Agent.start_link(fn -> nil end, name: ProcessRegistry.via_tuple(namespace, service))
    pid
  end

  test "the child spec is the 1.x one" do
    assert %{
             id: Registry,
             start: {Registry, :start_link, [[keys: :unique, name: ProcessRegistry, partitions: n]]},
             type: :supervisor,
             restart: :permanent,
             shutdown: :infinity
           } = ProcessRegistry.child_spec([])

    assert n == System.schedulers_online()
  end

  describe "register/3" do
    test "registers any process, the same one again too", %{namespace: namespace} do
      pid = sleeper()
      assert ProcessRegistry.register(namespace, :event_store, pid) == :ok
      assert ProcessRegistry.register(namespace, :event_store, pid) == :ok
      assert ProcessRegistry.lookup(namespace, :event_store) == {:ok, pid}
    end

    test "names the live owner, replaces a dead one", %{namespace: namespace} do
      owner = sleeper()
      assert ProcessRegistry.register(namespace, :config_server, owner) == :ok

      assert ProcessRegistry.register(namespace, :config_server, self()) ==
               {:error, {:already_registered, owner}}

      assert ProcessRegistry.register(namespace, :event_store, dead()) == :ok
      assert ProcessRegistry.register(namespace, :event_store, owner) == :ok
      assert ProcessRegistry.lookup(namespace, :event_store) == {:ok, owner}
    end

    test "does not see a name held through via_tuple/2, which stays in front", %{namespace: namespace} do
      pid = via(namespace, :telemetry_service)
      assert ProcessRegistry.register(namespace, :telemetry_service, self()) == :ok
      assert ProcessRegistry.lookup(namespace, :telemetry_service) == {:ok, pid}
    end

    test "takes nothing but a pid", %{namespace: namespace} do
      assert_raise FunctionClauseError, fn ->
        ProcessRegistry.register(namespace, :config_server, Process.get(:no_such_key, :not_a_pid))
      end
    end

    test "exactly one of many callers wins, also over a dead owner", %{namespace: namespace} do
      dead = dead()
      names = Enum.to_list(1..20_000)
      for name <- names, do: :ok = ProcessRegistry.register(namespace, name, dead)

      # All walk over the same names at the same time, and so meet again and again.
      results =
        for pid <- [sleeper(), sleeper(), sleeper()] do
          Task.async(fn -> for name <- names, do: ProcessRegistry.register(namespace, name, pid) end)
        end
        |> Task.await_many(30_000)
        |> Enum.zip_with(& &1)

      for {of_name, name} <- Enum.zip(results, names) do
        assert Enum.count(of_name, &(&1 == :ok)) == 1
        {:ok, winner} = ProcessRegistry.lookup(namespace, name)
        for {:error, {:already_registered, owner}} <- of_name, do: assert(owner == winner)
      end
    end
  end

  test "a dead process is not found and its row goes", %{namespace: namespace} do
    ProcessRegistry.register(namespace, :event_store, dead())
    assert :ets.lookup(:process_registry_backup, {namespace, :event_store}) != []
    assert ProcessRegistry.lookup(namespace, :event_store) == :error
    assert :ets.lookup(:process_registry_backup, {namespace, :event_store}) == []
  end

  test "unregister/2 is always :ok and frees the caller's own name in both tables", %{namespace: namespace} do
    assert ProcessRegistry.unregister(namespace, :event_store) == :ok

    {:ok, _} = Registry.register(ProcessRegistry, {namespace, :event_store}, nil)
    ProcessRegistry.register(namespace, :config_server, self())
    assert ProcessRegistry.count_services(namespace) == 2

    assert ProcessRegistry.unregister(namespace, :event_store) == :ok
    assert ProcessRegistry.unregister(namespace, :config_server) == :ok
    assert ProcessRegistry.count_services(namespace) == 0

    other = via(namespace, :telemetry_service)
    assert ProcessRegistry.unregister(namespace, :telemetry_service) == :ok
    assert ProcessRegistry.lookup(namespace, :telemetry_service) == {:ok, other}
  end

  test "lists only live services of the namespace, from both tables", %{namespace: namespace} do
    a = via(namespace, :config_server)
    b = sleeper()
    ProcessRegistry.register(namespace, :event_store, b)
    ProcessRegistry.register(namespace, :telemetry_service, dead())

    assert Enum.sort(ProcessRegistry.list_services(namespace)) == [:config_server, :event_store]
    assert ProcessRegistry.get_all_services(namespace) == %{config_server: a, event_store: b}
    assert ProcessRegistry.count_services(namespace) == 2
    assert ProcessRegistry.registered?(namespace, :event_store)
    refute ProcessRegistry.registered?(namespace, :telemetry_service)
    assert ProcessRegistry.get_all_services({:test, make_ref()}) == %{}
  end

  describe "cleanup_test_namespace/1" do
    test "stops what was registered, also what will not shut down", context do
      %{namespace: namespace, reference: reference} = context
      polite = sleeper()
      parent = self()

      stubborn =
        spawn(fn ->
          Process.flag(:trap_exit, true)
          send(parent, :trapping)
          Process.sleep(:infinity)
        end)

      assert_receive :trapping
      other = via(namespace, :telemetry_service)
      ProcessRegistry.register(namespace, :config_server, polite)
      ProcessRegistry.register(namespace, :event_store, stubborn)
      ProcessRegistry.register(namespace, :test_supervisor, self())

      assert ProcessRegistry.cleanup_test_namespace(reference) == :ok
      refute Process.alive?(polite)
      refute Process.alive?(stubborn)
      assert Process.alive?(other)
      assert ProcessRegistry.list_services(namespace) == [:telemetry_service]
    end

    test "is :ok for a namespace nobody used" do
      assert ProcessRegistry.cleanup_test_namespace(make_ref()) == :ok
    end
  end

  test "stats/0 counts", %{namespace: namespace} do
    before = ProcessRegistry.stats()
    ProcessRegistry.register(namespace, :config_server, self())
    ProcessRegistry.register(namespace, :event_store, sleeper())
    stats = ProcessRegistry.stats()

    assert Map.keys(stats) |> Enum.sort() ==
             [
               :ets_table_info,
               :memory_usage_bytes,
               :partition_count,
               :partitions,
               :production_services,
               :test_namespaces,
               :total_services
             ]

    assert stats.partitions == System.schedulers_online()
    assert stats.partition_count == stats.partitions
    assert stats.total_services >= stats.production_services + 2
    assert stats.test_namespaces >= 1
    assert stats.memory_usage_bytes > 0
    assert is_integer(before.production_services)

    assert %{backup_table_exists: true, table_size: size, memory_words: words} = stats.ets_table_info
    assert size >= 2 and words > 0
  end

  test "the backup table goes with the process that first needed it, and is made anew", %{
    namespace: namespace
  } do
    drop_backup()
    parent = self()

    first =
      spawn(fn ->
        :ok = ProcessRegistry.register(namespace, :event_store, parent)
        send(parent, :registered)
        Process.sleep(:infinity)
      end)

    assert_receive :registered
    assert :ets.info(:process_registry_backup, :owner) == first
    assert ProcessRegistry.lookup(namespace, :event_store) == {:ok, self()}

    stop(first)
    assert :ets.whereis(:process_registry_backup) == :undefined
    assert ProcessRegistry.lookup(namespace, :event_store) == :error
    assert :ets.info(:process_registry_backup, :owner) == self()
    assert ProcessRegistry.register(namespace, :event_store, self()) == :ok
  end

  test "nobody fails while owners of the backup table come and go", %{namespace: namespace} do
    drop_backup()

    # Most of these make the table and end with it while the others use it.
    for _ <- 1..50 do
      1..20
      |> Enum.map(fn _ ->
        spawn_monitor(fn ->
          :ok = ProcessRegistry.unregister(namespace, :config_server)
          :ok = register_or_not(namespace)
          ProcessRegistry.lookup(namespace, :config_server)
          ProcessRegistry.list_services(namespace)
        end)
      end)
      |> Enum.each(fn {pid, monitor} ->
        assert_receive {:DOWN, ^monitor, :process, ^pid, reason}, 5_000
        assert reason == :normal
      end)
    end
  end

  defp register_or_not(namespace) do
    case ProcessRegistry.register(namespace, :config_server, self()) do
      :ok -> :ok
      {:error, {:already_registered, _}} -> :ok
    end
  end

  defp drop_backup do
    if :ets.whereis(:process_registry_backup) != :undefined, do: :ets.delete(:process_registry_backup)
  end

  defp stop(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _}
  end
end
