defmodule Foundation.ServiceRegistryTest do
  use ExUnit.Case, async: false

  alias Foundation.{ProcessRegistry, ServiceRegistry}
  alias Foundation.Types.Error

  setup do
    reference = make_ref()
    on_exit(fn -> ServiceRegistry.cleanup_test_namespace(reference) end)
    pid = spawn(fn -> Process.sleep(:infinity) end)
    %{namespace: {:test, reference}, reference: reference, pid: pid}
  end

  test "register/3, lookup/2, unregister/2, list_services/1", %{namespace: namespace, pid: pid} do
    assert ServiceRegistry.register(namespace, :event_store, pid) == :ok

    assert ServiceRegistry.register(namespace, :event_store, self()) ==
             {:error, {:already_registered, pid}}

    assert ServiceRegistry.lookup(namespace, :event_store) == {:ok, pid}
    assert ServiceRegistry.list_services(namespace) == [:event_store]
    assert ServiceRegistry.unregister(namespace, :event_store) == :ok
    assert ServiceRegistry.list_services(namespace) == []

    assert_raise FunctionClauseError, fn ->
      ServiceRegistry.register(namespace, :event_store, Process.get(:no_such_key))
    end
  end

  test "lookup/2 says what it did not find", %{namespace: namespace} do
    assert {:error, %Error{} = error} = ServiceRegistry.lookup(namespace, :event_store)

    assert %{
             code: 5001,
             error_type: :service_not_found,
             severity: :medium,
             category: :system,
             subcategory: :discovery,
             context: %{namespace: ^namespace, service: :event_store}
           } = error

    assert error.message =~ ":event_store"
  end

  test "via_tuple/2", %{namespace: namespace} do
    assert ServiceRegistry.via_tuple(namespace, :event_store) ==
             {:via, Registry, {ProcessRegistry, {namespace, :event_store}}}
  end

  describe "health_check/3" do
    setup %{namespace: namespace, pid: pid} do
      :ok = ServiceRegistry.register(namespace, :event_store, pid)
    end

    test "being alive is enough without a function", %{namespace: namespace, pid: pid} do
      assert ServiceRegistry.health_check(namespace, :event_store) == {:ok, pid}
      assert {:error, %Error{code: 5001}} = ServiceRegistry.health_check(namespace, :config_server)
    end

    test "takes :ok, {:ok, _} and true for well", %{namespace: namespace, pid: pid} do
      for well <- [:ok, {:ok, 1}, true] do
        assert ServiceRegistry.health_check(namespace, :event_store, health_check: fn ^pid -> well end) ==
                 {:ok, pid}
      end
    end

    test "says what else came", %{namespace: namespace} do
      for ill <- [false, nil, {:error, :full}, 7] do
        assert ServiceRegistry.health_check(namespace, :event_store, health_check: fn _ -> ill end) ==
                 {:error, {:health_check_failed, ill}}
      end
    end

    test "a raise, an exit, a throw and a kill do not reach the caller", %{namespace: namespace} do
      check = &ServiceRegistry.health_check(namespace, :event_store, health_check: &1)

      assert check.(fn _ -> raise "no" end) ==
               {:error, {:health_check_error, %RuntimeError{message: "no"}}}

      assert check.(fn _ -> exit(:gone) end) == {:error, {:health_check_crashed, :gone}}

      assert {:error, {:health_check_crashed, {{:nocatch, :ball}, [_ | _]}}} =
               check.(fn _ -> throw(:ball) end)

      assert check.(fn _ -> Process.exit(self(), :kill) end) ==
               {:error, {:health_check_crashed, :killed}}

      assert Process.info(self(), :trap_exit) == {:trap_exit, false}
      refute_received _
    end

    test "gives up after the timeout and stops the function", %{namespace: namespace} do
      parent = self()

      check = fn _ ->
        send(parent, {:checker, self()})
        Process.sleep(:infinity)
      end

      assert ServiceRegistry.health_check(namespace, :event_store,
               health_check: check,
               timeout: 500,
               debug_health_check: true
             ) ==
               {:error, :health_check_timeout}

      assert_receive {:checker, checker}
      monitor = Process.monitor(checker)
      assert_receive {:DOWN, ^monitor, :process, _, _}
    end
  end

  describe "wait_for_service/3" do
    test "finds one that comes later", %{namespace: namespace, pid: pid} do
      waiting = Task.async(fn -> ServiceRegistry.wait_for_service(namespace, :event_store) end)
      ServiceRegistry.register(namespace, :event_store, pid)
      assert Task.await(waiting) == {:ok, pid}
    end

    test "gives up", %{namespace: namespace} do
      assert ServiceRegistry.wait_for_service(namespace, :event_store, 15) == {:error, :timeout}
    end
  end

  test "get_service_info/1", %{namespace: namespace, pid: pid} do
    ServiceRegistry.register(namespace, :event_store, pid)

    assert %{
             namespace: ^namespace,
             services: %{event_store: %{pid: ^pid, alive: true, uptime_ms: uptime}},
             total_services: 1,
             healthy_services: 1
           } = ServiceRegistry.get_service_info(namespace)

    assert is_integer(uptime)
  end

  test "cleanup_test_namespace/1", %{namespace: namespace, reference: reference, pid: pid} do
    ServiceRegistry.register(namespace, :event_store, pid)
    assert ServiceRegistry.cleanup_test_namespace(reference) == :ok
    refute Process.alive?(pid)
  end
end
