defmodule Foundation.Events do
  @moduledoc """
  Stores what happened, finds it again by any of its fields or what is inside its data, and tells who asked to know.

      {:ok, id} =
        Foundation.Events.new_event(:payment, %{amount: 120, card: "visa"}, correlation_id: "order-7")
        |> Foundation.Events.store()

      {:ok, %{events: events, cursor: cursor}} =
        Foundation.Events.search(
          where: {:and, [{:==, :event_type, :payment}, {:>, [:data, :amount], 100}]},
          order: [desc: :timestamp],
          limit: 50
        )

  Events are kept in memory, or on disk when `config :foundation, events: [path: directory]` says so; see
  `guides/events.md`. Errors of the 1.x functions are `%Foundation.Types.Error{}`: `:service_unavailable` (3000) while the
  service does not run, `:storage_failed` (3003, `context.reason` says why) when the log of a durable store refuses.
  The functions that are new answer `{:error, reason}`, with `:not_running` for the former.

  ## Scheduling

  `store/1` and `get/1` run on a normal scheduler for records up to 16 KB in memory with at most 4 subscriptions.
  Other reads, batches, `search/1`, `subscribe/2` and `take/2`: dirty CPU. Storing durably and everything that removes:
  dirty IO. Nobody holds the store's lock for longer than it takes to look at 1,024 entries or copy 64 KB.
  """

  alias Foundation.Contracts.EventStore, as: Contract
  alias Foundation.Engine
  alias Foundation.Events.{Causality, CausalTrace, Cluster, Query, Schema, Store, Subscription, Watcher}
  alias Foundation.Logic.EventLogic
  alias Foundation.Native
  alias Foundation.Services.EventStore
  alias Foundation.Types.{Error, Event}

  @behaviour Contract

  @type event_id :: Event.event_id()
  @type correlation_id :: Event.correlation_id()
  @type event_query :: map

  @typedoc """
  A condition. A path is a field (`:event_id :event_type :timestamp :wall_time :node :pid :correlation_id :parent_id
  :data`) or `[:data | keys]`.
  """
  @type condition ::
          {:and | :or, [condition]}
          | {:not, condition}
          | {:== | :!= | :< | :<= | :> | :>=, path, term}
          | {:in, path, [term] | Range.t()}
          | {:between, path, term, term}
          | {:prefix, path, String.t()}
          | {:regex, path, Regex.t() | String.t()}
          | {:exists, path}
          | [condition]
          | nil
          | true

  @type path :: atom | [term, ...]

  @type page :: %{
          events: [Event.t()],
          cursor: binary | nil,
          scanned: non_neg_integer,
          plan: String.t()
        }

  # -- service -----------------------------------------------------------------------------------------------------

  @doc "Starts the event store if it does not run."
  @impl Contract
  @spec initialize() :: :ok | {:error, Error.t()}
  defdelegate initialize, to: EventStore

  @doc """
  The state of the service: `%{status: :running, event_count: n, next_id: n}`, of a durable store also `durable: true`
  and `recovery:`, the report of its opening (`events`, `records`, `unreadable`, `segments`, `bytes`, `torn_bytes`,
  `damage` in words, `lost` records at most, `took_ms`).
  """
  @impl Contract
  @spec status() :: {:ok, map} | {:error, Error.t()}
  defdelegate status, to: EventStore

  @doc "Whether the service runs."
  @impl Contract
  @spec available?() :: boolean
  defdelegate available?, to: EventStore

  @doc """
  Counts: `events_stored` and `events_pruned` since the start or reset, `start_time` (monotonic ms), `uptime_ms`,
  `current_event_count`, and `memory_usage_estimate`, which as in 1.x is 1,000 bytes an event. `storage_info/0` measures.
  """
  @impl Contract
  @spec stats() :: {:ok, map} | {:error, Error.t()}
  defdelegate stats, to: EventStore

  @doc """
  What the store takes, measured: `events`, `record_bytes`, `memory_bytes` (records and all indexes), `disk_bytes` and
  `segments` (0 in memory), `durable`, `subscriptions`, `next_id`, `stored`, `pruned`. O(segments).
  """
  @spec storage_info() :: {:ok, map} | {:error, :not_running}
  def storage_info do
    with {:ok, handle} <- running(), do: {:ok, Native.events_stats(handle)}
  end

  # -- making events -----------------------------------------------------------------------------------------------

  @doc """
  An event of a type and data; it is not stored.

  Options override `:event_id`, `:timestamp` (monotonic ms), `:wall_time`, `:node`, `:pid`, `:correlation_id` (the
  trace id of a `Foundation.Distributed.Context`, or a new UUID) and `:parent_id` (nil). Errors: those of `Foundation.Validation.EventValidator`. O(size of the data).

      iex> {:ok, event} = Foundation.Events.new_event(:test, %{a: 1}, event_id: 7)
      iex> {event.event_id, event.event_type, event.data, event.parent_id}
      {7, :test, %{a: 1}, nil}
  """
  @spec new_event(atom, term) :: {:ok, Event.t()} | {:error, Error.t()}
  @spec new_event(atom, term, keyword) :: {:ok, Event.t()} | {:error, Error.t()}
  def new_event(event_type, data, opts \\ []), do: EventLogic.create_event(event_type, data, opts)

  @doc "As `new_event/3`, the event itself; raises RuntimeError when it is not valid."
  @spec debug_new_event(atom, term, keyword) :: Event.t()
  def debug_new_event(event_type, data, opts \\ []) do
    case new_event(event_type, data, opts) do
      {:ok, event} -> event
      {:error, _} -> raise "Failed to create debug event"
    end
  end

  @doc "A `:function_entry` event; see `Foundation.Logic.EventLogic.create_function_entry/5`."
  @spec function_entry(module, atom, arity, [term], keyword) :: {:ok, Event.t()} | {:error, Error.t()}
  def function_entry(module, function, arity, args, opts \\ []),
    do: EventLogic.create_function_entry(module, function, arity, args, opts)

  @doc "A `:function_exit` event; see `Foundation.Logic.EventLogic.create_function_exit/7`."
  @spec function_exit(module, atom, arity, pos_integer, term, non_neg_integer, atom) ::
          {:ok, Event.t()} | {:error, Error.t()}
  def function_exit(module, function, arity, call_id, result, duration_ns, exit_reason),
    do: EventLogic.create_function_exit(module, function, arity, call_id, result, duration_ns, exit_reason)

  @doc "A `:state_change` event; see `Foundation.Logic.EventLogic.create_state_change/5`."
  @spec state_change(pid, atom, term, term, keyword) :: {:ok, Event.t()} | {:error, Error.t()}
  def state_change(server_pid, callback, old_state, new_state, opts \\ []),
    do: EventLogic.create_state_change(server_pid, callback, old_state, new_state, opts)

  @doc """
  The event as compressed external term. O(size).

      iex> {:ok, event} = Foundation.Events.new_event(:test, "data")
      iex> {:ok, bytes} = Foundation.Events.serialize(event)
      iex> Foundation.Events.deserialize(bytes) == {:ok, event}
      true
  """
  @spec serialize(Event.t()) :: {:ok, binary} | {:error, Error.t()}
  def serialize(event), do: EventLogic.serialize_event(event)

  @doc "The event that `serialize/1` wrote, else `:deserialization_failed`. Never creates an atom. O(size)."
  @spec deserialize(binary) :: {:ok, Event.t()} | {:error, Error.t()}
  def deserialize(binary), do: EventLogic.deserialize_event(binary)

  @doc "Bytes that `serialize/1` makes. O(size)."
  @spec serialized_size(Event.t()) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def serialized_size(event), do: EventLogic.calculate_serialized_size(event)

  # -- storing -----------------------------------------------------------------------------------------------------

  @doc """
  Stores an event and answers its id; an event of the same id is replaced.

  Takes `{:ok, event}` too, and hands an `{:error, _}` through. A durable store answers when the event is safe under
  its sync policy. Errors: those of the validator and of the type's schema (2001 to 2003), `:invalid_argument` (2005).
  O(1).
  """
  @impl Contract
  @spec store(Event.t() | {:ok, Event.t()}) :: {:ok, event_id} | {:error, Error.t()}
  defdelegate store(event_or_tuple), to: EventStore

  @doc """
  Stores events and answers their ids in order. All are checked first; on any error none is stored.

  In memory, a reader may see the first part of a batch of more than 64 before the rest. On disk a batch is one unit of
  acknowledgement. O(events).
  """
  @impl Contract
  @spec store_batch([Event.t()]) :: {:ok, [event_id]} | {:error, Error.t()}
  defdelegate store_batch(events), to: EventStore

  @doc "Removes the events whose timestamp is less than this; how many. O(events removed)."
  @impl Contract
  @spec prune_before(integer) :: {:ok, non_neg_integer} | {:error, Error.t()}
  defdelegate prune_before(timestamp), to: EventStore

  @doc """
  Rewrites the log of a durable store without what is overwritten, pruned or retired; the bytes freed (0 in memory).

  Runs by itself when more than half of the log is dead. O(bytes of the log).
  """
  @spec compact() :: {:ok, non_neg_integer} | {:error, :not_running | {atom, String.t()}}
  def compact do
    with {:ok, handle} <- running(),
         bytes when is_integer(bytes) <- Native.events_compact(handle, true),
         do: {:ok, bytes}
  end

  @doc "Brings everything stored to the disk, whatever the sync policy. Nothing in memory."
  @spec sync() :: :ok | {:error, :not_running | {atom, String.t()}}
  def sync do
    with {:ok, handle} <- running(), do: Native.events_sync(handle)
  end

  @doc """
  Has the data of a type's events checked on store.

  `fields:` maps keys to a type or to `[type: t, required: boolean, fields: nested, unknown: policy]`; `unknown:` is
  `:allow` (default) or `:reject`. Types: `:any :integer :non_neg_integer :pos_integer :float :number :string :binary
  :boolean :atom :map :list :tuple :pid :reference {:list, t} {:in, values} {:struct, module}`. An event that does not
  match is refused with `:validation_failed` (2001), `context.problems` says where. Kept until the application stops.

      iex> Foundation.Events.register_event_schema(:doc_payment, fields: [amount: [type: :number, required: true]])
      :ok
      iex> {:error, error} = Foundation.Events.new_event(:doc_payment, %{}) |> Foundation.Events.store()
      iex> error.context.problems
      [%{path: [:amount], problem: :required}]
      iex> Foundation.Events.unregister_event_schema(:doc_payment)
      :ok
  """
  @spec register_event_schema(atom, keyword | map) :: :ok | {:error, {:invalid_schema, String.t()}}
  def register_event_schema(event_type, schema) when is_atom(event_type),
    do: Schema.register(event_type, schema)

  @doc "Forgets the schema of a type."
  @spec unregister_event_schema(atom) :: :ok
  def unregister_event_schema(event_type) when is_atom(event_type), do: Schema.unregister(event_type)

  # -- reading -----------------------------------------------------------------------------------------------------

  @doc "The event of an id, else `:not_found` (3001). O(1)."
  @impl Contract
  @spec get(event_id) :: {:ok, Event.t()} | {:error, Error.t()}
  defdelegate get(event_id), to: EventStore

  @doc """
  The events that fit, as in 1.x: `:event_type`, `:time_range {a, b}` with both ends, then sorted by `:order_by`
  (`:event_id` or `:timestamp`, ascending; by id when neither), without the first `:offset`, at most `:limit`. Other
  keys are ignored. `search/1` does more. O(events in the range, or of the type).
  """
  @impl Contract
  @spec query(event_query | keyword) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def query(query) when is_map(query), do: EventStore.query(query)
  def query(query) when is_list(query), do: query |> Map.new() |> EventStore.query()

  @doc "The events of a correlation id, by timestamp. O(events found)."
  @impl Contract
  @spec get_by_correlation(correlation_id) :: {:ok, [Event.t()]} | {:error, Error.t()}
  defdelegate get_by_correlation(correlation_id), to: EventStore

  @doc "As `get_by_correlation/1`."
  @spec get_correlation_chain(correlation_id) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def get_correlation_chain(correlation_id) do
    with {:ok, events} <- get_by_correlation(correlation_id),
         do: {:ok, EventLogic.extract_correlation_chain(events, correlation_id)}
  end

  @doc "The events between two timestamps, both included, by timestamp. O(events found)."
  @spec get_time_range(integer, integer) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def get_time_range(start_time, end_time),
    do: query(%{time_range: {start_time, end_time}, order_by: :timestamp})

  @doc "The newest `limit` events by timestamp, the oldest of them first. O(limit)."
  @spec get_recent(non_neg_integer) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def get_recent(limit \\ 100) when is_integer(limit) and limit >= 0,
    do: Store.recent(Engine.handle(:events), min(limit, 0xFFFF_FFFF))

  @doc """
  Finds events by conditions on their fields and inside their data.

  Options: `where:` (`t:condition/0`; all events unless given), `order:` (a list of `asc:` and `desc:` paths;
  `[asc: :timestamp]`), `limit:` (1 to 10,000; 100), `cursor:` (of the page before), `max_scanned:` (1,000,000).

  Values compare in Erlang's order of terms, `1 == 1.0` included; `wall_time` with a `DateTime` as moments. A path that
  leads nowhere makes any condition on it false, `:!=` too; `{:exists, field}` is false for a field that is nil. Keys go
  into maps and structs (any key), keyword lists (atoms), lists and tuples (positions from 0). `:prefix` and `:regex`
  look at strings and atoms; regular expressions run in linear time and have no look-around and no back-references.

  The answer is `{:ok, %{events: events, cursor: cursor, scanned: n, plan: index}}`. Events of equal order come by id.
  With `cursor`, the next page begins behind the last event of this one, whatever is stored meanwhile; nil means there is
  no next page. A page also ends at 16 MB of data.

  Errors: `{:invalid_query, text}`; `{:cost_limit, {scanned, max_scanned}}` when an order other than by timestamp would
  have to look at more events than `max_scanned` (by timestamp the page ends there, with a cursor that goes on);
  `:not_running`. Cost: O(events of the index chosen: `id`, `correlation`, `parent`, `event_type`, `node`, `time`, or
  `scan` of all).

  `scope: :cluster` searches all nodes, or those in `nodes:`, within `timeout:` ms (5,000). The page then also has `nodes:`, which
  answered, and `missing:`, `{node, reason}` of those that did not, whose events are not in it; a later page asks them
  again. `plan:` is a map by node. Where the order is by timestamp, which is a clock of each node's own, the nodes'
  events are merged by wall time; `order: :causal` puts each page into an order in which nothing comes before what
  caused it (see `causal_order/1`).
  """
  @spec search(keyword | map) ::
          {:ok, page}
          | {:error, {:invalid_query, String.t()} | {:cost_limit, {integer, integer}} | :not_running}
  def search(query) do
    case scope(query) do
      :node -> search_here(query)
      :cluster -> Cluster.search(query)
      other -> {:error, {:invalid_query, "scope is :node or :cluster, got: #{inspect(other)}"}}
    end
  end

  defp scope(query) when is_map(query), do: Map.get(query, :scope, :node)

  defp scope(query) when is_list(query),
    do: if(Keyword.keyword?(query), do: query[:scope] || :node, else: :node)

  defp scope(_query), do: :node

  defp search_here(query) do
    query = if is_map(query) and is_map_key(query, :scope), do: Map.delete(query, :scope), else: query
    query = if is_list(query) and Keyword.keyword?(query), do: Keyword.delete(query, :scope), else: query

    with {:ok, bytes} <- Query.encode(query),
         {:ok, handle} <- running(),
         {:ok, events, cursor, scanned, plan} <- Native.events_search(handle, bytes) do
      {:ok, %{events: events, cursor: cursor, scanned: scanned, plan: plan}}
    end
  end

  @doc """
  As `search/1`, all pages as a stream of events; `limit:` is the size of a page. Raises RuntimeError where `search/1`
  answers an error.
  """
  @spec stream(keyword | map) :: Enumerable.t()
  def stream(query) do
    query = Map.new(query)

    Stream.unfold({:page, query[:cursor]}, fn
      :done -> nil
      {:page, cursor} -> next_page(Map.put(query, :cursor, cursor))
    end)
    |> Stream.flat_map(& &1)
  end

  defp next_page(query) do
    case search(query) do
      {:ok, %{events: events, cursor: nil}} -> {events, :done}
      {:ok, %{events: events, cursor: cursor}} -> {events, {:page, cursor}}
      {:error, reason} -> raise "search failed: #{inspect(reason)}"
    end
  end

  @doc """
  The tree of what followed from what: of an event id, everything below its first ancestor; of a correlation id, the
  events that have it. `t:Foundation.Events.CausalTrace.t/0` holds it as data (`roots`) and drawn (`text`). Parents that
  are not in the store and cycles are told. Errors: `:not_found` (3001) for an id. O(events of the tree).
  """
  @spec causal_trace(event_id | correlation_id) :: {:ok, CausalTrace.t()} | {:error, Error.t()}
  def causal_trace(id) when is_integer(id) or is_binary(id), do: CausalTrace.of(Engine.handle(:events), id)

  # -- subscribing -------------------------------------------------------------------------------------------------

  @doc """
  Subscribes to the events stored from now on that a condition matches.

  They wait in a queue of `max_queue:` events (1,000; at most 1,000,000). The owner (`pid:`, the caller) gets one message
  `{:foundation_events, subscription.ref, :ready}` and takes them with `take/2`; the next message comes after that, so
  that a slow owner's mailbox never holds more than one. When the queue is full, `policy:` decides:

    * `:drop_oldest` (default): the event that waited longest goes
    * `:drop_newest`: the new event goes
    * `:block`: `store/1` waits for room, at most `block_timeout:` ms (1,000; at most 60,000) in all, then stores the
      event and this subscription loses it

  `take/2` tells how many were lost. A subscription ends with its owner. Errors: `{:invalid_option, text}`,
  `{:invalid_query, text}`, `{:too_many_subscriptions, 256}`, `:not_running`. Each stored event costs one evaluation of
  each filter.
  """
  @spec subscribe(condition | [where: condition], keyword) :: {:ok, Subscription.t()} | {:error, term}
  def subscribe(filter \\ nil, opts \\ []), do: Subscription.start(filter, opts)

  @doc """
  Takes up to `max` events (at most 10,000) that wait in a subscription, and how many were lost since the last time.
  """
  @spec take(Subscription.t(), pos_integer) ::
          {:ok, [Event.t()], dropped :: non_neg_integer} | {:error, :not_subscribed}
  def take(subscription, max \\ 100), do: Subscription.take(subscription, max)

  @doc "Ends a subscription and drops what waits in it; its message, if one is there, leaves the caller's mailbox."
  @spec unsubscribe(Subscription.t()) :: :ok
  def unsubscribe(subscription), do: Subscription.stop(subscription)

  # -- the cluster -------------------------------------------------------------------------------------------------

  @doc """
  Stores an event on this node for the cluster: marked with a vector clock, so that events of different nodes can be put
  in causal order, and seen by `subscribe_cluster_wide/2` everywhere.

  `correlation:` `:global` (default) takes the trace id of the `Foundation.Distributed.Context` the process is in, or begins a new one;
  or the correlation id itself. Other options as `new_event/3`. The clock is in the event's data under `:vector_clock`;
  data that is no map is put under `:value` beside it. Answers and errors as `store/1`; O(size + nodes), with a
  call of the process that keeps the clock.
  """
  @spec emit_distributed(atom, term, keyword) :: {:ok, Event.t()} | {:error, Error.t()}
  def emit_distributed(event_type, data, opts \\ []) do
    {correlation, opts} = Keyword.pop(opts, :correlation, :global)
    opts = if is_binary(correlation), do: Keyword.put(opts, :correlation_id, correlation), else: opts

    unless correlation == :global or is_binary(correlation),
      do:
        raise(ArgumentError, "correlation must be :global or a correlation id, got: #{inspect(correlation)}")

    with {:ok, event} <- new_event(event_type, Causality.mark(data, Causality.tick()), opts),
         {:ok, _id} <- store(event),
         do: {:ok, event}
  end

  @doc """
  Hands every event that a condition matches, of whatever connected node, to a handler: a function of one argument, called in
  the subscription's process, or a pid, which gets `{:foundation_event, event}`.

      {:ok, subscription} = Foundation.Events.subscribe_cluster_wide({:==, :event_type, :payment}, handler: &MyApp.paid/1)

  `handler:` (the caller's pid), and the options of `subscribe/2` for the queue on each node. The condition is evaluated
  where the events are; only what it matches is sent, at most 100 events ahead of the handler from each node. A node
  that joins is added; of one that is not connected nothing comes meanwhile, `search/1` finds it later. Events of one node
  come in the order in which it stored them. A handler that fails is logged, and the next event goes on. Ends with the
  process that subscribed. Errors as `subscribe/2`.
  """
  @spec subscribe_cluster_wide(condition | [where: condition], keyword) :: {:ok, pid} | {:error, term}
  def subscribe_cluster_wide(filter \\ nil, opts \\ []) do
    {handler, opts} = Keyword.pop(opts, :handler, self())

    unless is_pid(handler) or is_function(handler, 1),
      do:
        raise(ArgumentError, "handler must be a function of one argument or a pid, got: #{inspect(handler)}")

    if Keyword.has_key?(opts, :pid),
      do: raise(ArgumentError, "a cluster-wide subscription has a handler:, no pid:"),
      else: Watcher.start(self(), handler, filter, opts)
  end

  @doc "The nodes that feed a cluster-wide subscription, and how many events were dropped on the way: `%{nodes: n, dropped: d}`."
  @spec cluster_subscription(pid) :: %{nodes: [node], dropped: non_neg_integer}
  def cluster_subscription(subscription) when is_pid(subscription), do: GenServer.call(subscription, :status)

  @doc "Ends a cluster-wide subscription."
  @spec unsubscribe_cluster_wide(pid) :: :ok
  def unsubscribe_cluster_wide(subscription) when is_pid(subscription) do
    GenServer.stop(subscription, :shutdown)
  catch
    :exit, _ -> :ok
  end

  @doc """
  The events of a correlation id on all nodes, in causal order: `{:ok, %{events: e, nodes: answered, missing: [{node, reason}]}}`.

  `nodes:` and `timeout:` as `search/1`.
  """
  @spec get_by_correlation(correlation_id, keyword) :: {:ok, map}
  def get_by_correlation(correlation_id, opts) when is_binary(correlation_id) and is_list(opts),
    do: Cluster.by_correlation(correlation_id, opts)

  @doc """
  Events of several nodes in an order in which none comes before what caused it.

  Causes are known by the vector clocks of `emit_distributed/3` and, on one node, by parent; calendar time decides
  between the rest. A cause that the nodes' calendars have put more than 1,000 events too late stays there.
  """
  @spec causal_order([Event.t()]) :: [Event.t()]
  defdelegate causal_order(events), to: Causality, as: :order

  @doc """
  Lets vector clocks travel with contexts from this node: an event that is emitted while a call, task or message of a
  `Foundation.Distributed.Context` is worked on, comes after those that were emitted before it was sent.

  The clock is then a value `:vector_clock` of the context. To be called on each node, at its start.
  """
  @spec enable_distributed_correlation() :: :ok
  defdelegate enable_distributed_correlation, to: Causality, as: :enable

  @doc "Ends what `enable_distributed_correlation/0` began."
  @spec disable_distributed_correlation() :: :ok
  defdelegate disable_distributed_correlation, to: Causality, as: :disable

  defp running do
    case Engine.handle(:events) do
      nil -> {:error, :not_running}
      handle -> if Native.events_running(handle), do: {:ok, handle}, else: {:error, :not_running}
    end
  end
end
