defmodule Foundation.Cluster.Peering do
  @moduledoc false
  # What the membership processes of two nodes say to each other: messages over the connection that exists, never one that
  # makes a connection, and none that waits.

  alias Foundation.Cluster.{Membership, Table}

  @version 1

  @doc "Says who we are, and whether we are being emptied."
  @spec hello(node, integer) :: :ok
  def hello(node, boot) do
    tell([node], {:hello, node(), %{boot: boot, draining: Table.get({:draining, node()}), version: vsn()}})
  end

  @spec tell([node], term) :: :ok
  def tell(nodes, message) do
    for node <- nodes,
        do:
          :erlang.send({Membership, node}, {:foundation_cluster, @version, message}, [:noconnect, :nosuspend])

    :ok
  end

  @doc "Closes the connection, after what has been sent over it."
  @spec disconnect(node) :: boolean | :ignored
  def disconnect(node), do: :erlang.disconnect_node(node)

  defp vsn, do: :foundation |> Application.spec(:vsn) |> to_string()
end
