defmodule Foundation.MABEAM.Core.Server do
  @moduledoc false
  # Changes this node's variables one after the other, keeps what they were, and tells who listens. No function of a user runs in
  # it.

  use GenServer

  alias Foundation.MABEAM.Core.{Shared, Table}
  alias Foundation.Telemetry

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Asks the server; `{:error, :not_running}` where there is none."
  def call(request) do
    GenServer.call(__MODULE__, request)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :not_running}
  end

  @doc "Tells this node's server and those of others of a change that was made elsewhere (in a group, in a state)."
  def seen(name, version, value, by),
    do: GenServer.abcast([node() | Node.list()], __MODULE__, {:seen, name, version, value, by})

  # Histories by name, newest first; listeners by name, each with its monitor.
  @impl true
  def init(nil), do: {:ok, %{histories: %{}, listeners: %{}, shared: false}}

  @impl true
  def handle_call({:register, variable, version, value, by}, _from, state) do
    case Table.fetch(variable.name) do
      {:error, :not_found} ->
        entry = %Table{variable: variable, version: version, value: value, by: by, at: now()}
        {:reply, :ok, entry |> Table.put() |> changed(:registered, state)}

      {:ok, _entry} ->
        {:reply, {:error, :already_registered}, state}
    end
  end

  # `expected` is a version or :any.
  def handle_call({:update, name, value, by, expected}, _from, state) do
    with {:ok, entry} <- Table.fetch(name), :ok <- expected(entry, expected), :ok <- rank(entry, by) do
      entry = Table.put(%{entry | version: entry.version + 1, value: value, by: by, at: now()})
      {:reply, {:ok, entry.version}, changed(entry, :updated, state)}
    else
      error -> {:reply, error, state}
    end
  end

  def handle_call({:delete, name, by}, _from, state) do
    case Table.fetch(name) do
      {:ok, entry} ->
        Table.delete(name)
        state = changed(%{entry | by: by, at: now()}, :deleted, state)
        {:reply, :ok, %{state | histories: Map.delete(state.histories, name)}}

      error ->
        {:reply, error, state}
    end
  end

  def handle_call({:history, name, count}, _from, state),
    do: {:reply, {:ok, state.histories |> Map.get(name, []) |> Enum.take(count)}, state}

  def handle_call({:subscribe, name, pid}, _from, state) do
    listeners = Map.get(state.listeners, name, %{})
    listeners = Map.put_new_lazy(listeners, pid, fn -> Process.monitor(pid) end)
    {:reply, :ok, put_in(state.listeners[name], listeners)}
  end

  # From now on this process hears of what other nodes change in the state.
  def handle_call(:share, _from, %{shared: true} = state), do: {:reply, :ok, state}

  def handle_call(:share, _from, state) do
    case Shared.subscribe() do
      :ok -> {:reply, :ok, %{state | shared: true}}
      error -> {:reply, error, state}
    end
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  # What is older than what is known is no news.
  @impl true
  def handle_cast({:seen, name, version, value, by}, state) do
    case Table.fetch(name) do
      {:ok, %{version: known} = entry} when version > known ->
        entry = Table.put(%{entry | version: version, value: value, by: by, at: now()})
        {:noreply, changed(entry, :updated, state)}

      _ ->
        {:noreply, state}
    end
  end

  def handle_cast(_other, state), do: {:noreply, state}

  # A variable that is kept in a state has changed, here or elsewhere; its version is how often it changed here.
  @impl true
  def handle_info({:foundation_state, _state, _diffs} = message, state) do
    shared = for %{variable: %{conflict: :crdt}} = entry <- Table.all(), do: entry
    names = Shared.concerned(message)
    concerned = if names == :all, do: shared, else: Enum.filter(shared, &(&1.variable.name in names))
    {:noreply, Enum.reduce(concerned, state, &merged/2)}
  end

  def handle_info({:DOWN, monitor, :process, pid, _reason}, state) do
    listeners =
      for {name, listeners} <- state.listeners,
          listeners = if(listeners[pid] == monitor, do: Map.delete(listeners, pid), else: listeners),
          listeners != %{},
          into: %{},
          do: {name, listeners}

    {:noreply, %{state | listeners: listeners}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp merged(%{value: known} = entry, state) do
    case Shared.read(entry.variable) do
      {:ok, value} when value !== known ->
        entry = Table.put(%{entry | version: entry.version + 1, value: value, by: nil, at: now()})
        changed(entry, :updated, state)

      _ ->
        state
    end
  end

  defp expected(_entry, :any), do: :ok
  defp expected(%{version: version}, version), do: :ok
  defp expected(entry, _version), do: {:error, {:conflict, %{version: entry.version, value: entry.value}}}

  # Who stands earlier in the order is not overruled by who stands later.
  defp rank(%{variable: %{conflict: {:priority, order}}, by: last}, by) do
    rank = order |> Enum.with_index() |> Map.new()
    none = map_size(rank)

    if Map.get(rank, by, none) <= Map.get(rank, last, none),
      do: :ok,
      else: {:error, {:outranked, last}}
  end

  defp rank(_entry, _by), do: :ok

  defp changed(%{variable: %{name: name}} = entry, how, state) do
    change = %{name: name, version: entry.version, value: entry.value, by: entry.by, at: entry.at, how: how}

    for {pid, _monitor} <- Map.get(state.listeners, name, %{}),
        do: send(pid, {:mabeam_variable, name, change})

    Telemetry.execute([:foundation, :mabeam, :variable, how], %{counter: 1}, %{name: name})
    history = [change | Map.get(state.histories, name, [])]
    put_in(state.histories[name], Enum.take(history, entry.variable.history))
  end

  defp now, do: System.system_time(:millisecond)
end
