defmodule Foundation.Distributed.Context do
  @moduledoc """
  Carries what a request is about through functions, tasks, processes and nodes, and records where it went.

      iex> require Foundation.Distributed.Context, as: Context
      iex> Context.with_global_context(%{user: 7}) do
      ...>   task = Context.async(fn -> Context.current().user end)
      ...>   Task.await(task)
      ...> end
      7
      iex> Context.current()
      %{}

  A context is a map of the user's own and the identity of a trace: a trace id, the id of the present span, and the
  flags and state of [W3C Trace Context](https://www.w3.org/TR/trace-context/), so that a trace that began in
  another system goes on here, and the other way round (`from_headers/1`, `to_headers/0`).

  ## What it flows through

  - functions called in the block, as it lives in the process dictionary;
  - `async/1` and `bind/1`; also a plain `Task`, as long as the process that started it still runs the block;
  - `Foundation.start_process/3` and `Foundation.Distributed.coordinate_work/3`, on this node and on others;
  - messages to the subscribers of a channel, for those who ask (`Foundation.Distributed.Channels.handle/3`, or
    `subscribe/2` with `context: true`), and `Foundation.Distributed.call/4`, whose callee takes it over by
    `attach_caller/1`. A message to a bare process arrives as it was sent, without;
  - by hand anywhere else: `carry/0` gives a term to send along, `attach/1` takes it over on the other side.

  An event made in a context (`Foundation.Events.new_event/3`) gets the trace id as its correlation id, and so does
  a `Foundation.ErrorContext`, unless they are given one.

  ## Hops

  Each arrival in another process, task or node is a hop. The node where it arrives records it: kind, name, pid, time,
  and the span it came from. `hops/2` gathers the hops of a trace from the nodes it may have visited. Each node keeps the
  last 20,000 (`config :foundation, context: [max_hops: n]`); a hop takes some microseconds, and nothing is sent for it.
  """

  alias Foundation.Distributed.Context.{Carrier, Hops}
  alias Foundation.Utils.Around

  @key :foundation_context
  @callers :"$callers"

  @type t :: map
  @type carrier :: Carrier.t()
  @type hop :: %{
          trace_id: String.t(),
          span_id: String.t(),
          parent_span_id: String.t() | nil,
          kind: atom,
          name: term,
          node: node,
          pid: pid,
          at: integer,
          debug: map | nil
        }

  @doc """
  Runs the block in a context: `context` over what is there already.

  The outermost block begins a trace, unless one was attached; each block is a span of it. What was before comes back
  afterwards, also after an exception. The value is that of the block. O(size of the maps).
  """
  defmacro with_global_context(context, do: block) do
    quote do
      unquote(__MODULE__).run(unquote(context), fn -> unquote(block) end)
    end
  end

  @doc "Does what `with_global_context/2` does, with a function: `run(%{user: 7}, fn -> … end)`."
  @spec run(map | keyword, (() -> value)) :: value when value: term
  def run(context, function) when is_function(function, 0) do
    values = values!(context)
    outer = own()
    present = find()
    inner = Carrier.child(present || Carrier.new(%{}), values)
    if present == nil, do: Hops.record(:begin, nil, inner, nil)
    Process.put(@key, inner)

    try do
      function.()
    after
      restore(outer)
    end
  end

  def run(_context, function) do
    raise ArgumentError, "run/2 takes a function of no arguments, got: #{inspect(function)}"
  end

  @doc """
  The values of the context the process is in; an empty map when it is in none.

      iex> Foundation.Distributed.Context.current()
      %{}
  """
  @spec current() :: t
  def current do
    case find() do
      nil -> %{}
      carrier -> carrier.values
    end
  end

  @doc """
  Adds values to the context of the process, which begins one when it is in none. O(size of the maps).

      iex> alias Foundation.Distributed.Context
      iex> :ok = Context.put(tenant: "acme")
      iex> Context.current()
      %{tenant: "acme"}
      iex> Context.clear()
      :ok
  """
  @spec put(map | keyword) :: :ok
  def put(context) do
    values = values!(context)
    present = find() || Carrier.new(%{})
    Process.put(@key, %{present | values: Map.merge(present.values, values)})
    :ok
  end

  @doc "Takes the process out of its context."
  @spec clear() :: :ok
  def clear do
    Process.delete(@key)
    :ok
  end

  @doc """
  The context as a term to send along; nil when the process is in none.

  It may cross nodes. Its size is that of the values.
  """
  @spec carry() :: carrier | nil
  def carry do
    with %{} = carrier <- find(), do: Carrier.departing(carrier, debug?())
  end

  @doc """
  Takes a carried context over and records the hop; nil takes the process out of its context.

  `hop` says what kind of arrival it is, and a name for it. `{:error, :invalid_context}` when the term is not what
  `carry/0` or `from_headers/1` gives; nothing changes then.
  """
  @spec attach(carrier | nil, {kind :: atom, name :: term}) :: :ok | {:error, :invalid_context}
  def attach(carrier, hop \\ {:attach, nil})
  def attach(nil, _hop), do: clear()

  def attach(term, {kind, name}) when is_atom(kind) do
    with {:ok, carrier} <- Carrier.arriving(term) do
      arrived = Carrier.child(carrier, %{})
      Process.put(@key, arrived)
      Hops.record(kind, name, arrived, carrier)
    end
  end

  @doc """
  Takes over the context of the process that called a GenServer, from the `from` of `handle_call/3`, or takes the
  process out of its context when the caller was in none.

  The caller may be on another node when it came by `Foundation.Distributed.call/4` or a `{:via, …}` name of it; a caller of
  this node is looked at while it waits. O(size of the caller's dictionary) then, else O(1).

      def handle_call(request, from, state) do
        Context.attach_caller(from)
        …
  """
  @spec attach_caller(GenServer.from()) :: :ok
  def attach_caller({_pid, {_, _, %Carrier{} = arrived}}) do
    Process.put(@key, arrived)
    :ok
  end

  def attach_caller({pid, _tag}) when is_pid(pid) do
    clear()
    if node(pid) == node(), do: inherit(pid, :call)
    :ok
  end

  @doc false
  # Has the process that the function starts, from its first line on, in the context. Called in its supervisor.
  @spec start_within(carrier, term, (() -> started)) :: started when started: term
  def start_within(term, name, start) do
    case Carrier.arriving(term) do
      {:ok, carrier} -> Hops.start_within(carrier, name, start)
      _ -> start.()
    end
  end

  @doc false
  # Records that a context has come here, for another process to go on with.
  @spec arrive(carrier | nil, {kind :: atom, name :: term}) :: carrier | nil
  def arrive(nil, _hop), do: nil

  def arrive(term, {kind, name}) do
    with {:ok, carrier} <- Carrier.arriving(term) do
      arrived = Carrier.child(carrier, %{})
      Hops.record(kind, name, arrived, carrier)
      arrived
    else
      _ -> nil
    end
  end

  @doc """
  Wraps a function of 0 to 3 arguments so that it runs in the present context, whichever process calls it.
  """
  @spec bind(fun) :: fun
  def bind(function) do
    carried = carry()
    Around.calls(function, &under(carried, &1))
  end

  @doc "`Task.async/1` in the present context."
  @spec async((() -> term)) :: Task.t()
  def async(function) when is_function(function, 0) do
    carried = carry()

    Task.async(fn ->
      attach(carried, {:task, nil})
      function.()
    end)
  end

  @doc """
  The id of the present trace, 32 hexadecimal digits; nil outside of a context.
  """
  @spec trace_id() :: String.t() | nil
  def trace_id do
    with %{trace_id: id} <- find(), do: Carrier.hex(id)
  end

  @doc "`trace_id/0`, or a new UUID outside of a context: what names the story a new event or error belongs to."
  @spec correlation_id() :: String.t()
  def correlation_id, do: trace_id() || Foundation.Utils.generate_correlation_id()

  @doc """
  The headers that continue the trace in another system: `traceparent`, and `tracestate` where one came in.

      iex> alias Foundation.Distributed.Context
      iex> {:ok, carrier} = Context.from_headers([{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}])
      iex> :ok = Context.attach(carrier)
      iex> [{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-" <> _}] = Context.to_headers()
      iex> Context.clear()
      :ok
  """
  @spec to_headers() :: [{String.t(), String.t()}]
  def to_headers do
    case find() do
      nil -> []
      carrier -> Carrier.to_headers(carrier)
    end
  end

  @doc """
  A carrier for `attach/2` from the headers of a request, names in any case, with these values.

  `{:error, :no_traceparent}` when there is none or more than one, `{:error, :invalid_traceparent}` when it is not as
  the standard says. A version above 00 is read as the standard asks: by the fields of version 00.
  """
  @spec from_headers(Enumerable.t(), map | keyword) ::
          {:ok, carrier} | {:error, :no_traceparent | :invalid_traceparent}
  def from_headers(headers, values \\ %{}), do: Carrier.from_headers(headers, values!(values))

  @doc """
  The hops of a trace in the order of their times, gathered from `nodes` (this one and all it is connected to).

  `unreachable` names the nodes that did not answer within 5 s, whose hops are missing. `at` is microseconds since
  1970 by the clock of the node. O(hops kept) on each node.
  """
  @spec hops(String.t(), [node]) :: {:ok, %{hops: [hop], unreachable: [node]}} | {:error, :invalid_trace_id}
  def hops(trace_id, nodes \\ [node() | Node.list()]) when is_list(nodes) do
    with {:ok, id} <- Carrier.unhex(trace_id), do: {:ok, Hops.gather(id, nodes)}
  end

  @doc """
  From now on each hop of this node also records the values of its context and where its carrier was taken.

  For finding out where a context is lost. Costs a stack trace a hop. `disable_debug_mode/0` ends it.
  """
  @spec enable_debug_mode() :: :ok
  def enable_debug_mode, do: :persistent_term.put(:foundation_context_debug, true)

  @doc "Ends what `enable_debug_mode/0` began."
  @spec disable_debug_mode() :: :ok
  def disable_debug_mode do
    :persistent_term.erase(:foundation_context_debug)
    :ok
  end

  @doc "Whether `enable_debug_mode/0` is in force."
  @spec debug?() :: boolean
  def debug?, do: :persistent_term.get(:foundation_context_debug, false)

  defp under(carried, function) do
    outer = own()
    attach(carried, {:bound, nil})

    try do
      function.()
    after
      restore(outer)
    end
  end

  defp own, do: Process.get(@key)
  defp restore(nil), do: Process.delete(@key)
  defp restore(carrier), do: Process.put(@key, carrier)

  # A task that was not started by us finds the context of the process which started it. It looks once: reading
  # another's dictionary copies it.
  defp find do
    case own() do
      nil -> given(Process.get(:"$ancestors")) || inherited(Process.get(@callers, []))
      :none -> nil
      carrier -> carrier
    end
  end

  # A process of `Foundation.start_process/3` was given the context of who started it.
  defp given([Foundation.ProcessSupervisor | _]) do
    with %{} = carrier <- Hops.given(self()) do
      Process.put(@key, carrier)
      carrier
    end
  end

  defp given(_ancestors), do: nil

  defp inherited([]), do: nil

  defp inherited(callers) do
    with nil <- Enum.find_value(callers, &inherit(&1, :task)) do
      Process.put(@key, :none)
      nil
    end
  end

  defp inherit(caller, kind) when is_pid(caller) and node(caller) == node() do
    with {:dictionary, dictionary} <- Process.info(caller, :dictionary),
         {_, %Carrier{} = carrier} <- List.keyfind(dictionary, @key, 0) do
      arrived = Carrier.child(carrier, %{})
      Process.put(@key, arrived)
      Hops.record(kind, nil, arrived, carrier)
      arrived
    else
      _ -> nil
    end
  end

  defp inherit(_elsewhere, _kind), do: nil

  defp values!(values) when is_map(values) and not is_struct(values), do: values

  defp values!(values) do
    if Keyword.keyword?(values),
      do: Map.new(values),
      else: raise(ArgumentError, "a context is a map or a keyword list, got: #{inspect(values)}")
  end
end
