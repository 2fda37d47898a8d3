defmodule Foundation.Distributed.Fabric.Relay do
  @moduledoc false
  # Passes on what other nodes broadcast in stages.

  use GenServer

  alias Foundation.Distributed.Channels.{InContext, Wire}
  alias Foundation.Distributed.Fabric

  @room_ms 30_000

  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil), do: {:ok, nil}

  @impl true
  def handle_info({:foundation_relay, channel, origin, nodes, message}, state) do
    options = Wire.options(timeout: @room_ms)

    for node <- nodes,
        do: Wire.send(channel, {node, __MODULE__}, {:foundation_relay, channel, origin, [], message}, options)

    if handle = Fabric.handle(), do: InContext.publish(handle, channel, origin, message)

    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}
end
