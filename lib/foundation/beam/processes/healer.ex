defmodule Foundation.BEAM.Processes.Healer do
  @moduledoc false
  # Owns the processes of a self-healing group: they are linked to it, and it starts a dead coordinator again.
  #
  # The present coordinator stands in its process dictionary, where 1.x programs look for it.

  use GenServer
  require Logger
  alias Foundation.BEAM.Processes.Group

  @max_restarts 3
  @within_ms 5_000

  @doc "Starts the group; raises when it cannot be started."
  @spec start(map) :: {pid, {coordinator :: pid, workers :: [pid]}}
  def start(config) do
    case GenServer.start(__MODULE__, config) do
      {:ok, healer} -> {healer, GenServer.call(healer, :group)}
      {:error, reason} -> raise "the group could not be started: #{inspect(reason)}"
    end
  end

  @doc "Stops healing; the group goes with it unless it ends on its own."
  @spec stop(pid) :: :ok
  def stop(healer) do
    GenServer.stop(healer, :normal)
  catch
    :exit, _ -> :ok
  end

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    {coordinator, workers} = Group.start(config, &spawn_link/1)
    Process.put(:current_coordinator, coordinator)
    {:ok, %{config: config, coordinator: coordinator, workers: workers, restarts: []}}
  end

  @impl true
  def handle_call(:group, _from, state), do: {:reply, {state.coordinator, state.workers}, state}

  @impl true
  def handle_info({:EXIT, pid, reason}, %{coordinator: pid} = state) do
    now = System.monotonic_time(:millisecond)
    recent = Enum.filter(state.restarts, &(now - &1 < @within_ms))

    if length(recent) < @max_restarts do
      coordinator = Group.coordinator(state.config, &spawn_link/1)
      Process.put(:current_coordinator, coordinator)
      {:noreply, %{state | coordinator: coordinator, restarts: [now | recent]}}
    else
      Logger.error("A coordinator died too often and its group goes down: #{inspect(reason)}")
      {:stop, :shutdown, state}
    end
  end

  def handle_info(:shutdown, state), do: {:stop, :normal, state}
  def handle_info(_other, state), do: {:noreply, state}
end
