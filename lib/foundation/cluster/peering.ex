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

  @doc "Answers a goodbye."
  @spec farewell(pid) :: :ok
  def farewell(pid) do
    :erlang.send(pid, {:farewell, node()}, [:noconnect, :nosuspend])
    :ok
  end

  @doc """
  Closes the connections to all of these. Those that `:global` knows of are closed by it, which takes this node out without
  having the others take each other for parted.
  """
  @spec close_all([node]) :: :ok
  def close_all([]), do: :ok

  def close_all(nodes) do
    if function_exported?(:global, :disconnect, 0), do: apply(:global, :disconnect, [])
    for node <- nodes, node in Node.list(), do: disconnect(node)
    :ok
  end

  @spec disconnect(node) :: boolean | :ignored
  def disconnect(node), do: :erlang.disconnect_node(node)

  defp vsn, do: :foundation |> Application.spec(:vsn) |> to_string()
end
