defmodule Foundation.Cluster.Keeper do
  @moduledoc false
  # Keeps one strategy running: starts it, and starts it again after a pause that grows to 30 s when it ends. A strategy
  # that cannot start or crashes thus disturbs no other, and the application not at all.

  use GenServer

  alias Foundation.Cluster.{Strategy, Table}
  alias Foundation.Cluster.Strategy.State

  require Logger

  @first_ms 500
  @longest_ms 30_000
  @steady_ms 60_000
  @stop_ms 5_000

  @type topology :: Foundation.Cluster.Config.topology()

  @spec child_spec(topology) :: Supervisor.child_spec()
  def child_spec(topology) do
    # Within a function, because supervisors write the arguments of their children into logs.
    kept = Map.update!(topology, :config, fn config -> fn -> config end end)

    %{
      id: {__MODULE__, topology.name},
      start: {GenServer, :start_link, [__MODULE__, kept]},
      shutdown: 2 * @stop_ms
    }
  end

  @doc "The state a strategy is started with: of our own kind, or libcluster's for a module written for that."
  @spec initial_state(topology) :: State.t() | struct
  def initial_state(topology) do
    fields = [
      topology: topology.name,
      connect: topology.connect || {Foundation.Cluster.Connector, :connect, [topology.name]},
      disconnect: topology.disconnect || {Foundation.Cluster.Connector, :disconnect, [topology.name]},
      list_nodes: topology.list_nodes || {Foundation.Cluster.Connector, :list, [topology.name]},
      config: config(topology.config),
      meta: nil
    ]

    struct(state_module(topology.module), fields)
  end

  @impl true
  def init(topology) do
    Process.flag(:trap_exit, true)
    keeper = note(%{topology: topology, pid: nil, failures: 0, since: nil}, :starting)
    {:ok, keeper, {:continue, :start}}
  end

  @impl true
  def handle_continue(:start, keeper), do: {:noreply, start(keeper)}

  @impl true
  def handle_info(:start, keeper), do: {:noreply, start(keeper)}

  def handle_info({:EXIT, pid, reason}, %{pid: pid} = keeper) do
    lived = now() - keeper.since
    failures = if lived > @steady_ms, do: 0, else: keeper.failures
    {:noreply, failed(%{keeper | pid: nil, failures: failures}, {:exited, reason})}
  end

  # A process the strategy's start left behind.
  def handle_info({:EXIT, _pid, _reason}, keeper), do: {:noreply, keeper}
  def handle_info(_other, keeper), do: {:noreply, keeper}

  @impl true
  def terminate(_reason, %{pid: pid, topology: topology}) do
    if pid, do: stop(pid)
    Table.release_all(topology.name)
    Table.delete({:report, topology.name})
    Table.delete({:strategy, topology.name})
  end

  defp start(%{topology: topology} = keeper) do
    state = initial_state(topology)
    %{start: {module, function, arguments}} = Supervisor.child_spec({topology.module, [state]}, [])

    case apply(module, function, arguments) do
      {:ok, pid} -> running(keeper, pid)
      {:ok, pid, _info} -> running(keeper, pid)
      :ignore -> done(keeper, state)
      {:error, reason} -> failed(keeper, reason)
    end
  rescue
    error -> failed(keeper, {:raised, error.__struct__, Exception.message(error)})
  catch
    kind, reason -> failed(keeper, {kind, reason})
  end

  defp running(keeper, pid) do
    %{note(keeper, :running) | pid: pid}
  end

  # libcluster's Epmd and LocalEpmd look once and are done.
  defp done(%{topology: topology} = keeper, state) do
    note(keeper, :done)

    if Table.get({:report, topology.name}) == nil,
      do: Strategy.report(state, {:ok, Table.claimed(topology.name)})

    %{keeper | pid: nil}
  end

  defp failed(%{topology: topology} = keeper, reason) do
    Logger.warning("[cluster:#{topology.name}] #{inspect(topology.module)} does not run: #{inspect(reason)}")
    note(keeper, :restarting)
    Strategy.report(initial_state(topology), {:error, reason})
    ms = min(@first_ms * Integer.pow(2, min(keeper.failures, 10)), @longest_ms)
    Process.send_after(self(), :start, ms + :rand.uniform(ms))
    %{keeper | failures: keeper.failures + 1}
  end

  defp note(%{topology: topology} = keeper, status) do
    since = now()
    Table.put({:strategy, topology.name}, %{module: topology.module, status: status, since: since})
    %{keeper | since: since}
  end

  defp stop(pid) do
    reference = Process.monitor(pid)
    Process.exit(pid, :shutdown)

    receive do
      {:DOWN, ^reference, _, _, _} -> :ok
    after
      @stop_ms ->
        Process.exit(pid, :kill)
        receive do: ({:DOWN, ^reference, _, _, _} -> :ok)
    end
  end

  defp config(config) when is_function(config, 0), do: config.()
  defp config(config), do: config

  defp state_module(module) do
    {:module, ^module} = Code.ensure_loaded(module)
    behaviours = for {:behaviour, list} <- module.module_info(:attributes), one <- list, do: one
    foreign = Cluster.Strategy.State

    if Strategy not in behaviours and Cluster.Strategy in behaviours and Code.ensure_loaded?(foreign),
      do: foreign,
      else: State
  end

  defp now, do: System.monotonic_time(:millisecond)
end
