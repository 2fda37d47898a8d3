defmodule Foundation.Peers do
  @moduledoc false
  # Asks every node of the cluster the same, with one deadline, and says who did not answer.
  #
  # Nodes connected by Erlang distribution are asked over it. Others are reached by carriers: modules of a higher floor
  # that put themselves here while they can reach nodes (the fabric does).

  @typedoc "What a node that did not answer has failed by."
  @type reason :: :timeout | :noconnection | :not_running | {:exit, term} | term

  @doc "This node, and the others that can be asked."
  @spec nodes() :: [node]
  def nodes, do: Enum.uniq([node() | Node.list()] ++ Enum.flat_map(carriers(), & &1.nodes()))

  @doc """
  Calls `module.function(arguments)` on the nodes, all at once, this one included when it is among them.

  `{answers, missing}`, each with its node, in the order of `nodes`. A node whose answer is `{:error, :not_running}`
  is missing too. At most `timeout` ms; an answer that comes later is dropped.
  """
  @spec ask([node], {module, atom, [term]}, timeout) :: {[{node, term}], [{node, reason}]}
  def ask(nodes, {module, function, arguments}, timeout) do
    connected = [node() | Node.list()]
    {near, far} = Enum.split_with(nodes, &(&1 in connected))
    further = Task.async(fn -> carried(far, {module, function, arguments}, timeout) end)
    near = Enum.zip(near, :erpc.multicall(near, module, function, arguments, timeout))
    answers = Map.new(near, fn {node, answer} -> {node, plain(answer)} end)
    answers = Map.merge(answers, Task.await(further, :infinity))

    {for(node <- nodes, {:ok, value} <- [answers[node]], do: {node, value}),
     for(node <- nodes, {:error, reason} <- [answers[node]], do: {node, reason})}
  end

  defp plain({:ok, {:error, :not_running}}), do: {:error, :not_running}
  defp plain({:ok, value}), do: {:ok, value}
  defp plain({:error, {:erpc, reason}}), do: {:error, reason}
  # A node of an older version, or without this library.
  defp plain({:error, {:exception, :undef, [{module, function, _, _} | _]}}),
    do: {:error, {:undef, module, function}}

  defp plain({_kind, reason}), do: {:error, {:exit, reason}}

  defp carried([], _mfa, _timeout), do: %{}

  defp carried(nodes, mfa, timeout) do
    carriers = carriers()

    nodes
    |> Task.async_stream(&{&1, carry(carriers, &1, mfa, timeout)}, max_concurrency: 64, timeout: :infinity)
    |> Map.new(fn {:ok, answer} -> answer end)
  end

  defp carry(carriers, node, mfa, timeout) do
    case Enum.find(carriers, &(node in &1.nodes())) do
      nil -> {:error, :noconnection}
      carrier -> carrier.ask(node, mfa, timeout)
    end
  end

  @doc "Adds a module with `nodes/0` and `ask/3`, which answers `{:ok, value}` or `{:error, reason}`."
  @spec add_carrier(module) :: :ok
  def add_carrier(module), do: :persistent_term.put(__MODULE__, Enum.uniq([module | carriers()]))

  @doc "Takes a carrier away."
  @spec remove_carrier(module) :: :ok
  def remove_carrier(module), do: :persistent_term.put(__MODULE__, List.delete(carriers(), module))

  defp carriers, do: :persistent_term.get(__MODULE__, [])
end
