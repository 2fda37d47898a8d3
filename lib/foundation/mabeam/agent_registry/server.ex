defmodule Foundation.MABEAM.AgentRegistry.Server do
  @moduledoc false
  # Starts, watches, restarts and ends the agents of this node. It waits for none of them: an agent that is slow to begin
  # or to end holds up its own callers only. What it must not forget is in Table.

  use GenServer

  alias Foundation.MABEAM.Agent
  alias Foundation.MABEAM.Agent.Gate
  alias Foundation.MABEAM.AgentRegistry.{Entry, Table}
  alias Foundation.MABEAM.Comms.Topics
  alias Foundation.Telemetry

  @agents Foundation.MABEAM.Agents
  @watch_ms 200
  @stop_ms 5_000

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Asks the registry; `{:error, :not_running}` where there is none."
  def call(request, timeout \\ :infinity) do
    GenServer.call(__MODULE__, request, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :not_running}
  end

  # After a crash of this process the agents still run.
  @impl true
  def init(nil) do
    Process.send_after(self(), :watch, @watch_ms)
    {:ok, Enum.reduce(Table.entries(), %{monitors: %{}, waiting: %{}}, &found/2)}
  end

  defp found(%{anchor: anchor} = entry, state) when is_pid(anchor) do
    state = put_in(state.monitors[Process.monitor(anchor)], {:anchor, entry.spec.id})
    found(%{entry | anchor: nil}, state)
  end

  defp found(%{pid: pid, status: :starting} = entry, state), do: begin(pid, entry.spec.id, state)
  defp found(%{pid: pid} = entry, state) when is_pid(pid), do: monitored(state, entry.spec.id, pid)

  defp found(%{status: :restarting} = entry, state) do
    send(self(), {:again, entry.spec.id, entry.generation})
    state
  end

  defp found(_entry, state), do: state

  @impl true
  def handle_call({:register, spec}, _from, state) do
    case Table.entry(spec.id) do
      {:error, :not_found} ->
        spec |> Entry.new() |> Table.put()
        {:reply, :ok, state}

      {:ok, _entry} ->
        {:reply, {:error, :already_registered}, state}
    end
  end

  def handle_call({action, id}, from, state) when action in [:start, :stop, :restart, :deregister] do
    case Table.entry(id) do
      {:ok, entry} -> act(action, entry, from, state)
      error -> {:reply, error, state}
    end
  end

  # The agent may run as long as that process does.
  def handle_call({:anchor, id, pid}, _from, state) do
    case Table.entry(id) do
      {:ok, entry} ->
        Table.put(%{entry | anchor: pid})
        {:reply, :ok, put_in(state.monitors[Process.monitor(pid)], {:anchor, id})}

      error ->
        {:reply, error, state}
    end
  end

  def handle_call({:drain, id, timeout}, from, state) do
    case Table.entry(id) do
      {:ok, %{status: :running} = entry} ->
        {:noreply, entry |> leave(:draining, nil, :mabeam_drained, timeout) |> waits(from, state)}

      {:ok, %{status: status}} when status in [:registered, :stopped, :failed] ->
        {:reply, :ok, state}

      {:ok, %{status: status}} ->
        {:reply, {:error, status}, state}

      error ->
        {:reply, error, state}
    end
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info({:agent_ready, id, pid}, state) do
    case Table.entry(id) do
      {:ok, %{pid: ^pid, status: :starting} = entry} ->
        entry |> Entry.to(:running) |> Table.put() |> Table.open(true)
        {:noreply, tell(state, id, :ok)}

      _ ->
        {:noreply, state}
    end
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    {watched, monitors} = Map.pop(state.monitors, monitor)
    {:noreply, gone(watched, pid, reason, %{state | monitors: monitors})}
  end

  def handle_info({:again, id, generation}, state) do
    case Table.entry(id) do
      {:ok, %{generation: ^generation, status: :restarting} = entry} -> {:noreply, start(entry, state)}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:kill, id, generation}, state) do
    with {:ok, %{generation: ^generation, pid: pid}} when is_pid(pid) <- Table.entry(id),
         do: Process.exit(pid, :kill)

    {:noreply, state}
  end

  def handle_info(:watch, state) do
    for {id, pid, ms} <- Table.stalled() do
      {:ok, entry} = Table.entry(id)
      Table.close(id)
      Table.put(%{entry | reason: {:stalled, ms}})
      Process.exit(pid, :kill)
      Telemetry.execute([:foundation, :mabeam, :agent, :stalled], %{counter: 1}, %{agent: id, ms: ms})
    end

    Process.send_after(self(), :watch, @watch_ms)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp gone({:anchor, id}, pid, _reason, state) do
    case Table.entry(id) do
      {:ok, %{anchor: ^pid} = entry} ->
        if entry.pid, do: Process.exit(entry.pid, :kill)
        rest(entry, :stopped, nil, :delete, state)

      _ ->
        state
    end
  end

  defp gone(id, pid, reason, state) do
    case Table.entry(id) do
      {:ok, %{pid: ^pid} = entry} -> down(entry, reason, state)
      _ -> state
    end
  end

  # -- what users ask -------------------------------------------------------------------------------------------------

  defp act(:start, %{status: status} = entry, from, state)
       when status in [:registered, :stopped, :failed, :restarting],
       do: {:noreply, %{entry | restarts: []} |> start(waits(entry, from, state))}

  defp act(:start, %{status: :starting} = entry, from, state), do: {:noreply, waits(entry, from, state)}
  defp act(:start, %{status: :running}, _from, state), do: {:reply, {:error, :already_started}, state}
  defp act(:start, %{status: status}, _from, state), do: {:reply, {:error, status}, state}

  defp act(:stop, entry, from, state), do: ending(entry, nil, from, state)
  defp act(:deregister, entry, from, state), do: ending(entry, :delete, from, state)

  # By request it begins anew: from init/1, not from the snapshot.
  defp act(:restart, %{spec: %{id: id}} = entry, from, state) do
    Table.drop_snapshot(id)
    ending(entry, :start, from, state)
  end

  defp ending(%{pid: nil} = entry, then, from, state),
    do: {:noreply, entry |> rest(:stopped, nil, then, waits(entry, from, state))}

  defp ending(entry, then, from, state) do
    Gate.close(entry.gate)
    {:noreply, entry |> leave(:stopping, then, {:mabeam_stop, :shutdown}, @stop_ms) |> waits(from, state)}
  end

  defp leave(entry, status, then, message, timeout) do
    Table.close(entry.spec.id)
    entry = Table.put(%{Entry.to(entry, status) | then: then})
    send(entry.pid, message)
    if timeout != :infinity, do: Process.send_after(self(), {:kill, entry.spec.id, entry.generation}, timeout)
    entry
  end

  # -- lives ----------------------------------------------------------------------------------------------------------

  defp start(%{spec: spec} = entry, state) do
    gate = Gate.new()
    argument = {spec, gate, entry.totals, Table.snapshot(spec.id)}

    case DynamicSupervisor.start_child(@agents, {Agent.Server, argument}) do
      {:ok, pid} ->
        Table.open(Table.put(%{Entry.to(entry, :starting) | pid: pid, gate: gate, then: nil}), false)
        begin(pid, spec.id, state)

      {:error, reason} ->
        rest(entry, :failed, {:start_failed, reason}, nil, state)
    end
  end

  # It is watched before it does anything.
  defp begin(pid, id, state) do
    state = monitored(state, id, pid)
    send(pid, {:mabeam_begin, self()})
    state
  end

  defp down(%{status: status} = entry, _reason, state) when status in [:stopping, :draining],
    do: rest(%{entry | pid: nil}, :stopped, nil, entry.then, state)

  # Whoever waits for the first start is told; who was restarted is restarted again.
  defp down(%{status: :starting} = entry, reason, state) when entry.restarts == [],
    do: rest(%{entry | pid: nil}, :failed, {:start_failed, cause(entry, reason)}, nil, state)

  defp down(%{spec: %{id: id}} = entry, reason, state) do
    Table.close(id)
    cause = cause(entry, reason)

    metadata = %{agent: id, reason: cause}
    Telemetry.execute([:foundation, :mabeam, :agent, :down], %{counter: 1}, metadata)

    case Entry.ended(%{entry | pid: nil}, reason, System.monotonic_time(:millisecond)) do
      {:again, wait, entry} ->
        entry = entry |> Entry.to(:restarting, cause) |> Table.put()
        Process.send_after(self(), {:again, id, entry.generation}, wait)
        state

      {:rest, status} ->
        rest(%{entry | pid: nil}, status, cause, nil, state)
    end
  end

  defp cause(%{reason: {:stalled, _} = stalled}, :killed), do: stalled
  defp cause(_entry, {:shutdown, {:init, reason}}), do: reason
  defp cause(_entry, {:shutdown, reason}), do: reason
  defp cause(_entry, {reason, stack}) when is_list(stack), do: reason
  defp cause(_entry, reason), do: reason

  # It runs no more; what was to be done then is done.
  defp rest(entry, _status, _reason, :start, state), do: start(%{entry | restarts: []}, state)

  defp rest(%{spec: %{id: id}}, _status, _reason, :delete, state) do
    Table.delete(id)
    Topics.leave_all(id)
    tell(state, id, :ok)
  end

  defp rest(entry, status, reason, nil, state) do
    entry |> Entry.to(status, reason) |> Table.put()
    Table.close(entry.spec.id)
    answer = if status == :failed, do: {:error, reason}, else: :ok
    tell(state, entry.spec.id, answer)
  end

  defp monitored(state, id, pid), do: put_in(state.monitors[Process.monitor(pid)], id)

  defp waits(entry, from, state),
    do: %{state | waiting: Map.update(state.waiting, entry.spec.id, [from], &[from | &1])}

  defp tell(state, id, answer) do
    {callers, waiting} = Map.pop(state.waiting, id, [])
    Enum.each(callers, &GenServer.reply(&1, answer))
    %{state | waiting: waiting}
  end
end
