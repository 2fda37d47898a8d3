defmodule Foundation.Distributed.Clusters.Roll do
  @moduledoc false
  # Who is in the cluster of one fabric, since when, and who of them drains: there for each fabric of this node, that of
  # the main cluster included, whose members may be looked at from other clusters' nodes.
  #
  # A node that drains tells each member, and later each that comes up.

  use GenServer

  alias Foundation.Cluster.Drain
  alias Foundation.Distributed.{Channels, Fabric, Topology}
  alias Foundation.Distributed.Fabric.Scope

  @channel :coordination
  # So long after it was lost a node that drained is remembered.
  @forget_ms 60_000
  @tell_ms 1_000
  @at_once 64
  @most_early 1_024

  @type member :: %{state: :up | :unreachable, since: integer, reason: term}

  def child_spec(scope), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [scope]}}

  @spec start_link(Scope.t()) :: GenServer.on_start()
  def start_link(scope), do: GenServer.start_link(__MODULE__, scope, name: Scope.process(scope, __MODULE__))

  @doc "The members besides this node."
  @spec members(Scope.t()) :: %{node => member}
  def members(scope) do
    GenServer.call(Scope.process(scope, __MODULE__), :members)
  catch
    :exit, _ -> %{}
  end

  @doc "Sends the caller `{:nodeup, node}` for each that comes up from now on, as the runtime does for its own."
  @spec watch(Scope.t()) :: :ok
  def watch(scope), do: GenServer.cast(Scope.process(scope, __MODULE__), {:watch, self()})

  @doc """
  Tells the members that this node drains, or (nil) no more, and waits until they have it, at most a second: a link that is
  opened for it while the fabric ends would have the other side take the node for one that is back. O(members).
  """
  @spec tell(Scope.t(), Drain.info() | nil) :: :ok
  def tell(scope, info), do: tell_all(scope, {stamp(), info})

  defp stamp, do: :erlang.unique_integer([:monotonic])

  defp tell_all(scope, said) do
    scope
    |> Fabric.nodes()
    |> Task.async_stream(&tell(scope, said, &1, ack: true, timeout: @tell_ms),
      max_concurrency: @at_once,
      timeout: 2 * @tell_ms,
      on_timeout: :kill_task,
      ordered: false
    )
    |> Stream.run()
  end

  defp tell(scope, {stamp, info}, node, options) do
    message = {:foundation_roll, node(), stamp, info}
    Channels.send_message(@channel, {__MODULE__, node}, message, [cluster: scope] ++ options)
  end

  @impl true
  def init(scope) do
    if scope == nil, do: Drain.follow(self())
    # Without an overlay nobody is suspected.
    _ = Topology.subscribe(self(), cluster: scope)
    members = Map.new(Fabric.nodes(scope), &{&1, up(:present)})
    {:ok, %{scope: scope, members: members, stamps: %{}, early: MapSet.new(), watchers: %{}}}
  end

  @impl true
  def handle_call(:members, _from, state), do: {:reply, state.members, state}

  @impl true
  def handle_cast({:watch, pid}, state),
    do: {:noreply, put_in(state.watchers[pid], state.watchers[pid] || Process.monitor(pid))}

  # Told again when its address changes; another life of it comes after the end of the one before.
  @impl true
  def handle_info({:foundation_peer_up, node}, state) when is_map_key(state.members, node),
    do: {:noreply, state}

  def handle_info({:foundation_peer_up, node}, %{scope: scope} = state) do
    unless MapSet.member?(state.early, node), do: Drain.unnote(scope, node)
    with info when info != nil <- own_drain(scope), do: tell(scope, {stamp(), info}, node, [])
    for {pid, _} <- state.watchers, do: send(pid, {:nodeup, node})
    state = %{state | stamps: Map.delete(state.stamps, node), early: MapSet.delete(state.early, node)}
    {:noreply, put_in(state.members[node], up(:connected))}
  end

  def handle_info({:foundation_peer_down, node}, state) do
    if Drain.noted(state.scope, node), do: Process.send_after(self(), {:forget, node}, @forget_ms)
    {:noreply, %{state | members: Map.delete(state.members, node), stamps: Map.delete(state.stamps, node)}}
  end

  def handle_info({:foundation_member, :suspect, node}, state),
    do: {:noreply, seen(state, node, :unreachable, :silent)}

  def handle_info({:foundation_member, :alive, node}, state),
    do: {:noreply, seen(state, node, :up, :reconnected)}

  # What was said before what is known already comes too late.
  def handle_info({:foundation_roll, node, stamp, said}, state)
      when is_map_key(state.members, node) and is_integer(stamp) do
    if stamp > Map.get(state.stamps, node, stamp - 1), do: heard(state.scope, node, said)
    {:noreply, put_in(state.stamps[node], max(stamp, Map.get(state.stamps, node, stamp)))}
  end

  # One that knows us, and of which the fabric has not told yet.
  def handle_info({:foundation_roll, node, _stamp, said}, state) when is_atom(node) and node != node() do
    if MapSet.size(state.early) < @most_early do
      heard(state.scope, node, said)
      {:noreply, %{state | early: MapSet.put(state.early, node)}}
    else
      {:noreply, state}
    end
  end

  # This node, in its main cluster.
  def handle_info({:foundation_drain, info}, state) do
    # Which takes as long as the slowest of them.
    said = {stamp(), info}
    spawn(fn -> tell_all(state.scope, said) end)
    {:noreply, state}
  end

  def handle_info({:forget, node}, state) do
    unless is_map_key(state.members, node), do: Drain.unnote(state.scope, node)
    {:noreply, state}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state),
    do: {:noreply, %{state | watchers: Map.delete(state.watchers, pid)}}

  def handle_info(_other, state), do: {:noreply, state}

  defp heard(scope, node, nil), do: Drain.unnote(scope, node)

  defp heard(scope, node, %{phase: phase, reason: _, since: _, timeout: _} = info)
       when phase in [:draining, :left],
       do: Drain.note(scope, node, Map.take(info, [:phase, :reason, :since, :timeout]))

  defp heard(_scope, _node, _other), do: false

  defp own_drain(nil), do: if(Foundation.Cluster.draining?(), do: Drain.info(:drain, 1))
  defp own_drain(scope), do: Drain.noted(scope, node())

  defp up(reason), do: %{state: :up, since: System.monotonic_time(:millisecond), reason: reason}

  defp seen(state, node, how, reason) do
    case state.members do
      %{^node => %{state: ^how}} -> state
      %{^node => _} -> put_in(state.members[node], %{up(reason) | state: how})
      _ -> state
    end
  end
end
