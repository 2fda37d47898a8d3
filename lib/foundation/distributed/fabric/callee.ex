defmodule Foundation.Distributed.Fabric.Callee do
  @moduledoc false
  # Makes the calls here that other nodes ask for: to the called process it is the caller, so that any GenServer
  # answers it. Several of these share the work by the number of the call.

  use GenServer

  alias Foundation.Distributed.Channels.InContext
  alias Foundation.Distributed.Clusters.Member
  alias Foundation.Distributed.{Context, Fabric}
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Native

  @room_ms 30_000

  def name(scope, n), do: Scope.process(scope, :"#{__MODULE__}.#{n}")

  def child_spec({scope, n}), do: %{id: {__MODULE__, n}, start: {__MODULE__, :start_link, [scope, n]}}

  def start_link(scope, n), do: GenServer.start_link(__MODULE__, scope, name: name(scope, n))

  # Calls by {node, number}, and numbers of the calls that a monitor watches.
  @impl true
  def init(scope), do: {:ok, %{scope: scope, calls: %{}, monitors: %{}}}

  @impl true
  def handle_info({:foundation_call, node, channel, number, _timeout, target, request}, state) do
    case process(state.scope, target) do
      nil ->
        answer(state.scope, channel, node, number, true, :noproc)
        {:noreply, state}

      pid ->
        key = {node, number}
        monitor = Process.monitor(pid)
        {request, carrier} = InContext.unwrap(request)
        # The context stands in the tag, where `Context.attach_caller/1` finds it.
        tag = {__MODULE__, key, Context.arrive(carrier, {:call, channel})}
        send(pid, {:"$gen_call", {self(), tag}, request})
        {:noreply, put(state, key, {channel, monitor, {pid, tag}})}
    end
  end

  def handle_info({{__MODULE__, key, _carrier}, reply}, state), do: settle(state, key, false, reply)

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    case state.monitors do
      %{^monitor => key} -> settle(state, key, true, {:exit, reason})
      _ -> {:noreply, state}
    end
  end

  def handle_info({:foundation_cancel, node, number}, state), do: {:noreply, cancel({node, number}, state)}

  def handle_info({:foundation_peer_down, node}, state) do
    keys = for {{^node, _} = key, _} <- state.calls, do: key
    {:noreply, Enum.reduce(keys, state, &cancel/2)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # Any GenServer can be called so, and few could make something of the news.
  defp cancel(key, state) do
    member = Process.whereis(Scope.process(state.scope, Member))

    with %{^key => {_, _, {^member, tag}}} <- state.calls,
         do: send(member, {:foundation_cancelled, {self(), tag}})

    {_, state} = pop(state, key)
    state
  end

  defp process(_scope, pid) when is_pid(pid), do: if(node(pid) == node(), do: pid)
  defp process(scope, name), do: Scope.whereis(scope, name)

  defp settle(state, {node, number} = key, failed, term) do
    case pop(state, key) do
      {nil, state} ->
        {:noreply, state}

      {channel, state} ->
        answer(state.scope, channel, node, number, failed, term)
        {:noreply, state}
    end
  end

  defp put(state, key, {_channel, monitor, _from} = call) do
    %{
      state
      | calls: Map.put(state.calls, key, call),
        monitors: Map.put(state.monitors, monitor, key)
    }
  end

  defp pop(state, key) do
    case Map.pop(state.calls, key) do
      {nil, _} ->
        {nil, state}

      {{channel, monitor, _from}, calls} ->
        Process.demonitor(monitor, [:flush])
        {channel, %{state | calls: calls, monitors: Map.delete(state.monitors, monitor)}}
    end
  end

  defp answer(scope, channel, node, number, failed, term) do
    with handle when handle != nil <- Fabric.handle(scope),
         :dirty <- Native.fabric_reply(handle, channel, node, number, failed, term),
         {:error, :busy} <- Native.fabric_reply_large(handle, channel, node, number, failed, term) do
      wait(handle, channel, node, number, failed, term)
    else
      {:error, :busy} -> wait(Fabric.handle(scope), channel, node, number, failed, term)
      _ -> :ok
    end
  end

  # Others are answered meanwhile.
  defp wait(nil, _channel, _node, _number, _failed, _term), do: :ok

  defp wait(handle, channel, node, number, failed, term) do
    spawn(fn ->
      reference = make_ref()

      with {:ok, waiter} <- Native.fabric_await_room(handle, channel, node, self(), reference) do
        receive do
          {^reference, _} -> :ok
        after
          @room_ms -> Native.fabric_forget(handle, waiter)
        end
      end

      Native.fabric_reply_large(handle, channel, node, number, failed, term)
    end)
  end
end
