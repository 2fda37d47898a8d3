defmodule Foundation.Cluster.Strategy.Static do
  @moduledoc """
  Connects to a list of nodes and keeps trying those that are away.

      config :foundation, cluster: {:static, nodes: [:"a@host1", :"b@host2"]}

  Options: `nodes` (or `hosts`, as libcluster's `Epmd` has it): the nodes' full names; `polling_interval` (5,000 ms).
  A node of the list is never given up.
  """

  use Foundation.Cluster.Strategy.Poll, leaves: false

  @impl true
  def discover(%{config: config}) do
    case Keyword.get(config, :nodes, Keyword.get(config, :hosts, [])) do
      nodes when is_list(nodes) ->
        if Enum.all?(nodes, &is_atom/1), do: {:ok, nodes}, else: {:error, {:not_node_names, nodes}}

      other ->
        {:error, {:not_node_names, other}}
    end
  end
end
