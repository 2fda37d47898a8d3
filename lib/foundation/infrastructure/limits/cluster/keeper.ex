defmodule Foundation.Infrastructure.Limits.Cluster.Keeper do
  @moduledoc false
  # Leases for this node: looks at its slices, reports and asks for all that are due in one proposal, and hands what it gets to
  # the native library. One proposal is under way at a time, in a process of its own.

  use GenServer

  alias Foundation.Engine
  alias Foundation.Infrastructure.Limits.Cluster.{Amount, Group, Members, Slice}
  alias Foundation.Infrastructure.Limits.Shared
  alias Foundation.{Native, Peers, Telemetry}

  require Logger

  @tick_ms 25
  @tend_ms 1_000
  @least_timeout_ms 500
  @most_timeout_ms 5_000

  # By the name of the table, which is what those below know.
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: Shared.table())

  @doc "Leases for a key from now on; waits for the first lease."
  @spec share(term, map) :: :ok | {:error, term}
  def share(key, settings) do
    GenServer.call(Shared.table(), {:share, key, settings}, settings.timeout + @most_timeout_ms)
  catch
    :exit, {:timeout, _} -> {:error, {:no_lease, :timeout}}
    :exit, _ -> {:error, :not_running}
  end

  # slices: {key, dimension} => Slice. undefined: keys of which the group is to be told.
  @impl true
  def init(nil) do
    Process.flag(:trap_exit, true)
    Process.send_after(self(), :tick, @tick_ms)
    Process.send_after(self(), :tend, @tend_ms)

    state = %{
      slices: %{},
      settings: %{},
      undefined: MapSet.new(),
      asking: nil,
      waiting: [],
      most: Shared.most(),
      reason: nil,
      tending: {nil, %{}}
    }

    {:ok, Enum.reduce(Shared.settings(), state, fn {key, settings}, state -> enter(state, key, settings) end)}
  end

  # What an earlier life of this process has left is dropped: the group will count that lease as lost.
  defp enter(state, key, settings) do
    now = now()

    slices =
      for {name, budget} <- settings.budgets, into: %{} do
        kept = state.slices[{key, name}]
        if kept == nil, do: report(key, name, 0)
        {{key, name}, if(kept, do: %{kept | budget: budget}, else: Slice.new(budget, now))}
      end

    others = Map.reject(state.slices, fn {{of, _}, _} -> of === key end)

    %{
      state
      | slices: Map.merge(others, slices),
        settings: Map.put(state.settings, key, settings),
        undefined: MapSet.put(state.undefined, key)
    }
  end

  @impl true
  def handle_call({:share, key, settings}, from, state) do
    :ets.insert(Shared.table(), {key, :atomics.new(1, []), settings})
    Process.send_after(self(), {:late, from}, settings.timeout)
    {:noreply, ask(%{enter(state, key, settings) | waiting: [{from, key} | state.waiting]})}
  end

  @impl true
  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, state |> ask() |> alone() |> settle()}
  end

  def handle_info({:wanted, key}, state) do
    with [{_, flag, _}] <- :ets.lookup(Shared.table(), key), do: :atomics.put(flag, 1, 0)
    now = now()

    slices =
      Map.new(state.slices, fn {{of, _} = place, slice} ->
        {place, if(of === key, do: %{slice | look_at: now}, else: slice)}
      end)

    {:noreply, %{state | slices: slices} |> ask() |> alone()}
  end

  def handle_info({reference, answer}, %{asking: %{task: %Task{ref: reference}} = asking} = state) do
    Process.demonitor(reference, [:flush])
    {:noreply, settle(answered(%{state | asking: nil}, asking, answer))}
  end

  def handle_info(
        {:DOWN, reference, :process, _, reason},
        %{asking: %{task: %Task{ref: reference}} = asking} = state
      ),
      do: {:noreply, answered(%{state | asking: nil}, asking, {:error, {:exit, reason}})}

  # The members of the group, apart from everything else.
  def handle_info(:tend, state) do
    Process.send_after(self(), :tend, @tend_ms)
    {pid, gone} = state.tending

    if pid != nil and Process.alive?(pid) do
      {:noreply, state}
    else
      keeper = self()
      run = fn -> send(keeper, {:tended, Members.tend(gone)}) end
      {:ok, pid} = Task.Supervisor.start_child(Foundation.TaskSupervisor, run)
      {:noreply, %{state | tending: {pid, gone}}}
    end
  end

  def handle_info({:tended, gone}, state), do: {:noreply, %{state | tending: {nil, gone}}}

  def handle_info({:late, from}, state) do
    {late, waiting} = Enum.split_with(state.waiting, fn {who, _} -> who == from end)
    for {who, _} <- late, do: GenServer.reply(who, {:error, {:no_lease, state.reason || :timeout}})
    {:noreply, %{state | waiting: waiting}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # Those whose slices have all been answered.
  defp settle(%{waiting: []} = state), do: state

  defp settle(state) do
    {done, waiting} =
      Enum.split_with(state.waiting, fn {_, key} ->
        key not in state.undefined and
          Enum.all?(state.slices, fn {{of, _}, slice} -> of !== key or slice.ends != nil end)
      end)

    for {from, _} <- done, do: GenServer.reply(from, :ok)
    %{state | waiting: waiting}
  end

  # -- asking

  defp ask(%{asking: nil} = state) do
    now = now()
    {due, state} = due(state, now)
    untold = for {place, %{untold: n}} <- state.slices, n > 0, do: {place, n}

    if due == [] and (untold == [] or state.reason != nil) do
      state
    else
      {requests, slices} = Enum.map_reduce(due, state.slices, &request(&1, &2, now))
      defines = for key <- state.undefined, do: {key, Map.to_list(state.settings[key].budgets)}
      timeout = timeout(due, slices)

      task =
        Task.Supervisor.async_nolink(Foundation.TaskSupervisor, fn ->
          propose(defines, untold, requests, timeout)
        end)

      asking = %{task: task, at: now, places: due, defines: Enum.map(defines, &elem(&1, 0)), untold: untold}
      %{state | slices: slices, asking: asking, most: Shared.most(length(Peers.nodes()))}
    end
  end

  defp ask(state), do: state

  # Keys that were deleted, or have other limits by now, are forgotten.
  defp due(state, now) do
    looked = for {_, %{look_at: at}} = entry <- state.slices, at <= now, do: entry

    Enum.flat_map_reduce(looked, state, fn {{key, name} = place, slice}, state ->
      case look(key, name) do
        {:ok, look} ->
          slice = %{slice | look_at: Slice.look_at(slice, look, now)}
          {if(Slice.due?(slice, look, now), do: [place], else: []), put_in(state.slices[place], slice)}

        :gone ->
          {[], forget(state, key)}
      end
    end)
  end

  defp forget(state, key) do
    :ets.delete(Shared.table(), key)

    %{
      state
      | slices: Map.reject(state.slices, fn {{of, _}, _} -> of === key end),
        settings: Map.delete(state.settings, key),
        undefined: MapSet.delete(state.undefined, key)
    }
  end

  defp request({key, name} = place, slices, now) do
    slice = Map.fetch!(slices, place)

    # What is spent alone is told of in another way, and what is leased then is not the group's.
    if slice.open do
      {{place, {node(), slice.life}, {slice.spent, slice.returned}, {0, 0}}, slices}
    else
      {:ok, look} = looked(key, name)
      {spent, returned, left, short} = report(key, name, Slice.keep(slice, look, now))
      {{told, demand}, slice} = Slice.ask(slice, spent, returned, {spent, left, short}, now)
      {{place, {node(), slice.life}, told, demand}, Map.put(slices, place, slice)}
    end
  end

  defp looked(key, name) do
    case look(key, name) do
      :gone -> {:ok, {0, 0, 0}}
      found -> found
    end
  end

  defp timeout(due, slices) do
    due
    |> Enum.map(&slices[&1].budget.lease)
    |> Enum.min(fn -> @most_timeout_ms end)
    |> max(@least_timeout_ms)
    |> min(@most_timeout_ms)
  end

  # In the task.
  defp propose(defines, untold, requests, timeout) do
    with :ok <- Group.ensure(),
         :ok <- all(defines, fn {key, budgets} -> Group.propose({:define, key, budgets}, timeout) end),
         :ok <- all(if(untold == [], do: [], else: [untold]), &Group.propose({:spent, &1}, timeout)),
         do: if(requests == [], do: {:ok, []}, else: Group.propose({:lease, requests}, timeout))
  end

  defp all(list, function) do
    Enum.find_value(list, :ok, fn one -> with({:ok, _} <- function.(one), do: nil) end)
  end

  # -- answers

  defp answered(state, asking, {:ok, answers}) do
    now = now()
    state = %{state | undefined: MapSet.difference(state.undefined, MapSet.new(asking.defines)), reason: nil}
    state = Enum.reduce(asking.untold, state, &told/2)
    Enum.reduce(Enum.zip(asking.places, answers), state, &answer(&1, &2, asking.at, now))
  end

  defp answered(state, asking, {:error, reason}) do
    now = now()
    if state.reason == nil, do: Logger.warning("shared limits have no lease: #{inspect(reason)}")

    slices =
      Enum.reduce(asking.places, state.slices, fn place, slices ->
        if is_map_key(slices, place), do: Map.update!(slices, place, &Slice.failed(&1, now)), else: slices
      end)

    %{state | slices: slices, reason: reason}
  end

  defp told({place, amount}, state) do
    case state.slices do
      %{^place => slice} -> put_in(state.slices[place], %{slice | untold: slice.untold - amount})
      _ -> state
    end
  end

  defp answer({{key, name} = place, answer}, state, asked_at, now) do
    case state.slices do
      %{^place => %{open: nil} = slice} -> take(state, place, answer, slice, asked_at, now)
      # The group is there again: what was leased alone ends.
      %{^place => slice} -> back(state, key, name, answer, slice)
      _ -> state
    end
  end

  # The group has forgotten the key, with its members.
  defp take(state, {key, _name}, :unknown, _slice, _asked_at, _now),
    do: %{state | undefined: MapSet.put(state.undefined, key)}

  defp take(state, {key, name} = place, answer, slice, asked_at, now) do
    case Slice.answered(slice, answer, asked_at, now) do
      {:ended, slice} ->
        {spent, _returned, _left, _short} = report(key, name, 0)
        put_in(state.slices[place], %{slice | untold: slice.untold + spent})

      {amount, lease, retry, slice} ->
        grant(key, name, amount, lease, retry)
        # Held up between the clock and the library, it would have the lease for too long.
        if now() > now + 2, do: grant(key, name, 0, max(slice.ends - now(), 0), retry)
        put_in(state.slices[place], slice)
    end
  end

  defp back(state, _key, _name, :unknown, _slice), do: state

  defp back(state, key, name, answer, slice) do
    {spent, _returned, _left, _short} = report(key, name, 0)
    slice = %{slice | open: nil, untold: slice.untold + spent}

    slice =
      case Slice.answered(slice, answer, now(), now()) do
        {:ended, slice} ->
          slice

        # What it had of it was dropped when it went on alone.
        {_amount, _lease, _retry, slice} ->
          %{slice | ends: nil, returned: slice.granted - slice.spent, retry_at: now()}
      end

    Telemetry.execute([:foundation, :limits, :alone], %{counter: 1}, %{
      key: key,
      dimension: name,
      alone: false
    })

    put_in(state.slices[{key, name}], slice)
  end

  # -- alone

  defp alone(%{reason: nil} = state), do: state

  defp alone(state) do
    now = now()

    Enum.reduce(state.slices, state, fn {{key, _} = place, slice}, state ->
      cond do
        slice.open != nil -> lease_alone(state, place, slice, now)
        state.settings[key].on_partition == :fail_closed -> state
        Slice.alone?(slice, now) -> open(state, place, slice, now)
        true -> state
      end
    end)
  end

  # What is left of the group's lease is over; what was spent of it and not told of yet belongs to it still.
  defp open(state, {key, name} = place, slice, now) do
    {spent, returned, _left, _short} = report(key, name, 0)

    slice =
      Slice.open(
        %{slice | spent: slice.spent + spent, returned: slice.returned + returned},
        max(state.most, slice.holders)
      )

    Telemetry.execute([:foundation, :limits, :alone], %{counter: 1}, %{key: key, dimension: name, alone: true})

    lease_alone(state, place, slice, now)
  end

  defp lease_alone(state, {key, name} = place, slice, now) do
    {:ok, {_, left, short}} = looked(key, name)

    if now >= slice.reported_at + div(slice.budget.lease, 2) or short > 0 or left == 0 do
      {spent, _returned, left, short} = report(key, name, nil)
      {amount, lease, retry, slice} = Slice.lease_alone(slice, spent, {spent, left, short}, now)
      grant(key, name, amount, lease, retry)
      put_in(state.slices[place], slice)
    else
      put_in(state.slices[place], slice)
    end
  end

  # -- the native library

  defp look(key, name) do
    with handle when handle != nil <- Engine.handle(:limits),
         {:ok, {spent, _returned, left, short}} <- Native.limits_quota_look(handle, key, name) do
      {:ok, {Amount.whole(spent), Amount.whole(left), Amount.whole(short)}}
    else
      _ -> :gone
    end
  end

  defp report(key, name, keep) do
    with handle when handle != nil <- Engine.handle(:limits),
         {:ok, told} <- Native.limits_quota_report(handle, key, name, keep && Amount.parts(keep)) do
      told |> Tuple.to_list() |> Enum.map(&Amount.whole/1) |> List.to_tuple()
    else
      _ -> {0, 0, 0, 0}
    end
  end

  defp grant(key, name, amount, lease, retry) do
    if handle = Engine.handle(:limits),
      do: Native.limits_quota_grant(handle, key, name, Amount.parts(amount), {lease * 1_000, retry * 1_000})
  end

  defp now, do: System.monotonic_time(:millisecond)
end
