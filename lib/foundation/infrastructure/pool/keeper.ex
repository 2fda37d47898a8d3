defmodule Foundation.Infrastructure.Pool.Keeper do
  @moduledoc false
  # The process of a pool: starts, replaces, checks and stops workers. Who has which worker is the native library's
  # business; it tells this process when a worker is wanted (:grow), is one too many ({:retire, pid}), was left by a
  # client that died ({:lost, pid}), and when a drained pool is empty (:drained).

  use GenServer
  require Logger
  alias Foundation.{Engine, Native}
  alias Foundation.Infrastructure.Pool.Options

  @stop_ms 5_000
  # A worker that lives no longer counts as one that failed to start.
  @short_life_ms 1_000
  # So many failures are made good at once; after that each retry takes longer.
  @free_retries 3
  @longest_retry_ms 5_000
  @least_expire_ms 25

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    with {:ok, checked} <- Options.new(options) do
      name = if checked.register, do: [name: checked.register], else: []
      GenServer.start_link(__MODULE__, checked, name)
    end
  end

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    case open(options) do
      {:ok, keeper} -> start_first(new_state(options, keeper))
      {:error, reason} -> {:stop, reason}
    end
  end

  defp open(options) do
    settings = %{
      min: options.min,
      max: options.max,
      max_waiting: options.max_waiting,
      linger_ms: options.linger_ms,
      lifo: options.strategy == :lifo
    }

    case Engine.handle(:pools) do
      nil -> {:error, :not_running}
      pools -> opened(Native.pool_open(pools, options.name, settings))
    end
  end

  defp opened(false), do: {:error, :name_taken}
  defp opened(keeper), do: {:ok, keeper}

  defp new_state(options, keeper) do
    %{
      options: options,
      keeper: keeper,
      # pid => when it was started, in monotonic ms
      workers: %{},
      # pid => timer after which it is killed
      stopping: %{},
      failures: 0,
      retry: nil,
      expiring: false,
      unchecked: [],
      checking: nil,
      draining: nil
    }
  end

  defp start_first(state) do
    state = fill(state)

    case state do
      %{first_error: reason} ->
        stop_all(state)
        {:stop, reason}

      _ ->
        if state.options.health_check, do: tick(:health, state.options.health_interval_ms)
        {:ok, Map.put(state, :started, true)}
    end
  end

  # -- workers -----------------------------------------------------------------------------------------------------

  defp fill(%{retry: nil} = state) do
    case Native.pool_demand(state.keeper) do
      0 -> state
      wanted -> Enum.reduce(1..wanted, state, fn _, state -> start_worker(state) end)
    end
  end

  defp fill(state), do: state

  defp start_worker(state) do
    case start(state.options.worker) do
      {:ok, pid} ->
        Native.pool_add(state.keeper, pid)
        expire_later(%{state | workers: Map.put(state.workers, pid, now())})

      {:error, reason} ->
        Native.pool_start_failed(state.keeper)
        failed(state, reason)
    end
  end

  defp start({module, argument}), do: started(fn -> module.start_link(argument) end)
  defp start(fun), do: started(fun)

  defp started(fun) do
    case fun.() do
      {:ok, pid} when is_pid(pid) -> {:ok, pid}
      {:ok, pid, _info} when is_pid(pid) -> {:ok, pid}
      {:error, reason} -> {:error, reason}
      other -> {:error, {:bad_return, other}}
    end
  rescue
    exception -> {:error, exception}
  catch
    kind, reason -> {:error, {kind, reason}}
  end

  defp failed(%{started: true} = state, reason) do
    Logger.warning("pool #{inspect(state.options.name)}: a worker did not start: #{inspect(reason)}")
    retry_later(%{state | failures: max(state.failures + 1, @free_retries + 1)})
  end

  defp failed(state, reason), do: Map.put_new(state, :first_error, reason)

  defp retry_later(%{retry: nil, failures: failures} = state) when failures > @free_retries do
    delay = min(50 * Integer.pow(2, min(failures - @free_retries, 10)), @longest_retry_ms)
    %{state | retry: Process.send_after(self(), :retry, delay)}
  end

  defp retry_later(state), do: state

  defp died(state, pid) do
    {since, workers} = Map.pop(state.workers, pid)
    Native.pool_remove(state.keeper, pid)
    failures = if now() - since < @short_life_ms, do: state.failures + 1, else: 0
    %{state | workers: workers, failures: failures} |> retry_later() |> fill()
  end

  defp stop_worker(state, pid) do
    Native.pool_remove(state.keeper, pid)

    if Map.has_key?(state.workers, pid) do
      Process.exit(pid, :shutdown)
      timer = Process.send_after(self(), {:kill, pid}, @stop_ms)
      %{state | workers: Map.delete(state.workers, pid), stopping: Map.put(state.stopping, pid, timer)}
    else
      state
    end
  end

  # -- calls and messages ------------------------------------------------------------------------------------------

  @impl true
  def handle_call({:resize, min, max}, _from, state) do
    Native.pool_resize(state.keeper, min, max)
    state = put_in(state.options.min, min)
    {:reply, :ok, state |> expire() |> fill() |> expire_later()}
  end

  def handle_call({:drain, timeout}, from, state) do
    if Native.pool_drain(state.keeper) do
      {:stop, :normal, :ok, state}
    else
      timer = if timeout != :infinity, do: Process.send_after(self(), {:drain_timeout, from}, timeout)
      {:noreply, %{state | draining: {from, timer}}}
    end
  end

  @impl true
  def handle_info({:foundation_pool, :grow}, state), do: {:noreply, fill(state)}
  def handle_info({:foundation_pool, {:retire, pid}}, state), do: {:noreply, stop_worker(state, pid)}

  def handle_info({:foundation_pool, {:lost, pid}}, state) do
    if state.options.on_client_down == :return do
      Native.pool_restore(state.keeper, pid)
      {:noreply, state}
    else
      {:noreply, state |> stop_worker(pid) |> fill()}
    end
    |> drained_meanwhile()
  end

  def handle_info({:foundation_pool, :drained}, %{draining: {from, _}} = state) do
    GenServer.reply(from, :ok)
    {:stop, :normal, state}
  end

  def handle_info({:drain_timeout, from}, %{draining: {from, _}} = state) do
    GenServer.reply(from, {:error, {:busy, busy(state)}})
    {:noreply, %{state | draining: nil}}
  end

  def handle_info({:EXIT, pid, reason}, state) do
    case state do
      %{workers: %{^pid => _}} -> {:noreply, died(state, pid)}
      %{stopping: %{^pid => timer}} -> {:noreply, stopped(state, pid, timer)}
      _ when reason in [:normal, :shutdown] -> {:noreply, state}
      _ -> {:noreply, log_stranger(state, pid, reason)}
    end
  end

  def handle_info({:kill, pid}, state) do
    if Map.has_key?(state.stopping, pid), do: Process.exit(pid, :kill)
    {:noreply, state}
  end

  def handle_info(:retry, state), do: {:noreply, fill(%{state | retry: nil})}

  def handle_info(:expire, state), do: {:noreply, %{state | expiring: false} |> expire() |> expire_later()}

  def handle_info(:health, %{checking: nil} = state),
    do: {:noreply, check_next(%{state | unchecked: Native.pool_idle(state.keeper)})}

  def handle_info({:DOWN, ref, :process, _, result}, %{checking: {worker, ref, timer}} = state) do
    Process.cancel_timer(timer)
    state = %{state | checking: nil}

    if result == {:checked, true} do
      Native.pool_restore(state.keeper, worker)
      {:noreply, check_next(state)}
    else
      Logger.warning("pool #{inspect(state.options.name)}: replacing a worker that failed its health check")
      {:noreply, state |> stop_worker(worker) |> fill() |> check_next()}
    end
  end

  def handle_info({:check_timeout, pid}, state) do
    Process.exit(pid, :kill)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    Native.pool_close(state.keeper)
    stop_all(state)
  end

  # -- the rest ----------------------------------------------------------------------------------------------------

  # A lost worker is the last one that a drain waits for.
  defp drained_meanwhile({:noreply, %{draining: {from, _}} = state}) do
    if Native.pool_drain(state.keeper) do
      GenServer.reply(from, :ok)
      {:stop, :normal, state}
    else
      {:noreply, state}
    end
  end

  defp drained_meanwhile(result), do: result

  defp stopped(state, pid, timer) do
    Process.cancel_timer(timer)
    fill(%{state | stopping: Map.delete(state.stopping, pid)})
  end

  defp log_stranger(state, pid, reason) do
    Logger.debug("pool #{inspect(state.options.name)}: #{inspect(pid)} exited: #{inspect(reason)}")
    state
  end

  defp expire(state) do
    Enum.reduce(Native.pool_expire(state.keeper), state, &stop_worker(&2, &1))
  end

  # Looks for idle workers above the minimum for as long as there are workers above the minimum.
  defp expire_later(%{expiring: false} = state) when map_size(state.workers) > state.options.min do
    tick(:expire, max(div(state.options.linger_ms, 4), @least_expire_ms))
    %{state | expiring: true}
  end

  defp expire_later(state), do: state

  defp check_next(%{unchecked: []} = state) do
    tick(:health, state.options.health_interval_ms)
    state
  end

  defp check_next(%{unchecked: [worker | rest]} = state) do
    state = %{state | unchecked: rest}

    if Native.pool_set_aside(state.keeper, worker) do
      check = state.options.health_check
      {pid, ref} = spawn_monitor(fn -> exit({:checked, check.(worker) == true}) end)
      timer = Process.send_after(self(), {:check_timeout, pid}, state.options.health_timeout_ms)
      %{state | checking: {worker, ref, timer}}
    else
      check_next(state)
    end
  end

  defp stop_all(state) do
    pids = Map.keys(state.workers) ++ Map.keys(state.stopping)
    refs = for pid <- pids, do: {Process.monitor(pid), pid}
    Enum.each(pids, &Process.exit(&1, :shutdown))
    deadline = now() + @stop_ms

    for {ref, pid} <- refs do
      receive do
        {:DOWN, ^ref, :process, ^pid, _} -> :ok
      after
        max(deadline - now(), 0) -> Process.exit(pid, :kill)
      end
    end

    :ok
  end

  defp busy(state) do
    case Native.pool_view(Engine.handle(:pools), state.options.name) do
      %{busy: busy} -> busy
      :missing -> 0
    end
  end

  defp tick(what, ms), do: Process.send_after(self(), what, ms)
  defp now, do: System.monotonic_time(:millisecond)
end
