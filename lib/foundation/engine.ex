defmodule Foundation.Engine do
  @moduledoc false
  # Owns the handles of the native structures.
  #
  # They are made before the first child of the supervision tree starts and live in persistent_term, so that a
  # service which crashes and restarts finds its data where it was. They go when the application stops.

  alias Foundation.Native

  @names [:metrics, :events, :limits, :breakers, :adaptive, :pools]
  @max_limit_keys 10_000_000

  @doc "Makes a structure of that kind, sized by the application's environment."
  @spec new(atom) :: reference
  def new(:metrics) do
    bounds = Application.get_env(:foundation, :metrics, [])

    Native.metrics_new(
      Access.get(bounds, :max_names, 100_000),
      Access.get(bounds, :max_series, 100_000),
      Access.get(bounds, :max_series_per_name, 10_000)
    )
  end

  def new(:events), do: Native.events_new()
  def new(:limits), do: Native.limits_new(Application.get_env(:foundation, :max_limit_keys, @max_limit_keys))
  def new(:breakers), do: Native.breaker_new()
  def new(:adaptive), do: Native.adaptive_new()
  def new(:pools), do: Native.pool_new()

  @doc "Makes the handles that do not exist yet."
  @spec start() :: :ok
  def start do
    for name <- @names, handle(name) == nil, do: :persistent_term.put(key(name), new(name))

    :ok
  end

  @doc "Forgets the handles; what they hold is freed when its last user is gone."
  @spec stop() :: :ok
  def stop do
    for name <- @names, do: :persistent_term.erase(key(name))
    :ok
  end

  # One clause a name, and an atom for a key: this look-up stands before every hot call.
  @doc "The handle of that name, or nil when the application is not running. O(1), no copy."
  @spec handle(atom) :: reference | nil
  for name <- @names do
    def handle(unquote(name)), do: :persistent_term.get(unquote(:"foundation_engine_#{name}"), nil)
  end

  @doc "As `handle/1` of a name known when it is compiled, without a call on the way."
  defmacro inline_handle(name) when name in @names do
    quote do: :persistent_term.get(unquote(key(name)), nil)
  end

  defp key(name), do: :"foundation_engine_#{name}"
end
