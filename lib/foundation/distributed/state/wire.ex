defmodule Foundation.Distributed.State.Wire do
  @moduledoc false
  # Brings the messages of a replica to its other replicas: over the fabric where it runs and knows the node, over plain
  # distribution otherwise. A message may be lost; nothing here waits.

  alias Foundation.Cluster
  alias Foundation.Distributed.{Channels, Fabric}

  @doc "The name under which the replica of a state is registered on each node."
  def process(name), do: :"foundation_state_#{name}"

  @doc "The nodes that may have a replica, without this one."
  def candidates(:cluster), do: Enum.uniq(Cluster.nodes() ++ Node.list() ++ Fabric.nodes()) -- [node()]
  def candidates(nodes), do: nodes -- [node()]

  @doc "The nodes that a message can get to now."
  def reachable, do: Node.list(:connected) ++ Fabric.nodes()

  @doc "Sends a message to the replica of that node."
  def send(process, node, kind, body) do
    message = {:foundation_state, 1, node(), kind, body}

    case over_fabric(channel(kind), process, node, message) do
      :ok -> :ok
      {:error, _} -> :erlang.send({process, node}, message, [:noconnect, :nosuspend])
    end

    :ok
  end

  defp over_fabric(channel, process, node, message) do
    if Fabric.handle() == nil or node not in Fabric.nodes(),
      do: {:error, :not_running},
      else: Channels.send_message(channel, {process, node}, message)
  end

  defp channel(kind) when kind in [:hello, :roots, :bye], do: :gossip
  defp channel(_kind), do: :data
end
