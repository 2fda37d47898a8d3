defmodule Foundation.Telemetry.Aggregates do
  @moduledoc false
  # The 1.x aggregates of a native set of metrics: recording an event, and the nested map of all of them.

  alias Foundation.Native

  # Names whose place in the map holds a bare count.
  @counts %{
    [:foundation, :event_store, :events_stored] => [:foundation, :events_stored],
    [:foundation, :config_updates] => [:foundation, :config_updates],
    [:foundation, :config_resets] => [:foundation, :config_resets],
    [:foundation, :config_operations] => [:foundation, :config_operations]
  }

  @doc "Adds an event. What cannot be a name (nested over 32 deep, over 4096 bytes) is left out."
  @spec execute(reference, list, map, map, boolean) :: :ok
  def execute(handle, name, measurements, metadata, timed \\ false) do
    now = :erlang.monotonic_time()

    case Native.metrics_execute(handle, name, measurements, now, timed) do
      :ok -> :ok
      :new -> Native.metrics_execute_new(handle, name, measurements, metadata, now, timed)
    end
  rescue
    ArgumentError -> :ok
  end

  @doc "All aggregates, nested along the names, and when they were read."
  @spec nested(reference) :: map
  def nested(handle), do: nested(handle, fn _name -> true end)

  @doc "The aggregates of the names that begin with `prefix`, nested along the names, and when they were read."
  @spec nested_under(reference, list) :: map
  def nested_under(handle, prefix), do: nested(handle, &List.starts_with?(&1, prefix))

  defp nested(handle, keep) do
    handle
    |> Native.metrics_collect()
    |> Enum.filter(fn row -> row |> elem(0) |> keep.() end)
    |> Enum.sort_by(fn row -> row |> elem(0) |> length() end)
    |> Enum.reduce(%{}, &place/2)
    |> Map.put(:retrieved_at, :erlang.monotonic_time())
  end

  defp place({name, timestamp, count, measurements, metadata}, map) do
    case @counts do
      %{^name => path} ->
        put(map, path, fn _ -> count end)

      %{} ->
        leaf = %{
          timestamp: timestamp,
          measurements: Map.new(measurements),
          metadata: metadata,
          count: count
        }

        put(map, name, &Map.merge(as_map(&1), leaf))
    end
  end

  defp put(value, [], fun), do: fun.(value)

  defp put(value, [step | rest], fun) do
    map = as_map(value)
    Map.put(map, step, put(Map.get(map, step), rest, fun))
  end

  defp as_map(value) when is_map(value), do: value
  defp as_map(_), do: %{}
end
