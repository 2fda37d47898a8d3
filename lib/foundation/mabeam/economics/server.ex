defmodule Foundation.MABEAM.Economics.Server do
  @moduledoc false
  # Holds the ledger, the budgets and the reputations of this node, and ends what was on hold for too long.

  use GenServer

  alias Foundation.MABEAM.Economics.{Ledger, Reputation}
  alias Foundation.Telemetry

  @rateable 100_000

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Asks the server; `{:error, :not_running}` where there is none."
  def call(request) do
    GenServer.call(__MODULE__, request)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :not_running}
  end

  # `paid` are payments of which each of the two may rate the other once: {number, who} => whom.
  @impl true
  def init(nil), do: {:ok, %{ledger: Ledger.new(), reputations: %{}, paid: %{}, timer: nil}}

  @impl true
  def handle_call({:change, function, arguments}, _from, state) do
    before = state.ledger

    case apply(Ledger, function, [before | arguments]) do
      {:ok, ledger} ->
        state = %{state | ledger: ledger, paid: rateable(state.paid, before, ledger)}
        {:reply, {:ok, ledger.number}, if(ledger.holds == before.holds, do: state, else: timed(state))}

      error ->
        {:reply, error, state}
    end
  end

  def handle_call({:read, function, arguments}, _from, state),
    do: {:reply, apply(Ledger, function, [state.ledger | arguments]), state}

  def handle_call({:rate, payment, by, rating}, _from, state) do
    case Map.pop(state.paid, {payment, by}) do
      {nil, _paid} ->
        {:reply, {:error, :not_rateable}, state}

      {whom, paid} ->
        reputation = Map.get(state.reputations, whom, Reputation.new())
        reputations = Map.put(state.reputations, whom, Reputation.rate(reputation, rating, now()))
        {:reply, :ok, %{state | paid: paid, reputations: reputations}}
    end
  end

  def handle_call({:reputation, id}, _from, state) do
    reputation = Map.get(state.reputations, id, Reputation.new())
    {:reply, {:ok, %{score: Reputation.score(reputation, now()), ratings: reputation.ratings}}, state}
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info(:expire, state) do
    {ledger, over} = Ledger.expire(state.ledger, now())

    for id <- over,
        do: Telemetry.execute([:foundation, :mabeam, :economics, :hold_expired], %{counter: 1}, %{hold: id})

    {:noreply, timed(%{state | ledger: ledger, timer: nil})}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # One timer, for the first that is over.
  defp timed(%{timer: timer, ledger: %{holds: holds}} = state) do
    if timer, do: Process.cancel_timer(timer)

    case holds |> Map.values() |> Enum.map(& &1.until) |> Enum.min(fn -> nil end) do
      nil -> %{state | timer: nil}
      until -> %{state | timer: Process.send_after(self(), :expire, min(max(until - now(), 0), 0xFFFFFFFF))}
    end
  end

  # The bound keeps the newest; a payment that nobody rates is forgotten in the end.
  defp rateable(paid, before, ledger) do
    new =
      for entry <- ledger |> Ledger.entries(:all, ledger.number - before.number),
          entry.kind in [:payment, :capture],
          payer = payer(entry, before),
          pair <- [{{entry.number, payer}, entry.to}, {{entry.number, entry.to}, payer}],
          into: paid,
          do: pair

    if map_size(new) > @rateable,
      do: new |> Enum.sort() |> Enum.drop(div(@rateable, 10)) |> Map.new(),
      else: new
  end

  defp payer(%{from: {:hold, id}}, before), do: before.holds[id].from
  defp payer(%{from: from}, _before), do: from

  defp now, do: System.system_time(:millisecond)
end
