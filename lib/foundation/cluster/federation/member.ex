defmodule Foundation.Cluster.Federation.Member do
  @moduledoc false
  # The clusters that this node is itself in, and how each is asked: what stands above the federation says so here, and
  # calls to those clusters need no gateway.

  @key {Foundation.Cluster.Federation, :members}

  @typedoc "`nodes` gives the cluster's nodes, this one among them; `call` sends a request and gives its answer."
  @type t :: %{
          nodes: (() -> [node]),
          call: (request :: binary, timeout :: pos_integer -> {:ok, non_neg_integer, binary} | {:error, atom})
        }

  @spec put(atom, t) :: :ok
  def put(cluster, member), do: :persistent_term.put(@key, Map.put(all(), cluster, member))

  @spec delete(atom) :: :ok
  def delete(cluster), do: :persistent_term.put(@key, Map.delete(all(), cluster))

  @spec get(atom) :: t | nil
  def get(cluster), do: Map.get(all(), cluster)

  @spec clusters() :: [atom]
  def clusters, do: Map.keys(all())

  defp all, do: :persistent_term.get(@key, %{})
end
