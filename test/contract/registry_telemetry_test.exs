defmodule Foundation.Contract.RegistryTelemetryTest do
  # Section 4.1 of the 1.x contract, the registry's two events.
  use ExUnit.Case, async: false
  alias Foundation.{FakeModules, ServiceRegistry}

  setup do
    FakeModules.load_telemetry()
    reference = make_ref()
    on_exit(fn -> ServiceRegistry.cleanup_test_namespace(reference) end)
    %{namespace: {:test, reference}}
  end

  test "a lookup tells its duration and result, in the caller", %{namespace: namespace} do
    name = [:foundation, :foundation, :registry, :lookup]
    assert {:error, _} = ServiceRegistry.lookup(namespace, :event_store)

    assert_received {:telemetry, ^name, %{duration: duration},
                     %{namespace: ^namespace, service: :event_store, result: :error}}

    assert is_integer(duration) and duration >= 0
    ServiceRegistry.register(namespace, :event_store, self())
    assert {:ok, _} = ServiceRegistry.lookup(namespace, :event_store)
    assert_received {:telemetry, ^name, %{duration: _}, %{result: :ok}}
  end

  test "a registration tells its result", %{namespace: namespace} do
    name = [:foundation, :foundation, :registry, :register]
    owner = spawn(fn -> Process.sleep(:infinity) end)
    :ok = ServiceRegistry.register(namespace, :event_store, owner)

    assert_received {:telemetry, ^name, %{count: 1},
                     %{namespace: ^namespace, service: :event_store, result: :ok}}

    {:error, _} = ServiceRegistry.register(namespace, :event_store, self())
    assert_received {:telemetry, ^name, %{count: 1}, %{result: :error}}
  end
end
