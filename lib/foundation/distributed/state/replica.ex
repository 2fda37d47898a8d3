defmodule Foundation.Distributed.State.Replica do
  @moduledoc false
  # One replica of one state: finds the others, sends them what changes here, takes what comes, and now and then makes sure
  # that all have the same. Callers change and read the native structure themselves; they only wake this process.
  #
  # The structure belongs to the VM, not to this process: a restart finds it where it was.

  use GenServer

  alias Foundation.Distributed.State.{Options, Peers, Structure, Type, Watchers, Wire}
  alias Foundation.Native

  require Logger

  @budget 256 * 1024
  @answer 512 * 1024
  @resend_ms 250
  @compact_ms 30_000
  @marks 10_000

  defstruct [
    :name,
    :type,
    :handle,
    :id,
    :options,
    :process,
    peers: %Peers{},
    watchers: %{},
    commits: [],
    flush: nil,
    tell: nil,
    roots_at: %{},
    others: %{},
    ticks: 0,
    recovered: nil
  ]

  def child_spec({name, type, opts}) do
    %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [name, type, opts]}, restart: :transient}
  end

  def start_link(name, type, opts) do
    name = Options.name!(name)
    argument = {name, Type.check!(type), Options.new!(opts)}
    GenServer.start_link(__MODULE__, argument, name: Wire.process(name))
  end

  @impl true
  def init({name, type, options}) do
    Process.flag(:trap_exit, true)

    case Structure.obtain(name, type, options) do
      {:ok, kept, recovered} ->
        {:ok, begin(name, kept, options, recovered)}

      {:error, reason} ->
        {:stop, {:shutdown, reason}}
    end
  end

  defp begin(name, kept, options, recovered) do
    # Other nodes may come by the cluster, by hand, or by the fabric alone, which is looked at with each tick.
    :ok = :net_kernel.monitor_nodes(true)
    state = %__MODULE__{name: name, type: kept.type, handle: kept.handle, id: kept.id, options: options}
    state = %{state | process: kept.process, recovered: recovered}
    hello(state, Wire.candidates(options.nodes), true)
    Process.send_after(self(), :tick, options.sync_interval)
    if options.durable, do: Process.send_after(self(), :compact, @compact_ms)
    watch(state, Watchers.remembered(name))
  end

  # -- callers of this node

  @impl true
  def handle_call({:commit, level, timeout}, from, state) do
    state = flush(state)
    seq = state.peers.seq
    reference = make_ref()
    Process.send_after(self(), {:commit_timeout, reference}, timeout)
    Process.send_after(self(), :resend, @resend_ms)
    commit = %{reference: reference, from: from, level: level, seq: seq}
    state = settle(%{state | commits: [commit | state.commits]})

    {:noreply,
     if(state.commits == [], do: state, else: Enum.reduce(Peers.up(state.peers), state, &roots(&2, &1)))}
  end

  def handle_call({:subscribe, pid}, _from, state) do
    {:reply, :ok, watch(state, Watchers.add(state.watchers, pid))}
  end

  def handle_call({:unsubscribe, pid}, _from, state) do
    {:reply, :ok, watch(state, Watchers.remove(state.watchers, pid))}
  end

  def handle_call(:status, _from, state), do: {:reply, {:ok, status(state)}, state}

  def handle_call({:forget, node}, _from, state) do
    case Peers.get(state.peers, node) do
      nil -> {:reply, {:error, :unknown_node}, state}
      %{up: true} -> {:reply, {:error, :connected}, state}
      _down -> {:reply, :ok, state |> forget(node) |> settle()}
    end
  end

  def handle_call(:sync, _from, state) do
    state = flush(state)
    {:reply, :ok, Enum.reduce(Peers.up(state.peers), state, &roots(&2, &1))}
  end

  @impl true
  def handle_info(:changed, state), do: {:noreply, changed(state)}
  def handle_info(:flush, state), do: {:noreply, flush(%{state | flush: nil})}
  def handle_info(:tell, state), do: {:noreply, tell(%{state | tell: nil})}

  def handle_info({:foundation_state, 1, node, kind, body}, state) when is_atom(node) and node != node() do
    {:noreply, heard(kind, body, node, state)}
  end

  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, state.options.sync_interval)
    {:noreply, tick(%{state | ticks: state.ticks + 1})}
  end

  def handle_info(:resend, state), do: {:noreply, resend(state)}

  def handle_info({:commit_timeout, reference}, state) do
    case Enum.split_with(state.commits, &(&1.reference == reference)) do
      {[commit], others} ->
        GenServer.reply(commit.from, {:error, {:timeout, counts(state, commit)}})
        {:noreply, %{state | commits: others}}

      {[], _all} ->
        {:noreply, state}
    end
  end

  def handle_info({:nodeup, node}, state) do
    if state.options.nodes == :cluster or node in state.options.nodes, do: hello(state, [node], true)
    {:noreply, state}
  end

  def handle_info({:nodedown, node}, state),
    do: {:noreply, %{state | peers: Peers.down(state.peers, node, now())}}

  def handle_info(:compact, state) do
    Process.send_after(self(), :compact, @compact_ms)
    handle = state.handle
    Task.Supervisor.start_child(Foundation.TaskSupervisor, fn -> Native.crdt_compact(handle) end)
    {:noreply, state}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state),
    do: {:noreply, watch(state, Watchers.remove(state.watchers, pid))}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(reason, state) do
    if reason in [:normal, :shutdown] or match?({:shutdown, _}, reason) do
      for node <- Peers.up(state.peers), do: Wire.send(state.process, node, :bye, state.id)
      Structure.release(state.name)
      Watchers.remember(state.name, %{})
    end
  end

  # -- messages of other replicas

  defp heard(:hello, {id, type, shards, answer}, node, state) do
    if {type, shards} == {state.type, state.options.shards} do
      if answer, do: hello(state, [node], false)
      met(state, node, id)
    else
      another(state, node, {type, shards})
    end
  end

  defp heard(:bye, id, node, state) do
    if match?(%{id: ^id}, Peers.get(state.peers, node)),
      do: state |> forget(node) |> settle(),
      else: state
  end

  defp heard(:ack, seq, node, state), do: settle(%{state | peers: Peers.acked(state.peers, node, seq)})

  # Who is not known has to say hello first.
  defp heard(kind, body, node, state) when kind in [:push, :talk, :roots] do
    case Peers.get(state.peers, node) do
      nil ->
        hello(state, [node], true)
        state

      peer ->
        taken(kind, body, node, peer, state)
    end
  end

  defp heard(_unknown, _body, _node, state), do: state

  defp taken(kind, body, node, peer, state) do
    {seq, message} = if kind == :push, do: body, else: {nil, body}

    case take(state, peer.id, message) do
      {reply, changed, equal, gave} ->
        if seq, do: Wire.send(state.process, node, :ack, seq)
        if reply, do: Wire.send(state.process, node, :talk, reply)
        state = if gave, do: %{state | peers: Peers.given(state.peers, node)}, else: state
        state = if equal, do: equal(state, kind, node), else: state
        if changed, do: later(state, :tell), else: state

      {:error, reason} ->
        refused(state, node, peer, reason)
    end
  end

  defp take(%{options: %{durable: nil}} = state, id, message),
    do: Native.crdt_handle(state.handle, id, message, @answer)

  defp take(state, id, message), do: Native.crdt_handle_durable(state.handle, id, message, @answer)

  # Roots that came are compared with what is here now; the answer to ours says what was when they left.
  defp equal(state, :roots, node), do: settle(%{state | peers: Peers.equal(state.peers, node, now(), now())})

  defp equal(state, _answer, node) do
    case Map.pop(state.roots_at, node) do
      {nil, _} -> state
      {at, rest} -> settle(%{state | peers: Peers.equal(state.peers, node, at, now()), roots_at: rest})
    end
  end

  defp refused(state, node, peer, reason) do
    if peer.refused != reason_name(reason) do
      Logger.warning(
        "The state #{inspect(state.name)} does not take what #{node} sends: #{inspect(reason)}; it is tried again"
      )
    end

    %{state | peers: Peers.refused(state.peers, node, reason_name(reason))}
  end

  defp reason_name({name, _detail}), do: name
  defp reason_name(name), do: name

  # Said once, though it says hello again and again.
  defp another(state, node, there) do
    if state.others[node] != there do
      Logger.error(
        "The state #{inspect(state.name)} is another on #{node}: {type, shards} is #{inspect(there)} there, " <>
          "#{inspect({state.type, state.options.shards})} here"
      )
    end

    %{state | others: Map.put(state.others, node, there)}
  end

  defp met(state, node, id) do
    if known = Peers.get(state.peers, node),
      do: if(known.id != id, do: Native.crdt_forget(state.handle, known.id))

    case Peers.heard(state.peers, node, id, now()) do
      {:new, peers} ->
        %{state | peers: peers, roots_at: Map.delete(state.roots_at, node)} |> changed() |> roots(node)

      {:known, peers} ->
        %{state | peers: peers}
    end
  end

  defp forget(state, node) do
    if peer = Peers.get(state.peers, node), do: Native.crdt_forget(state.handle, peer.id)
    %{state | peers: Peers.remove(state.peers, node)}
  end

  defp hello(state, nodes, answer) do
    body = {state.id, state.type, state.options.shards, answer}
    for node <- nodes, do: Wire.send(state.process, node, :hello, body)
    :ok
  end

  # -- what changed here

  # Changes within a few milliseconds go together.
  defp changed(state), do: state |> later(:flush) |> later(:tell)

  defp later(state, :tell) do
    if map_size(state.watchers) == 0 or state.tell,
      do: state,
      else: %{state | tell: Process.send_after(self(), :tell, state.options.push_after)}
  end

  defp later(state, :flush) do
    if state.flush,
      do: state,
      else: %{state | flush: Process.send_after(self(), :flush, state.options.push_after)}
  end

  defp flush(state) do
    if Peers.count(state.peers) == 0 and map_size(state.watchers) == 0, do: state, else: push(state)
  end

  defp push(state) do
    {message, more, complete} = Native.crdt_push(state.handle, @budget)
    state = if message, do: pushed(state, message), else: state
    # What was not kept can be confirmed by an exchange only.
    state = if complete, do: state, else: %{state | peers: elem(Peers.pushed(state.peers, nil, now()), 1)}
    state = if message, do: later(state, :tell), else: state
    if more, do: push(state), else: state
  end

  defp pushed(state, message) do
    {seq, peers} = Peers.pushed(state.peers, message, now())
    for node <- Peers.up(peers), do: Wire.send(state.process, node, :push, {seq, message})
    %{state | peers: peers}
  end

  defp tell(state) do
    Watchers.tell(state.watchers, state.name, state.handle, state.options.shards)
    state
  end

  # Nothing is kept of changes while nobody is told of them.
  defp watch(state, watchers) do
    if map_size(watchers) == 0 != (map_size(state.watchers) == 0),
      do: Native.crdt_watch(state.handle, map_size(watchers) > 0)

    Watchers.remember(state.name, watchers)
    changed(%{state | watchers: watchers})
  end

  # -- now and then

  defp tick(state) do
    gone = Peers.up(state.peers) -- Wire.reachable()
    state = %{state | peers: Enum.reduce(gone, state.peers, &Peers.down(&2, &1, now()))}
    hello(state, Wire.candidates(state.options.nodes) -- Peers.up(state.peers), true)
    lost = Peers.lost(state.peers, now(), state.options.forget_after)
    state = Enum.reduce(lost, state, &forget(&2, &1))
    state = if rem(state.ticks, 10) == 0, do: collect(state), else: state

    case Peers.up(state.peers) do
      [] -> state
      up -> roots(state, Enum.random(up))
    end
  end

  defp roots(state, node) do
    # The time of the first that is not answered: what was pushed before that is settled by the answer.
    roots_at = Map.put_new(state.roots_at, node, now())
    Wire.send(state.process, node, :roots, Native.crdt_roots(state.handle))
    %{state | roots_at: roots_at}
  end

  defp collect(state) do
    if Type.marks?(state.type) and Peers.count(state.peers) + 1 >= state.options.replicas do
      if Native.crdt_collect(state.handle, Peers.ids(state.peers), @marks) > 0,
        do: changed(state),
        else: state
    else
      state
    end
  end

  # -- who waits for others

  defp resend(%{commits: []} = state), do: state

  defp resend(state) do
    Process.send_after(self(), :resend, @resend_ms)
    upto = state.commits |> Enum.map(& &1.seq) |> Enum.max()
    again = Peers.again(state.peers, upto, now(), @resend_ms)
    for {node, seq, message} <- again, do: Wire.send(state.process, node, :push, {seq, message})
    Enum.reduce(Peers.up(state.peers), state, &roots(&2, &1))
  end

  defp settle(%{commits: []} = state), do: state

  defp settle(state) do
    {done, waiting} =
      Enum.split_with(state.commits, fn commit ->
        %{confirmed: confirmed, needed: needed} = counts(state, commit)
        confirmed >= needed
      end)

    for commit <- done, do: GenServer.reply(commit.from, :ok)
    %{state | commits: waiting}
  end

  # This replica counts as one.
  defp counts(state, commit) do
    all = max(Peers.count(state.peers) + 1, state.options.replicas)
    needed = if commit.level == :all, do: all, else: div(all, 2) + 1
    %{confirmed: Peers.confirmed(state.peers, commit.seq) + 1, needed: needed}
  end

  defp status(state) do
    native = Native.crdt_status(state.handle)
    now = now()

    peers =
      for {node, peer} <- Enum.sort(state.peers.peers) do
        %{
          node: node,
          up: peer.up,
          lag_ms: Peers.lag(peer, now),
          equal_ms_ago: peer.equal_at && now - peer.equal_at,
          refused: peer.refused
        }
      end

    native
    |> Map.merge(%{
      name: state.name,
      type: state.type,
      id: state.id,
      root: Native.crdt_root(state.handle),
      peers: peers,
      lag_ms: peers |> Enum.map(& &1.lag_ms) |> Enum.max(fn -> 0 end),
      subscribers: map_size(state.watchers),
      durable: state.options.durable,
      recovered: state.recovered
    })
  end

  defp now, do: System.monotonic_time(:millisecond)
end
