defmodule Foundation.DistributedSupervisor.Instance do
  @moduledoc false
  # Runs one child on this node: has the lease of its name first, then starts it, and starts it again as its specification
  # says. When the lease cannot be kept the child is killed, before the group gives the name to another node.
  #
  # It tells the director `{:instance, name, self(), :up | :ended | {:failed, reason, handoff}}`, and ends after the last two.

  use GenServer, restart: :temporary, shutdown: 60_000

  alias Foundation.Distributed.Registry.Leases
  alias Foundation.DistributedSupervisor.{Child, Store}
  alias Foundation.ProcessRegistry.Global
  alias Foundation.ProcessRegistry.Global.Server

  @lease_ms 5_000
  @again_ms 100
  @shutdown_ms 5_000
  @max_restarts 3
  @restart_window 5_000
  @call_ms 60_000

  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "Ends the child in good order, and gives its name back."
  def stop(instance), do: call(instance, :stop)

  @doc "Takes the child's state and ends it; the name stays. `{:ok, {:state, state} | :none}`."
  def suspend(instance), do: call(instance, :suspend)

  @doc "Starts the child again with that state."
  def resume(instance, state), do: call(instance, {:resume, state})

  defp call(instance, request) do
    GenServer.call(instance, request, @call_ms)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, _ -> {:error, :not_running}
  end

  @impl true
  def init(%{child: child, supervisor: supervisor} = argument) do
    Process.flag(:trap_exit, true)

    state =
      Map.merge(argument, %{
        key: {{:foundation_supervisor, supervisor}, child.name},
        token: nil,
        pid: nil,
        restarts: []
      })

    {:ok, state, {:continue, :claim}}
  end

  @impl true
  def handle_continue(:claim, state), do: claim(state)
  def handle_continue(:start, state), do: start(state)

  @impl true
  def handle_call(:stop, from, state) do
    state = end_child(state)
    free(state)
    GenServer.reply(from, :ok)
    {:stop, :normal, state}
  end

  def handle_call(:suspend, _from, %{pid: nil} = state), do: {:reply, {:ok, state.handoff}, state}

  def handle_call(:suspend, _from, state) do
    handoff = handed_off(state)
    {:reply, {:ok, handoff}, %{end_child(state) | handoff: handoff}}
  end

  def handle_call({:resume, handoff}, _from, state),
    do: {:reply, :ok, %{state | handoff: handoff}, {:continue, :start}}

  @impl true
  def handle_info(:claim, state), do: claim(state)
  def handle_info({:EXIT, pid, reason}, %{pid: pid} = state), do: exited(%{state | pid: nil}, reason)

  # The others may have it now, or soon: there is no time for a farewell.
  def handle_info({:foundation_lost, :name, _key, token, :session}, %{token: token} = state) do
    if state.pid, do: Process.exit(state.pid, :kill)
    failed(%{state | pid: nil}, :lease_lost)
  end

  # Of two after a split, the other one stays.
  def handle_info({:foundation_lost, :name, _key, _token, {:conflict, _winner}}, state) do
    failed(end_child(state), :conflict)
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    state = end_child(state)
    free(state)
  end

  # -- the name

  defp claim(%{token: token} = state) when token != nil, do: start(state)

  defp claim(%{consistency: :consensus} = state) do
    case Leases.acquire(state.key, self(), nil, @lease_ms, self()) do
      {:ok, token} -> confirmed(%{state | token: token})
      {:error, _reason} -> later(state)
    end
  end

  # The one that runs stays, until it is told to end.
  defp claim(%{key: {scope, name}} = state),
    do: if(Global.whereis(name, scope: scope), do: later(state), else: start(state))

  # What this node knew may have been old.
  defp confirmed(%{child: child} = state) do
    case Store.fetch(state.store, child.name) do
      {:ok, %Child{node: node, generation: generation} = found}
      when node == node() and generation >= child.generation ->
        start(%{state | child: found})

      {:ok, _another} ->
        free(state)
        failed(%{state | token: nil}, :moved)

      {:error, _reason} ->
        free(state)
        later(%{state | token: nil})
    end
  end

  defp later(state) do
    Process.send_after(self(), :claim, @again_ms)
    {:noreply, state}
  end

  defp free(%{consistency: :consensus, token: token} = state) when token != nil,
    do: Leases.release(state.key, self(), @lease_ms)

  defp free(_state), do: :ok

  # -- the child

  defp start(%{child: %{spec: %{start: {module, function, arguments}}}} = state) do
    case attempt(module, function, arguments) do
      {:ok, pid} -> started(%{state | pid: pid})
      {:ok, pid, _info} -> started(%{state | pid: pid})
      :ignore -> done(state)
      {:error, reason} -> unstarted(state, reason)
      other -> unstarted(state, {:bad_return, other})
    end
  end

  defp attempt(module, function, arguments) do
    apply(module, function, arguments)
  catch
    kind, reason -> {:error, {kind, reason}}
  end

  # Nobody finds it before it has its state back.
  defp started(%{child: child, pid: pid} = state) do
    with {:state, handed} <- state.handoff, do: send(pid, {:foundation_handoff, handed})

    case Server.claim(state.key, pid, child.metadata, token: state.token, holder: self()) do
      :ok ->
        tell(state, :up)
        {:noreply, %{state | handoff: :none}}

      # It ended at once, which is told by its exit.
      {:error, :noproc} ->
        {:noreply, state}

      {:error, reason} ->
        failed(end_child(state), reason)
    end
  end

  # What cannot be started once is not tried again and again here.
  defp unstarted(state, reason), do: failed(state, {:start_failed, reason})

  defp exited(state, reason) do
    normal = reason in [:normal, :shutdown] or match?({:shutdown, _}, reason)

    case Map.get(state.child.spec, :restart, :permanent) do
      :temporary -> done(state)
      :transient when normal -> done(state)
      _ -> restart(state, reason)
    end
  end

  defp restart(state, reason) do
    now = System.monotonic_time(:millisecond)
    restarts = [now | Enum.filter(state.restarts, &(now - &1 <= @restart_window))]

    if length(restarts) > @max_restarts,
      do: failed(state, {:too_many_restarts, reason}),
      else: start(%{state | restarts: restarts})
  end

  # Its work is done.
  defp done(state) do
    free(state)
    tell(state, :ended)
    {:stop, :normal, %{state | token: nil}}
  end

  # The state that a child was to be given is for the next attempt, unless that is another node's.
  defp failed(state, reason) do
    free(state)

    tell(
      state,
      {:failed, reason, if(reason in [:moved, :conflict, :lease_lost], do: :none, else: state.handoff)}
    )

    {:stop, :normal, %{state | token: nil}}
  end

  defp tell(state, what), do: send(state.director, {:instance, state.child.name, self(), what})

  defp handed_off(%{child: %{handoff: nil}}), do: :none

  defp handed_off(%{child: %{handoff: timeout}, pid: pid}) do
    {:state, GenServer.call(pid, :foundation_handoff, timeout)}
  catch
    :exit, _ -> :none
  end

  defp end_child(%{pid: nil} = state), do: state

  defp end_child(%{pid: pid, child: child} = state) do
    _ = Server.release(state.key, pid)
    monitor = Process.monitor(pid)

    case Map.get(
           child.spec,
           :shutdown,
           if(child.spec[:type] == :supervisor, do: :infinity, else: @shutdown_ms)
         ) do
      :brutal_kill -> kill(pid, monitor)
      timeout -> shut_down(pid, monitor, timeout)
    end

    receive do
      {:EXIT, ^pid, _} -> :ok
    after
      0 -> :ok
    end

    %{state | pid: nil}
  end

  defp shut_down(pid, monitor, timeout) do
    Process.exit(pid, :shutdown)

    receive do
      {:DOWN, ^monitor, _, _, _} -> :ok
      # While it takes its time, it may lose its right.
      {:foundation_lost, :name, _key, _token, :session} -> kill(pid, monitor)
    after
      timeout -> kill(pid, monitor)
    end
  end

  defp kill(pid, monitor) do
    Process.exit(pid, :kill)

    receive do
      {:DOWN, ^monitor, _, _, _} -> :ok
    end
  end
end
