defmodule Foundation.ProcessRegistry.Global.Server do
  @moduledoc false
  # Writes the tables of the cluster's names: what processes of this node claim, what other nodes say of theirs, and what
  # follows from that for each name.
  #
  # Every claim belongs to the node of its process, and only that node changes it or takes it back; so each node numbers
  # the changes of its own claims, and the others follow these numbers (Replication). Two nodes that have claimed a name
  # without knowing of each other see the same two claims in the end; the one with the older has the conflict resolved
  # (Conflicts). When a node is lost its claims go here, and come again when it is back.

  use GenServer

  alias Foundation.ProcessRegistry.Global.{Claims, Conflicts, Replication, Table, Watchers}

  @call_ms 5_000
  # A clock that is ahead by more than that is not followed. In µs.
  @drift 60_000_000

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  # -- what callers use

  @doc """
  Claims a key for a process of this node. `settings`: `:token` (nil), `:resolver` (nil or `{module, function}`),
  `:on_lost`, `:holder` (who is told of a loss; the process itself).
  """
  def claim(key, pid, metadata, settings), do: call({:claim, key, pid, metadata, settings})

  @doc "Takes back the claim of this node, when it is of that process (nil: of whichever)."
  def release(key, pid), do: call({:release, key, pid})

  @doc "Changes the metadata of this node's claim by a function."
  def update(key, function), do: call({:update, key, function})

  @doc "The claim of this node has lost its right; its holder is told why."
  def lost(key, pid, reason), do: GenServer.cast(__MODULE__, {:lost, key, pid, reason})

  def watch(what, pid), do: call({:watch, what, pid})
  def unwatch(what, pid), do: call({:unwatch, what, pid})

  @doc "Waits until this node has what the nodes that it knows have registered by now."
  def sync(timeout), do: call(:sync, timeout)

  def status, do: call(:status)

  defp call(request, timeout \\ @call_ms) do
    GenServer.call(__MODULE__, request, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, _ -> {:error, :not_running}
  end

  # -- the process

  @impl true
  def init(nil) do
    Process.flag(:message_queue_data, :off_heap)
    :ok = :net_kernel.monitor_nodes(true, node_type: :visible)

    state = %{
      replication: Replication.new(),
      clock: 0,
      monitors: %{},
      # Claims to a key that do not count.
      rivals: %{},
      deciding: MapSet.new(),
      watchers: Watchers.new(),
      syncing: %{}
    }

    {:ok, adopt(state), {:continue, :greet}}
  end

  # What the process before this one has left: claims of processes that live are made anew.
  defp adopt(state) do
    Table.delete_of_others()
    Table.forget_changes()

    Enum.reduce(Table.all_own(), state, fn {key, {pid, _, _, _} = claim, _number, settings}, state ->
      state = state |> watched(pid) |> put_own(key, claim, settings)
      Table.put_row(key, claim)
      state
    end)
  end

  @impl true
  def handle_continue(:greet, state),
    do: {:noreply, %{state | replication: Replication.greet(state.replication, Node.list())}}

  @impl true
  def handle_call({:claim, key, pid, metadata, settings}, _from, state) do
    case claimable(state, key, pid, settings) do
      {:ok, state} -> {:reply, :ok, claimed(state, key, pid, metadata, settings)}
      {:same, state} -> {:reply, :ok, renewed(state, key, metadata, settings)}
      {:error, reason} -> {:reply, {:error, reason}, state}
    end
  end

  def handle_call({:release, key, pid}, _from, state) do
    case Table.own(key) do
      {{owner, _, _, _}, _, _} when pid in [nil, owner] -> {:reply, :ok, withdraw(state, key)}
      _ -> {:reply, {:error, :not_found}, state}
    end
  end

  def handle_call({:update, key, function}, _from, state) do
    case Table.own(key) do
      {{pid, metadata, stamp, token}, _number, settings} ->
        case attempt(function, metadata) do
          {:ok, metadata} ->
            {:reply, {:ok, metadata}, put(state, key, {pid, metadata, stamp, token}, settings)}

          error ->
            {:reply, error, state}
        end

      nil ->
        {:reply, {:error, :not_found}, state}
    end
  end

  def handle_call({:watch, what, pid}, _from, state),
    do: {:reply, :ok, %{state | watchers: Watchers.add(state.watchers, what, pid)}}

  def handle_call({:unwatch, what, pid}, _from, state),
    do: {:reply, :ok, %{state | watchers: Watchers.remove(state.watchers, what, pid)}}

  def handle_call(:sync, from, state) do
    reference = make_ref()
    waiting = Replication.ask_numbers(state.replication, reference)
    {:noreply, synced(%{state | syncing: Map.put(state.syncing, reference, {from, waiting})}, reference)}
  end

  def handle_call(:status, _from, state) do
    contested = for {key, _} <- state.rivals, do: key
    {:reply, {:ok, Map.put(Replication.status(state.replication), :contested, contested)}, state}
  end

  @impl true
  def handle_cast({:lost, key, pid, reason}, state) do
    case Table.own(key) do
      {{^pid, _, _, _}, _, _} -> {:noreply, defeated(state, key, reason)}
      _ -> {:noreply, state}
    end
  end

  @impl true
  def handle_info({:foundation_names, 1, from, kind, body}, state),
    do: {:noreply, heard(state, from, kind, body)}

  def handle_info({:DOWN, monitor, :process, pid, _reason}, state) do
    state = %{state | watchers: Watchers.down(state.watchers, pid, monitor)}

    case state.monitors do
      %{^pid => ^monitor} -> {:noreply, ended(state, pid)}
      _ -> {:noreply, lost_peer(state, pid)}
    end
  end

  def handle_info(:flush, state), do: {:noreply, %{state | replication: Replication.flush(state.replication)}}
  def handle_info(:tick, state), do: {:noreply, %{state | replication: Replication.tick(state.replication)}}

  def handle_info({:nodeup, node, _info}, state),
    do: {:noreply, %{state | replication: Replication.greet(state.replication, [node])}}

  def handle_info({:resolved, key, mine, other, verdict}, state),
    do:
      {:noreply,
       judged(
         %{state | deciding: MapSet.delete(state.deciding, {key, mine, other})},
         key,
         mine,
         other,
         verdict
       )}

  def handle_info(_other, state), do: {:noreply, state}

  # -- claims of this node

  defp claimable(state, key, pid, settings) do
    cond do
      not Process.alive?(pid) -> {:error, :noproc}
      own = Table.own(key) -> mine(state, key, own, pid, settings)
      row = Table.row(key) -> others(state, row, settings[:token])
      true -> {:ok, state}
    end
  end

  defp mine(state, _key, {{pid, _, _, _}, _, _}, pid, _settings), do: {:same, state}

  # Its end is not known here yet.
  defp mine(state, key, {{owner, _, _, _}, _, _}, pid, settings) do
    if Process.alive?(owner) do
      {:error, {:already_registered, owner}}
    else
      state = withdraw(state, key)
      claimable(state, key, pid, settings)
    end
  end

  # A greater token says that the group has given the name to this node since.
  defp others(state, {_key, _pid, _, _, theirs}, token)
       when is_integer(token) and (theirs == nil or theirs < token),
       do: {:ok, state}

  defp others(_state, {_key, pid, _, _, _}, _token), do: {:error, {:already_registered, pid}}

  defp claimed(state, key, pid, metadata, settings) do
    state = %{state | clock: max(state.clock + 1, System.os_time(:microsecond))}
    claim = {pid, metadata, state.clock, settings[:token]}
    state |> watched(pid) |> put(key, claim, Keyword.delete(settings, :token))
  end

  # Registered again by the same process.
  defp renewed(state, key, metadata, settings) do
    {{pid, before, stamp, token}, _number, _settings} = Table.own(key)
    claim = {pid, if(metadata == nil, do: before, else: metadata), stamp, settings[:token] || token}
    put(state, key, claim, Keyword.delete(settings, :token))
  end

  defp put(state, key, claim, settings) do
    state |> put_own(key, claim, settings) |> settle(key, node(), claim)
  end

  defp put_own(state, key, claim, settings) do
    before = with {_claim, number, _settings} <- Table.own(key), do: number
    {number, replication} = Replication.changed(state.replication, before, {:put, key})
    Table.put_own(key, claim, number, settings)
    %{state | replication: replication}
  end

  defp withdraw(state, key) do
    {{pid, _, _, _}, number, _settings} = Table.own(key)
    Table.delete_own(key, pid)
    {_number, replication} = Replication.changed(state.replication, number, {:gone, key})

    %{state | replication: replication}
    |> unwatched(pid)
    |> settle(key, node(), nil)
  end

  defp watched(state, pid) when is_map_key(state.monitors, pid), do: state
  defp watched(state, pid), do: put_in(state.monitors[pid], Process.monitor(pid))

  defp unwatched(state, pid) do
    with %{^pid => monitor} <- state.monitors, [] <- Table.keys_of(pid) do
      Process.demonitor(monitor, [:flush])
      %{state | monitors: Map.delete(state.monitors, pid)}
    else
      _ -> state
    end
  end

  defp ended(state, pid) do
    state = %{state | monitors: Map.delete(state.monitors, pid)}
    Enum.reduce(Table.keys_of(pid), state, &withdraw(&2, &1))
  end

  # The holder has no right to the name any more.
  defp defeated(state, key, reason) do
    {claim, _number, settings} = Table.own(key)
    state = withdraw(state, key)
    Conflicts.tell_loser(key, claim, settings, reason)
    state
  end

  # -- what counts

  # `origin` has this claim to the key now, or none; what counts follows, and who is told.
  defp settle(state, key, origin, claim) do
    row = Table.row(key)

    case state.rivals do
      %{^key => rivals} -> settle(state, key, row, rivals, origin, claim)
      _ when row == nil or node(elem(row, 1)) == origin -> counts(state, key, row && Claims.claim(row), claim)
      # Nobody's claim is taken back.
      _ when claim == nil -> state
      _ -> settle(state, key, row, [], origin, claim)
    end
  end

  defp settle(state, key, row, rivals, origin, claim) do
    before = Claims.claim(row)
    others = for other <- [before | rivals], Claims.origin(other) != origin, do: other
    {winner, rest} = Claims.winner(if(claim, do: [claim | others], else: others))
    state = counts(%{state | rivals: put_rivals(state.rivals, key, rest)}, key, before, winner)
    Enum.reduce(rest, state, &contest(&2, key, winner, &1, claim))
  end

  defp put_rivals(rivals, key, []), do: Map.delete(rivals, key)
  defp put_rivals(rivals, key, rest), do: Map.put(rivals, key, rest)

  defp counts(state, _key, nil, nil), do: state

  defp counts(state, key, before, now) do
    if now, do: Table.put_row(key, now), else: Table.delete_row(key)
    Watchers.changed(state.watchers, key, before, now)
    state
  end

  # -- conflicts

  defp contest(state, key, winner, loser, latest) do
    if latest in [winner, loser], do: Watchers.conflict(state.watchers, key, winner, loser)

    cond do
      Claims.open?(winner, loser) and Claims.origin(winner) == node() ->
        decide(state, key, winner, loser)

      # Whoever has a token has been given the name.
      not Claims.open?(winner, loser) and Claims.origin(loser) == node() ->
        defeated(state, key, {:conflict, elem(winner, 0)})

      true ->
        state
    end
  end

  defp decide(state, key, mine, other) do
    question = {key, mine, other}
    {_claim, _number, settings} = Table.own(key)

    cond do
      question in state.deciding ->
        state

      settings[:resolver] == nil ->
        judged(state, key, mine, other, :mine)

      true ->
        Conflicts.ask(self(), settings[:resolver], key, mine, other)
        %{state | deciding: MapSet.put(state.deciding, question)}
    end
  end

  # It may have resolved itself meanwhile.
  defp judged(state, key, mine, other, verdict) do
    with {^mine, _number, _settings} <- Table.own(key), true <- other in Map.get(state.rivals, key, []) do
      if verdict in [:mine, :none],
        do: Replication.concede(state.replication, key, other, if(verdict == :mine, do: mine))

      if verdict in [:other, :none],
        do: defeated(state, key, {:conflict, if(verdict == :other, do: elem(other, 0))}),
        else: state
    else
      _ -> state
    end
  end

  # -- what others say

  defp heard(state, from, :hello, asked) do
    if Replication.peer?(state.replication, from) do
      Replication.answer(from, asked)
      state
    else
      # The server before this one, whose end is not known here yet.
      old = Replication.peer_of(state.replication, node(from))
      state = if old, do: lost_peer(state, old), else: state
      %{state | replication: Replication.add(state.replication, from, asked)}
    end
  end

  defp heard(state, from, :changes, body) do
    case Replication.changes(state.replication, from, body) do
      {:ok, changes, replication} ->
        %{state | replication: replication} |> follow(node(from), changes) |> synced_all()

      {:ignore, replication} ->
        %{state | replication: replication}
    end
  end

  defp heard(state, from, :ack, body),
    do: %{state | replication: Replication.ack(state.replication, from, body)}

  # Decided by the node whose claim is the older one.
  defp heard(state, _from, :concede, {key, stamp, winner}) do
    case Table.own(key) do
      {{_pid, _metadata, ^stamp, nil}, _number, _settings} ->
        defeated(state, key, {:conflict, winner})

      _ ->
        state
    end
  end

  defp heard(state, from, :number, {:ask, reference}) do
    Replication.tell_number(state.replication, from, reference)
    state
  end

  defp heard(state, from, :number, {:is, reference, number}) do
    case state.syncing do
      %{^reference => {caller, waiting}} when is_map_key(waiting, from) ->
        syncing = Map.put(state.syncing, reference, {caller, Map.put(waiting, from, number)})
        synced(%{state | syncing: syncing}, reference)

      _ ->
        state
    end
  end

  # Of a later version.
  defp heard(state, _from, _kind, _body), do: state

  defp follow(state, origin, changes) do
    Enum.reduce(changes, state, fn
      {key, pid, metadata, stamp, token}, state ->
        Replication.remember(state.replication, origin, key)
        state |> tick_clock(stamp) |> settle(key, origin, {pid, metadata, stamp, token})

      {:gone, key}, state ->
        Replication.forget(state.replication, origin, key)
        settle(state, key, origin, nil)
    end)
  end

  defp tick_clock(state, stamp) when stamp <= state.clock, do: state

  defp tick_clock(state, stamp) do
    if stamp > System.os_time(:microsecond) + @drift, do: state, else: %{state | clock: stamp}
  end

  defp lost_peer(state, pid) do
    if Replication.peer?(state.replication, pid) do
      state = forget(state, node(pid))
      synced_all(%{state | replication: Replication.remove(state.replication, pid)})
    else
      state
    end
  end

  defp forget(state, origin),
    do: Enum.reduce(Replication.keys(state.replication, origin), state, &settle(&2, &1, origin, nil))

  # -- waiting for the others

  defp synced_all(state) when map_size(state.syncing) == 0, do: state
  defp synced_all(state), do: Enum.reduce(Map.keys(state.syncing), state, &synced(&2, &1))

  defp synced(state, reference) do
    {caller, waiting} = state.syncing[reference]

    case Replication.missing(state.replication, waiting) do
      waiting when map_size(waiting) == 0 ->
        GenServer.reply(caller, :ok)
        %{state | syncing: Map.delete(state.syncing, reference)}

      waiting ->
        %{state | syncing: Map.put(state.syncing, reference, {caller, waiting})}
    end
  end

  defp attempt(function, metadata) do
    {:ok, function.(metadata)}
  catch
    kind, reason -> {:error, {kind, reason}}
  end
end
