defmodule Foundation.MABEAM.AgentRegistry.Anchor do
  @moduledoc false
  # Stands for an agent that runs once in the cluster, on the node where it is to run now. The registry watches it: when it
  # is killed, because its node has lost the right to run the agent, the agent is killed too.

  use GenServer, restart: :permanent

  alias Foundation.MABEAM.AgentRegistry.{Placement, Server, Table}

  # What the last node had of the agent comes with the first message, if it comes.
  @handoff_ms 50
  @drain_ms 8_000

  def start_link(spec), do: GenServer.start_link(__MODULE__, spec)

  @doc "Waits until the agent runs."
  @spec await(pid, timeout) :: :ok | {:error, term}
  def await(pid, timeout) do
    GenServer.call(pid, :await, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {{:shutdown, {:start_failed, reason}}, _} -> {:error, {:start_failed, reason}}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :down}
  end

  @impl true
  def init(spec) do
    Process.flag(:trap_exit, true)
    {:ok, %{id: spec.id, spec: spec}, {:continue, :begin}}
  end

  @impl true
  def handle_continue(:begin, state) do
    snapshot =
      receive do
        {:foundation_handoff, snapshot} -> snapshot
      after
        @handoff_ms -> Placement.shared(state.id)
      end

    begin(snapshot, state)
  end

  defp begin(snapshot, %{id: id} = state) do
    with :ok <- clear(id),
         :ok <- Server.call({:register, state.spec}),
         :ok <- Server.call({:anchor, id, self()}),
         :ok <- restore(id, snapshot),
         :ok <- Server.call({:start, id}) do
      {:noreply, state}
    else
      {:error, {:start_failed, reason}} -> {:stop, {:shutdown, {:start_failed, reason}}, state}
      {:error, reason} -> {:stop, {:shutdown, {:start_failed, reason}}, state}
    end
  end

  # What is left of an earlier life here goes; another agent of that id stays, and this one cannot be here.
  defp clear(id) do
    case Table.entry(id) do
      {:ok, %{spec: %{placement: :cluster}}} -> Server.call({:deregister, id})
      {:ok, _other} -> {:error, :already_registered}
      {:error, :not_found} -> :ok
      error -> error
    end
  end

  defp restore(id, {:snapshot, kept}), do: Table.keep_snapshot(id, kept)
  defp restore(_id, _none), do: :ok

  @impl true
  def handle_call(:await, _from, state), do: {:reply, :ok, state}

  def handle_call(:foundation_handoff, _from, %{id: id} = state) do
    _ = Server.call({:drain, id, @drain_ms})
    {:reply, Table.snapshot(id), state}
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  # It came later than it should: the agent has begun without it, and begins again.
  @impl true
  def handle_info({:foundation_handoff, {:snapshot, _} = snapshot}, state), do: begin(snapshot, state)
  def handle_info({:EXIT, _pid, :normal}, state), do: {:noreply, state}
  def handle_info({:EXIT, _pid, reason}, state), do: {:stop, reason, state}
  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{id: id}), do: clear(id)
end
