defmodule Foundation.Distributed.Discovery.News do
  @moduledoc false
  # Brings the news of services to other nodes: over the fabric where it knows the node, over plain distribution otherwise.
  # News may be lost; sums of what a node owns, sent now and then, show it.

  alias Foundation.Distributed.Channels.Wire
  alias Foundation.Distributed.{Discovery, Fabric}

  @channel :events
  @patience_ms 30_000
  @sum_ms 2_000

  @doc "How often a node tells the sum of what it owns, in ms."
  @spec sum_ms() :: pos_integer
  def sum_ms, do: @sum_ms

  @doc "A sum of services, the same on every node. O(services)."
  @spec sum([map]) :: non_neg_integer
  def sum(services), do: services |> Enum.map(&hash/1) |> Enum.sum()

  # A local pid and the same pid elsewhere have the same external form.
  defp hash(service), do: :erlang.crc32(:erlang.term_to_binary(service, [:deterministic]))

  @doc "The nodes that news can be brought to."
  @spec reachable(atom | nil) :: [node]
  def reachable(nil), do: Node.list(:connected) ++ Fabric.nodes()
  def reachable(scope), do: Fabric.nodes(scope)

  @doc "Tells every node."
  @spec tell_all(atom | nil, tuple) :: :ok
  def tell_all(scope, news) do
    fabric = Fabric.nodes(scope)
    for node <- fabric, do: over_fabric(scope, node, news)
    # Other clusters have nothing but their fabric.
    if scope == nil, do: for(node <- Node.list() -- fabric, do: plain(node, news))
    :ok
  end

  @doc "Tells one node."
  @spec tell(atom | nil, node, tuple) :: :ok
  def tell(scope, node, news) do
    if scope != nil or node in Fabric.nodes(),
      do: over_fabric(scope, node, news),
      else: plain(node, news)

    :ok
  end

  defp over_fabric(scope, node, news) do
    options = %{Wire.options(timeout: @patience_ms) | cluster: scope}
    Wire.send(@channel, {node, Discovery}, news, options)
  end

  defp plain(node, news), do: :erlang.send({Discovery, node}, news, [:noconnect, :nosuspend])
end
