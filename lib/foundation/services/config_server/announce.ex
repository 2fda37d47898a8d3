defmodule Foundation.Services.ConfigServer.Announce do
  @moduledoc false
  # Tells of a change that has been made: subscribers, event store, telemetry. The change stands whether or
  # not they can be reached.

  alias Foundation.{Events, Telemetry}
  alias Foundation.Services.EventStore

  require Logger

  @doc "Sends a notification to each subscriber."
  @spec notify([pid], term) :: :ok
  def notify(subscribers, message) do
    Enum.each(subscribers, &send(&1, {:config_notification, message}))
  end

  @doc "Stores an event, when there is a store."
  @spec store(atom, map) :: :ok
  def store(type, data) do
    guarded("storing a config event", fn ->
      if EventStore.available?() do
        with {:ok, event} <- Events.new_event(type, data),
             {:ok, _id} <- EventStore.store(event) do
          :ok
        else
          {:error, error} -> Logger.warning("Failed to store a config event: #{inspect(error)}")
        end
      end
    end)
  end

  @doc "Counts in telemetry."
  @spec count([atom], map) :: :ok
  def count(name, metadata) do
    guarded("counting a config change", fn -> Telemetry.emit_counter(name, metadata) end)
  end

  defp guarded(what, fun) do
    _ = fun.()
    :ok
  rescue
    error -> Logger.warning("Exception while #{what}: #{Exception.message(error)}")
  catch
    :exit, reason -> Logger.warning("Exit while #{what}: #{inspect(reason)}")
  end
end
