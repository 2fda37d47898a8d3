defmodule Foundation.MABEAM.Coordination.Market.Server do
  @moduledoc false
  # One market: of a continuous one it keeps the names and the listeners, and orders go past it; of the others it keeps
  # everything.

  use GenServer, restart: :temporary

  alias Foundation.MABEAM.Coordination.Market.{Book, Call, Prediction}

  @most_agents 1_000_000

  defstruct [:market, :inside, listeners: %{}, agents: 0]

  def start_link({market, inside}),
    do: GenServer.start_link(__MODULE__, {market, inside}, name: via(market.id))

  def via(id), do: {:via, Registry, {Foundation.MABEAM.Markets, {:market, id}}}

  @doc "Gives an agent its number, if it has none yet."
  @spec enter(map, term) :: {:ok, non_neg_integer} | {:error, term}
  def enter(market, agent), do: ask(market, {:enter, agent})

  @doc "Asks a market's process."
  @spec ask(map, term) :: term
  def ask(market, request) do
    GenServer.call(market.pid, request, 30_000)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, _ -> {:error, :not_found}
  end

  @doc "Who wants to hear of trades."
  @spec listeners(:ets.table()) :: [pid]
  def listeners(names) do
    case :ets.lookup(names, :"$listeners") do
      [{_key, pids}] -> pids
      [] -> []
    end
  end

  @impl true
  def init({%{kind: :continuous} = market, nil}) do
    names = :ets.new(:market_names, [:set, :protected, read_concurrency: true])
    {:ok, %__MODULE__{market: %{market | pid: self(), names: names}}}
  end

  def init({market, inside}), do: {:ok, %__MODULE__{market: %{market | pid: self()}, inside: inside}}

  @impl true
  def handle_call(:market, _from, state), do: {:reply, {:ok, state.market}, state}

  def handle_call({:enter, agent}, _from, %{market: %{names: names}} = state) when names != nil do
    case :ets.lookup(names, agent) do
      [{_agent, owner}] ->
        {:reply, {:ok, owner}, state}

      [] when state.agents >= @most_agents ->
        {:reply, {:error, :too_many_agents}, state}

      [] ->
        # The number first: who finds the name finds the number too.
        :ets.insert(names, {state.agents, agent})
        :ets.insert(names, {agent, state.agents})
        {:reply, {:ok, state.agents}, %{state | agents: state.agents + 1}}
    end
  end

  def handle_call({:subscribe, pid}, _from, state) do
    listeners = Map.put_new_lazy(state.listeners, pid, fn -> Process.monitor(pid) end)
    {:reply, :ok, listening(%{state | listeners: listeners})}
  end

  def handle_call(:end, _from, state), do: {:stop, :normal, :ok, state}

  def handle_call(request, _from, %{inside: inside} = state) when inside != nil do
    case inside(request, inside) do
      {:ok, answer, inside} -> {:reply, {:ok, answer}, heard(%{state | inside: inside}, request, answer)}
      answer -> {:reply, answer, state}
    end
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state),
    do: {:noreply, listening(%{state | listeners: Map.delete(state.listeners, pid)})}

  def handle_info(_other, state), do: {:noreply, state}

  defp inside({:submit, order}, %module{} = inside), do: module.submit(inside, order)
  defp inside({:cancel, agent, id}, %Call{} = inside), do: Call.cancel(inside, agent, id)
  defp inside({:order, id}, %Call{} = inside), do: Call.order(inside, id)
  defp inside(:clear, %Call{} = inside), do: Call.clear(inside)
  defp inside({:depth, levels}, %Call{} = inside), do: Call.depth(inside, levels)
  defp inside({:depth, _levels}, %Prediction{} = inside), do: Prediction.depth(inside)
  defp inside({:resolve, outcome}, %Prediction{} = inside), do: Prediction.resolve(inside, outcome)
  defp inside(_other, _inside), do: {:error, :unsupported}

  defp heard(%{listeners: none} = state, _request, _answer) when none == %{}, do: state

  defp heard(state, request, answer) do
    event =
      case {request, state.market.kind} do
        {:clear, _} -> {:cleared, answer}
        {{:submit, order}, :prediction} -> {:traded, Map.merge(Map.take(order, [:agent, :outcome]), answer)}
        {{:resolve, _}, _} -> {:resolved, answer}
        _ -> nil
      end

    if event, do: for({pid, _} <- state.listeners, do: send(pid, {:market, state.market.id, event}))
    state
  end

  defp listening(%{market: %{kind: :continuous} = market} = state) do
    pids = Map.keys(state.listeners)
    :ets.insert(market.names, {:"$listeners", pids})
    Book.listening(market.counters, length(pids))
    state
  end

  defp listening(state), do: state
end
