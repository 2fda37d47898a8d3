defmodule Foundation.DistributedSupervisor.Move do
  @moduledoc false
  # Takes a child from this node to another one: its state first, then the word of the store, then its name.

  alias Foundation.DistributedSupervisor.{Child, Director, Instance, Store}

  require Logger

  @at_a_time 8

  @doc "Runs on the node that the child runs on."
  @spec run(atom, term, node, pos_integer) :: {:ok, pid} | {:error, term}
  def run(supervisor, name, target, timeout) do
    with {:ok, store, _options} <- Director.store(supervisor),
         {:ok, instance} <- Director.instance(supervisor, node(), name),
         {:ok, handoff} <- Instance.suspend(instance),
         :ok <- give(store, {supervisor, name, target}, instance, handoff) do
      Instance.stop(instance)
      Director.ensure(supervisor, target, name, timeout)
    end
  end

  # From the word of the store on it belongs to the other node; before that, and when it does not come, to this one.
  defp give(store, {supervisor, name, target}, instance, handoff) do
    with :ok <- Director.expect(supervisor, target, name, handoff),
         {:ok, _child} <- assigned(Store.update_one(store, name, &assign(&1, target)), store, name, target) do
      :ok
    else
      error ->
        Instance.resume(instance, handoff)
        error
    end
  end

  defp assign(%Child{node: node} = child, target) when node == node(),
    do: {:put, %{child | node: target, generation: child.generation + 1}}

  defp assign(%Child{}, _target), do: {:keep, :moved}
  defp assign(nil, _target), do: {:keep, :not_found}

  # It may have been done.
  defp assigned({:error, :unknown}, store, name, target) do
    case Store.fetch(store, name) do
      {:ok, %Child{node: ^target} = child} -> {:ok, child}
      _ -> {:error, :unknown}
    end
  end

  defp assigned(answer, _store, _name, _target), do: answer

  @doc "Takes all children of this node to others, as far as there are any for them."
  @spec drain(atom) :: :ok
  def drain(supervisor) do
    with {:ok, names} <- GenServer.call(Director.process(supervisor), :draining),
         {:ok, store, options} <- Director.store(supervisor),
         {:ok, children} <- Store.all(store) do
      nodes = Map.delete(Director.nodes(supervisor), node())

      {moves, _} =
        Enum.map_reduce(Map.take(children, names), children, fn {name, child}, children ->
          target = Director.place(options, child, children, nodes)
          {{name, target}, Map.put(children, name, %{child | node: target})}
        end)

      moves
      |> Task.async_stream(&away(supervisor, &1), max_concurrency: @at_a_time, timeout: :infinity)
      |> Stream.run()
    end

    :ok
  end

  # Nowhere to go: it is started elsewhere when there is.
  defp away(supervisor, {name, nil}) do
    with {:ok, instance} <- Director.instance(supervisor, node(), name), do: Instance.stop(instance)
  end

  defp away(supervisor, {name, target}) do
    with {:error, reason} <- run(supervisor, name, target, 30_000) do
      Logger.warning(
        "#{inspect(supervisor)}: #{inspect(name)} was not handed to #{target}: #{inspect(reason)}"
      )
    end
  end
end
