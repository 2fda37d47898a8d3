defmodule Foundation.Distributed.Overlay do
  @moduledoc false
  # Owns the overlay that stands beside the fabric's endpoint: starts it, tells it of nodes the endpoint knows, keeps who
  # listens to its news, and hands broadcasts to those who subscribed. Ends with a good-bye.

  use GenServer

  alias Foundation.Distributed.Channels.InContext
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Distributed.Overlay.Options
  alias Foundation.Native

  @key :foundation_overlay
  @everyone 0

  def start_link(given) do
    {scope, _options} = given.()
    GenServer.start_link(__MODULE__, given, name: Scope.process(scope, __MODULE__))
  end

  @doc "The overlay's handle, or nil when none runs."
  @spec handle(Scope.t()) :: reference | nil
  def handle(scope \\ nil), do: :persistent_term.get(key(scope), nil)

  defp key(nil), do: @key
  defp key(scope), do: {@key, scope}

  @doc "Calls a function with the handle."
  @spec with_handle(Scope.t(), (reference -> result)) :: result | {:error, :not_running} when result: term
  def with_handle(scope \\ nil, fun) do
    case handle(scope) do
      nil -> {:error, :not_running}
      handle -> fun.(handle)
    end
  end

  @doc "The number that a topic travels under; topics that share one are told apart by their names in the payload."
  @spec number(term) :: pos_integer
  def number(topic), do: max(:erlang.phash2(topic, 0x1_0000_0000), @everyone + 1)

  @doc "Sends a message of a channel to every other node, whose subscribers get it."
  @spec publish(Scope.t(), atom, term, atom) :: :ok | {:error, :not_running | {:too_large, pos_integer}}
  def publish(scope, channel, message, urgency) do
    with_handle(scope, fn handle ->
      payload = :erlang.term_to_binary({:foundation_channel, channel, message})
      Native.topology_broadcast(handle, @everyone, payload, urgency)
    end)
  end

  @doc "News go to this process: `{:foundation_member, event, node}` and `{:foundation_topology, topology, epoch, settled}`."
  def watch(scope \\ nil, pid), do: call(scope, {:watch, pid})
  def unwatch(scope \\ nil, pid), do: call(scope, {:unwatch, pid})
  def subscribe(scope \\ nil, topic, pid), do: call(scope, {:subscribe, topic, pid})
  def unsubscribe(scope \\ nil, topic, pid), do: call(scope, {:unsubscribe, topic, pid})

  @doc "Waits until this topology is in force and the links of the former one are gone."
  def await_settled(scope \\ nil, topology, timeout) do
    GenServer.call(Scope.process(scope, __MODULE__), {:settled, topology}, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, _ -> {:error, :not_running}
  end

  defp call(scope, request) do
    if handle(scope),
      do: GenServer.call(Scope.process(scope, __MODULE__), request),
      else: {:error, :not_running}
  end

  @impl true
  def init(given) do
    {scope, options} = given.()

    case Options.new(options) do
      nil -> :ignore
      options -> start(scope, options)
    end
  end

  defp start(scope, options) do
    Process.flag(:trap_exit, true)
    # One whose owner was killed would keep its port.
    if left_over = handle(scope), do: Native.topology_stop(left_over, false)

    case Native.topology_start(Fabric.handle(scope), options, self()) do
      {:ok, handle} ->
        :persistent_term.put(key(scope), handle)

        state = %{
          scope: scope,
          handle: handle,
          nodes: MapSet.new(),
          watchers: %{},
          topics: %{},
          monitors: %{},
          waiting: []
        }

        {:ok, join(state)}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  # Every node that the endpoint knows may be in the cluster already.
  defp join(state) do
    {:ok, %{peers: peers}} = Fabric.info(cluster: state.scope)

    addresses = for {name, _boot, address, true} <- peers, not MapSet.member?(state.nodes, name), do: address

    for some <- Enum.chunk_every(addresses, 1024), do: :ok = Native.topology_join(state.handle, some)
    state
  end

  @impl true
  def handle_call({:settled, topology}, from, state) do
    case Native.topology_info(state.handle) do
      %{topology: ^topology, settled: true} -> {:reply, :ok, state}
      _ -> {:noreply, %{state | waiting: [{from, topology} | state.waiting]}}
    end
  end

  def handle_call({:watch, pid}, _from, state),
    do: {:reply, :ok, state |> monitor(pid) |> put_in([:watchers, pid], true)}

  def handle_call({:unwatch, pid}, _from, state),
    do: {:reply, :ok, %{state | watchers: Map.delete(state.watchers, pid)}}

  def handle_call({:subscribe, topic, pid}, _from, state) do
    case state.topics do
      %{^topic => pids} ->
        {:reply, :ok, state |> monitor(pid) |> put_in([:topics, topic], MapSet.put(pids, pid))}

      _ ->
        with :ok <- Native.topology_subscribe(state.handle, number(topic), true) do
          {:reply, :ok, state |> monitor(pid) |> put_in([:topics, topic], MapSet.new([pid]))}
        else
          error -> {:reply, error, state}
        end
    end
  end

  def handle_call({:unsubscribe, topic, pid}, _from, state), do: {:reply, :ok, drop(state, topic, pid)}

  @impl true
  def handle_info({:foundation_overlay, :deliver, from, @everyone, payload}, state) do
    with {:foundation_channel, channel, message} <- :erlang.binary_to_term(payload),
         handle when handle != nil <- Fabric.handle(state.scope),
         do: InContext.publish(handle, channel, String.to_atom(from), message)

    {:noreply, state}
  end

  def handle_info({:foundation_overlay, :deliver, from, _number, payload}, state) do
    # Written by a member of the cluster, which is trusted as a node of Distributed Erlang is.
    {topic, message} = :erlang.binary_to_term(payload)

    for pid <- Map.get(state.topics, topic, []),
        do: send(pid, {:foundation_broadcast, topic, String.to_atom(from), message})

    {:noreply, state}
  end

  def handle_info({:foundation_overlay, :member, event, reason, name, _boot}, state) do
    node = String.to_atom(name)
    tell(state, {:foundation_member, event(event, reason), node})
    {:noreply, %{state | nodes: nodes(state.nodes, event, node)}}
  end

  def handle_info({:foundation_overlay, :topology, topology, epoch, settled}, state) do
    tell(state, {:foundation_topology, topology, epoch, settled})
    {done, waiting} = Enum.split_with(state.waiting, fn {_, wanted} -> settled and wanted == topology end)
    for {from, _} <- done, do: GenServer.reply(from, :ok)
    {:noreply, %{state | waiting: waiting}}
  end

  def handle_info({:foundation_peer_up, node}, state) do
    {:noreply, if(MapSet.member?(state.nodes, Atom.to_string(node)), do: state, else: join(state))}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    state = %{state | watchers: Map.delete(state.watchers, pid), monitors: Map.delete(state.monitors, pid)}
    {:noreply, Enum.reduce(Map.keys(state.topics), state, &drop(&2, &1, pid))}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp event(:down, reason), do: {:down, reason}
  defp event(event, _reason), do: event

  defp nodes(nodes, event, node) when event in [:down, :left],
    do: MapSet.delete(nodes, Atom.to_string(node))

  defp nodes(nodes, _event, node), do: MapSet.put(nodes, Atom.to_string(node))

  defp tell(state, news) do
    for {pid, _} <- state.watchers, do: send(pid, news)
  end

  defp monitor(state, pid) do
    case state.monitors do
      %{^pid => _} -> state
      _ -> put_in(state, [:monitors, pid], Process.monitor(pid))
    end
  end

  defp drop(state, topic, pid) do
    pids = MapSet.delete(Map.get(state.topics, topic, MapSet.new()), pid)

    cond do
      MapSet.size(pids) > 0 ->
        put_in(state, [:topics, topic], pids)

      is_map_key(state.topics, topic) ->
        topics = Map.delete(state.topics, topic)
        shared = Enum.any?(Map.keys(topics), &(number(&1) == number(topic)))
        unless shared, do: Native.topology_subscribe(state.handle, number(topic), false)
        %{state | topics: topics}

      true ->
        state
    end
  end

  @impl true
  def terminate(_reason, state) do
    :persistent_term.erase(key(state.scope))
    Native.topology_stop(state.handle, true)
  end
end
