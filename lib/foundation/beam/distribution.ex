defmodule Foundation.BEAM.Distribution do
  @moduledoc """
  Changes how the nodes of the cluster are linked, under the name that code for the BEAM looks for.

  **Scheduling**: as `Foundation.Distributed.Topology`.
  """

  alias Foundation.Distributed.Topology

  @doc "As `Foundation.Distributed.Topology.switch_topology/1`."
  @spec switch_topology(Topology.topology()) :: :ok | {:error, term}
  defdelegate switch_topology(topology), to: Topology

  @doc "As `Foundation.Distributed.Topology.switch_topology/2`."
  @spec switch_topology(Topology.topology(), keyword | Topology.topology()) :: :ok | {:error, term}
  defdelegate switch_topology(topology, options), to: Topology
end
