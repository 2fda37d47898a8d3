defmodule Foundation.Engine do
  @moduledoc false
  # Owns the handles of the native structures.
  #
  # They are made before the first child of the supervision tree starts and live in persistent_term, so that a
  # service which crashes and restarts finds its data where it was. They go when the application stops.

  # Every handle, its name and how it is made, in order.
  defp makers do
    [
      {:metrics, &Foundation.Services.TelemetryService.new_handle/0},
      {:events, &Foundation.Native.events_new/0},
      {:limits, &Foundation.Infrastructure.Limits.new_handle/0},
      {:breakers, &Foundation.Native.breaker_new/0},
      {:adaptive, &Foundation.Native.adaptive_new/0},
      {:pools, &Foundation.Native.pool_new/0}
    ]
  end

  @doc "Makes the handles that do not exist yet."
  @spec start() :: :ok
  def start do
    for {name, make} <- makers(), handle(name) == nil do
      :persistent_term.put({__MODULE__, name}, make.())
    end

    :ok
  end

  @doc "Forgets the handles; what they hold is freed when its last user is gone."
  @spec stop() :: :ok
  def stop do
    for {name, _} <- makers(), do: :persistent_term.erase({__MODULE__, name})
    :ok
  end

  @doc "The handle of that name, or nil when the application is not running. O(1), no copy."
  @spec handle(atom) :: reference | nil
  def handle(name), do: :persistent_term.get({__MODULE__, name}, nil)
end
