defmodule Foundation.Services.ConfigServer.Announce do
  @moduledoc false
  # Tells of a change that has been made: subscribers, event store, telemetry. The change stands whether or not they
  # can be reached.

  require Logger

  @compile {:no_warn_undefined, [Foundation.Events, Foundation.Services.EventStore]}

  @doc "Sends a notification to each subscriber."
  @spec notify([pid], term) :: :ok
  def notify(subscribers, message) do
    Enum.each(subscribers, &send(&1, {:config_notification, message}))
  end

  @doc "Stores an event, when there is a store."
  @spec store(atom, map) :: :ok
  def store(type, data) do
    store = Foundation.Services.EventStore

    guarded("storing a config event", fn ->
      if Code.ensure_loaded?(store) and store.available?() do
        with {:ok, event} <- Foundation.Events.new_event(type, data),
             {:ok, _id} <- store.store(event) do
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
    guarded("counting a config change", fn -> Foundation.Telemetry.emit_counter(name, metadata) end)
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
