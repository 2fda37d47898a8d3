defmodule Foundation.Cluster.Federation.Server do
  @moduledoc false
  # Owns the federation's life, and the calls of other clusters that come in by its gateways.

  use GenServer

  alias Foundation.Cluster.Federation.Calls
  alias Foundation.{Native, Telemetry}

  @key :foundation_federation
  @max_payload 1_048_576

  # Within a function, because supervisors write the arguments of their children into logs.
  def child_spec(options),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [fn -> options end]}}

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

  defp numbered, do: Enum.with_index(Calls.outcomes(), 1)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    options = options.()

    native = %{
      node: Atom.to_string(node()),
      boot: System.system_time(:microsecond),
      max_payload: @max_payload,
      clusters: options.native
    }

    case Native.federation_start(native, self()) do
      {:ok, handle} ->
        counters = :counters.new(length(Calls.outcomes()), [])
        :persistent_term.put(@key, %{handle: handle, clusters: options.clusters, counters: counters})
        {:ok, %{handle: handle, allow: options.allow, counters: counters, calls: Calls.new()}}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def handle_info({:foundation_federation, request, cluster, node, within, payload, number}, state) do
    allowed = Map.get(state.allow, cluster, %{})
    answer = &Native.federation_answer(request, &1, &2)

    {:noreply,
     %{state | calls: Calls.start(state.calls, number, {cluster, node}, allowed, payload, within, answer)}}
  end

  def handle_info({:foundation_federation_cancel, number}, state),
    do: {:noreply, %{state | calls: Calls.cancel(state.calls, number)}}

  def handle_info({:deadline, monitor}, state),
    do: {:noreply, %{state | calls: Calls.deadline(state.calls, monitor)}}

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    {ended, calls} = Calls.ended(state.calls, monitor, reason)
    with {outcome, {cluster, _node}} <- ended, do: count(state, cluster, outcome)
    {:noreply, %{state | calls: calls}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp count(state, cluster, outcome) do
    :counters.add(state.counters, Map.fetch!(Map.new(numbered()), outcome), 1)
    Telemetry.execute([:foundation, :federation, :served], %{count: 1}, %{cluster: cluster, outcome: outcome})
  end

  @impl true
  def terminate(_reason, state) do
    :persistent_term.erase(@key)
    Native.federation_stop(state.handle)
    Calls.stop_all(state.calls)
  end
end
