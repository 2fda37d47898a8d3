defmodule Foundation.MABEAM.Coordination.Auction.Server do
  @moduledoc false
  # One auction that bids come to by themselves: its time, its bids, what bidders have on hold for them, and who listens.
  # Of a bid that is refused nothing remains.

  use GenServer, restart: :temporary

  alias Foundation.MABEAM.Coordination.Auction.{Ascent, Payment, Rules, Solve}
  alias Foundation.MABEAM.{Economics, Types}
  alias Foundation.Telemetry

  # Holds outlive the auction by so much, in case its process does not.
  @grace_ms 60_000

  defstruct [
    :id,
    :rules,
    :bidders,
    :most_bids,
    :keep_ms,
    :opened,
    :ends,
    :machine,
    :timer,
    :result,
    count: 0,
    bids: [],
    taken: %{},
    holds: %{},
    history: [],
    listeners: %{}
  ]

  def start_link({id, rules, options}),
    do: GenServer.start_link(__MODULE__, {id, rules, options}, name: via(id))

  def via(id), do: {:via, Registry, {Foundation.MABEAM.Markets, {:auction, id}}}

  @impl true
  def init({id, rules, options}) do
    # So that what is on hold is given back when MABEAM ends.
    Process.flag(:trap_exit, true)

    state = %__MODULE__{
      id: id,
      rules: rules,
      bidders: options.bidders && MapSet.new(options.bidders),
      most_bids: options.max_bids,
      keep_ms: options.keep_ms,
      opened: now(),
      ends: options.duration_ms
    }

    case Ascent.open(rules, options) do
      {:ok, machine} -> {:ok, %{state | machine: machine} |> noted(:opened) |> timed()}
      {:error, reason} -> {:stop, reason}
    end
  end

  @impl true
  def handle_call({:bid, who, bid}, _from, state) do
    state = ticked(state)

    with :ok <- open(state), :ok <- welcome(state, who), {:ok, bid, cost} <- Rules.bid(state.rules, bid) do
      case placed(state, who, bid, cost) do
        {:ok, state} -> {:reply, :ok, state}
        error -> {:reply, error, state}
      end
    else
      error -> {:reply, error, state}
    end
  end

  def handle_call(:close, _from, state) do
    state = state |> ticked() |> closed()
    {:reply, state.result, state}
  end

  def handle_call(:status, _from, state) do
    state = ticked(state)
    {:reply, {:ok, status(state)}, state}
  end

  def handle_call(:history, _from, state) do
    state = ticked(state)
    {:reply, {:ok, state.history |> Enum.reverse() |> Enum.map(&shown(&1, state))}, state}
  end

  def handle_call({:subscribe, pid}, _from, state) do
    listeners = Map.put_new_lazy(state.listeners, pid, fn -> Process.monitor(pid) end)
    {:reply, :ok, %{state | listeners: listeners}}
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info(:tick, state), do: {:noreply, state |> ticked() |> timed()}
  def handle_info(:forget, state), do: {:stop, :normal, state}

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state),
    do: {:noreply, %{state | listeners: Map.delete(state.listeners, pid)}}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state), do: state.holds |> Map.keys() |> Enum.reduce(state, &released(&2, &1))

  # -- bids -----------------------------------------------------------------------------------------------------------

  defp open(%{result: nil} = state), do: if(state.count < state.most_bids, do: :ok, else: {:error, :full})
  defp open(_closed), do: {:error, :closed}

  defp welcome(%{bidders: nil}, who), do: if(Types.agent_id?(who), do: :ok, else: {:error, :unknown_bidder})
  defp welcome(%{bidders: bidders}, who), do: if(who in bidders, do: :ok, else: {:error, :unknown_bidder})

  defp placed(%{rules: %{kind: kind}} = state, who, bid, cost) when kind in [:english, :dutch] do
    {place, taken} = place(state.taken, who)

    with {:ok, machine, ends} <- Ascent.bid(state.machine, state.rules, at(state), place, bid),
         cost = if(kind == :dutch, do: ends.price, else: cost),
         {:ok, state} <- held(%{state | ends: Map.get(ends, :at, state.ends)}, who, cost) do
      leader = leader(state)

      state = %{
        state
        | machine: machine,
          taken: taken,
          bids: [{who, cost} | state.bids],
          count: state.count + 1
      }

      state = if leader in [nil, who], do: state, else: released(state, leader)
      state = noted(state, {:bid, who, cost})
      {:ok, if(kind == :dutch, do: closed(state), else: timed(state))}
    end
  end

  defp placed(state, who, _bid, _cost) when is_map_key(state.taken, who), do: {:error, :already_bid}

  defp placed(state, who, bid, cost) do
    with {:ok, state} <- held(state, who, cost) do
      state = %{
        state
        | taken: Map.put(state.taken, who, true),
          bids: [{who, bid} | state.bids],
          count: state.count + 1
      }

      {:ok, noted(state, {:bid, who, bid})}
    end
  end

  defp place(taken, who), do: {Map.get(taken, who, map_size(taken)), Map.put_new(taken, who, map_size(taken))}

  defp leader(%{bids: [{who, _amount} | _]}), do: who
  defp leader(_state), do: nil

  defp held(%{rules: %{accounts: false}} = state, _who, _cost), do: {:ok, state}

  defp held(%{rules: rules} = state, who, cost) do
    with :ok <- Payment.covered(rules, who, cost) do
      if cost == 0, do: {:ok, state}, else: hold(state, who, cost)
    end
  end

  defp hold(state, who, cost) do
    for_ms = max(state.ends - at(state), 0) + @grace_ms

    case Economics.hold(who, cost, for_ms: for_ms, memo: {:auction, state.id}) do
      {:ok, hold} -> {:ok, %{state | holds: Map.put(state.holds, who, {hold, cost})}}
      {:error, {:insufficient, _}} -> {:error, :over_balance}
      error -> error
    end
  end

  defp released(state, who) do
    with {{hold, _amount}, holds} <- Map.pop(state.holds, who) do
      _ = Economics.release(hold)
      %{state | holds: holds}
    else
      {nil, _holds} -> state
    end
  end

  # -- time -----------------------------------------------------------------------------------------------------------

  defp ticked(%{result: nil} = state), do: if(at(state) >= state.ends, do: closed(state), else: state)
  defp ticked(state), do: state

  defp timed(%{result: nil} = state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    %{state | timer: Process.send_after(self(), :tick, max(state.ends - at(state), 0))}
  end

  defp timed(state), do: state

  defp closed(%{result: nil} = state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    state = %{state | result: result(state), timer: nil}
    state = state.holds |> Map.keys() |> Enum.reduce(state, &released(&2, &1))
    Process.send_after(self(), :forget, state.keep_ms)

    Telemetry.execute(
      [:foundation, :mabeam, :auction, :closed],
      %{counter: 1, bids: state.count},
      %{kind: state.rules.kind, result: elem(state.result, 0)}
    )

    noted(state, {:closed, state.result})
  end

  defp closed(state), do: state

  defp result(%{rules: rules} = state) do
    with {:ok, decision} <- decision(state),
         {:ok, payments} <-
           if(rules.accounts, do: Payment.capture(rules, decision, state.holds), else: {:ok, []}),
         do: {:ok, Map.put(decision, :payments, payments)}
  end

  defp decision(%{rules: %{kind: kind} = rules} = state) when kind in [:english, :dutch],
    do: Ascent.close(state.machine, rules, leader(state))

  defp decision(state), do: Solve.solve(state.rules, Enum.reverse(state.bids))

  # -- what others see --------------------------------------------------------------------------------------------------

  defp status(state) do
    status = %{
      id: state.id,
      kind: state.rules.kind,
      item: state.rules.item,
      status: if(state.result, do: :closed, else: :open),
      bids: state.count,
      ends_in_ms: if(state.result, do: 0, else: max(state.ends - at(state), 0)),
      result: state.result
    }

    if state.result,
      do: status,
      else: Map.merge(status, Ascent.seen(state.machine, state.rules, at(state), leader(state)))
  end

  # Sealed until it is closed.
  defp shown(%{event: {:bid, who, _bid}} = entry, %{result: nil, rules: %{kind: kind}})
       when kind not in [:english, :dutch],
       do: %{entry | event: {:bid, who}}

  defp shown(entry, _state), do: entry

  defp noted(state, event) do
    entry = %{at_ms: at(state), event: event}
    said = shown(entry, state).event
    for {pid, _monitor} <- state.listeners, do: send(pid, {:auction, state.id, said})
    %{state | history: [entry | state.history]}
  end

  defp at(state), do: now() - state.opened
  defp now, do: System.monotonic_time(:millisecond)
end
