defmodule Foundation.Engine do
  @moduledoc false
  # Owns the handles of the native structures.
  #
  # They are made before the first child of the supervision tree starts and live in persistent_term, so that a
  # service which crashes and restarts finds its data where it was. They go when the application stops, which also says
  # which there are: this module knows none of their owners.

  @doc "Makes the handles that do not exist yet, each by its function."
  @spec start([{atom, (() -> reference)}]) :: :ok
  def start(makers) do
    for {name, make} <- makers, handle(name) == nil do
      :persistent_term.put({__MODULE__, name}, make.())
    end

    :ok
  end

  @doc "Forgets the handles of these names; what they hold is freed when its last user is gone."
  @spec stop([{atom, (() -> reference)}]) :: :ok
  def stop(makers) do
    for {name, _} <- makers, do: :persistent_term.erase({__MODULE__, name})
    :ok
  end

  @doc "The handle of that name, or nil when the application is not running. O(1), no copy."
  @spec handle(atom) :: reference | nil
  def handle(name), do: :persistent_term.get({__MODULE__, name}, nil)
end
