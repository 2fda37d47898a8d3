defmodule Foundation.Distributed.Consensus.Sender do
  @moduledoc false
  # Sends those frames of the engine to other nodes that it cannot put into the fabric itself: because there is none, because
  # it does not know of it yet, because its queue is full. They go over plain distribution, without ever waiting for a node
  # that is stuck. Frames that wait for one node go together.

  use GenServer

  alias Foundation.Cluster
  alias Foundation.Distributed.Consensus.{Engine, Receiver}

  @batch 128
  @reconnect_ms 1_000

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    Process.flag(:priority, :high)
    Process.flag(:message_queue_data, :off_heap)
    {:ok, %{nodes: %{}, tried: %{}}}
  end

  @impl true
  def handle_info({:foundation_consensus_frame, to, frame}, state) do
    waiting = drain(%{to => [frame]}, @batch)

    {:noreply,
     Enum.reduce(waiting, state, fn {to, frames}, state -> post(to, Enum.reverse(frames), state) end)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp drain(waiting, 0), do: waiting

  defp drain(waiting, left) do
    receive do
      {:foundation_consensus_frame, to, frame} ->
        waiting |> Map.update(to, [frame], &[frame | &1]) |> drain(left - 1)
    after
      0 -> waiting
    end
  end

  defp post(to, frames, state) do
    {node, state} = node_of(to, state)
    Engine.attach()
    distribute(node, {:foundation_consensus_frames, Engine.me(), to, frames}, state)
  end

  defp node_of(to, %{nodes: nodes} = state) do
    case nodes do
      %{^to => node} ->
        {node, state}

      _ ->
        node = Engine.node_of(to)
        {node, %{state | nodes: Map.put(nodes, to, node)}}
    end
  end

  defp distribute(node, message, state) do
    case :erlang.send({Receiver, node}, message, [:noconnect, :nosuspend]) do
      :noconnect -> reconnect(node, state)
      _ -> state
    end
  end

  # A cluster connects its nodes itself; without one nobody else would.
  defp reconnect(node, state) do
    now = System.monotonic_time(:millisecond)

    if now - Map.get(state.tried, node, now - @reconnect_ms) >= @reconnect_ms and not Cluster.running?() do
      spawn(fn -> Node.connect(node) end)
      %{state | tried: Map.put(state.tried, node, now)}
    else
      state
    end
  end
end
