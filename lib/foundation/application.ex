defmodule Foundation.Application do
  @moduledoc false
  # The supervision tree: the 1.x children in their order, then what 2.x adds.

  use Application
  require Logger

  @impl true
  def start(_type, _args) do
    case Foundation.Cluster.from_environment() do
      {:ok, cluster} -> start(cluster)
      {:error, problem} -> refuse(problem)
    end
  end

  # While the services start, the node gets a name and the daemon that knows it.
  defp start(cluster) do
    prepared = Task.async(fn -> Foundation.Cluster.prepare(cluster) end)
    Foundation.Engine.start()
    Foundation.Infrastructure.Limits.Cluster.install()
    Foundation.Cluster.Drain.create()
    Foundation.Distributed.Clusters.attend()
    Logger.info("Starting Foundation")

    with {:ok, supervisor} <-
           Supervisor.start_link(children(), strategy: :one_for_one, name: Foundation.Supervisor) do
      supervisor |> with_cluster(Task.await(prepared, :infinity)) |> with_config() |> started(supervisor)
    end
  end

  # The federation's secret may be the cookie that the cluster has set.
  defp with_cluster(supervisor, {:ok, cluster}) do
    with {:ok, federation} <- Foundation.Cluster.Federation.children(),
         {:ok, clusters} <- Foundation.Distributed.Clusters.children() do
      children = cluster ++ fabric() ++ partitions() ++ clusters ++ federation ++ coordination() ++ mabeam()

      Enum.find_value(children, :ok, fn child ->
        case Supervisor.start_child(supervisor, child) do
          {:ok, _} -> nil
          {:error, reason} -> {:error, reason}
        end
      end)
    end
  end

  defp with_cluster(_supervisor, {:error, problem}), do: {:error, problem}

  # A node that is to have the cluster's configuration has it before it answers.
  defp with_config(:ok), do: Foundation.Config.Shared.at_start()
  defp with_config(problem), do: problem

  defp started(:ok, supervisor), do: {:ok, supervisor}

  defp started({:error, problem}, supervisor) do
    # Linked to this process, which is to say why.
    Supervisor.stop(supervisor, :normal)
    refuse(problem)
  end

  defp refuse(problem) do
    Logger.error("Foundation does not start: #{Foundation.Cluster.describe(problem)}")
    {:error, problem}
  end

  # What is managed ends in its order, before the tree does in its own.
  @impl true
  def prep_stop(state) do
    Foundation.ProcessLifecycle.graceful_shutdown(:all)
    Foundation.Distributed.Registry.close()
    state
  end

  @impl true
  def stop(_state) do
    Foundation.HealthCheck.drain(false)
    Foundation.Telemetry.Metrics.close()
    Foundation.Config.Snapshot.erase()
    Foundation.Engine.stop()
    Logger.info("Foundation stopped")
    :ok
  end

  defp children do
    core() ++
      test_support() ++
      tidewave() ++
      [
        Foundation.Infrastructure.Breaker.Subscribers,
        Foundation.Engine.Log,
        Foundation.ErrorContext.Store,
        Foundation.Distributed.Context.Hops,
        Foundation.Events.Causality,
        Foundation.ProcessRegistry.Global.Supervisor,
        {DynamicSupervisor, name: Foundation.ProcessSupervisor},
        {DynamicSupervisor, name: Foundation.ProcessLifecycle.Processes},
        Foundation.ProcessLifecycle.Server,
        {Foundation.Distributed.Discovery.Supervisor, nil},
        Foundation.ServiceMesh.Supervisor,
        Foundation.Distributed.Registry
      ]
  end

  defp fabric do
    case Application.get_env(:foundation, :fabric, false) do
      off when off in [false, nil] -> []
      options -> [{Foundation.Distributed.Supervisor, options}]
    end
  end

  defp partitions do
    case Application.get_env(:foundation, :partitions) do
      nil -> []
      opts -> [{Foundation.Distributed.Partitions, opts}]
    end
  end

  defp coordination do
    case Foundation.Distributed.Coordination.Formation.settings(
           Application.get_env(:foundation, :coordination)
         ) do
      nil -> []
      settings -> [{Foundation.Distributed.Coordination.Formation, settings}]
    end
  end

  defp mabeam do
    case Application.get_env(:foundation, :mabeam, false) do
      off when off in [false, nil] -> []
      options -> [{Foundation.MABEAM.Supervisor, options}]
    end
  end

  defp core do
    [
      Foundation.ProcessRegistry,
      {Foundation.Services.ConfigServer, namespace: :production},
      {Foundation.Services.EventStore, namespace: :production},
      {Foundation.Services.TelemetryService, namespace: :production},
      Foundation.Infrastructure.ConnectionManager,
      Foundation.Infrastructure.RateLimiter.HammerBackend,
      {Task.Supervisor, name: Foundation.TaskSupervisor}
    ]
  end

  defp test_support do
    module = Foundation.TestSupport.TestSupervisor

    if Application.get_env(:foundation, :test_mode, false) and Code.ensure_loaded?(module),
      do: [{module, []}],
      else: []
  end

  defp tidewave do
    if Application.get_env(:foundation, :environment, :prod) == :dev and Code.ensure_loaded?(Tidewave),
      do: [Foundation.TidewaveEndpoint],
      else: []
  end
end
