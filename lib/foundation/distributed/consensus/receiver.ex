defmodule Foundation.Distributed.Consensus.Receiver do
  @moduledoc false
  # Takes frames of other nodes' engines to this one.

  use GenServer

  alias Foundation.Distributed.Consensus.Engine
  alias Foundation.Native

  @small 64 * 1024

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    Process.flag(:priority, :high)
    Process.flag(:message_queue_data, :off_heap)
    {:ok, {Engine.handle(), Engine.me()}}
  end

  # What is meant for an earlier life of this node is for nobody.
  @impl true
  def handle_info({:foundation_consensus_frames, from, me, frames}, {handle, me} = state) do
    Engine.attach()

    if bytes(frames, 0) <= @small,
      do: Native.consensus_receive(handle, from, frames),
      else: Native.consensus_receive_large(handle, from, frames)

    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp bytes([], sum), do: sum
  defp bytes([frame | frames], sum), do: bytes(frames, sum + byte_size(frame))
end
