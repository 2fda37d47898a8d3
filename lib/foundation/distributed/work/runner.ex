defmodule Foundation.Distributed.Work.Runner do
  @moduledoc false
  # Does a node's share of a run: some items at a time, each in a process of its own, the others in a queue that the
  # coordinator may take from. It ends when the coordinator does. For a node of a joined cluster it runs on the
  # coordinator's, and its processes make calls to that node.

  use GenServer

  alias Foundation.Distributed.{Context, Work}
  alias Foundation.Distributed.Work.{Coordinator, Remote}

  @doc "Starts a runner on the present node; called from the coordinator's."
  @spec start(pid, reference, map) :: {:ok, pid, pos_integer}
  def start(coordinator, run, options) do
    concurrency = options[:concurrency] || System.schedulers_online()
    {:ok, pid} = GenServer.start(__MODULE__, {coordinator, run, options, concurrency})
    {:ok, pid, concurrency}
  end

  @impl true
  def init({coordinator, run, options, concurrency}) do
    Process.monitor(coordinator)

    {:ok,
     %{
       coordinator: coordinator,
       run: run,
       worker: options.worker,
       carrier: options.carrier,
       timeout: options.item_timeout,
       place: options[:place],
       free: concurrency,
       queue: :queue.new(),
       busy: %{}
     }}
  end

  @impl true
  def handle_cast({:items, items}, state) do
    {:noreply, begin(%{state | queue: :queue.join(state.queue, :queue.from_list(items))})}
  end

  # The half that was to come last.
  def handle_cast(:give, state) do
    half = div(:queue.len(state.queue) + 1, 2)
    {kept, given} = :queue.split(:queue.len(state.queue) - half, state.queue)
    tell(state, {:given, Enum.map(:queue.to_list(given), &elem(&1, 0))})
    {:noreply, %{state | queue: kept}}
  end

  def handle_cast(:end, state), do: stop(state)

  @impl true
  def handle_info({:result, ref, value}, state) when is_map_key(state.busy, ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, finished(state, ref, {:ok, value})}
  end

  def handle_info({:failed, ref, reason}, state) when is_map_key(state.busy, ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, finished(state, ref, {:error, {:exit, reason}})}
  end

  def handle_info({:given, ref, result}, state) when is_map_key(state.busy, ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, finished(state, ref, result)}
  end

  # The node does no more; the coordinator hears of it by this process's end.
  def handle_info({:lost, ref, reason}, state) when is_map_key(state.busy, ref),
    do: stop(state, {:shutdown, reason})

  def handle_info({:DOWN, ref, :process, _pid, reason}, state) when is_map_key(state.busy, ref),
    do: {:noreply, finished(state, ref, {:error, {:exit, reason}})}

  def handle_info({:DOWN, _ref, :process, pid, _reason}, %{coordinator: pid} = state), do: stop(state)

  def handle_info({:late, ref}, state) when is_map_key(state.busy, ref) do
    {worker, _index, _timer} = Map.fetch!(state.busy, ref)
    Process.demonitor(ref, [:flush])
    Process.exit(worker, :kill)
    {:noreply, finished(state, ref, {:error, :timeout})}
  end

  def handle_info(_late_answer, state), do: {:noreply, state}

  defp stop(state, reason \\ :normal) do
    for {_ref, {worker, _index, _timer}} <- state.busy, do: Process.exit(worker, :kill)
    {:stop, reason, state}
  end

  defp begin(%{free: 0} = state), do: state

  defp begin(state) do
    case :queue.out(state.queue) do
      {:empty, _} ->
        state

      {{:value, {index, item}}, queue} ->
        {pid, ref} = attend(state, index, item)
        timer = if state.timeout != :infinity, do: Process.send_after(self(), {:late, ref}, state.timeout)

        begin(%{
          state
          | queue: queue,
            free: state.free - 1,
            busy: Map.put(state.busy, ref, {pid, index, timer})
        })
    end
  end

  # The process answers with the reference of its own monitor, which it is told first.
  defp attend(state, index, item) do
    %{carrier: carrier} = state
    runner = self()
    how = Map.take(state, [:worker, :place, :timeout])

    {pid, ref} =
      spawn_monitor(fn ->
        receive do
          {:go, ref} ->
            Context.attach(carrier, {:work, index})
            send(runner, attempt(how, item, ref))
        end
      end)

    send(pid, {:go, ref})
    {pid, ref}
  end

  defp attempt(%{place: nil, worker: worker}, item, ref) do
    {:result, ref, Work.call(worker, item)}
  catch
    kind, reason -> {:failed, ref, Coordinator.failure(kind, reason, __STACKTRACE__)}
  end

  defp attempt(%{place: place, worker: worker, timeout: timeout}, item, ref) do
    case Remote.attempt(place, worker, item, timeout) do
      {:lost, reason} -> {:lost, ref, reason}
      result -> {:given, ref, result}
    end
  end

  defp finished(state, ref, result) do
    {{_pid, index, timer}, busy} = Map.pop!(state.busy, ref)
    if timer, do: Process.cancel_timer(timer)
    tell(state, {:done, index, result})
    begin(%{state | busy: busy, free: state.free + 1})
  end

  defp tell(%{place: nil} = state, message), do: send(state.coordinator, {state.run, node(), message})
  defp tell(%{place: {_, node}} = state, message), do: send(state.coordinator, {state.run, node, message})
end
