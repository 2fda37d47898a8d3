defmodule Foundation.Distributed.Channels.Handler do
  @moduledoc false
  # Subscribes to a channel and runs a function on each message, in the context it was sent in.

  use GenServer, restart: :temporary
  require Logger

  alias Foundation.Distributed.{Channels, Context}

  def start_link({channel, function, options}),
    do: GenServer.start_link(__MODULE__, {channel, function, options})

  @impl true
  def init({channel, function, options}) do
    case Channels.subscribe(channel, [context: true] ++ options) do
      :ok -> {:ok, function}
      {:error, reason} -> {:stop, {:shutdown, reason}}
    end
  end

  @impl true
  def handle_info({:foundation_channel, channel, from, message, carrier}, function) do
    with {:error, :invalid_context} <- Context.attach(carrier, {:message, channel}), do: Context.clear()
    handle(function, message, from, channel)
    {:noreply, function}
  end

  def handle_info(_other, function), do: {:noreply, function}

  # One bad message does not end what handles the others.
  defp handle(function, message, from, channel) do
    function.(message, from)
  catch
    kind, reason ->
      Logger.error(
        "a handler of channel #{inspect(channel)} failed: " <> Exception.format(kind, reason, __STACKTRACE__)
      )
  end
end
