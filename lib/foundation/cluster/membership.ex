defmodule Foundation.Cluster.Membership do
  @moduledoc false
  # Who is in the cluster: turns connections that come and go into members that join and leave, and tells subscribers of it
  # in one order.
  #
  # A member whose connection breaks is unreachable; it has left when it said goodbye, or when it did not come back within
  # `down_after`. A member that no strategy wants any longer is disconnected after `leave_after`. The rows live in
  # Foundation.Cluster.Table; this process is the only one that writes members, draining nodes and subscribers.

  use GenServer

  alias Foundation.Cluster.{Bulletin, Connector, Drain, Peering, Readiness, Table}

  @look_ms 100

  @type state :: :up | :unreachable
  @type member :: %{state: state, since: integer, boot: integer | nil, reason: term}

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: __MODULE__)

  @doc "This node and the members that are up, in order. O(members)."
  @spec nodes() :: [node]
  def nodes do
    if Table.exists?(),
      do: Enum.sort([node() | for({node, %{state: :up}} <- Table.all(:member), do: node)]),
      else: Enum.sort(Node.list([:this, :visible]))
  end

  @doc "Whether the node is being emptied, or has left for that reason. O(log n)."
  @spec draining?(node) :: boolean
  def draining?(node), do: Table.get({:draining, node}) != nil

  @doc "Whether no connection to the node may be made now."
  @spec refused?(node) :: boolean
  def refused?(node), do: draining?(node) or left?() or Table.get({:parted, node}, false)

  @doc "Whether this node has left the cluster to be stopped."
  @spec left?() :: boolean
  def left?, do: match?(%{phase: :left}, Table.get({:draining, node()}))

  @doc "When the node started, in us since the epoch, as far as it has said so."
  @spec boot(node) :: integer | nil
  def boot(node) when node == node(), do: Table.get(:boot)
  def boot(node), do: Table.get({:member, node}, %{boot: nil}).boot

  @doc "Looks again whether those who wait for the cluster can go on."
  @spec look() :: :ok
  def look, do: GenServer.cast(__MODULE__, :look)

  @doc "A strategy wants the node no longer."
  @spec given_up(node, atom) :: :ok
  def given_up(node, topology), do: GenServer.cast(__MODULE__, {:given_up, node, topology})

  @doc """
  Sets or clears the drain state of this node, and tells the others. A drain begins once, and one that was taken back does
  not go on: `{:error, state}` with the state as it is.
  """
  @spec drain(map | nil) :: :ok | {:error, map | nil}
  def drain(info), do: GenServer.call(__MODULE__, {:drain, info})

  @doc "Some strategy wants a node again that was given up."
  @spec wanted(node) :: :ok
  def wanted(node), do: GenServer.cast(__MODULE__, {:wanted, node})

  @doc "Says goodbye to every member, for that reason: who they were. Each answers the caller `{:farewell, node}`."
  @spec leave(term) :: [node]
  def leave(reason), do: GenServer.call(__MODULE__, {:leave, reason, self()})

  @spec subscribe(pid, [atom] | :all) :: :ok
  def subscribe(pid, events), do: GenServer.call(__MODULE__, {:subscribe, pid, events})

  @spec unsubscribe(pid) :: :ok
  def unsubscribe(pid), do: GenServer.call(__MODULE__, {:unsubscribe, pid})

  @doc "Answers when the condition holds, at the latest after `timeout` ms."
  @spec await(Readiness.condition(), timeout) :: :ok | {:error, {:timeout, map}}
  def await(condition, timeout), do: GenServer.call(__MODULE__, {:await, condition, timeout}, :infinity)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    :ok = :net_kernel.monitor_nodes(true, [:nodedown_reason, {:node_type, :visible}])
    for {pid, _} <- Table.all(:subscriber), do: Process.monitor(pid)
    boot = Table.get(:boot) || System.os_time(:microsecond)
    Table.put(:boot, boot)
    state = %{options: options, boot: boot, waiting: [], leaving: %{}, votes: MapSet.new()}
    {:ok, catch_up(state)}
  end

  # What happened while nobody looked: at the start every connected node is new, after a crash only some are.
  defp catch_up(state) do
    present = Node.list(:visible)
    known = for {node, %{state: :up}} <- Table.all(:member), do: node
    state = Enum.reduce(known -- present, state, &down(&2, &1, :unknown))
    state = Enum.reduce(present -- known, state, &up(&2, &1))
    for {node, %{state: :unreachable}} <- Table.all(:member), do: expect(state, node)
    state
  end

  @impl true
  def handle_call({:subscribe, pid, events}, _from, state) do
    if Table.get({:subscriber, pid}) == nil, do: Process.monitor(pid)
    Table.put({:subscriber, pid}, events)
    Bulletin.tell_present(pid, events)
    {:reply, :ok, state}
  end

  def handle_call({:unsubscribe, pid}, _from, state) do
    Table.delete({:subscriber, pid})
    {:reply, :ok, state}
  end

  def handle_call({:await, condition, timeout}, from, state) do
    reference = make_ref()
    if is_integer(timeout), do: Process.send_after(self(), {:waited, reference}, timeout)
    if state.waiting == [], do: Process.send_after(self(), :look, @look_ms)
    {:noreply, release_waiting(%{state | waiting: [{reference, from, condition} | state.waiting]})}
  end

  def handle_call({:drain, nil}, _from, state) do
    Table.delete({:draining, node()})
    Peering.tell(members(), {:resumed, node()})
    Bulletin.tell(:resumed, node(), :resumed)
    {:reply, :ok, state}
  end

  def handle_call({:drain, %{phase: phase} = info}, _from, state) do
    case {phase, Table.get({:draining, node()})} do
      {:draining, nil} ->
        draining(info)
        Bulletin.tell(:draining, node(), info.reason)
        {:reply, :ok, state}

      {:left, %{phase: :draining}} ->
        draining(info)
        {:reply, :ok, state}

      {_, other} ->
        {:reply, {:error, other}, state}
    end
  end

  def handle_call({:leave, reason, caller}, _from, state) do
    members = members()
    Peering.tell(members, {:goodbye, node(), reason, caller})
    {:reply, members, Enum.reduce(members, state, &left(&2, &1, parting(reason)))}
  end

  @impl true
  def handle_cast(:look, state), do: {:noreply, release_waiting(state)}

  def handle_cast({:given_up, node, topology}, state) do
    if Table.claims(node) == [] and not Map.has_key?(state.leaving, node) do
      timer = Process.send_after(self(), {:leave_after, node, topology}, state.options.leave_after)
      {:noreply, put_in(state.leaving[node], timer)}
    else
      {:noreply, state}
    end
  end

  def handle_cast({:wanted, node}, state) do
    Table.delete({:given_up, node})
    Peering.tell([node], {:wanted, node()})
    {:noreply, state}
  end

  @impl true
  def handle_info({:nodeup, node, _info}, state), do: {:noreply, up(state, node)}

  # A connection that took the place of another may be told of before the end of that other: what counts is whether there
  # is one.
  def handle_info({:nodedown, node, info}, state) do
    state = down(state, node, info[:nodedown_reason])
    {:noreply, if(node in Node.list(:visible), do: up(state, node), else: state)}
  end

  def handle_info({:foundation_cluster, 1, message}, state), do: {:noreply, heard(state, message)}

  def handle_info({:leave_after, node, topology}, state) do
    {_timer, leaving} = Map.pop(state.leaving, node)
    state = %{state | leaving: leaving}

    if Table.claims(node) == [], do: give_up(node, topology)
    {:noreply, state}
  end

  def handle_info({:down_after, node, since}, state) do
    case Table.get({:member, node}) do
      %{state: :unreachable, since: ^since} = member -> {:noreply, left(state, node, member.reason)}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:rejoin_after, node}, state) do
    Table.delete({:parted, node})
    unless Table.get({:member, node}), do: Table.delete({:draining, node})
    {:noreply, state}
  end

  # Time alone can make it true.
  def handle_info(:look, state) do
    state = release_waiting(state)
    if state.waiting != [], do: Process.send_after(self(), :look, @look_ms)
    {:noreply, state}
  end

  def handle_info({:waited, reference}, state) do
    case List.keytake(state.waiting, reference, 0) do
      {{_, from, condition}, waiting} ->
        GenServer.reply(from, {:error, {:timeout, Readiness.standing(condition, state.options)}})
        {:noreply, %{state | waiting: waiting}}

      nil ->
        {:noreply, state}
    end
  end

  def handle_info({:DOWN, _reference, :process, pid, _reason}, state) do
    Table.delete({:subscriber, pid})
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(reason, _state) when reason in [:normal, :shutdown] do
    unless left?(), do: Peering.tell(members(), {:goodbye, node(), :stopped, nil})
  end

  def terminate({:shutdown, _}, state), do: terminate(:shutdown, state)
  def terminate(_reason, _state), do: :ok

  defp draining(info) do
    Table.put({:draining, node()}, info)
    Peering.tell(members(), {:draining, node(), info})
  end

  # -- what happens to a node --------------------------------------------------------------------------------------

  defp up(state, node) do
    Connector.connected(node)
    Peering.hello(node, state.boot)

    case Table.get({:member, node}) do
      nil -> joined(state, node, nil, reason(node))
      %{state: :unreachable} = member -> back(state, node, member)
      %{state: :up} -> state
    end
  end

  defp joined(state, node, boot, reason) do
    put(node, %{state: :up, since: now(), boot: boot, reason: reason})
    Bulletin.tell(:joined, node, reason)
    release_waiting(state)
  end

  defp back(state, node, member) do
    put(node, %{member | state: :up, since: now(), reason: :reconnected})
    Bulletin.tell(:reachable, node, :reconnected)
    release_waiting(state)
  end

  defp down(state, node, reason) do
    Table.delete({:given_up, node})
    state = %{state | votes: MapSet.delete(state.votes, node)}

    case Table.get({:member, node}) do
      nil ->
        state

      member ->
        put(node, %{member | state: :unreachable, since: now(), reason: reason})
        Bulletin.tell(:unreachable, node, reason)
        expect(state, node)
        if Table.claims(node) != [], do: Connector.retry(node)
        state
    end
  end

  defp expect(state, node) do
    %{since: since} = Table.get({:member, node})
    Process.send_after(self(), {:down_after, node, since}, state.options.down_after)
  end

  defp left(state, node, reason) do
    Table.delete({:member, node})
    Bulletin.tell(:left, node, reason)
    release_waiting(state)
  end

  # To cut one connection of many has the runtime cut others, so that no two halves overlap: the node is asked to leave.
  # One that does not understand is cut.
  defp give_up(node, topology) do
    case Table.get({:member, node}) do
      %{boot: boot} when boot != nil ->
        Table.put({:given_up, node}, topology)
        Peering.tell([node], {:given_up, node(), topology})

      _ ->
        Peering.disconnect(node)
    end
  end

  # -- what a node says --------------------------------------------------------------------------------------------

  defp heard(state, {:hello, node, %{boot: boot} = hello}) when is_atom(node) do
    Table.delete({:parted, node})
    state = state |> drained(node, hello[:draining]) |> booted(node, boot)
    # Whoever has left, and is connected to all the same, closes the connection.
    if left?(), do: Peering.disconnect(node)
    state
  end

  defp heard(state, {:draining, node, %{reason: _} = info}), do: drained(state, node, info)
  defp heard(state, {:resumed, node}), do: drained(state, node, nil)

  defp heard(state, {:goodbye, node, reason, caller}) do
    if is_pid(caller), do: parted(state, node, reason, caller)
    if Table.get({:member, node}), do: left(state, node, parting(reason)), else: state
  end

  # It leaves when more than half of the others say so: one that is mistaken takes nobody out.
  defp heard(state, {:given_up, node, topology}) do
    votes = MapSet.put(state.votes, node)

    if 2 * MapSet.size(votes) > length(members()),
      do: spawn(fn -> Drain.part({:given_up, topology}) end)

    %{state | votes: votes}
  end

  defp heard(state, {:wanted, node}), do: %{state | votes: MapSet.delete(state.votes, node)}
  defp heard(state, _unknown), do: state

  # It closes the connection, and does not want it made again at once; but who was given up may be found again.
  defp parted(state, node, reason, caller) do
    unless match?({:given_up, _}, reason) do
      Table.put({:parted, node}, true)
      Process.send_after(self(), {:rejoin_after, node}, state.options.rejoin_after)
    end

    Peering.farewell(caller)
  end

  # A node that leaves because others gave it up says so.
  defp parting({:given_up, _} = reason), do: reason
  defp parting(reason), do: {:goodbye, reason}

  defp booted(state, node, boot) do
    case Table.get({:member, node}) do
      nil ->
        joined(state, node, boot, reason(node))

      %{boot: old} = member when old in [nil, boot] ->
        put(node, %{member | boot: boot})
        state

      _other_life ->
        state |> left(node, :restarted) |> joined(node, boot, :restarted)
    end
  end

  defp drained(state, node, nil) do
    if draining?(node) do
      Table.delete({:draining, node})
      Bulletin.tell(:resumed, node, :resumed)
    end

    state
  end

  defp drained(state, node, info) do
    known? = draining?(node)
    Table.put({:draining, node}, info)
    unless known?, do: Bulletin.tell(:draining, node, info.reason)
    state
  end

  # -- small things ------------------------------------------------------------------------------------------------

  defp release_waiting(state) do
    {ready, waiting} =
      Enum.split_with(state.waiting, fn {_, _, condition} -> Readiness.ready?(condition, state.options) end)

    for {_, from, _} <- ready, do: GenServer.reply(from, :ok)
    %{state | waiting: waiting}
  end

  defp reason(node) do
    case Table.claims(node) do
      [] -> :connected_to_us
      topologies -> {:found_by, topologies}
    end
  end

  defp members, do: for({node, %{state: :up}} <- Table.all(:member), do: node)
  defp put(node, member), do: Table.put({:member, node}, member)
  defp now, do: System.monotonic_time(:millisecond)
end
