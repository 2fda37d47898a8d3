defmodule Foundation.Cluster.Federation.Server do
  @moduledoc false
  # Owns the federation's life, and a process for each call of another cluster: it is started here, watched, and ended
  # when the caller waits no more.

  use GenServer

  alias Foundation.Cluster.Federation.Wire
  alias Foundation.{Native, Telemetry}
  require Logger

  @key :foundation_federation
  @max_payload 1_048_576
  # In words: 256 MiB.
  @max_heap 32 * 1_048_576
  @longest 3_600_000
  # What an answer needs on its way: the caller gives up before its call is ended here.
  @grace 250

  @outcomes [:returned, :not_allowed, :failed, :malformed, :not_plain]

  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: __MODULE__)

  @doc "How many calls were answered here, by outcome."
  @spec served() :: %{atom => non_neg_integer}
  def served do
    case :persistent_term.get(@key, nil) do
      nil ->
        %{}

      %{counters: counters} ->
        for {name, at} <- numbered(), into: %{}, do: {name, :counters.get(counters, at)}
    end
  end

  defp numbered, do: Enum.with_index(@outcomes, 1)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    native = %{
      node: Atom.to_string(node()),
      boot: System.system_time(:microsecond),
      max_payload: @max_payload,
      clusters: options.native
    }

    case Native.federation_start(native, self()) do
      {:ok, handle} ->
        counters = :counters.new(length(@outcomes), [])
        :persistent_term.put(@key, %{handle: handle, clusters: options.clusters, counters: counters})
        {:ok, %{handle: handle, allow: options.allow, counters: counters, calls: %{}}}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def handle_info({:foundation_federation, request, cluster, node, within, payload}, state) do
    allowed = Map.get(state.allow, cluster, %{})

    {pid, monitor} =
      :erlang.spawn_opt(fn -> serve(request, {cluster, node}, allowed, payload) end, spawn_options())

    timer = Process.send_after(self(), {:deadline, monitor}, min(within, @longest) + @grace)
    {:noreply, put_in(state.calls[monitor], {pid, timer, request, cluster})}
  end

  def handle_info({:deadline, monitor}, state) do
    with %{^monitor => {pid, _timer, _request, _cluster}} <- state.calls, do: Process.exit(pid, :kill)
    {:noreply, state}
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    {call, calls} = Map.pop(state.calls, monitor)
    with {_pid, timer, request, cluster} <- call, do: ended(timer, request, cluster, reason, state)
    {:noreply, %{state | calls: calls}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp ended(timer, request, cluster, reason, state) do
    Process.cancel_timer(timer)

    case reason do
      {:answered, outcome} ->
        count(state, cluster, outcome)

      _killed ->
        {status, nothing} = Wire.failed()
        Native.federation_answer(request, status, nothing)
        count(state, cluster, :failed)
    end
  end

  defp count(state, cluster, outcome) do
    :counters.add(state.counters, Map.fetch!(Map.new(numbered()), outcome), 1)
    Telemetry.execute([:foundation, :federation, :served], %{count: 1}, %{cluster: cluster, outcome: outcome})
  end

  defp spawn_options do
    [:monitor, max_heap_size: %{size: @max_heap, kill: true, error_logger: true}]
  end

  # Ends with what it did as its reason, which nobody but the server hears.
  defp serve(request, caller, allowed, payload) do
    {outcome, {status, answer}} = run(caller, allowed, payload)
    Native.federation_answer(request, status, answer)
    exit({:answered, outcome})
  end

  defp run(caller, allowed, payload) do
    with {:parse, {:ok, name, bytes}} <- {:parse, Wire.parse(payload)},
         {:allow, %{^name => {module, function}}} <- {:allow, allowed},
         {:decode, {:ok, args}} when is_list(args) <- {:decode, Wire.decode(bytes)},
         {:parse, {_, _, arity}} when length(args) == arity <- {:parse, name} do
      apply_it(caller, module, function, args)
    else
      {:allow, _} -> {:not_allowed, Wire.not_allowed()}
      {_, _} -> {:malformed, Wire.malformed()}
    end
  end

  defp apply_it(caller, module, function, args) do
    case Wire.returned(apply(module, function, args)) do
      {_, ""} = refused -> {:not_plain, refused}
      answer -> {:returned, answer}
    end
  catch
    kind, reason ->
      {cluster, node} = caller
      call = Exception.format_mfa(module, function, length(args))
      # Without the arguments, which are the caller's, and may be secret.
      text = Exception.format_banner(kind, reason, [])
      Logger.error("a call of #{call} from #{node} in the cluster #{cluster} failed: #{text}")
      {:failed, Wire.failed()}
  end

  @impl true
  def terminate(_reason, state) do
    :persistent_term.erase(@key)
    Native.federation_stop(state.handle)
    for {_monitor, {pid, _timer, _request, _cluster}} <- state.calls, do: Process.exit(pid, :kill)
    :ok
  end
end
