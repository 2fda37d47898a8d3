defmodule Foundation.Distributed.Coordination.Watchers do
  @moduledoc false
  # Which processes want news of what, as a value.

  def new, do: %{}

  def add(watchers, what, label, pid) do
    entry = {label, Process.monitor(pid)}
    Map.update(watchers, what, %{pid => entry}, &Map.put_new_lazy(&1, pid, fn -> entry end))
  end

  def remove(watchers, what, pid) do
    case watchers do
      %{^what => %{^pid => {_label, monitor}} = pids} ->
        Process.demonitor(monitor, [:flush])
        put(watchers, what, Map.delete(pids, pid))

      _ ->
        watchers
    end
  end

  def process_down(watchers, pid) do
    for {what, pids} <- watchers, is_map_key(pids, pid), reduce: watchers do
      watchers -> put(watchers, what, Map.delete(pids, pid))
    end
  end

  defp put(watchers, what, pids) when map_size(pids) == 0, do: Map.delete(watchers, what)
  defp put(watchers, what, pids), do: Map.put(watchers, what, pids)

  def tell(watchers, what, message) do
    case watchers do
      %{^what => pids} -> for {pid, {label, _monitor}} <- pids, do: send(pid, message.(label))
      _ -> []
    end
  end
end
