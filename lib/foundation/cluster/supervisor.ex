defmodule Foundation.Cluster.Supervisor do
  @moduledoc false
  # The cluster's processes; exists only while a cluster is switched on.

  use Supervisor

  alias Foundation.Cluster.{Config, Connector, Keeper, Membership, Signal, Table}

  # Within a function, because supervisors write the arguments of their children into logs, and options may be secret.
  @spec child_spec(Config.t()) :: Supervisor.child_spec()
  def child_spec(config) do
    start = {__MODULE__, :start_link, [fn -> config end]}
    %{id: __MODULE__, start: start, type: :supervisor, restart: :permanent}
  end

  @spec start_link((() -> Config.t())) :: Supervisor.on_start()
  def start_link(config), do: Supervisor.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    %{topologies: topologies, options: options} = config.()
    # The distribution has it by now, and nobody else needs it.
    options = %{options | cookie: nil}
    Table.create()
    Table.put(:config, %{options: options})

    children = [{Membership, options}, Connector, {Signal, options}] ++ Enum.map(topologies, &{Keeper, &1})
    Supervisor.init(children, strategy: :one_for_one, max_restarts: 10, max_seconds: 10)
  end
end
