defmodule Foundation.ProcessRegistry.Global.Watchers do
  @moduledoc false
  # Which processes of this node are told of which names: by key, or by scope. A map.

  alias Foundation.ProcessRegistry.Global.Claims

  def new, do: %{}

  @doc "`what` is `{:name, key}` or `{:scope, scope}`."
  def add(watchers, what, pid) do
    case watchers do
      %{^what => %{^pid => _}} -> watchers
      _ -> Map.update(watchers, what, %{pid => Process.monitor(pid)}, &Map.put(&1, pid, Process.monitor(pid)))
    end
  end

  def remove(watchers, what, pid) do
    case watchers do
      %{^what => %{^pid => monitor} = pids} ->
        Process.demonitor(monitor, [:flush])
        put(watchers, what, Map.delete(pids, pid))

      _ ->
        watchers
    end
  end

  @doc "The process has ended."
  def down(watchers, pid, monitor) do
    for {what, %{^pid => ^monitor} = pids} <- watchers, reduce: watchers do
      watchers -> put(watchers, what, Map.delete(pids, pid))
    end
  end

  defp put(watchers, what, pids) when map_size(pids) == 0, do: Map.delete(watchers, what)
  defp put(watchers, what, pids), do: Map.put(watchers, what, pids)

  @doc "Tells of the claim that counts now (nil: none), and of that which did."
  def changed(watchers, _key, same, same) when is_map(watchers), do: :ok
  def changed(watchers, _key, _before, _now) when map_size(watchers) == 0, do: :ok

  def changed(watchers, key, before, now) do
    {event, claim} = event(before, now)
    tell(watchers, key, Map.put(Claims.entry(key, claim), :event, event))
  end

  defp event(nil, now), do: {:registered, now}
  defp event(before, nil), do: {:unregistered, before}
  defp event(before, now), do: {if(elem(before, 0) == elem(now, 0), do: :updated, else: :registered), now}

  @doc "Tells of two claims to one name."
  def conflict(watchers, key, winner, loser) do
    news = Map.merge(Claims.entry(key, winner), %{event: :conflict, other: Claims.entry(key, loser)})
    tell(watchers, key, news)
  end

  defp tell(watchers, {scope, _name} = key, news) do
    for what <- [{:name, key}, {:scope, scope}],
        {pid, _monitor} <- Map.get(watchers, what, %{}),
        do: send(pid, {:foundation_registry, news})

    :ok
  end
end
