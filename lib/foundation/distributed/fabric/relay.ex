defmodule Foundation.Distributed.Fabric.Relay do
  @moduledoc false
  # Passes on what other nodes broadcast in stages.

  use GenServer

  alias Foundation.Distributed.Channels.{InContext, Wire}
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope

  @room_ms 30_000

  def start_link(scope), do: GenServer.start_link(__MODULE__, scope, name: Scope.process(scope, __MODULE__))

  @impl true
  def init(scope), do: {:ok, scope}

  @impl true
  def handle_info({:foundation_relay, channel, origin, nodes, message}, scope) do
    options = %{Wire.options(timeout: @room_ms) | cluster: scope}

    for node <- nodes,
        do: Wire.send(channel, {node, __MODULE__}, {:foundation_relay, channel, origin, [], message}, options)

    if handle = Fabric.handle(scope), do: InContext.publish(handle, channel, origin, message)

    {:noreply, scope}
  end

  def handle_info(_other, scope), do: {:noreply, scope}
end
