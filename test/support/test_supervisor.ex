defmodule Foundation.TestSupport.TestSupervisor do
  @moduledoc false
  # Starts a set of services in a namespace of its own, so that a test shares nothing with others.
  #
  # A child of Foundation.Supervisor where the application environment :test_mode is true at the start; others start it
  # under their own supervisor.

  use DynamicSupervisor
  alias Foundation.{ProcessRegistry, ServiceRegistry}
  alias Foundation.Services.{ConfigServer, EventStore, TelemetryService}

  @services [:config_server, :event_store, :telemetry_service]
  @modules [ConfigServer, EventStore, TelemetryService]

  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(init_arg), do: DynamicSupervisor.start_link(__MODULE__, init_arg, name: __MODULE__)

  @impl true
  def init(_init_arg), do: DynamicSupervisor.init(strategy: :one_for_one)

  @doc "Starts the three services in `{:test, reference}`; none is left running when one fails."
  @spec start_isolated_services(reference) :: {:ok, [pid]} | {:error, term}
  def start_isolated_services(reference) when is_reference(reference) do
    @modules
    |> Enum.reduce_while({:ok, []}, fn module, {:ok, pids} ->
      case DynamicSupervisor.start_child(__MODULE__, {module, namespace: {:test, reference}}) do
        {:ok, pid} -> {:cont, {:ok, pids ++ [pid]}}
        {:error, {:already_started, pid}} -> {:cont, {:ok, pids ++ [pid]}}
        {:error, _} = error -> {:halt, error}
      end
    end)
    |> case do
      {:ok, pids} ->
        {:ok, pids}

      {:error, _} = error ->
        cleanup_namespace(reference)
        error
    end
  end

  @doc "Stops what runs in the namespace; it is gone on return."
  @spec cleanup_namespace(reference) :: :ok
  def cleanup_namespace(reference) when is_reference(reference) do
    for {_, pid} <- ProcessRegistry.get_all_services({:test, reference}),
        do: DynamicSupervisor.terminate_child(__MODULE__, pid)

    ProcessRegistry.cleanup_test_namespace(reference)
  end

  @spec get_test_namespaces_info() :: %{
          active_children: non_neg_integer,
          test_namespaces: non_neg_integer,
          total_test_services: non_neg_integer,
          supervisor_pid: pid | nil
        }
  def get_test_namespaces_info do
    stats = ProcessRegistry.stats()

    %{
      active_children: DynamicSupervisor.count_children(__MODULE__).active,
      test_namespaces: stats.test_namespaces,
      total_test_services: stats.total_services - stats.production_services,
      supervisor_pid: Process.whereis(__MODULE__)
    }
  end

  @spec wait_for_services_ready(reference, pos_integer) :: :ok | {:error, :timeout}
  def wait_for_services_ready(reference, timeout \\ 5_000) when is_reference(reference) do
    deadline = System.monotonic_time(:millisecond) + timeout

    Enum.reduce_while(@services, :ok, fn service, :ok ->
      left = max(deadline - System.monotonic_time(:millisecond), 1)

      case ServiceRegistry.wait_for_service({:test, reference}, service, left) do
        {:ok, _} -> {:cont, :ok}
        {:error, :timeout} -> {:halt, {:error, :timeout}}
      end
    end)
  end

  @spec namespace_healthy?(reference) :: boolean
  def namespace_healthy?(reference) when is_reference(reference) do
    Enum.all?(@services, &match?({:ok, _}, ServiceRegistry.health_check({:test, reference}, &1)))
  end
end
