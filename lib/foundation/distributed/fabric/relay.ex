defmodule Foundation.Distributed.Fabric.Relay do
  @moduledoc false
  # Broadcasts in stages. The node that broadcasts keeps who has not confirmed; the first of each group passes the message
  # on to the rest of it; each node publishes it once, whoever it came from, and confirms to where it began. Those who have
  # not confirmed when the first of their group is gone, or after far more time than it takes, are sent it from where it
  # began.

  use GenServer

  alias Foundation.Distributed.Channels.{InContext, Wire}
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope

  @room_ms 30_000
  # How long those who have not confirmed are waited for before they are sent to from here, beside the time that the bytes
  # take at 10 MB/s; and how often.
  @look_ms 5_000
  @bytes_per_ms 10_000
  @tries 5
  @most_pending 1_000
  # Stages are known again for this long, longer than any can come late.
  @seen_ms 120_000

  def start_link(scope), do: GenServer.start_link(__MODULE__, scope, name: Scope.process(scope, __MODULE__))

  @doc "A broadcast begins: its number. `{:error, :busy}` while too many are under way."
  def begin(scope, channel, message, groups) do
    GenServer.call(Scope.process(scope, __MODULE__), {:begin, channel, message, groups})
  catch
    :exit, _ -> {:error, :not_running}
  end

  @doc "The firsts of some groups could not be sent to: the others of those groups are sent to from here."
  def failed(_scope, _id, []), do: :ok

  def failed(scope, id, nodes),
    do: GenServer.cast(Scope.process(scope, __MODULE__), {:failed, id, nodes})

  # Broadcasts of this node by number: `%{channel, message, groups: %{first => nodes that have not confirmed},
  # tries, wait}`; and numbers that were published here, the two latest spans of them.
  @impl true
  def init(scope) do
    Process.send_after(self(), :forget, @seen_ms)
    {:ok, %{scope: scope, pending: %{}, seen: MapSet.new(), seen_before: MapSet.new()}}
  end

  @impl true
  def handle_call({:begin, _channel, _message, _groups}, _from, state)
      when map_size(state.pending) >= @most_pending,
      do: {:reply, {:error, :busy}, state}

  def handle_call({:begin, channel, message, groups}, _from, state) do
    id = {node(), System.system_time(), System.unique_integer([:positive])}
    groups = for [first | _] = nodes <- groups, into: %{}, do: {first, MapSet.new(nodes)}
    nodes = groups |> Map.values() |> Enum.map(&MapSet.size/1) |> Enum.sum()
    wait = @look_ms + div(nodes * :erlang.external_size(message), @bytes_per_ms)
    Process.send_after(self(), {:look, id}, wait)
    stage = %{channel: channel, message: message, groups: groups, tries: @tries, wait: wait}
    {:reply, {:ok, id}, put_in(state.pending[id], stage)}
  end

  @impl true
  def handle_cast({:failed, id, firsts}, state) do
    # The sender was told of the first ones themselves.
    {:noreply, take_over(state, id, firsts, firsts)}
  end

  @impl true
  def handle_info({:foundation_stage, channel, id, nodes, message}, state) do
    spawn(fn -> pass_on(state.scope, channel, id, nodes, message) end)
    {:noreply, publish(state, channel, id, message)}
  end

  def handle_info({:foundation_staged, channel, id, message}, state),
    do: {:noreply, publish(state, channel, id, message)}

  def handle_info({:foundation_confirmed, id, node}, state), do: {:noreply, confirmed(state, id, node)}

  def handle_info({:foundation_peer_down, node}, state) do
    ids = for {id, %{groups: %{^node => _}}} <- state.pending, do: id
    state = Enum.reduce(ids, state, &take_over(&2, &1, [node], []))
    {:noreply, Enum.reduce(Map.keys(state.pending), state, &confirmed(&2, &1, node))}
  end

  def handle_info({:look, id}, state) do
    case state.pending do
      %{^id => %{tries: 0}} -> {:noreply, %{state | pending: Map.delete(state.pending, id)}}
      %{^id => stage} -> {:noreply, look_again(state, id, stage)}
      _ -> {:noreply, state}
    end
  end

  def handle_info(:forget, state) do
    Process.send_after(self(), :forget, @seen_ms)
    {:noreply, %{state | seen: MapSet.new(), seen_before: state.seen}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp look_again(state, id, stage) do
    Process.send_after(self(), {:look, id}, stage.wait)
    state = put_in(state.pending[id].tries, stage.tries - 1)
    take_over(state, id, Map.keys(stage.groups), [])
  end

  # Sends to those of these groups that have not confirmed.
  defp take_over(state, id, firsts, without) do
    case state.pending do
      %{^id => %{channel: channel, message: message, groups: groups}} ->
        nodes = for first <- firsts, node <- Map.get(groups, first, []), node not in without, do: node
        if nodes != [], do: spawn(fn -> pass_on(state.scope, channel, id, nodes, message) end)
        Enum.reduce(without, state, &confirmed(&2, id, &1))

      _ ->
        state
    end
  end

  defp pass_on(scope, channel, id, nodes, message) do
    options = %{Wire.options(timeout: @room_ms) | cluster: scope}

    for node <- nodes,
        do: Wire.send(channel, {node, __MODULE__}, {:foundation_staged, channel, id, message}, options)
  end

  defp confirmed(state, id, node) do
    case state.pending do
      %{^id => %{groups: groups} = stage} ->
        groups =
          for {first, nodes} <- groups,
              left = MapSet.delete(nodes, node),
              MapSet.size(left) > 0,
              into: %{},
              do: {first, left}

        if groups == %{},
          do: %{state | pending: Map.delete(state.pending, id)},
          else: put_in(state.pending[id], %{stage | groups: groups})

      _ ->
        state
    end
  end

  defp publish(state, channel, {origin, _, _} = id, message) do
    known? = MapSet.member?(state.seen, id) or MapSet.member?(state.seen_before, id)

    if handle = not known? && Fabric.handle(state.scope),
      do: InContext.publish(handle, channel, origin, message)

    options = %{Wire.options([]) | cluster: state.scope}
    Wire.send(:coordination, {origin, __MODULE__}, {:foundation_confirmed, id, node()}, options)
    %{state | seen: MapSet.put(state.seen, id)}
  end
end
