defmodule Foundation.DistributedSupervisor.Director do
  @moduledoc false
  # One node's part of a distributed supervisor: runs the children that are assigned to this node, and no others; and, on
  # the first of the nodes, assigns those whose node is gone.
  #
  # It compares what the store says with what runs, whenever either changes, and never waits: what takes time runs in
  # tasks. The nodes of the supervisor are the names in a scope of the registry.

  use GenServer

  alias Foundation.{Cluster, HealthCheck}
  alias Foundation.DistributedSupervisor.{Child, Instance, Move, Placement, Store}
  alias Foundation.ProcessRegistry.Global

  require Logger

  @look_ms 1_000
  @store_ms 200
  @expected_ms 30_000
  @longest_back_off 30_000

  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: process(options.name))

  @doc "The name of the process."
  def process(supervisor), do: Module.concat(supervisor, "Director")

  @doc "The scope of the nodes of a supervisor."
  def scope(supervisor), do: {:foundation_supervisor_nodes, supervisor}

  @doc "Has this node start what is assigned to it, and waits for the child: `{:ok, pid}`."
  def ensure(supervisor, node, name, timeout), do: call(supervisor, node, {:ensure, name}, timeout)

  @doc "Waits until the child does not run on that node, which the store does not want it to."
  def await_gone(supervisor, node, name, timeout), do: call(supervisor, node, {:await_gone, name}, timeout)

  @doc "Tells a node of the state that a child brings when it starts there."
  def expect(supervisor, node, name, handoff),
    do: call(supervisor, node, {:expect, name, handoff}, @look_ms * 5)

  def store(supervisor), do: call(supervisor, node(), :store, @look_ms * 5)
  def instance(supervisor, node, name), do: call(supervisor, node, {:instance, name}, @look_ms * 5)

  defp call(supervisor, node, request, timeout) do
    GenServer.call({process(supervisor), node}, request, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {:noproc, _} -> {:error, :not_running}
    :exit, _ -> {:error, {:unreachable, node}}
  end

  @doc "The nodes of the supervisor that take children, and their metadata."
  @spec nodes(atom) :: %{node => term}
  def nodes(supervisor) do
    for %{name: node, metadata: %{draining: false} = metadata} <- Global.list(scope: scope(supervisor)),
        into: %{},
        do: {node, metadata.user}
  end

  @doc "Where a child is to run, of the nodes; nil when it may run on none."
  @spec place(map, Child.t(), %{term => Child.t()}, %{node => term}) :: node | nil
  def place(options, child, children, nodes) do
    eligible = for {node, metadata} <- nodes, Child.eligible?(child, node, metadata), do: node
    assigned = Enum.frequencies(for {name, %{node: node}} <- children, name != child.name, do: node)
    loads = Map.new(eligible, &{&1, Map.get(assigned, &1, 0)})
    if loads != %{}, do: Placement.choose(options.placement, child.name, loads)
  end

  # -- the process

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    :ok = Global.monitor(:all, scope: scope(options.name))
    _ = Cluster.on_drain({:foundation_supervisor, options.name}, fn -> Move.drain(options.name) end)
    send(self(), :look)

    {:ok,
     %{
       options: options,
       store: nil,
       children: %{},
       # name => pid, of instances; name => when to try again, and how often it failed.
       instances: %{},
       up: MapSet.new(),
       ending: MapSet.new(),
       back_off: %{},
       expected: %{},
       ensuring: %{},
       leaving: %{},
       absent: %{},
       task: nil,
       draining: false
     }, {:continue, :join}}
  end

  @impl true
  def handle_continue(:join, state), do: {:noreply, join(state)}

  defp join(state) do
    metadata = %{user: state.options.metadata, draining: state.draining}
    _ = Global.register(node(), self(), scope: scope(state.options.name), metadata: metadata)
    state
  end

  @impl true
  def handle_call(:store, _from, %{store: nil} = state), do: {:reply, {:error, :not_ready}, state}
  def handle_call(:store, _from, state), do: {:reply, {:ok, state.store, state.options}, state}

  def handle_call({:instance, name}, _from, state) do
    case state.instances do
      %{^name => pid} -> {:reply, {:ok, pid}, state}
      _ -> {:reply, {:error, :not_running}, state}
    end
  end

  def handle_call({:ensure, name}, from, state) do
    if name in state.up do
      {:reply, running(state, name), state}
    else
      state = %{state | back_off: Map.delete(state.back_off, name)}
      {:noreply, state |> add(:ensuring, name, from) |> refresh()}
    end
  end

  def handle_call({:await_gone, name}, from, state) do
    if is_map_key(state.instances, name),
      do: {:noreply, state |> add(:leaving, name, from) |> refresh()},
      else: {:reply, :ok, state}
  end

  def handle_call({:expect, name, handoff}, _from, state), do: {:reply, :ok, expect(state, name, handoff)}

  def handle_call(:draining, _from, state),
    do: {:reply, {:ok, Map.keys(state.instances)}, join(%{state | draining: true})}

  # What a child is to be given when it is started here.
  defp expect(state, _name, :none), do: state

  defp expect(state, name, handoff) do
    with {_handoff, timer} <- state.expected[name], do: Process.cancel_timer(timer)
    reference = Process.send_after(self(), {:unexpected, name}, @expected_ms)
    put_in(state.expected[name], {handoff, reference})
  end

  defp add(state, where, name, from),
    do: Map.update!(state, where, fn all -> Map.update(all, name, [from], &[from | &1]) end)

  defp running(state, name) do
    case Global.lookup(name, scope: {:foundation_supervisor, state.options.name}) do
      {:ok, %{pid: pid}} -> {:ok, pid}
      error -> error
    end
  end

  @impl true
  def handle_info(:look, state) do
    Process.send_after(self(), :look, if(state.store, do: @look_ms, else: @store_ms))
    {:noreply, state |> undrained() |> open() |> refresh()}
  end

  # Of all nodes' stores.
  def handle_info(message, state) when elem(message, 0) in [:foundation_value, :foundation_state],
    do: {:noreply, refresh(state)}

  def handle_info({:foundation_registry, _news}, state), do: {:noreply, refresh(state)}

  def handle_info({:instance, name, pid, what}, state) do
    case state.instances do
      %{^name => ^pid} -> {:noreply, told(state, name, what)}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state), do: {:noreply, gone(state, pid)}
  def handle_info({:again, _name}, state), do: {:noreply, reconcile(state)}

  def handle_info({:unexpected, name}, state),
    do: {:noreply, %{state | expected: Map.delete(state.expected, name)}}

  def handle_info({reference, _answer}, %{task: %Task{ref: reference}} = state) do
    Process.demonitor(reference, [:flush])
    {:noreply, refresh(%{state | task: nil})}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state), do: Cluster.on_drain({:foundation_supervisor, state.options.name}, nil)

  # -- what is to run

  defp undrained(%{draining: true} = state) do
    if Cluster.draining?() or HealthCheck.draining?(), do: state, else: join(%{state | draining: false})
  end

  defp undrained(state), do: if(Cluster.draining?(), do: join(%{state | draining: true}), else: state)

  defp open(%{store: nil} = state) do
    case Store.open(state.options.name, state.options.consistency) do
      {:ok, store} -> open(%{state | store: store})
      {:error, _reason} -> state
    end
  end

  # Also when what it watches has begun anew.
  defp open(state) do
    _ = Store.watch(state.store)
    state
  end

  defp refresh(%{store: nil} = state), do: state

  defp refresh(state) do
    case Store.all(state.store) do
      {:ok, children} -> reconcile(%{state | children: children})
      # As it was known before.
      {:error, _reason} -> reconcile(state)
    end
  end

  defp reconcile(state), do: state |> end_others() |> start_ours() |> assign()

  defp end_others(state) do
    for {name, pid} <- state.instances, not ours?(state, name), pid not in state.ending, reduce: state do
      state ->
        Task.Supervisor.start_child(Foundation.TaskSupervisor, fn -> Instance.stop(pid) end)
        %{state | ending: MapSet.put(state.ending, pid)}
    end
  end

  defp ours?(state, name), do: match?(%{^name => %Child{node: node}} when node == node(), state.children)

  # What has ended for the drain stays so until that is over.
  defp start_ours(%{draining: true} = state), do: state

  defp start_ours(state) do
    now = now()

    for {name, %Child{node: node} = child} <- state.children,
        node == node(),
        not is_map_key(state.instances, name),
        due?(state, name, now),
        reduce: state,
        do: (state -> start(state, name, child))
  end

  defp due?(state, name, now) do
    case state.back_off do
      %{^name => {at, _times, _reason}} -> at <= now
      _ -> true
    end
  end

  defp start(state, name, child) do
    {handoff, expected} = Map.pop(state.expected, name)
    with {_handoff, timer} <- handoff, do: Process.cancel_timer(timer)

    argument = %{
      child: child,
      supervisor: state.options.name,
      consistency: state.options.consistency,
      store: state.store,
      director: self(),
      handoff: if(handoff, do: elem(handoff, 0), else: :none)
    }

    {:ok, pid} = DynamicSupervisor.start_child(state.options.instances, {Instance, argument})
    Process.monitor(pid)
    %{state | expected: expected, instances: Map.put(state.instances, name, pid)}
  end

  # -- what became of it

  defp told(state, name, :up) do
    state = %{state | up: MapSet.put(state.up, name), back_off: forgive(state.back_off, name)}
    answer(state, :ensuring, name, running(state, name))
  end

  defp told(state, name, :ended) do
    store = state.store
    mine = state.children[name]
    run(fn -> Store.update_one(store, name, &if(&1 == mine, do: :delete, else: {:keep, :changed})) end)
    answer(%{state | children: Map.delete(state.children, name)}, :ensuring, name, {:error, :ended})
  end

  defp told(state, name, {:failed, reason, handoff}) do
    state = expect(state, name, handoff)

    unless reason in [:moved, :conflict, :lease_lost],
      do: Logger.error("#{inspect(state.options.name)}: #{inspect(name)} does not run: #{inspect(reason)}")

    {_at, times, _reason} = Map.get(state.back_off, name, {0, 0, nil})
    wait = min(Bitwise.bsl(250, min(times, 16)), @longest_back_off)
    Process.send_after(self(), {:again, name}, wait)
    state = put_in(state.back_off[name], {now() + wait, times + 1, reason})
    answer(state, :ensuring, name, {:error, reason})
  end

  # It may fail again at once; then it waits longer still.
  defp forgive(back_off, name) do
    case back_off do
      %{^name => {at, times, reason}} when times > 0 -> Map.put(back_off, name, {at, times - 1, reason})
      _ -> Map.delete(back_off, name)
    end
  end

  defp gone(state, pid) do
    case Enum.find(state.instances, fn {_name, instance} -> instance == pid end) do
      {name, _} ->
        state = %{
          state
          | instances: Map.delete(state.instances, name),
            up: MapSet.delete(state.up, name),
            ending: MapSet.delete(state.ending, pid)
        }

        state |> answer(:leaving, name, :ok) |> refresh()

      nil ->
        state
    end
  end

  defp answer(state, where, name, answer) do
    {waiting, rest} = Map.pop(Map.fetch!(state, where), name, [])
    for from <- waiting, do: GenServer.reply(from, answer)
    Map.put(state, where, rest)
  end

  # -- assigning

  # By the first of the nodes, when a node has been away for a while.
  defp assign(%{task: nil} = state) do
    nodes = nodes(state.options.name)
    now = now()
    known = Map.new(Global.list(scope: scope(state.options.name)), &{&1.name, true})
    missing = for {_, %{node: node}} <- state.children, not is_map_key(known, node), uniq: true, do: node
    absent = Map.new(missing, &{&1, Map.get(state.absent, &1, now)})
    lost = for {node, since} <- absent, node == nil or now - since >= state.options.down_after, do: node
    for {_node, ^now} <- absent, do: Process.send_after(self(), {:again, nil}, state.options.down_after + 1)
    state = %{state | absent: absent}

    if lost != [] and node() == Enum.min(Map.keys(nodes), fn -> nil end),
      do: assign(state, lost, nodes),
      else: state
  end

  defp assign(state), do: state

  defp assign(%{options: options, store: store} = state, lost, nodes) do
    # Each is placed with those before it in place.
    {placed, _} =
      state.children
      |> Enum.filter(fn {_, child} -> child.node in lost end)
      |> Enum.map_reduce(state.children, fn {name, child}, children ->
        node = place(options, child, children, nodes)
        {{name, node}, Map.put(children, name, %{child | node: node})}
      end)

    case Map.new(for({name, node} <- placed, node != nil, do: {name, node})) do
      none when map_size(none) == 0 ->
        state

      placed ->
        %{state | task: run(fn -> Store.update(store, Map.keys(placed), &assigned(&2, lost, placed[&1])) end)}
    end
  end

  defp assigned(%Child{node: node, generation: generation} = child, lost, to) do
    if node in lost, do: {:put, %{child | node: to, generation: generation + 1}}, else: {:keep, :assigned}
  end

  defp assigned(nil, _lost, _to), do: {:keep, :not_found}

  defp run(function), do: Task.Supervisor.async_nolink(Foundation.TaskSupervisor, function)
  defp now, do: System.monotonic_time(:millisecond)
end
