defmodule Foundation.Distributed.Consensus.Names do
  @moduledoc false
  # Names of members for nodes and back, and calls to other nodes.

  alias Foundation.Distributed.Consensus.{Codec, Engine, Supervisor}

  @doc "The names by which those nodes are members, asked of each when names change with each life of a node."
  @spec of([node], pos_integer) :: {:ok, [String.t()]} | {:error, {:unreachable, node}}
  def of(nodes, timeout) do
    unless Enum.all?(nodes, &(is_atom(&1) and &1 not in [nil, true, false])),
      do: raise(ArgumentError, "members are nodes, got: #{inspect(nodes)}")

    nodes = nodes |> Enum.uniq() |> Enum.sort()

    if String.contains?(Engine.me(), "#"),
      do: ask(nodes, timeout),
      else: {:ok, Enum.map(nodes, &Codec.member/1)}
  end

  defp ask(nodes, timeout) do
    nodes
    |> Enum.map(&Task.async(fn -> {&1, on(&1, __MODULE__, :mine, [], timeout)} end))
    |> Task.await_many(:infinity)
    |> Enum.reduce_while({:ok, []}, fn
      {_node, {:ok, name}}, {:ok, names} -> {:cont, {:ok, [name | names]}}
      {node, _error}, _names -> {:halt, {:error, {:unreachable, node}}}
    end)
  end

  @doc false
  # Asked by other nodes, before they start a group with us.
  def mine do
    with :ok <- Supervisor.ensure(), do: {:ok, Engine.me()}
  end

  @doc "Calls a function on a node, this one or another."
  @spec on(node, module, atom, [term], pos_integer) :: term
  def on(node, module, function, arguments, _timeout) when node == node(),
    do: apply(module, function, arguments)

  def on(node, module, function, arguments, timeout) do
    :erpc.call(node, module, function, arguments, timeout)
  catch
    :error, {:erpc, _reason} -> {:error, {:unreachable, node}}
    :error, {:exception, _reason, _trace} -> {:error, {:unreachable, node}}
    :exit, _reason -> {:error, {:unreachable, node}}
  end

  @doc "Those members that are not of the node."
  @spec without([String.t()], node) :: [String.t()]
  def without(members, node), do: Enum.reject(members, &(Engine.node_of(&1) == node))

  @doc "The nodes of members, in order."
  @spec nodes([String.t()]) :: [node]
  def nodes(members), do: members |> Enum.map(&Engine.node_of/1) |> Enum.uniq() |> Enum.sort()

  @doc "A command of `Consensus.propose/3`, for the coordination machine."
  @spec command!(term) :: tuple
  def command!({:put, key, value}), do: command!({:put, key, value, :any})

  def command!({:put, key, value, expect}),
    do: {:put, Codec.name({:key, key}), Codec.encode(value), expect!(expect), nil}

  def command!({:delete, key}), do: command!({:delete, key, :any})
  def command!({:delete, key, expect}), do: {:delete, Codec.name({:key, key}), expect!(expect)}

  def command!({:add, counter, by})
      when is_integer(by) and by in -0x8000000000000000..0x7FFFFFFFFFFFFFFF,
      do: {:add, Codec.name(counter), by}

  def command!({:next, sequence, count}) when is_integer(count) and count in 1..0xFFFFFFFF,
    do: {:next, Codec.name(sequence), count}

  def command!(other) do
    raise ArgumentError,
          "a group without a machine of its own takes {:put, key, value[, expect]}, {:delete, key[, expect]}, " <>
            "{:add, counter, integer} or {:next, sequence, count}, got: #{inspect(other)}"
  end

  defp expect!(expect) when expect in [:any, :absent], do: expect
  defp expect!(version) when is_integer(version) and version in 0..0xFFFFFFFFFFFFFFFF, do: version

  defp expect!(other),
    do: raise(ArgumentError, "what is expected is :any, :absent or a version, got: #{inspect(other)}")
end
