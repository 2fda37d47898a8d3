defmodule Foundation.Distributed.Coordination.Holds do
  @moduledoc false
  # The holds of this node's processes under its present session, as a value; who holds or waits is told from here.
  #
  # A lock that was given back and that nobody else wants is kept for a while, and given to the next process of this node
  # without asking anybody. A lease that is no shorter than the session is ended here, and the group knows nothing of it: the
  # session ends no later, so that such a lock is kept as well. Fencing tokens are those of the group, with room behind each for the uses of a kept lock.

  import Bitwise

  @uses 16

  @doc "No holds."
  def new, do: %{by_number: %{}, by_pid: %{}, kept: %{}, dropped: MapSet.new(), next: 1}

  @doc "The token that users see: that of the group, and the use of it."
  def token(token, use), do: (token <<< @uses) + use

  @doc "Enters a hold: its number."
  def enter(holds, kind, name, label, pid, reference, campaign) do
    number = holds.next

    hold = %{
      kind: kind,
      name: name,
      label: label,
      pid: pid,
      reference: reference,
      state: :waiting,
      token: nil,
      use: 0,
      wanted: false,
      until: nil,
      limit: :node,
      idle: nil,
      campaign: campaign
    }

    {number, attach(%{holds | next: number + 1}, number, hold, pid)}
  end

  defp attach(holds, number, hold, pid) do
    by_pid =
      case holds.by_pid do
        %{^pid => {monitor, numbers}} = by_pid ->
          %{by_pid | pid => {monitor, MapSet.put(numbers, number)}}

        by_pid ->
          Map.put(by_pid, pid, {Process.monitor(pid), MapSet.new([number])})
      end

    %{holds | by_number: Map.put(holds.by_number, number, hold), by_pid: by_pid}
  end

  defp detach(holds, number, pid) do
    case holds.by_pid do
      %{^pid => {monitor, numbers}} = by_pid ->
        numbers = MapSet.delete(numbers, number)

        if MapSet.size(numbers) == 0 do
          Process.demonitor(monitor, [:flush])
          %{holds | by_pid: Map.delete(by_pid, pid)}
        else
          %{holds | by_pid: %{by_pid | pid => {monitor, numbers}}}
        end

      _ ->
        holds
    end
  end

  @doc "Whether a process holds or awaits that."
  def has?(holds, pid, kind, name) do
    case holds.by_pid do
      %{^pid => {_monitor, numbers}} ->
        Enum.any?(numbers, &match?(%{kind: ^kind, name: ^name}, holds.by_number[&1]))

      _ ->
        false
    end
  end

  @doc "Gives a kept lock to a process, until then (nil: as long as the session lives): its number and token."
  def reuse(holds, :lock, name, label, pid, until) do
    case holds.kept do
      %{^name => number} = kept ->
        hold = %{holds.by_number[number] | pid: pid, label: label, state: :held, idle: nil}
        hold = %{hold | use: hold.use + 1, until: until}

        {number, token(hold.token, hold.use),
         attach(%{holds | kept: Map.delete(kept, name)}, number, hold, pid)}

      _ ->
        :none
    end
  end

  def reuse(_holds, _kind, _name, _label, _pid, _until), do: :none

  @doc "It is held, until then (nil: as long as the session lives) by the word of this node or of the group."
  def held(holds, {_session, number}, token, wanted, {limit, until}) do
    case holds.by_number do
      %{^number => hold} ->
        hold = %{hold | state: :held, token: token, wanted: hold.wanted or wanted, until: until, limit: limit}
        put(holds, number, hold)

      _ ->
        holds
    end
  end

  @doc "It is held until then, as for `held/5`."
  def renewed(holds, {_session, number}, {limit, until}) do
    case holds.by_number do
      %{^number => hold} -> put(holds, number, %{hold | until: until, limit: limit})
      _ -> holds
    end
  end

  @doc "The process that holds it waits by that reference."
  def await_again(holds, {_session, number}, reference, pid) do
    case holds.by_number do
      %{^number => %{state: :held, pid: ^pid} = hold} ->
        {:ok, put(holds, number, %{hold | reference: reference})}

      _ ->
        :not_held
    end
  end

  @doc "Gives back: kept for a while, or dropped."
  def release(holds, {_session, number}, keep_ms, now) do
    case holds.by_number do
      %{^number => %{state: :held} = hold} ->
        if keep?(hold, keep_ms, holds),
          do: {:kept, keep(holds, number, hold, now + keep_ms)},
          else: {:dropped, drop_number(holds, number)}

      %{^number => %{kind: :election}} ->
        {:dropped, drop_number(holds, number)}

      _ ->
        :not_held
    end
  end

  defp keep?(hold, keep_ms, holds) do
    keep_ms > 0 and hold.kind == :lock and not hold.wanted and hold.limit == :node and
      hold.use < (1 <<< @uses) - 1 and not is_map_key(holds.kept, hold.name)
  end

  defp keep(holds, number, hold, until) do
    hold = %{hold | state: :idle, pid: nil, idle: until}

    holds
    |> detach(number, holds.by_number[number].pid)
    |> put(number, hold)
    |> Map.update!(:kept, &Map.put(&1, hold.name, number))
  end

  @doc "Drops a hold, whatever its state."
  def drop(holds, {_session, number}), do: drop_number(holds, number)

  defp drop_number(holds, number) do
    holds = forget(holds, number)
    %{holds | dropped: MapSet.put(holds.dropped, number)}
  end

  defp forget(holds, number) do
    case Map.pop(holds.by_number, number) do
      {nil, _} ->
        holds

      {hold, by_number} ->
        kept = if hold.state == :idle, do: Map.delete(holds.kept, hold.name), else: holds.kept
        detach(%{holds | by_number: by_number, kept: kept}, number, hold.pid)
    end
  end

  @doc "The numbers to be given back to the group, some thousands at a time."
  def dropped(holds), do: Enum.take(holds.dropped, 5_000)

  @doc "The group has taken these back."
  def gone(holds, numbers), do: %{holds | dropped: MapSet.difference(holds.dropped, MapSet.new(numbers))}

  @doc "Whether it is held still."
  def held?(holds, {_session, number}, now) do
    case holds.by_number do
      %{^number => %{state: :held, until: until}} -> until == nil or now < until
      _ -> false
    end
  end

  def waiting?(holds, number), do: match?(%{state: :waiting}, holds.by_number[number])
  def known?(holds, number), do: is_map_key(holds.by_number, number)

  @doc "Ends what has come to its end: leases, and locks that nobody has used for a while."
  def expire(holds, now) do
    Enum.reduce(holds.by_number, holds, fn
      {number, %{state: :idle, idle: until}}, holds when until <= now ->
        drop_number(holds, number)

      {number, %{state: :held, until: until} = hold}, holds when until != nil and until <= now ->
        tell_lost(hold, :lease)
        drop_number(holds, number)

      _, holds ->
        holds
    end)
  end

  @doc "Whether that was one of the processes, and the holds without its."
  def process_down(holds, pid, monitor) do
    case holds.by_pid do
      %{^pid => {^monitor, numbers}} -> {true, Enum.reduce(numbers, holds, &drop_number(&2, &1))}
      _ -> {false, holds}
    end
  end

  @doc "Loses everything, and tells of it. Candidates stay, to stand again under the next session: their numbers."
  def lose_all(holds) do
    {candidates, others} = Enum.split_with(holds.by_number, fn {_, hold} -> hold.kind == :election end)
    for {_number, hold} <- others, do: tell_lost(hold, :session)
    emptied = Enum.reduce(others, holds, fn {number, _hold}, holds -> forget(holds, number) end)

    Enum.map_reduce(candidates, %{emptied | dropped: MapSet.new()}, fn {number, hold}, holds ->
      if hold.state == :held, do: tell_lost(hold, :session)
      {number, put(holds, number, %{hold | state: :waiting, token: nil})}
    end)
  end

  @doc "The numbers of the candidates."
  def candidates(holds),
    do: for({number, %{kind: :election, state: :waiting}} <- holds.by_number, do: number)

  @doc "How a candidate stands."
  def campaign(holds, number) do
    case holds.by_number do
      %{^number => %{kind: :election} = hold} -> {hold.name, hold.campaign}
      _ -> nil
    end
  end

  @doc "Something has happened to a hold."
  def event(holds, number, what) do
    case {holds.by_number, what} do
      {%{^number => hold}, what} -> happened(holds, number, hold, what)
      {_, {:lost, _reason}} -> {:ok, holds}
      {_, :wanted} -> {:ok, holds}
      # It came too late for who wanted it.
      {_, _granted} -> {:dropped, drop_number(holds, number)}
    end
  end

  defp happened(holds, number, %{kind: :election} = hold, {:granted, token, _wanted}) do
    if hold.state != :held,
      do: send(hold.pid, {:foundation_election, hold.label, {:elected, token(token, 0)}})

    {:ok, put(holds, number, %{hold | state: :held, token: token})}
  end

  defp happened(holds, number, %{state: :waiting} = hold, {:granted, token, wanted}) do
    send(hold.pid, {hold.reference, {:granted, token, wanted}})
    {:ok, put(holds, number, %{hold | state: :held, token: token, wanted: wanted})}
  end

  # A second wait under the same hold, to leave a double barrier.
  defp happened(holds, _number, hold, {:granted, token, wanted}) do
    if hold.kind == :double_barrier, do: send(hold.pid, {hold.reference, {:granted, token, wanted}})
    {:ok, holds}
  end

  defp happened(holds, number, hold, {:item, token, value}) do
    send(hold.pid, {hold.reference, {:item, token, value}})
    {:ok, put(holds, number, %{hold | state: :held, token: token})}
  end

  defp happened(holds, number, %{state: :idle}, :wanted), do: {:dropped, drop_number(holds, number)}
  defp happened(holds, number, hold, :wanted), do: {:ok, put(holds, number, %{hold | wanted: true})}
  defp happened(holds, _number, _hold, {:lost, :session}), do: {:session_gone, holds}

  defp happened(holds, number, hold, {:lost, :deposed}) do
    tell_lost(hold, :deposed)
    {:ok, put(holds, number, %{hold | state: :waiting, token: nil})}
  end

  defp happened(holds, number, hold, {:lost, reason}) do
    tell_lost(hold, reason)
    {:ok, forget(holds, number)}
  end

  defp put(holds, number, hold), do: %{holds | by_number: Map.put(holds.by_number, number, hold)}

  defp tell_lost(%{state: :idle}, _reason), do: :ok

  # Also who waits to leave.
  defp tell_lost(%{kind: :double_barrier} = hold, reason),
    do: send(hold.pid, {hold.reference, {:lost, reason}})

  defp tell_lost(%{kind: :election} = hold, reason),
    do: send(hold.pid, {:foundation_election, hold.label, {:deposed, reason}})

  defp tell_lost(%{state: :waiting} = hold, reason), do: send(hold.pid, {hold.reference, {:lost, reason}})

  defp tell_lost(hold, reason),
    do: send(hold.pid, {:foundation_lost, hold.kind, hold.label, token(hold.token, hold.use), reason})
end
