defmodule Foundation.Events.Causality do
  @moduledoc false
  # What happened before what, on many nodes: vector clocks (Fidge 1988, Mattern 1989) on the events that are emitted
  # for the cluster.
  #
  # The node's clock counts what it has emitted and remembers the most it has heard of others. An event carries the clock
  # of its emission under `:vector_clock` in its data; who receives it takes that into its own. Within a
  # `Foundation.Distributed.Context` the clock travels with the context once `enable/0` was called, so that what a call
  # causes on another node comes after what caused it.

  use GenServer

  alias Foundation.Distributed.Context
  alias Foundation.Types.Event
  alias Foundation.VectorClock

  @key :vector_clock
  @travels {__MODULE__, :travels}
  @reach 1_000

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The clock of an emission on this node, now."
  @spec tick() :: VectorClock.t()
  def tick do
    clock = GenServer.call(__MODULE__, {:tick, carried()})
    if travels?() and Context.trace_id() != nil, do: Context.put(%{@key => clock})
    clock
  end

  @doc "Takes into this node's clock what an event says."
  @spec observe(Event.t() | VectorClock.t()) :: :ok
  def observe(%Event{} = event) do
    case clock(event) do
      nil -> :ok
      clock -> observe(clock)
    end
  end

  def observe(clock) when is_map(clock), do: GenServer.cast(__MODULE__, {:observe, clock})

  @doc "The clock of an event; nil of one that was not emitted for the cluster."
  @spec clock(Event.t()) :: VectorClock.t() | nil
  def clock(%Event{data: %{@key => clock}}) when is_map(clock), do: clock
  def clock(%Event{}), do: nil

  @doc "The data that carries a clock: a map as it is, anything else under `:value`."
  @spec mark(term, VectorClock.t()) :: map
  def mark(data, clock) when is_map(data) and not is_struct(data), do: Map.put(data, @key, clock)
  def mark(data, clock), do: %{:value => data, @key => clock}

  @doc "Lets clocks travel with contexts, on this node."
  @spec enable() :: :ok
  def enable, do: :persistent_term.put(@travels, true)

  @doc "Ends what `enable/0` began."
  @spec disable() :: :ok
  def disable do
    :persistent_term.erase(@travels)
    :ok
  end

  defp travels?, do: :persistent_term.get(@travels, false)

  defp carried do
    if travels?(), do: Map.get(Context.current(), @key), else: nil
  end

  @doc """
  The events in an order in which none comes before what caused it.

  Causes are known by clock and, on one node, by parent; otherwise calendar time decides. A cause that the calendars of
  two nodes have put more than #{@reach} events too late stays there. O(n log n + #{@reach} n).
  """
  @spec order([Event.t()]) :: [Event.t()]
  def order(events), do: events |> Enum.sort_by(&place/1) |> settle([])

  defp place(event), do: {calendar(event), event.node, event.timestamp, event.event_id}

  defp calendar(%Event{wall_time: %DateTime{} = time}), do: DateTime.to_unix(time, :microsecond)
  defp calendar(_event), do: 0

  # Insertion from the end: an event goes in front of what follows from it.
  defp settle([], placed), do: Enum.reverse(placed)

  defp settle([event | rest], placed) do
    {later, earlier} = split_after_cause(placed, event)
    settle(rest, later ++ [event | earlier])
  end

  # `placed` has the latest first. Those at its head that follow from `event`, or stand between them, come after it.
  defp split_after_cause(placed, event) do
    case last_effect(placed, event, 0, 0) do
      0 -> {[], placed}
      count -> Enum.split(placed, count)
    end
  end

  defp last_effect([], _event, _at, found), do: found

  defp last_effect([other | rest], event, at, found) do
    cond do
      cause?(event, other) -> last_effect(rest, event, at + 1, at + 1)
      at >= @reach -> found
      true -> last_effect(rest, event, at + 1, found)
    end
  end

  defp cause?(%Event{event_id: id, node: node}, %Event{parent_id: id, node: node}), do: true

  defp cause?(a, b) do
    case {clock(a), clock(b)} do
      {nil, _} -> false
      {_, nil} -> false
      {a, b} -> VectorClock.compare(a, b) == :before
    end
  end

  @impl true
  def init(nil), do: {:ok, VectorClock.new()}

  @impl true
  def handle_call({:tick, heard}, _from, clock) do
    clock = VectorClock.increment(merge(clock, heard), node())
    {:reply, clock, clock}
  end

  @impl true
  def handle_cast({:observe, heard}, clock), do: {:noreply, merge(clock, heard)}

  defp merge(clock, nil), do: clock
  defp merge(clock, heard), do: VectorClock.merge(clock, heard)
end
