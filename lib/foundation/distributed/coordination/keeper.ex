defmodule Foundation.Distributed.Coordination.Keeper do
  @moduledoc false
  # This node's part of a coordination group: the session that is kept alive, the holds of its processes, which are given
  # back when a process ends, and the news about them.
  #
  # It never waits: what it proposes is answered by message. A process that asks for a lock enters it here first, proposes
  # itself, and is told here what becomes of a wait. The session is trusted for its time since the last sign of life that
  # was confirmed was sent; after that everything under it counts as lost here, which is before the others may have it.

  use GenServer

  alias Foundation.Distributed.Consensus.{Codec, Engine, Member, Roster}
  alias Foundation.Distributed.Coordination.{Holds, Parked, Session, Watchers}
  alias Foundation.Native

  @tick_ms 100
  @propose_ms 2_000
  @session_ms 5_000
  @keep_ms 500

  # -- what callers use

  def start_link(spec), do: GenServer.start_link(__MODULE__, spec)

  @doc """
  Enters a hold for the calling process: `{:enter, {session, number}}`, under which it then proposes, or
  `{:kept, {session, number}, token}` when this node has the lock already and nobody else wants it. `reuse` says that such
  a one will do, and for how many ms (0: as long as the session); nil that it will not.
  """
  def enter(keeper, {_kind, _name, _label} = what, reference, reuse, timeout) do
    GenServer.call(keeper, {:enter, what, reference, reuse, now() + timeout}, timeout + @propose_ms)
  catch
    :exit, {:timeout, _} -> {:error, :no_leader}
    :exit, _ -> {:error, :no_group}
  end

  @doc "What was entered is held, until `{:node | :group, time}`; see `Holds.held/5`."
  def held(keeper, hold, token, wanted, until),
    do: GenServer.cast(keeper, {:held, hold, token, wanted, until})

  @doc "What was entered is of no use any more, whatever has become of it."
  def abandon(keeper, hold), do: GenServer.cast(keeper, {:abandon, hold})

  @doc "The process that holds it waits for something under it, by that reference."
  def await_again(keeper, hold, reference), do: call(keeper, {:await_again, hold, reference})

  @doc "Changes until when it is held."
  def renewed(keeper, hold, until), do: GenServer.cast(keeper, {:renewed, hold, until})

  @doc "Until when a lease lasts that began then, and who ends it: this node where its session would not last longer."
  @spec limit(non_neg_integer, integer) :: {:node | :group, integer | nil}
  def limit(0, _since), do: {:node, nil}

  def limit(lease, since) do
    session = Keyword.get(settings(), :session_ms, @session_ms)
    {if(lease >= session, do: :node, else: :group), since + lease}
  end

  @doc "Gives back what is held."
  def release(keeper, hold), do: call(keeper, {:release, hold})

  @doc "Whether it is held still: its session and its lease are good, as far as this node can tell."
  def held?(keeper, hold), do: call(keeper, {:held?, hold}) == true

  @doc "The session was said to have ended."
  def session_gone(keeper, session), do: GenServer.cast(keeper, {:session_gone, session})

  @doc "Has the calling process stand for election, and told of what becomes of that."
  def campaign(keeper, name, label, campaign), do: call(keeper, {:campaign, name, label, campaign})

  @doc "Sends the calling process the news of a leader or a value."
  def watch(keeper, what, name, label), do: call(keeper, {:watch, what, name, label})
  def unwatch(keeper, what, name), do: call(keeper, {:unwatch, what, name})

  defp call(keeper, request) do
    GenServer.call(keeper, request)
  catch
    :exit, _ -> {:error, :no_group}
  end

  # -- the process

  @impl true
  def init(%{name: name} = spec) do
    Process.flag(:trap_exit, true)
    settings = settings()

    {:ok,
     %{
       name: name,
       handle: nil,
       starting: Member.start(Engine.handle(), spec, {:coordination, self()}),
       started: nil,
       waiting: [],
       session: Session.new(Keyword.get(settings, :session_ms, @session_ms)),
       keep_ms: Keyword.get(settings, :keep_ms, @keep_ms),
       holds: Holds.new(),
       parked: Parked.new(),
       pending: %{},
       dropping: false,
       watchers: Watchers.new()
     }}
  end

  @impl true
  def handle_call(:started, from, %{started: nil} = state),
    do: {:noreply, %{state | waiting: [from | state.waiting]}}

  def handle_call(:started, _from, state), do: {:reply, state.started, state}

  def handle_call({:enter, _what, _reference, _reuse, _until} = entry, from, state),
    do: {:noreply, enter(state, entry, from)}

  def handle_call({:release, hold}, _from, state) do
    case Holds.release(state.holds, hold, state.keep_ms, now()) do
      {:kept, holds} -> {:reply, :ok, %{state | holds: holds}}
      {:dropped, holds} -> {:reply, :ok, drop(%{state | holds: holds})}
      :not_held -> {:reply, {:error, :not_held}, state}
    end
  end

  def handle_call({:await_again, hold, reference}, {pid, _}, state) do
    case Holds.await_again(state.holds, hold, reference, pid) do
      {:ok, holds} -> {:reply, :ok, %{state | holds: holds}}
      :not_held -> {:reply, {:error, :not_held}, state}
    end
  end

  def handle_call({:held?, hold}, _from, state),
    do: {:reply, Session.good?(state.session, now()) and Holds.held?(state.holds, hold, now()), state}

  def handle_call({:campaign, name, label, campaign}, {pid, _}, state) do
    {number, holds} = Holds.enter(state.holds, :election, name, label, pid, nil, campaign)
    {:reply, {:ok, number}, campaign(%{state | holds: holds}, number)}
  end

  def handle_call({:watch, what, name, label}, {pid, _}, state),
    do: {:reply, :ok, %{state | watchers: Watchers.add(state.watchers, {what, name}, label, pid)}}

  def handle_call({:unwatch, what, name}, {pid, _}, state),
    do: {:reply, :ok, %{state | watchers: Watchers.remove(state.watchers, {what, name}, pid)}}

  @impl true
  def handle_cast({:held, hold, token, wanted, until}, state),
    do: {:noreply, %{state | holds: Holds.held(state.holds, hold, token, wanted, until)}}

  def handle_cast({:renewed, hold, until}, state),
    do: {:noreply, %{state | holds: Holds.renewed(state.holds, hold, until)}}

  def handle_cast({:abandon, hold}, state),
    do: {:noreply, drop(%{state | holds: Holds.drop(state.holds, hold)})}

  def handle_cast({:session_gone, id}, %{session: %{id: id}} = state), do: {:noreply, lose_session(state)}
  def handle_cast({:session_gone, _id}, state), do: {:noreply, state}

  @impl true
  def handle_info({reference, {:ok, handle}}, %{starting: reference} = state) do
    Roster.running(state.name, handle, self())
    send(self(), :tick)
    {:noreply, started(%{state | handle: handle}, :ok)}
  end

  def handle_info({reference, {:error, reason}}, %{starting: reference} = state),
    do: {:stop, {:shutdown, reason}, started(state, {:error, reason})}

  def handle_info({:foundation_coordination, event}, state), do: {:noreply, event(state, event)}

  def handle_info({reference, reply}, state) when is_map_key(state.pending, reference) do
    {what, pending} = Map.pop!(state.pending, reference)
    {:noreply, answered(%{state | pending: pending}, what, reply)}
  end

  def handle_info({:DOWN, monitor, :process, pid, _reason}, state) do
    {gone, holds} = Holds.process_down(state.holds, pid, monitor)
    state = %{state | holds: holds, watchers: Watchers.process_down(state.watchers, pid)}
    {:noreply, if(gone, do: drop(state), else: state)}
  end

  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, state |> check_session() |> expire() |> drop() |> keep_alive() |> answer_late()}
  end

  def handle_info({:foundation_consensus_leader, leader, term}, state) do
    Member.tell_leader(state.name, leader, term)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp settings do
    settings = Application.get_env(:foundation, :coordination, [])
    if is_list(settings), do: settings, else: []
  end

  defp started(state, answer) do
    for from <- state.waiting, do: GenServer.reply(from, answer)
    %{state | started: answer, waiting: []}
  end

  # -- entering

  defp enter(state, {:enter, {kind, name, label}, reference, reuse, until} = entry, {pid, _} = from) do
    cond do
      kind == :lock and Holds.has?(state.holds, pid, :lock, name) ->
        GenServer.reply(from, {:error, :already_held})
        state

      not Session.good?(state.session, now()) ->
        %{state | parked: Parked.add(state.parked, entry, from, until)}

      true ->
        {answer, holds} =
          case reuse && Holds.reuse(state.holds, kind, name, label, pid, elem(limit(reuse, now()), 1)) do
            {number, token, holds} ->
              {{:kept, {state.session.id, number}, token}, holds}

            _ ->
              {number, holds} = Holds.enter(state.holds, kind, name, label, pid, reference, nil)
              {{:enter, {state.session.id, number}}, holds}
          end

        GenServer.reply(from, answer)
        %{state | holds: holds}
    end
  end

  defp unpark(%{parked: parked} = state) do
    Enum.reduce(Parked.all(parked), %{state | parked: Parked.new()}, fn {entry, from}, state ->
      enter(state, entry, from)
    end)
  end

  defp answer_late(state), do: %{state | parked: Parked.in_time(state.parked, now())}

  # -- the session

  defp check_session(state) do
    if Session.lapsed?(state.session, now()), do: lose_session(state), else: state
  end

  defp keep_alive(state) do
    case Session.due(state.session, now()) do
      {command, sign, session} -> propose(%{state | session: session}, command, sign)
      :nothing -> state
    end
  end

  # Everything under it is lost, and the next one begins.
  defp lose_session(state) do
    old = state.session
    {candidates, holds} = Holds.lose_all(state.holds)
    state = %{state | session: Session.next(old), holds: holds}
    state = if old.open, do: propose(state, {:close, old.id}, :close), else: state
    # They stand again under the next session.
    Enum.reduce(candidates, keep_alive(state), &campaign(&2, &1))
  end

  # -- proposals

  defp propose(state, command, what) do
    reference = make_ref()
    :ok = Native.consensus_coordinate(state.handle, reference, command, @propose_ms, nil)
    %{state | pending: Map.put(state.pending, reference, what)}
  end

  defp answered(state, {kind, _id, _sent} = sign, reply) when kind in [:open, :keep_alive] do
    case Session.answered(state.session, sign, reply) do
      {:good, session} when kind == :open -> opened(%{state | session: session})
      {_, session} -> %{state | session: session}
      :ended -> lose_session(state)
    end
  end

  defp answered(state, {:drop, dropped}, :ok),
    do: drop(%{state | dropping: false, holds: Holds.gone(state.holds, dropped)})

  # Again with the next tick.
  defp answered(state, {:drop, _dropped}, _error), do: %{state | dropping: false}
  defp answered(state, :close, _reply), do: state

  defp answered(state, {:campaign, {session, number} = hold}, reply) do
    case reply do
      {:granted, token, _wanted} -> event(state, {:hold, hold, {:granted, token, false}})
      {:queued, _ahead} -> state
      {:error, :no_session} when session == state.session.id -> lose_session(state)
      {:error, _reason} when session == state.session.id -> campaign(state, number)
      {:error, _reason} -> state
    end
  end

  defp opened(state) do
    state = unpark(state)
    Enum.reduce(Holds.candidates(state.holds), state, &campaign(&2, &1))
  end

  # When the session is open; `opened/1` comes back to those that have to wait for it.
  defp campaign(state, number) do
    case Session.good?(state.session, now()) and Holds.campaign(state.holds, number) do
      {name, {priority, preempt, metadata}} ->
        hold = {state.session.id, number}
        propose(state, {:campaign, name, hold, priority, preempt, metadata}, {:campaign, hold})

      _ ->
        state
    end
  end

  defp drop(%{dropping: true} = state), do: state

  defp drop(state) do
    case Holds.dropped(state.holds) do
      [] ->
        state

      numbers when state.session.open ->
        holds = for number <- numbers, do: {state.session.id, number}
        propose(%{state | dropping: true}, {:drop, holds}, {:drop, numbers})

      _ ->
        state
    end
  end

  defp expire(state), do: %{state | holds: Holds.expire(state.holds, now())}

  # -- news

  defp event(%{session: %{id: id}} = state, {:hold, {id, number}, what}) do
    case Holds.event(state.holds, number, what) do
      {:ok, holds} -> %{state | holds: holds}
      {:dropped, holds} -> drop(%{state | holds: holds})
      {:session_gone, holds} -> lose_session(%{state | holds: holds})
    end
  end

  defp event(%{session: %{id: id}} = state, {:holdings, id, held, _waiting}) do
    Enum.reduce(held, state, fn {number, token}, state ->
      if Holds.waiting?(state.holds, number) or not Holds.known?(state.holds, number),
        do: event(state, {:hold, {id, number}, {:granted, token, true}}),
        else: state
    end)
  end

  defp event(state, {:leader, name, leader}) do
    Watchers.tell(state.watchers, {:leader, name}, fn label -> {:foundation_leader, label, leader(leader)} end)

    state
  end

  defp event(state, {:value, name, version, value}) do
    Watchers.tell(state.watchers, {:value, name}, fn label ->
      {:foundation_value, label, version, if(value, do: {:ok, Codec.decode(value)}, else: :deleted)}
    end)

    state
  end

  # Of a session that is over.
  defp event(state, _event), do: state

  @doc false
  def leader(nil), do: nil

  def leader({member, _hold, token, metadata}),
    do: %{
      node: member && Engine.node_of(member),
      token: Holds.token(token, 0),
      metadata: Codec.decode(metadata)
    }

  # The others need not wait for the end of the session.
  @impl true
  def terminate(_reason, state) do
    if state.handle && state.session.open do
      reference = make_ref()
      Native.consensus_coordinate(state.handle, reference, {:close, state.session.id}, 500, nil)

      receive do
        {^reference, _reply} -> :ok
      after
        600 -> :ok
      end
    end

    Member.stop(state.name)
  end

  defp now, do: System.monotonic_time(:millisecond)
end
