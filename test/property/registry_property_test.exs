defmodule Foundation.RegistryPropertyTest do
  # Any sequence of registrations, deaths and withdrawals leaves the registry as a map of live owners would be.
  use ExUnit.Case, async: false
  alias Foundation.ProcessRegistry

  @services [:config_server, :event_store, :telemetry_service]
  @owners [:a, :b, :c]

  defp command do
    :proper_types.oneof([
      {:register, :proper_types.oneof(@services), :proper_types.oneof(@owners)},
      {:via, :proper_types.oneof(@services)},
      {:unregister, :proper_types.oneof(@services)},
      {:kill, :proper_types.oneof(@owners)}
    ])
  end

  test "the registry behaves as its model" do
    property =
      :proper.forall(:proper_types.list(command()), fn commands ->
        namespace = {:test, make_ref()}
        owners = Map.new(@owners, &{&1, spawn(fn -> Process.sleep(:infinity) end)})
        model = %{owners: owners, backup: %{}, via: MapSet.new()}
        final = Enum.reduce(commands, model, &apply_command(&1, &2, namespace))
        same? = agrees?(final, namespace)
        for {_, pid} <- final.owners, do: Process.exit(pid, :kill)
        for service <- @services, do: ProcessRegistry.unregister(namespace, service)
        same?
      end)

    assert :proper.quickcheck(property, [:quiet, numtests: 200]) == true
  end

  defp apply_command({:register, service, name}, model, namespace) do
    pid = model.owners[name]
    owner = model.backup[service]

    expected =
      cond do
        owner == pid or owner == nil or not Process.alive?(owner) -> :ok
        true -> {:error, {:already_registered, owner}}
      end

    ^expected = ProcessRegistry.register(namespace, service, pid)
    if expected == :ok, do: put_in(model.backup[service], pid), else: model
  end

  # The test itself takes the name, as a process started under via_tuple/2 does.
  defp apply_command({:via, service}, model, namespace) do
    case Registry.register(ProcessRegistry, {namespace, service}, nil) do
      {:ok, _} -> :ok
      {:error, {:already_registered, pid}} when pid == self() -> :ok
    end

    update_in(model.via, &MapSet.put(&1, service))
  end

  defp apply_command({:unregister, service}, model, namespace) do
    :ok = ProcessRegistry.unregister(namespace, service)
    %{model | backup: Map.delete(model.backup, service), via: MapSet.delete(model.via, service)}
  end

  defp apply_command({:kill, name}, model, _namespace) do
    monitor = Process.monitor(model.owners[name])
    Process.exit(model.owners[name], :kill)

    receive do
      {:DOWN, ^monitor, :process, _, _} -> :ok
    end

    # A new process takes the dead one's place among the owners; what it had registered stays dead.
    put_in(model.owners[name], spawn(fn -> Process.sleep(:infinity) end))
  end

  defp agrees?(model, namespace) do
    expected =
      for service <- @services,
          pid = if(service in model.via, do: self(), else: model.backup[service]),
          pid != nil and Process.alive?(pid),
          into: %{},
          do: {service, pid}

    expected == ProcessRegistry.get_all_services(namespace) and
      ProcessRegistry.count_services(namespace) == map_size(expected) and
      Enum.all?(@services, fn service ->
        case expected do
          %{^service => pid} -> ProcessRegistry.lookup(namespace, service) == {:ok, pid}
          _ -> ProcessRegistry.lookup(namespace, service) == :error
        end
      end)
  end
end
