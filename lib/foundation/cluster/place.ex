defmodule Foundation.Cluster.Place do
  @moduledoc false
  # Finds a process by its name on whichever member has it, and a member with room for another process.

  alias Foundation.Cluster.Membership

  @ask_ms 1_000

  @doc "The process, wherever it is: this node first, then `:global`, then every other member at once."
  @spec whereis(term) :: {:ok, pid | {atom, node} | port} | {:error, :not_found}
  def whereis(pid) when is_pid(pid), do: {:ok, pid}

  def whereis({name, node} = there) when is_atom(name) and is_atom(node) and node == node(),
    do: here(there, name)

  def whereis({:global, name}), do: found(:global.whereis_name(name))
  def whereis({:via, module, name}), do: found(module.whereis_name(name))
  def whereis({name, node} = there) when is_atom(name) and is_atom(node), do: {:ok, there}

  def whereis(name) do
    with :error <- found_here(name),
         {:error, :not_found} <- found(:global.whereis_name(name)),
         do: elsewhere(name)
  end

  @doc false
  # What a member answers about its own.
  @spec found_here(term) :: {:ok, pid} | :error
  def found_here(name) do
    case is_atom(name) && Process.whereis(name) do
      pid when is_pid(pid) -> {:ok, pid}
      _ -> Foundation.ProcessRegistry.lookup(:production, name)
    end
  rescue
    # The application may be stopped there.
    ArgumentError -> :error
  end

  @doc "The member with the shortest run queues for its schedulers; draining ones are left out."
  @spec roomiest() :: node
  def roomiest do
    members = Enum.reject(Membership.nodes(), &Membership.draining?/1)

    members
    |> ask(:erlang, :statistics, [:total_run_queue_lengths_all])
    |> Enum.zip(ask(members, :erlang, :system_info, [:schedulers_online]))
    |> Enum.zip(members)
    |> Enum.flat_map(fn
      {{{:ok, queued}, {:ok, schedulers}}, node} -> [{queued / schedulers, :rand.uniform(), node}]
      _ -> []
    end)
    |> Enum.min(fn -> {0, 0, node()} end)
    |> elem(2)
  end

  defp elsewhere(name) do
    others = Membership.nodes() -- [node()]

    others
    |> ask(__MODULE__, :found_here, [name])
    |> Enum.find_value({:error, :not_found}, fn
      {:ok, {:ok, pid}} -> {:ok, pid}
      _ -> nil
    end)
  end

  defp ask([], _module, _function, _arguments), do: []

  defp ask(nodes, module, function, arguments),
    do: :erpc.multicall(nodes, module, function, arguments, @ask_ms)

  defp here(there, name), do: if(Process.whereis(name), do: {:ok, there}, else: {:error, :not_found})
  defp found(pid) when is_pid(pid), do: {:ok, pid}
  defp found(_none), do: {:error, :not_found}
end
