defmodule Foundation.Distributed.State.Watchers do
  @moduledoc false
  # Who is told of changes, and how a change looks to them. A map of pids to monitors.

  alias Foundation.Native

  def add(watchers, pid) when is_map_key(watchers, pid), do: watchers
  def add(watchers, pid), do: Map.put(watchers, pid, Process.monitor(pid))

  def remove(watchers, pid) do
    case Map.pop(watchers, pid) do
      {nil, watchers} ->
        watchers

      {monitor, watchers} ->
        Process.demonitor(monitor, [:flush])
        watchers
    end
  end

  @doc "Keeps who they are beyond the life of the replica's process."
  def remember(name, watchers) do
    case Map.keys(watchers) do
      [] -> :persistent_term.erase(key(name))
      pids -> :persistent_term.put(key(name), pids)
    end

    :ok
  end

  @doc "Those who were kept, watched anew."
  def remembered(name), do: key(name) |> :persistent_term.get([]) |> Enum.reduce(%{}, &add(&2, &1))

  defp key(name), do: {__MODULE__, name}

  @doc "Sends what changed in each shard."
  def tell(watchers, name, handle, shards) do
    for shard <- 0..(shards - 1) do
      case Native.crdt_changes(handle, shard) do
        [] -> :ok
        :lost -> send_all(watchers, {:foundation_state, name, :reset})
        changes -> send_all(watchers, {:foundation_state, name, Enum.map(changes, &diff/1)})
      end
    end

    :ok
  end

  defp send_all(watchers, message), do: for({pid, _} <- watchers, do: send(pid, message))

  defp diff({path, true, _before, now}) do
    {set, [element]} = Enum.split(path, -1)
    {if(now == :none, do: :remove, else: :add), set, element}
  end

  defp diff({path, false, _before, {:ok, value}}), do: {:put, path, value}
  defp diff({path, false, _before, :none}), do: {:delete, path}
end
