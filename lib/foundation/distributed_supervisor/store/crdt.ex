defmodule Foundation.DistributedSupervisor.Store.Crdt do
  @moduledoc false
  # Children as a map of which each node has a replica.

  @behaviour Foundation.DistributedSupervisor.Store

  alias Foundation.Distributed.State

  @impl true
  def open(name) do
    state = :"foundation_supervisor_#{inspect(name)}"
    with {:ok, _pid} <- State.new(state, :lww_map), do: {:ok, state}
  end

  @impl true
  def watch(state), do: State.subscribe(state)

  @impl true
  def all(state), do: State.read(state)

  @impl true
  def fetch(state, name) do
    with {:error, :not_found} <- State.read(state, [name]), do: {:ok, nil}
  end

  @impl true
  def update(state, names, function) do
    Enum.reduce_while(names, {:ok, %{}}, fn name, {:ok, done} ->
      with {:ok, child} <- fetch(state, name),
           change = function.(name, child),
           :ok <- change(state, name, change) do
        {:cont, {:ok, Map.put(done, name, change)}}
      else
        error -> {:halt, error}
      end
    end)
  end

  defp change(state, name, {:put, child}), do: State.mutate(state, {:put, name, child})
  defp change(state, name, :delete), do: State.mutate(state, {:remove, name})
  defp change(_state, _name, {:keep, _reason}), do: :ok
end
