defmodule Foundation.BEAM.Processes do
  @moduledoc """
  Starts a coordinator and its workers as one group, looks at it, and stops it; and runs heavy work in a process of its own.

      {:ok, ecosystem} =
        Foundation.BEAM.Processes.spawn_ecosystem(%{
          coordinator: MyCoordinator,
          workers: {MyWorker, count: 10},
          fault_tolerance: :self_healing
        })

  A module with `start_link/1` is started with it: the coordinator with `[]`, each worker with `[coordinator: pid]`.
  For any other module a plain process is started, which answers `{:test_message, data, from}` with
  `{:message_processed, :coordinator}` or `{:message_processed, :worker}`, as coordinator also `{:work_request, from,
  work}` with `{:work_assigned, work}`, and ends on `:shutdown`.

  With `fault_tolerance: :self_healing` the group belongs to a supervising process of its own, and a crash in it does not reach
  the caller: a coordinator that dies is started again, up to three times within five seconds; after that the whole group
  goes down. Workers that die are not replaced. Without it, processes of `start_link/1` are linked to the caller.
  """

  alias Foundation.BEAM.Processes.{Group, Healer}
  alias Foundation.ErrorContext
  alias Foundation.Types.Error

  @shutdown_ms 500

  @type ecosystem_config :: %{
          required(:coordinator) => module,
          required(:workers) => {module, keyword},
          optional(:memory_strategy) => :isolated_heaps | :shared_heap,
          optional(:gc_strategy) => :frequent_minor | :standard,
          optional(:fault_tolerance) => :self_healing | :standard
        }

  @type ecosystem :: %{
          coordinator: pid,
          workers: [pid],
          monitors: [reference],
          topology: :mesh | :tree | :ring,
          supervisor: pid | nil,
          config: ecosystem_config
        }

  @doc """
  Starts a group as its configuration says: `:coordinator` (a module), `:workers` (`{module, count: n}`, default 1; 0
  gives two), `:fault_tolerance`. `:memory_strategy` and `:gc_strategy` are kept but change nothing.

  The caller monitors every process of the group and gets their `:DOWN` messages. A bad configuration gives the error
  `:validation_error` (code 3001). O(workers).
  """
  @spec spawn_ecosystem(ecosystem_config) :: {:ok, ecosystem} | {:error, Error.t()}
  def spawn_ecosystem(config) do
    context = ErrorContext.new(__MODULE__, :spawn_ecosystem, metadata: %{config: config})

    ErrorContext.with_context(context, fn ->
      case invalid(config) do
        nil -> {:ok, start(config)}
        message -> {:error, validation_error(message, context)}
      end
    end)
  end

  defp start(config) do
    {supervisor, {coordinator, workers}} =
      if config[:fault_tolerance] == :self_healing,
        do: Healer.start(config),
        else: {nil, Group.start(config, &spawn/1)}

    %{
      coordinator: coordinator,
      workers: workers,
      monitors: Enum.map([coordinator | workers], &Process.monitor/1),
      topology: :tree,
      supervisor: supervisor,
      config: config
    }
  end

  defp invalid(config) when not is_map(config), do: "Configuration must be a map"

  defp invalid(config) when not is_map_key(config, :coordinator),
    do: "Configuration must include :coordinator"

  defp invalid(config) when not is_map_key(config, :workers), do: "Configuration must include :workers"

  defp invalid(%{coordinator: coordinator}) when not is_atom(coordinator),
    do: "Coordinator must be a module name (atom)"

  defp invalid(%{workers: {module, _opts}}) when not is_atom(module), do: "Worker module must be an atom"

  defp invalid(%{workers: {_module, opts}}) when not is_list(opts),
    do: "Worker options must be a keyword list"

  defp invalid(%{workers: {_module, _opts}}), do: nil
  defp invalid(_config), do: "Workers must be a {module, options} tuple"

  defp validation_error(message, context) do
    Error.new(
      code: 3001,
      error_type: :validation_error,
      message: message,
      severity: :high,
      context: %{validation_context: context}
    )
  end

  @doc """
  Runs a function in a new process, whose memory goes with it, and answers at once with the pid.

  The caller later gets `{:work_complete, result}`, or `{:work_error, exception}` when the function raised.
  """
  @spec isolate_memory_intensive_work(function) :: {:ok, pid} | {:error, Error.t()}
  def isolate_memory_intensive_work(work), do: isolate_memory_intensive_work(work, self())

  @doc "As `isolate_memory_intensive_work/1`, with the result sent to another process."
  @spec isolate_memory_intensive_work(function, pid) :: {:ok, pid} | {:error, Error.t()}
  def isolate_memory_intensive_work(work, caller) when is_pid(caller) do
    Task.start(fn -> send(caller, outcome(work)) end)
  end

  defp outcome(work) do
    {:work_complete, work.()}
  rescue
    exception -> {:work_error, exception}
  end

  @doc """
  Sends `:shutdown` to every process of the group, waits up to 500 ms, and kills what is left; all are gone when it
  returns. A process linked to the caller is unlinked first.
  """
  @spec shutdown_ecosystem(ecosystem) :: :ok | {:error, Error.t()}
  def shutdown_ecosystem(%{supervisor: supervisor, workers: workers} = ecosystem) do
    coordinators = Enum.uniq([ecosystem.coordinator, current_coordinator(ecosystem)])
    # The healer first: it would start the coordinator again.
    if supervisor, do: Healer.stop(supervisor)

    monitors =
      for pid <- coordinators ++ workers do
        Process.unlink(pid)
        send(pid, :shutdown)
        {pid, Process.monitor(pid)}
      end

    deadline = System.monotonic_time(:millisecond) + @shutdown_ms
    left = Enum.reject(monitors, fn {_, monitor} -> down?(monitor, deadline) end)
    for {pid, _} <- left, do: Process.exit(pid, :kill)
    for {_, monitor} <- left, do: down?(monitor, :infinity)
    :ok
  end

  defp down?(monitor, deadline) do
    receive do
      {:DOWN, ^monitor, :process, _, _} -> true
    after
      remaining(deadline) -> false
    end
  end

  defp remaining(:infinity), do: :infinity
  defp remaining(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  @doc """
  What the group looks like now: `coordinator` and the living `workers` (`pid`, `status`, `memory` in bytes,
  `message_queue_len` each), `total_processes` alive, `total_memory`, `topology`. A coordinator that was started again
  is the one shown; a dead one has the status `:dead`. O(workers).
  """
  @spec ecosystem_info(ecosystem) :: {:ok, map} | {:error, Error.t()}
  def ecosystem_info(ecosystem) do
    coordinator = ecosystem |> current_coordinator() |> info()
    workers = for pid <- ecosystem.workers, info = info(pid), info.status != :dead, do: info
    living = if coordinator.status == :dead, do: workers, else: [coordinator | workers]

    {:ok,
     %{
       coordinator: coordinator,
       workers: workers,
       total_processes: length(living),
       total_memory: living |> Enum.map(& &1.memory) |> Enum.sum(),
       topology: ecosystem.topology
     }}
  end

  defp current_coordinator(%{supervisor: nil, coordinator: coordinator}), do: coordinator

  defp current_coordinator(%{supervisor: supervisor, coordinator: coordinator}) do
    case Process.info(supervisor, :dictionary) do
      {:dictionary, dictionary} -> Keyword.get(dictionary, :current_coordinator, coordinator)
      nil -> coordinator
    end
  end

  defp info(pid) do
    case Process.info(pid, [:status, :memory, :message_queue_len]) do
      nil -> %{pid: pid, status: :dead, memory: 0, message_queue_len: 0}
      known -> Map.new([{:pid, pid} | known])
    end
  end
end
