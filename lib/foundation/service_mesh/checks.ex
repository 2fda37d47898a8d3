defmodule Foundation.ServiceMesh.Checks do
  @moduledoc false
  # Asks the providers of this node whether they are well, those that have a check, and tells the cluster when that
  # changes. While the node drains, all of them are said to be draining.

  use GenServer

  alias Foundation.Distributed.Discovery
  alias Foundation.HealthCheck
  alias Foundation.ServiceMesh.Tables

  require Logger

  @look_ms 200
  @defaults %{interval_ms: 1_000, deadline_ms: 500, unhealthy_after: 3, healthy_after: 2}

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The options of a check, with its function; raises ArgumentError."
  @spec options!(term) :: map | nil
  def options!(nil), do: nil
  def options!(function) when is_function(function, 1), do: Map.put(@defaults, :check, function)

  def options!({module, function, arguments} = mfa)
      when is_atom(module) and is_atom(function) and is_list(arguments),
      do: Map.put(@defaults, :check, mfa)

  def options!(options) when is_list(options) do
    {check, options} = Keyword.pop(options, :check)

    Enum.reduce(options, options!(check) || options!(:nothing), fn
      {key, n}, settings when is_map_key(@defaults, key) and is_integer(n) and n > 0 -> %{settings | key => n}
      {key, value}, _ -> raise ArgumentError, "a health check has no #{inspect(key)} of #{inspect(value)}"
    end)
  end

  def options!(other) do
    raise ArgumentError,
          "health_check is a function of the pid, {module, function, arguments} before which the pid is put, or " <>
            "[check: …, interval_ms: n, deadline_ms: n, unhealthy_after: n, healthy_after: n], got: #{inspect(other)}"
  end

  @doc "Checks a provider from now on, or (nil) no more."
  @spec watch(term, pid, map | nil) :: :ok | {:error, :not_running}
  def watch(service, pid, check) do
    GenServer.call(__MODULE__, {:watch, {service, pid}, check})
  catch
    :exit, {:noproc, _} -> {:error, :not_running}
  end

  @doc "What a provider that registers now is."
  @spec status() :: :up | :draining
  def status, do: if(HealthCheck.draining?(), do: :draining, else: :up)

  # By {service, pid}: its settings, how it is, how often in a row it was found the other way, and the check that runs.
  @impl true
  def init(nil) do
    Process.send_after(self(), :look, @look_ms)
    state = %{watched: %{}, draining: HealthCheck.draining?()}
    # Those of an earlier life of this process.
    {:ok, Enum.reduce(Tables.all(:check), state, fn {key, check}, state -> begin(state, key, check) end)}
  end

  @impl true
  def handle_call({:watch, key, check}, _from, state) do
    state = forget(state, key)
    if check, do: Tables.put({:check, key}, check)
    {:reply, :ok, if(check, do: begin(state, key, check), else: state)}
  end

  defp begin(state, {service, pid} = key, check) do
    health =
      case Discovery.discover_services(service: service, status: :unhealthy) do
        [] -> :up
        unhealthy -> if Enum.any?(unhealthy, &(&1.pid == pid)), do: :unhealthy, else: :up
      end

    due = make_ref()
    Process.send_after(self(), {:check, key, due}, check.interval_ms)
    monitor = Process.monitor(pid)

    put(state, key, %{settings: check, monitor: monitor, health: health, others: 0, running: nil, due: due})
  end

  @impl true
  def handle_info({:check, key, due}, state) do
    case state.watched do
      %{^key => %{due: ^due, running: nil} = watched} -> {:noreply, put(state, key, start(watched, key))}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:late, key, monitor}, state) do
    case state.watched do
      %{^key => %{running: {checker, ^monitor, _}} = watched} ->
        Process.demonitor(monitor, [:flush])
        Process.exit(checker, :kill)
        {:noreply, found(state, key, watched, false)}

      _ ->
        {:noreply, state}
    end
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    case Enum.find(state.watched, fn {_, watched} ->
           watched.monitor == monitor or match?({_, ^monitor, _}, watched.running)
         end) do
      {key, %{monitor: ^monitor}} when elem(key, 1) == pid -> {:noreply, forget(state, key)}
      {key, watched} -> {:noreply, found(state, key, watched, reason == {:shutdown, :well})}
      nil -> {:noreply, state}
    end
  end

  def handle_info(:look, state) do
    Process.send_after(self(), :look, @look_ms)

    case HealthCheck.draining?() do
      same when same == state.draining ->
        {:noreply, state}

      draining ->
        state = %{state | draining: draining}

        for %{service: service, pid: pid} <- Discovery.discover_services(node: node()),
            do: tell(state, {service, pid})

        {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  # -- one check

  defp start(watched, {_service, pid} = key) do
    check = watched.settings.check

    {checker, monitor} =
      spawn_monitor(fn ->
        if well?(check, pid), do: exit({:shutdown, :well}), else: exit({:shutdown, :unwell})
      end)

    timer = Process.send_after(self(), {:late, key, monitor}, watched.settings.deadline_ms)
    %{watched | running: {checker, monitor, timer}}
  end

  defp well?(check, pid) do
    case ask(check, pid) do
      well when well in [:ok, true] -> true
      {:ok, _} -> true
      _ -> false
    end
  catch
    _, _ -> false
  end

  defp ask({module, function, arguments}, pid), do: apply(module, function, [pid | arguments])
  defp ask(function, pid), do: function.(pid)

  defp found(state, key, %{settings: settings} = watched, well) do
    with {_, _, timer} <- watched.running, do: Process.cancel_timer(timer)
    now = if well, do: :up, else: :unhealthy
    needed = if well, do: settings.healthy_after, else: settings.unhealthy_after
    others = if now == watched.health, do: 0, else: watched.others + 1
    due = make_ref()
    Process.send_after(self(), {:check, key, due}, settings.interval_ms)
    watched = %{watched | running: nil, due: due, others: others}

    if others >= needed do
      state = put(state, key, %{watched | health: now, others: 0})
      Logger.log(if(well, do: :info, else: :warning), "the provider #{inspect(key)} is #{now}")
      tell(state, key)
      state
    else
      put(state, key, watched)
    end
  end

  defp tell(state, {service, pid} = key) do
    status =
      case state do
        %{draining: true} -> :draining
        %{watched: %{^key => watched}} -> watched.health
        _ -> :up
      end

    Discovery.set_status(service, pid, status)
  end

  defp put(state, key, watched), do: %{state | watched: Map.put(state.watched, key, watched)}

  defp forget(state, key) do
    Tables.delete({:check, key})

    case Map.pop(state.watched, key) do
      {nil, _} ->
        state

      {watched, rest} ->
        Process.demonitor(watched.monitor, [:flush])

        with {checker, monitor, timer} <- watched.running do
          Process.demonitor(monitor, [:flush])
          Process.cancel_timer(timer)
          Process.exit(checker, :kill)
        end

        %{state | watched: rest}
    end
  end
end
