defmodule Foundation.Distributed.Registry.Leases do
  @moduledoc false
  # This node's names of the coordination group: one session for all of them, which is kept alive by one message, and what
  # is held under it.
  #
  # A caller enters a name here, proposes it itself, and says here what became of it. The process that a name was given to
  # is watched, and the name given back when it ends. The session is trusted for its time since the last sign of life
  # that the group has confirmed was sent; after that all names are lost here, which is before others may have them.
  #
  # When it is not known whether a proposal was applied, its hold is given back, and again for a while, for it may be
  # applied later.

  use GenServer

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.{Ask, Codec, Roster}
  alias Foundation.Distributed.Coordination.{Formation, Parked, Session}
  alias Foundation.Native
  alias Foundation.ProcessRegistry.Global.Server

  @tick_ms 100
  # So long before the end of what the session is good for everything counts as lost: time for a late tick, and for those
  # who are told to stop.
  @early_ms 200
  @propose_ms 2_000
  @doubt_ms 30_000
  @drops 5_000

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "What a key is called in the group."
  def name(key), do: Codec.name({:foundation_registry, key})

  @doc """
  Leases a key for a process of this node: `{:ok, token}`. The loss of it is told to `tell` as a message, or to the server
  of names when that is nil.
  """
  def acquire(key, pid, metadata, timeout, tell \\ nil) do
    group = Consensus.default_group()
    deadline = now() + timeout

    with :ok <- Formation.ensure(group),
         do: acquire({group, key, pid, Codec.encode({pid, metadata}), tell}, :absent, deadline)
  end

  defp acquire({group, key, pid, value, tell} = wish, expect, deadline) do
    with {:enter, {_session, _number} = hold} <- enter(key, pid, tell, deadline) do
      case Ask.command(group, {:put, name(key), value, expect, hold}, left(deadline)) do
        {:ok, token} ->
          call({:held, hold, token})

        {:conflict, version, found} ->
          abandon(hold)
          taken(wish, version, found, deadline)

        {:error, :no_session} ->
          GenServer.cast(__MODULE__, {:session_gone, elem(hold, 0)})
          again(wish, expect, deadline, :no_leader)

        {:error, reason} ->
          GenServer.cast(__MODULE__, {if(reason == :unknown, do: :doubt, else: :abandon), hold})
          {:error, reason}
      end
    end
  end

  # Who had it has gone, or is the same; the group has not heard of it.
  defp taken({_group, _key, pid, _value, _tell} = wish, version, found, deadline) do
    owner = if found, do: found |> Codec.decode() |> elem(0)

    cond do
      owner == nil -> again(wish, :absent, deadline, :unknown)
      owner == pid or ended_here?(owner) -> again(wish, version, deadline, {:already_registered, owner})
      true -> {:error, {:already_registered, owner}}
    end
  end

  # Also a process of an earlier life of this node.
  defp ended_here?(pid) do
    node(pid) == node() and not Process.alive?(pid)
  rescue
    ArgumentError -> true
  end

  defp again(wish, expect, deadline, late),
    do: if(now() < deadline, do: acquire(wish, expect, deadline), else: {:error, late})

  defp abandon(hold), do: GenServer.cast(__MODULE__, {:abandon, hold})

  defp enter(key, pid, tell, deadline) do
    GenServer.call(__MODULE__, {:enter, key, pid, tell, deadline}, left(deadline) + @propose_ms)
  catch
    :exit, {:timeout, _} -> {:error, :no_leader}
    :exit, _ -> {:error, :not_running}
  end

  @doc "Gives a key back: `:ok` when the group has it. Errors: `:not_held`, `:unknown`."
  def release(key, pid, timeout) do
    GenServer.call(__MODULE__, {:release, key, pid}, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :unknown}
    :exit, _ -> {:error, :not_running}
  end

  @doc "The token of a key that this node holds for certain, or nil."
  def token(key) do
    with {:ok, token} <- call({:token, key}), do: token, else: (_ -> nil)
  end

  @doc "Ends the session, and with it all that is held; a new one begins when something is asked for."
  def close do
    if Process.whereis(__MODULE__), do: call(:close), else: :ok
  end

  @doc "How many names this node holds, and for how many ms they are certain to be held."
  def status, do: call(:status)

  defp call(request) do
    GenServer.call(__MODULE__, request)
  catch
    :exit, _ -> {:error, :not_running}
  end

  # -- the process

  @impl true
  def init(nil) do
    Process.flag(:trap_exit, true)
    settings = Application.get_env(:foundation, :coordination, [])
    settings = if is_list(settings), do: settings, else: []

    {:ok,
     %{
       session: Session.new(Keyword.get(settings, :session_ms, 5_000)),
       ticking: false,
       next: 1,
       # By number, and the numbers of what is held by key, and of everything by process.
       holds: %{},
       keys: %{},
       processes: %{},
       parked: Parked.new(),
       pending: %{},
       drops: MapSet.new(),
       dropping: false,
       doubts: %{},
       releasing: %{}
     }}
  end

  @impl true
  def handle_call({:enter, _key, _pid, _tell, _deadline} = entry, from, state),
    do: {:noreply, entry |> enter(from, state) |> start_ticking()}

  def handle_call({:held, {session, number}, token}, _from, state) do
    case state.holds do
      %{^number => hold} when session == state.session.id ->
        holds = %{state.holds | number => %{hold | token: token}}
        {:reply, {:ok, token}, %{state | holds: holds, keys: Map.put(state.keys, hold.key, number)}}

      # The process has ended, or the session.
      _ ->
        {:reply, {:error, :noproc}, state |> to_drop({session, number}) |> drop()}
    end
  end

  def handle_call({:release, key, pid}, from, state) do
    with %{^key => number} <- state.keys, %{pid: ^pid} <- state.holds[number] do
      {:noreply, drop(%{forget(state, number) | releasing: Map.put(state.releasing, number, from)})}
    else
      _ -> {:reply, {:error, :not_held}, state}
    end
  end

  def handle_call({:token, key}, _from, state) do
    token =
      with true <- Session.good?(state.session, now()),
           %{^key => number} <- state.keys,
           do: state.holds[number].token,
           else: (_ -> nil)

    {:reply, {:ok, token}, state}
  end

  def handle_call(:close, _from, state) do
    close(state)
    {:reply, :ok, emptied(%{state | session: %{state.session | open: false}})}
  end

  def handle_call(:status, _from, state) do
    good = if state.session.until, do: max(state.session.until - now(), 0), else: 0
    {:reply, {:ok, %{names: map_size(state.keys), good_for_ms: good}}, state}
  end

  @impl true
  def handle_cast({:abandon, {_session, number} = hold}, state),
    do: {:noreply, state |> forget(number) |> to_drop(hold) |> drop()}

  def handle_cast({:doubt, {session, number} = hold}, state) do
    state = state |> forget(number) |> to_drop(hold)

    if session == state.session.id,
      do: {:noreply, drop(put_in(state.doubts[number], now() + @doubt_ms))},
      else: {:noreply, state}
  end

  def handle_cast({:session_gone, id}, %{session: %{id: id}} = state), do: {:noreply, lose(state)}
  def handle_cast({:session_gone, _id}, state), do: {:noreply, state}

  @impl true
  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    state = if Session.lapsed?(state.session, now() + @early_ms), do: lose(state), else: state
    {:noreply, state |> drop() |> keep_alive() |> answer_late()}
  end

  def handle_info({reference, reply}, state) when is_map_key(state.pending, reference) do
    {what, pending} = Map.pop!(state.pending, reference)
    {:noreply, answered(%{state | pending: pending}, what, reply)}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    case state.processes do
      %{^pid => {_monitor, numbers}} -> {:noreply, numbers |> Enum.reduce(state, &forget(&2, &1)) |> drop()}
      _ -> {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  # The others need not wait for the end of the session.
  @impl true
  def terminate(_reason, state), do: close(state)

  defp close(state) do
    with true <- state.session.open, {:ok, reference} <- coordinate({:close, state.session.id}, 500) do
      receive do
        {^reference, _reply} -> :ok
      after
        600 -> :ok
      end
    end
  end

  # -- entering

  defp enter({:enter, key, pid, tell, deadline} = entry, from, state) do
    cond do
      held = held_by(state, key, pid) ->
        GenServer.reply(from, {:ok, held.token})
        state

      not Session.good?(state.session, now() + @early_ms) ->
        %{state | parked: Parked.add(state.parked, entry, from, deadline)}

      true ->
        number = state.next
        GenServer.reply(from, {:enter, {state.session.id, number}})
        hold = %{key: key, pid: pid, tell: tell, token: nil}
        watch(%{state | next: number + 1, holds: Map.put(state.holds, number, hold)}, number, pid)
    end
  end

  defp held_by(state, key, pid) do
    with %{^key => number} <- state.keys,
         %{pid: ^pid} = hold <- state.holds[number],
         do: hold,
         else: (_ -> nil)
  end

  defp watch(state, number, pid) do
    {monitor, numbers} = Map.get_lazy(state.processes, pid, fn -> {Process.monitor(pid), MapSet.new()} end)
    %{state | processes: Map.put(state.processes, pid, {monitor, MapSet.put(numbers, number)})}
  end

  # Nothing is held under the number any more, as far as this node is concerned; the group is to hear of it.
  defp forget(state, number) do
    case Map.pop(state.holds, number) do
      {nil, _} ->
        state

      {hold, holds} ->
        keys = if state.keys[hold.key] == number, do: Map.delete(state.keys, hold.key), else: state.keys

        unwatch(%{state | holds: holds, keys: keys}, number, hold.pid)
        |> to_drop({state.session.id, number})
    end
  end

  defp unwatch(state, number, pid) do
    {monitor, numbers} = state.processes[pid]
    numbers = MapSet.delete(numbers, number)

    if MapSet.size(numbers) == 0 do
      Process.demonitor(monitor, [:flush])
      %{state | processes: Map.delete(state.processes, pid)}
    else
      %{state | processes: %{state.processes | pid => {monitor, numbers}}}
    end
  end

  defp unpark(%{parked: parked} = state) do
    Enum.reduce(Parked.all(parked), %{state | parked: Parked.new()}, fn {entry, from}, state ->
      enter(entry, from, state)
    end)
  end

  defp answer_late(state), do: %{state | parked: Parked.in_time(state.parked, now())}

  # -- the session

  defp start_ticking(%{ticking: true} = state), do: state

  defp start_ticking(state) do
    send(self(), :tick)
    %{state | ticking: true}
  end

  defp keep_alive(state) do
    case Session.due(state.session, now()) do
      {command, sign, session} -> propose(state, command, sign, session)
      :nothing -> state
    end
  end

  defp propose(state, command, what, session) do
    case coordinate(command, @propose_ms) do
      {:ok, reference} -> %{state | session: session, pending: Map.put(state.pending, reference, what)}
      :error -> state
    end
  end

  defp coordinate(command, timeout) do
    reference = make_ref()

    with {:ok, handle} <- Roster.handle(Consensus.default_group()),
         :ok <- Native.consensus_coordinate(handle, reference, command, timeout, nil),
         do: {:ok, reference},
         else: (_ -> :error)
  end

  # Every name is lost, and the next session begins.
  defp lose(state), do: state |> emptied() |> keep_alive()

  defp emptied(state) do
    for {_number, %{token: token} = hold} when token != nil <- state.holds, do: tell(hold)
    for {monitor, _numbers} <- Map.values(state.processes), do: Process.demonitor(monitor, [:flush])
    for {_number, from} <- state.releasing, do: GenServer.reply(from, :ok)
    if state.session.open, do: coordinate({:close, state.session.id}, @propose_ms)

    %{
      state
      | session: Session.next(state.session),
        holds: %{},
        keys: %{},
        processes: %{},
        pending: %{},
        drops: MapSet.new(),
        dropping: false,
        doubts: %{},
        releasing: %{}
    }
  end

  defp tell(%{tell: nil, key: key, pid: pid}), do: Server.lost(key, pid, :session)

  defp tell(%{tell: tell, key: key, token: token}),
    do: send(tell, {:foundation_lost, :name, key, token, :session})

  defp answered(state, {kind, _id, _sent} = sign, reply) when kind in [:open, :keep_alive] do
    case Session.answered(state.session, sign, reply) do
      {:good, session} when kind == :open -> unpark(%{state | session: session})
      {:good, session} -> drop(doubts(%{state | session: session}))
      {:asked, session} -> %{state | session: session}
      :ended -> lose(state)
    end
  end

  defp answered(state, {:drop, numbers}, :ok) do
    {done, releasing} = Map.split(state.releasing, numbers)
    for {_number, from} <- done, do: GenServer.reply(from, :ok)
    drops = MapSet.difference(state.drops, MapSet.new(numbers))
    drop(%{state | dropping: false, drops: drops, releasing: releasing})
  end

  # Again with the next tick.
  defp answered(state, {:drop, _numbers}, _error), do: %{state | dropping: false}

  # -- giving back

  defp to_drop(%{session: %{id: id}} = state, {id, number}),
    do: %{state | drops: MapSet.put(state.drops, number)}

  defp to_drop(state, _of_another_session), do: state

  defp drop(%{dropping: true} = state), do: state

  defp drop(state) do
    numbers = Enum.take(state.drops, @drops)
    holds = for number <- numbers, do: {state.session.id, number}

    with [_ | _] <- holds,
         true <- state.session.open,
         {:ok, reference} <- coordinate({:drop, holds}, @propose_ms) do
      %{state | dropping: true, pending: Map.put(state.pending, reference, {:drop, numbers})}
    else
      _ -> state
    end
  end

  defp doubts(%{doubts: doubts} = state) when map_size(doubts) == 0, do: state

  defp doubts(state) do
    now = now()
    doubts = Map.filter(state.doubts, fn {_number, until} -> until > now end)
    %{state | doubts: doubts, drops: Enum.reduce(Map.keys(doubts), state.drops, &MapSet.put(&2, &1))}
  end

  defp left(deadline), do: max(deadline - now(), 1)
  defp now, do: System.monotonic_time(:millisecond)
end
