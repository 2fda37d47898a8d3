defmodule Foundation.Telemetry.Forward do
  @moduledoc false
  # Decides which events the service must see: those with handlers in the `:telemetry` package, and all of them while
  # handlers of our own are attached. The decision costs one persistent_term read when neither is the case.

  require Logger

  @compile {:no_warn_undefined, [:telemetry]}
  @key __MODULE__

  @doc "Looks again whether the package is loaded and handlers are attached."
  @spec refresh(MapSet.t()) :: :ok
  def refresh(handlers) do
    mode =
      cond do
        MapSet.size(handlers) > 0 -> :all
        Code.ensure_loaded?(:telemetry) -> :package
        true -> :none
      end

    if :persistent_term.get(@key, :none) != mode, do: :persistent_term.put(@key, mode)
    :ok
  end

  @doc "Whether the service must see events of that name."
  @spec wanted?(list) :: boolean
  def wanted?(name) do
    case :persistent_term.get(@key, :none) do
      :none -> false
      :all -> true
      :package -> package_handlers?(name)
    end
  end

  @doc "Hands an event to the package's handlers, if there are any."
  @spec to_package(list, map, map) :: :ok
  def to_package(name, measurements, metadata) do
    if Code.ensure_loaded?(:telemetry) and package_handlers?(name),
      do: :telemetry.execute(name, measurements, metadata)

    :ok
  rescue
    error ->
      Logger.error("Telemetry of #{inspect(name)} could not be passed on: #{Exception.message(error)}")
  end

  # The package lists by prefix.
  defp package_handlers?(name) do
    Enum.any?(:telemetry.list_handlers(name), &(&1.event_name == name))
  rescue
    # Its application, and with it the table, may be down.
    ArgumentError -> false
  end
end
