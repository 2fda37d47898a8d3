defmodule Foundation.Distributed.Fabric.Subscribers do
  @moduledoc false
  # Who subscribes to which channel, for as long as they live, and whether they keep up: a subscriber whose mailbox
  # grows over its bound stops the credit of its channel's senders until it is half as long.

  use GenServer

  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Native

  @look_ms 10

  def start_link(scope), do: GenServer.start_link(__MODULE__, scope, name: Scope.process(scope, __MODULE__))

  def add(scope, channel, pid, max, context?) when is_pid(pid) and node(pid) == node() do
    unless is_boolean(context?),
      do: raise(ArgumentError, "context is true or false, got: #{inspect(context?)}")

    unless max == nil or (is_integer(max) and max > 0),
      do: raise(ArgumentError, "max_mailbox is a positive integer or nil, got: #{inspect(max)}")

    call(scope, {:add, channel, pid, max, if(context?, do: :context, else: true)})
  end

  def add(_scope, _channel, pid, _max, _context?),
    do: raise(ArgumentError, "a subscriber is a process of this node, got: #{inspect(pid)}")

  def remove(scope, channel, pid), do: call(scope, {:remove, channel, pid})

  defp call(scope, request) do
    if Fabric.handle(scope),
      do: GenServer.call(Scope.process(scope, __MODULE__), request),
      else: {:error, :not_running}
  end

  @doc "A new endpoint is told who subscribes."
  def restore(scope, handle), do: GenServer.call(Scope.process(scope, __MODULE__), {:restore, handle})

  # Subscriptions by {channel, pid}: the monitor, the bound, and how the library is told; channels that are paused.
  @impl true
  def init(scope), do: {:ok, %{scope: scope, subscriptions: %{}, paused: MapSet.new(), looks: false}}

  @impl true
  def handle_call({:add, channel, pid, max, how}, _from, state) do
    state = forget(state, {channel, pid})
    subscriptions = Map.put(state.subscriptions, {channel, pid}, {Process.monitor(pid), max, how})

    with handle when handle != nil <- Fabric.handle(state.scope),
         do: Native.fabric_subscribe(handle, channel, pid, how)

    {:reply, :ok, look_later(%{state | subscriptions: subscriptions})}
  end

  def handle_call({:remove, channel, pid}, _from, state), do: {:reply, :ok, drop(state, {channel, pid})}

  def handle_call({:restore, handle}, _from, state) do
    for {{channel, pid}, {_, _, how}} <- state.subscriptions,
        do: Native.fabric_subscribe(handle, channel, pid, how)

    for channel <- state.paused, do: Native.fabric_pause(handle, channel, true)
    {:reply, :ok, state}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    keys = for {_, ^pid} = key <- Map.keys(state.subscriptions), do: key
    {:noreply, Enum.reduce(keys, state, &drop(&2, &1))}
  end

  def handle_info(:look, state), do: {:noreply, look_later(look(%{state | looks: false}))}
  def handle_info(_other, state), do: {:noreply, state}

  defp drop(state, {channel, pid} = key) do
    with handle when handle != nil <- Fabric.handle(state.scope),
         do: Native.fabric_subscribe(handle, channel, pid, false)

    look(forget(state, key))
  end

  defp forget(state, key) do
    case Map.pop(state.subscriptions, key) do
      {nil, _} ->
        state

      {{monitor, _max, _how}, subscriptions} ->
        Process.demonitor(monitor, [:flush])
        %{state | subscriptions: subscriptions}
    end
  end

  defp look_later(%{looks: true} = state), do: state

  defp look_later(state) do
    if Enum.any?(state.subscriptions, &match?({_, {_, max, _}} when max != nil, &1)) do
      Process.send_after(self(), :look, @look_ms)
      %{state | looks: true}
    else
      state
    end
  end

  defp look(state) do
    slow =
      for {{channel, pid}, {_, max, _}} <- state.subscriptions,
          max != nil,
          length = mailbox(pid),
          length > max or (length > div(max, 2) and MapSet.member?(state.paused, channel)),
          into: MapSet.new(),
          do: channel

    if handle = Fabric.handle(state.scope) do
      for channel <- MapSet.difference(slow, state.paused), do: Native.fabric_pause(handle, channel, true)
      for channel <- MapSet.difference(state.paused, slow), do: Native.fabric_pause(handle, channel, false)
    end

    %{state | paused: slow}
  end

  defp mailbox(pid) do
    case Process.info(pid, :message_queue_len) do
      {:message_queue_len, length} -> length
      nil -> 0
    end
  end
end
