defmodule Foundation.Application do
  @moduledoc false
  # The supervision tree: the 1.x children in their order, then what 2.x adds.

  use Application
  require Logger

  @impl true
  def start(_type, _args) do
    case Foundation.Cluster.children() do
      {:ok, cluster} ->
        Foundation.Engine.start()
        Foundation.ProcessRegistry.create_backup_table()
        Logger.info("Starting Foundation")

        Supervisor.start_link(children() ++ cluster ++ fabric() ++ partitions(),
          strategy: :one_for_one,
          name: Foundation.Supervisor
        )

      {:error, problem} ->
        Logger.error("Foundation does not start: #{Foundation.Cluster.describe(problem)}")
        {:error, problem}
    end
  end

  @impl true
  def stop(_state) do
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
        {DynamicSupervisor, name: Foundation.ProcessSupervisor}
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
