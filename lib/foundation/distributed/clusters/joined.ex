defmodule Foundation.Distributed.Clusters.Joined do
  @moduledoc false
  # One cluster that this node is in besides its main one: its fabric, what looks for its nodes, and what answers their
  # calls. Of the main cluster, the last alone.

  use Supervisor

  alias Foundation.Cluster.{Keeper, Table}
  alias Foundation.Distributed.Clusters.{Member, Seeds}
  alias Foundation.Distributed.Fabric.Scope

  # Within a function, because supervisors write the arguments of their children into logs, and options may be secret.
  def child_spec(%{name: name} = options) do
    %{
      id: {__MODULE__, name},
      type: :supervisor,
      start: {__MODULE__, :start_link, [fn -> options end]}
    }
  end

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    options = options.()
    scope = Scope.of(options.name)
    for topology <- options.topologies, do: Table.set_apart(topology.name, true)

    Supervisor.init(fabric(options) ++ [{Member, {scope, options}}] ++ strategies(options),
      strategy: :rest_for_one
    )
  end

  defp fabric(%{fabric: nil}), do: []

  defp fabric(options),
    do:
      [{Foundation.Distributed.Supervisor, {options.name, options.fabric}}, {Seeds, options}] ++
        partitions(options)

  defp partitions(%{partitions: nil}), do: []

  defp partitions(options),
    do: [{Foundation.Distributed.Partitions, [cluster: options.name] ++ options.partitions}]

  defp strategies(%{topologies: topologies}), do: Enum.map(topologies, &{Keeper, &1})
end
