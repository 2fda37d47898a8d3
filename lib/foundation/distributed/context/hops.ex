defmodule Foundation.Distributed.Context.Hops do
  @moduledoc false
  # Keeps the last hops of this node: a ring of rows in a public table, so that whoever arrives writes its own row and
  # what a process recorded outlives it. The server only owns the table.
  #
  # Rows: {:next, count}, {:size, rows of the ring} and {slot, trace id, hop}; and the contexts of processes that were
  # started in one and have not asked for it yet, {pid | :starting, carrier}.

  use GenServer

  alias Foundation.Distributed.Context
  alias Foundation.Distributed.Context.Carrier

  @table __MODULE__
  @max_hops 20_000
  @gather_ms 5_000

  def start_link(_opts), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc "Records an arrival of `arrived` from the span of `from`."
  @spec record(atom, term, Carrier.t(), Carrier.t() | nil) :: :ok
  def record(kind, name, arrived, from) do
    at = System.system_time(:microsecond)
    debug = if Context.debug?(), do: Map.put((from && from.debug) || %{}, :values, arrived.values)
    parent = from && from.span_id
    size = :ets.lookup_element(@table, :size, 2)
    slot = rem(:ets.update_counter(@table, :next, 1), size)
    :ets.insert(@table, {slot, arrived.trace_id, {arrived.span_id, parent, kind, name, self(), at, debug}})
    :ok
  rescue
    # The application is not running: the context flows, and nothing is recorded.
    ArgumentError -> :ok
  end

  @doc "Starts a process that finds the context as its own; its supervisor starts one at a time."
  @spec start_within(Carrier.t(), term, (() -> started)) :: started when started: term
  def start_within(from, name, start) do
    arrived = Carrier.child(from, %{})
    :ets.insert(@table, {:starting, arrived})

    case start.() do
      started when elem(started, 0) == :ok and is_pid(elem(started, 1)) ->
        pid = elem(started, 1)
        :ets.delete(@table, :starting)
        GenServer.call(__MODULE__, {:give, pid, arrived})
        record(:start_process, name, arrived, from)
        started

      other ->
        :ets.delete(@table, :starting)
        other
    end
  end

  @doc "The context that the process was started in; nil when in none."
  @spec given(pid) :: Carrier.t() | nil
  def given(pid) do
    case :ets.lookup(@table, pid) ++ :ets.lookup(@table, :starting) do
      [{_, carrier} | _] -> carrier
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  @doc "The hops of a trace that nodes have kept."
  @spec gather(<<_::128>>, [node]) :: %{hops: [Context.hop()], unreachable: [node]}
  def gather(trace, nodes) do
    answers = nodes |> :erpc.multicall(__MODULE__, :kept, [trace], @gather_ms) |> Enum.zip(nodes)
    hops = for {{:ok, hops}, _node} <- answers, hop <- hops, do: hop
    missing = for {answer, node} <- answers, not match?({:ok, _}, answer), do: node
    %{hops: Enum.sort_by(hops, &{&1.at, &1.node, &1.span_id}), unreachable: missing}
  end

  @doc "The hops of a trace that this node has kept."
  @spec kept(<<_::128>>) :: [Context.hop()]
  def kept(trace) do
    for {span, parent, kind, name, pid, at, debug} <- :ets.select(@table, [{{:_, trace, :"$1"}, [], [:"$1"]}]) do
      %{
        trace_id: Carrier.hex(trace),
        span_id: Carrier.hex(span),
        parent_span_id: parent && Carrier.hex(parent),
        kind: kind,
        name: name,
        node: node(),
        pid: pid,
        at: at,
        debug: debug
      }
    end
  rescue
    ArgumentError -> []
  end

  @impl true
  def init(_opts) do
    :ets.new(@table, [:set, :public, :named_table, write_concurrency: true, read_concurrency: true])
    :ets.insert(@table, [{:next, 0}, {:size, size()}])
    {:ok, nil}
  end

  @impl true
  def handle_call({:give, pid, carrier}, _from, state) do
    Process.monitor(pid)
    :ets.insert(@table, {pid, carrier})
    {:reply, :ok, state}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    :ets.delete(@table, pid)
    {:noreply, state}
  end

  defp size do
    case Application.get_env(:foundation, :context, [])[:max_hops] || @max_hops do
      size when is_integer(size) and size > 0 ->
        size

      other ->
        raise ArgumentError,
              "config :foundation, context: [max_hops: n] must be a positive integer, got: #{inspect(other)}"
    end
  end
end
