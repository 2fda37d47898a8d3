defmodule Foundation.Cluster.Supervisor do
  @moduledoc false
  # The cluster's processes; exists only while a cluster is switched on.

  use Supervisor

  alias Foundation.Cluster.{Config, Connector, Keeper, Membership, Signal, Table}

  @spec child_spec(Config.t()) :: Supervisor.child_spec()
  def child_spec(config),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [config]}, type: :supervisor, restart: :permanent}

  @spec start_link(Config.t()) :: Supervisor.on_start()
  def start_link(config), do: Supervisor.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    Table.create()
    Table.put(:config, config)

    children =
      [{Membership, config.options}, Connector, {Signal, config.options}] ++
        Enum.map(config.topologies, &{Keeper, &1})

    Supervisor.init(children, strategy: :one_for_one, max_restarts: 10, max_seconds: 10)
  end
end
