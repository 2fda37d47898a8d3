defmodule Foundation.Test.Netsplit do
  @moduledoc """
  Splits a cluster of real nodes in two or more for a test, and heals it.

      Netsplit.split([[:"a@h"], [:"b@h", :"c@h"]])
      # … a is alone now: what it does is the minority's part …
      Netsplit.heal([:"a@h", :"b@h", :"c@h"])

  A split node refuses the others as `:net_kernel` does strangers: each node gets another cookie for those it is not to
  reach, and what is connected is disconnected, so that reconnecting fails until `heal/1`. Links of the fabric between them
  are cut with it: their fabrics do not know each other meanwhile.

  The nodes are called by `:erpc`, so the caller must be connected to all of them and is in no part itself; or, where the
  caller has none of that, by the function given as `call:`, of four arguments: node, module, function, arguments (for
  nodes that were started by `:peer` over standard input and output).

  Nodes must be started with `-kernel prevent_overlapping_partitions false`, since a split in which the caller sees
  all is what that setting prevents. No function here calls the native library.
  """

  @type call :: (node, module, atom, [term] -> term)

  @doc """
  Splits: nodes of different parts do not reach each other from now on; within a part nothing changes.

  Options: `:call`. Raises when a node cannot be called. O(pairs of nodes).
  """
  @spec split([[node]], call: call) :: :ok
  def split(parts, options \\ []) when is_list(parts) do
    call = call(options)

    for part <- parts, node <- part do
      others = Enum.concat(parts) -- part
      call.(node, __MODULE__, :cut, [others])
    end

    :ok
  end

  @doc "Cuts one node off from the others. Options: `:call`."
  @spec isolate(node, [node], call: call) :: :ok
  def isolate(node, nodes, options \\ []), do: split([[node], nodes -- [node]], options)

  @doc "Lets all of them reach each other again, and connects them. Options: `:call`. O(pairs of nodes)."
  @spec heal([node], call: call) :: :ok
  def heal(nodes, options \\ []) when is_list(nodes) do
    call = call(options)
    for node <- nodes, do: call.(node, __MODULE__, :allow, [nodes -- [node]])
    for node <- nodes, do: call.(node, __MODULE__, :connect, [nodes -- [node]])
    :ok
  end

  defp call(options), do: Keyword.get(options, :call, &:erpc.call(&1, &2, &3, &4, 15_000))

  @doc false
  # Runs on the node that is to reach the others no more.
  def cut(others) do
    for node <- others do
      unless :erlang.get_cookie(node) == refusal(node),
        do: :persistent_term.put(key(node), :erlang.get_cookie(node))

      Node.set_cookie(node, refusal(node))
      Node.disconnect(node)
    end

    :ok
  end

  @doc false
  def allow(others) do
    for node <- others, cookie = :persistent_term.get(key(node), nil) do
      Node.set_cookie(node, cookie)
      :persistent_term.erase(key(node))
    end

    :ok
  end

  @doc false
  def connect(others) do
    for node <- others, do: Node.connect(node)
    :ok
  end

  defp key(node), do: {__MODULE__, node}

  # Differs on both sides, so that neither can connect.
  defp refusal(node), do: :"split_#{node()}_#{node}"
end
