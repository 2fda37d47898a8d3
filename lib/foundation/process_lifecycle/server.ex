defmodule Foundation.ProcessLifecycle.Server do
  @moduledoc false
  # Keeps the books of the managed processes: who depends on whom, who runs, how each is. What may take long is done by
  # others: processes are started by a task under `Starters`, checked by a task each, shut down by their caller.

  use GenServer

  alias Foundation.ProcessLifecycle.{Managed, Verdict}
  alias Foundation.Telemetry

  @processes Foundation.ProcessLifecycle.Processes
  @tasks Foundation.TaskSupervisor
  @call_timeout 60_000
  @steady 30_000

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  def register(name, start, opts), do: call({:register, Managed.new(name, start, opts)})
  def set_check(name, check, opts), do: call({:set_check, name, Managed.check!(check, opts)})
  def add_hook(name, hook, opts), do: call({:add_hook, name, Managed.hook!(hook, opts)})
  def health(name), do: call({:health, name})
  def list, do: call(:list)
  def order, do: call(:order)
  def restart(name), do: call({:restart, name})

  def remove_hook(reference) do
    call({:remove_hook, reference})
    :ok
  end

  @doc "Marks those that are to end as stopped, so that they are not started again: `{hooks for all, layers}`."
  def begin_shutdown(name), do: call({:begin_shutdown, name})

  @doc "Removes those names."
  def forget(names), do: call({:forget, names})

  defp call(request) do
    GenServer.call(__MODULE__, request, @call_timeout)
  catch
    :exit, {reason, _} when reason in [:noproc, :shutdown, :normal] -> {:error, :not_running}
  end

  @impl true
  def init(nil), do: {:ok, %{all: %{}, hooks: [], starting: %{}, number: 0}}

  @impl true
  def handle_call({:register, managed}, from, state) do
    case refused(managed, state) do
      nil when is_pid(managed.start) -> {:reply, {:ok, managed.start}, adopt(managed, state)}
      nil -> {:noreply, start(managed, from, state)}
      reason -> {:reply, {:error, reason}, state}
    end
  end

  def handle_call({:set_check, name, check}, _from, state) do
    known(state, name, fn managed ->
      managed = %{managed | check: check, generation: managed.generation + 1, failures: 0}
      {:reply, :ok, state |> put(settled(managed, check)) |> begin_checks(name)}
    end)
  end

  def handle_call({:add_hook, :all, hook}, _from, state),
    do: {:reply, {:ok, hook.ref}, %{state | hooks: state.hooks ++ [hook]}}

  def handle_call({:add_hook, name, hook}, _from, state) do
    known(state, name, fn managed ->
      {:reply, {:ok, hook.ref}, put(state, %{managed | hooks: managed.hooks ++ [hook]})}
    end)
  end

  def handle_call({:remove_hook, reference}, _from, state) do
    without = fn hooks -> Enum.reject(hooks, &(&1.ref == reference)) end
    all = Map.new(state.all, fn {name, managed} -> {name, %{managed | hooks: without.(managed.hooks)}} end)
    {:reply, :ok, %{state | all: all, hooks: without.(state.hooks)}}
  end

  def handle_call({:health, name}, _from, state),
    do: known(state, name, &{:reply, {:ok, Managed.health(&1)}, state})

  def handle_call(:list, _from, state),
    do: {:reply, {:ok, Map.new(state.all, fn {name, managed} -> {name, Managed.health(managed)} end)}, state}

  def handle_call(:order, _from, state),
    do: {:reply, {:ok, state.all |> layers(Map.keys(state.all)) |> Enum.concat()}, state}

  def handle_call({:restart, name}, from, state) do
    known(state, name, fn
      %{start: pid} when is_pid(pid) ->
        {:reply, {:error, :not_managed}, state}

      managed ->
        {:noreply,
         %{managed | restarts: [], total_restarts: managed.total_restarts + 1} |> ended(state) |> start(from)}
    end)
  end

  def handle_call({:begin_shutdown, :all}, _from, state),
    do: {:reply, shutdown(state, Map.keys(state.all), state.hooks), stopping(state, Map.keys(state.all))}

  def handle_call({:begin_shutdown, name}, _from, state) do
    known(state, name, fn _ ->
      names = above(state.all, [name])
      {:reply, shutdown(state, names, []), stopping(state, names)}
    end)
  end

  def handle_call({:forget, names}, _from, state),
    do: {:reply, :ok, %{state | all: Map.drop(state.all, names)}}

  @impl true
  def handle_info({:started, task, answer}, state) do
    {{managed, from}, starting} = Map.pop!(state.starting, task)
    {:noreply, started(answer, managed, from, %{state | starting: starting})}
  end

  def handle_info({:checked, name, generation, outcome}, state),
    do: {:noreply, checked(state, name, generation, outcome)}

  def handle_info({:check, name, generation}, state) do
    case state.all[name] do
      %{generation: ^generation, check: %{}, pid: pid} when is_pid(pid) -> run_check(state.all[name])
      _ -> :ok
    end

    {:noreply, state}
  end

  def handle_info({:start, name, generation}, state) do
    case state.all[name] do
      %{generation: ^generation, status: :restarting} = managed -> {:noreply, start(managed, nil, state)}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    case Enum.find(state.all, fn {_, managed} -> managed.monitor == monitor end) do
      {_, %{pid: ^pid} = managed} -> {:noreply, down(managed, reason, state)}
      nil -> {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  # -- starting ----------------------------------------------------------------------------------------------------

  defp refused(managed, state) do
    missing = Enum.find(managed.depends_on, &(not is_map_key(state.all, &1)))
    down = Enum.find(managed.depends_on, &(is_map_key(state.all, &1) and state.all[&1].pid == nil))

    cond do
      registered?(managed.name, state) -> :already_registered
      missing != nil -> {:missing_dependency, missing}
      down != nil -> {:dependency_down, down}
      true -> nil
    end
  end

  defp registered?(name, state),
    do:
      is_map_key(state.all, name) or
        Enum.any?(state.starting, fn {_, {managed, _}} -> managed.name == name end)

  defp start({managed, state}, from), do: start(managed, from, state)

  defp start(managed, from, state) do
    number = state.number + 1
    server = self()
    %{start: start, old: old} = managed

    {:ok, _} =
      Task.Supervisor.start_child(@tasks, fn ->
        end_old(old)
        send(server, {:started, number, start_process(start)})
      end)

    %{state | number: number, starting: Map.put(state.starting, number, {%{managed | old: nil}, from})}
  end

  # What runs under the same name must have gone.
  defp end_old(nil), do: :ok
  defp end_old(pid), do: DynamicSupervisor.terminate_child(@processes, pid)

  defp start_process(%{} = spec), do: supervised(spec)

  defp start_process(function),
    do: supervised(%{id: make_ref(), start: {__MODULE__, :begin, [function]}, restart: :temporary})

  @doc false
  def begin(function) do
    with {:ok, pid} <- function.() do
      Process.link(pid)
      {:ok, pid}
    end
  end

  defp supervised(spec) do
    case DynamicSupervisor.start_child(@processes, spec) do
      {:ok, pid} -> {:ok, pid}
      {:ok, pid, _info} -> {:ok, pid}
      :ignore -> {:error, :ignore}
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, reason -> {:error, reason}
  end

  defp started({:ok, pid}, managed, from, state) do
    if from, do: GenServer.reply(from, {:ok, pid})
    adopt(%{managed | pid: pid}, state)
  end

  # Nothing waits for a restart: it is tried again like any that ended.
  defp started({:error, reason}, managed, nil, state), do: again(managed, {:start_failed, reason}, state)

  defp started({:error, reason}, managed, from, state) do
    GenServer.reply(from, {:error, {:start_failed, reason}})

    if is_map_key(state.all, managed.name),
      do: change(state, managed, :failed, {:start_failed, reason}),
      else: state
  end

  defp adopt(managed, state) do
    pid = managed.pid || managed.start

    managed = %{
      managed
      | pid: pid,
        monitor: Process.monitor(pid),
        started_at: now(),
        failures: 0,
        generation: managed.generation + 1
    }

    state
    |> put(managed)
    |> change(managed, if(managed.check, do: :starting, else: :healthy), nil)
    |> begin_checks(managed.name)
  end

  # -- ends --------------------------------------------------------------------------------------------------------

  defp down(%{own: :stopped} = managed, _reason, state), do: put(state, %{managed | pid: nil, monitor: nil})

  defp down(managed, reason, state) do
    managed = %{managed | pid: nil, monitor: nil}
    normal = reason in [:normal, :shutdown] or match?({:shutdown, _}, reason)

    cond do
      is_pid(managed.start) or managed.restart == :temporary -> change(state, managed, :stopped, reason)
      managed.restart == :transient and normal -> change(state, managed, :stopped, reason)
      true -> again(managed, reason, state)
    end
  end

  defp again(managed, reason, state) do
    now = now()
    lasted = managed.started_at && now - managed.started_at >= @steady
    managed = if lasted, do: %{managed | restarts: []}, else: managed
    managed = %{managed | generation: managed.generation + 1, started_at: nil}

    case Managed.back_off(managed, now) do
      nil ->
        change(state, managed, :failed, {:too_many_restarts, reason})

      wait ->
        managed = %{
          managed
          | restarts: [now | Enum.take(managed.restarts, 100)],
            total_restarts: managed.total_restarts + 1
        }

        Process.send_after(self(), {:start, managed.name, managed.generation}, wait)
        change(state, managed, :restarting, reason)
    end
  end

  # Ends the process on request; it is started again, or not, by who asked.
  defp ended(managed, state) do
    if managed.monitor, do: Process.demonitor(managed.monitor, [:flush])
    managed = %{managed | pid: nil, monitor: nil, old: managed.pid, generation: managed.generation + 1}
    {managed, change(state, managed, :restarting, :requested)}
  end

  # -- health ------------------------------------------------------------------------------------------------------

  defp settled(managed, nil), do: %{managed | own: if(managed.pid, do: :healthy, else: managed.own)}
  defp settled(managed, _check), do: managed

  defp begin_checks(state, name) do
    managed = state.all[name]
    if managed.check && managed.pid, do: run_check(managed)
    judge(state)
  end

  defp run_check(%{name: name, generation: generation, check: check, pid: pid}) do
    server = self()

    {:ok, _} =
      Task.Supervisor.start_child(@tasks, fn ->
        task = Task.async(fn -> Verdict.of(fn -> check.run.(pid) end) end)

        outcome =
          case Task.yield(task, check.timeout) || Task.shutdown(task, :brutal_kill) do
            {:ok, outcome} -> outcome
            _ -> {:unhealthy, :timeout}
          end

        send(server, {:checked, name, generation, outcome})
      end)
  end

  defp checked(state, name, generation, outcome) do
    case state.all[name] do
      %{generation: ^generation, check: %{} = check, pid: pid} = managed when is_pid(pid) ->
        Process.send_after(self(), {:check, name, generation}, check.interval)
        judged(state, %{managed | checks: managed.checks + 1}, outcome, check)

      _ ->
        state
    end
  end

  defp judged(state, managed, {:healthy, nil}, _check),
    do: change(state, %{managed | failures: 0}, :healthy, nil)

  defp judged(state, managed, {:degraded, reason}, _check),
    do: change(state, %{managed | failures: 0}, :degraded, reason)

  defp judged(state, managed, {:unhealthy, reason}, check) do
    managed = %{managed | failures: managed.failures + 1}

    cond do
      managed.failures < check.failures -> change(state, managed, :degraded, reason)
      check.on_unhealthy == :none or is_pid(managed.start) -> change(state, managed, :unhealthy, reason)
      true -> unhealthy_restart(change(state, managed, :unhealthy, reason), managed, reason)
    end
  end

  defp unhealthy_restart(state, managed, reason) do
    {managed, state} = ended(managed, state)
    again(managed, {:unhealthy, reason}, state)
  end

  # What a process is itself; what it shows also depends on others.
  defp change(state, managed, own, reason), do: state |> put(%{managed | own: own, reason: reason}) |> judge()

  defp judge(state) do
    order = state.all |> layers(Map.keys(state.all)) |> Enum.concat()
    %{state | all: Enum.reduce(order, state.all, &Map.put(&2, &1, shown(&2[&1], &2)))}
  end

  defp shown(managed, all) do
    lame =
      Enum.find(managed.depends_on, &(is_map_key(all, &1) and all[&1].status not in [:healthy, :starting]))

    {status, reason} =
      if managed.own == :healthy and lame != nil,
        do: {:degraded, {:dependency, lame}},
        else: {managed.own, managed.reason}

    if status != managed.status, do: tell(managed, status, reason)
    since = if status == managed.status, do: managed.since, else: DateTime.utc_now()
    %{managed | status: status, reason: reason, since: since}
  end

  defp tell(managed, status, reason) do
    metadata = %{name: managed.name, from: managed.status, to: status, reason: reason}
    Telemetry.execute([:foundation, :lifecycle, :health_changed], %{counter: 1}, metadata)
  end

  # -- order -------------------------------------------------------------------------------------------------------

  # What must end before these may: all that depends on them, they included.
  defp above(all, names) do
    more =
      for {name, managed} <- all, name not in names, Enum.any?(managed.depends_on, &(&1 in names)), do: name

    if more == [], do: names, else: above(all, names ++ more)
  end

  # Each layer depends on those before it only. What waits for a name that is gone waits for nothing.
  defp layers(_all, []), do: []

  defp layers(all, names) do
    {free, rest} = Enum.split_with(names, fn name -> Enum.all?(all[name].depends_on, &(&1 not in names)) end)
    [Enum.sort(free) | layers(all, rest)]
  end

  defp shutdown(state, names, hooks) do
    layers = for layer <- state.all |> layers(names) |> Enum.reverse(), do: Enum.map(layer, &state.all[&1])
    {hooks, layers}
  end

  defp stopping(state, names) do
    all =
      Enum.reduce(names, state.all, fn name, all ->
        Map.update!(all, name, &%{&1 | own: :stopped, reason: :shutdown, generation: &1.generation + 1})
      end)

    judge(%{state | all: all})
  end

  defp known(state, name, function) do
    case Map.fetch(state.all, name) do
      {:ok, managed} -> function.(managed)
      :error -> {:reply, {:error, :not_found}, state}
    end
  end

  defp put(state, managed), do: %{state | all: Map.put(state.all, managed.name, managed)}
  defp now, do: System.monotonic_time(:millisecond)
end
