defmodule Foundation.Distributed.Channels do
  @moduledoc """
  Sends messages to processes of other nodes over encrypted channels that do not wait for each other.

      :ok = Channels.send_message(:data, {MyApp.Store, :"b@host"}, {:put, key, value})
      :ok = Channels.subscribe(:events)
      :ok = Channels.broadcast(:events, {:node_ready, node()})

  A channel has links of its own to each node, a bounded queue, a priority, and a promise:

    * `:at_least_once` (the default): kept until the receiver's fabric has put it into a mailbox, sent again over a new
      link, and delivered once to each life of the receiving node; what one process sends to one node on one channel
      arrives in order;
    * `:ordered`: the same, in one order for all senders of a node;
    * `:best_effort`: sent once; lost with its link.

  `:coordination`, `:data`, `:gossip` (best effort) and `:events` are open; `open/2` opens others. Destinations:

    * `{name, node}`, a registered process, or a pid;
    * a node: the subscribers of the channel there, who get `{:foundation_channel, channel, from_node, message}`;
    * `{:service, name}`, one process that provides the service; `{:capability, name}`, one that has the capability
      (see `Foundation.Distributed.Discovery`);
    * `:all`: the subscribers of the channel on every node, this one included.

  A node that is in several clusters (see `Foundation.Distributed.Clusters`) says by the option `:cluster`, which every
  function here has, over which one; without it, over the main one. A channel is open in one cluster at a time, and what
  is sent in one is heard in no other.

  A node that the topology does not link to this one is reached through others, with the same promises (see
  `Foundation.Distributed.Topology`). Messages to processes of this node are sent directly. On channel `:auto` a message
  takes the channel that `configure_routing/1` says.

  **Scheduling**: a message of up to 64 KB (large binaries in it not counted, for they are not copied) is encoded and
  queued on the caller's normal scheduler, in about a microsecond; others on a dirty CPU scheduler. Up to 8 KB that find
  their link idle, and unused for 40 µs, are also written by the caller: one system call, 10 to 20 µs. All else is
  written, and everything is read, by the threads of the native library, which put messages into mailboxes; those that
  come 16 and more at a time are put there by processes of the library, 30 µs of each turn, since that costs half as
  much. Channels with a priority above 128 have threads of their own.
  """

  alias Foundation.Distributed.Channels.{Broadcast, Handler, Route, Settings, Wire}
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Native

  @type channel :: atom
  @type destination ::
          node | {atom, node} | pid | {:service, term} | {:capability, term} | :all
  @type reason ::
          :not_running
          | :unreachable
          | :unknown_channel
          | :busy
          | :timeout
          | :too_large
          | :closed
          | :no_provider
          | {:partial, [{node, atom}]}

  @doc """
  Opens a channel on this node. Opening it again with the same options changes nothing.

  Options: `:reliability` (`:at_least_once`), `:priority` (0 to 255, 128; a greater one goes first), `:lanes` (1 to 64
  links to each node, 1; a sender always takes the same), `:max_messages` (100,000) and `:max_bytes` (32 MB) that wait or
  are not acknowledged, for each node and lane, `:max_message` (64 MB), `:window_bytes` (8 MB) and `:window_messages`
  (16,384) that may be on the way to this node on one lane, `:compress_above` (nil; bytes from which zstd is tried).

  Sender and receiver each use their own settings: the receiver's bound what it takes. O(1).

  Errors: `{:error, :settings}` when the channel is open with others, `{:error, :not_running}`. Raises ArgumentError for an
  option that does not exist or is out of range.
  """
  @spec open(channel, keyword) :: :ok | {:error, :settings | :not_running}
  def open(channel, options \\ []) do
    {scope, options} = Scope.pop(options)
    settings = Settings.new(channel, options)
    with_fabric(scope, &Native.fabric_open(&1, channel, settings))
  end

  defguardp only_timeout(options)
            when tl(options) == [] and elem(hd(options), 0) == :timeout and
                   is_integer(elem(hd(options), 1)) and elem(hd(options), 1) in 0..0xFFFFFFFF

  @doc """
  Sends a message.

  Options: `:timeout` (0), how many ms to wait for room in the queue; `:ack` (false), whether to wait, within
  `:timeout` (5,000 then), until the message is in the mailbox there; `:from`, the process whose order the message keeps
  to (the caller).

  Errors: `:busy` (the queue is full), `:timeout`, `:unreachable` (the node is not known, or down), `:unknown_channel`,
  `:too_large`, `:closed` (given up after it was queued; with `:ack`), `:no_provider` (no such service or capability),
  `:not_running` (no fabric here), `{:partial, [{node, reason}]}` (`:all`: the others got it). After an error other
  than `:timeout` and `:closed` the message was not queued. O(bytes), binaries of 8 KB and more not copied.
  """
  @spec send_message(channel, destination, term, keyword) :: :ok | {:error, reason}
  def send_message(channel, destination, message, options \\ [])

  # The usual case, without a look at options: there are none, or a timeout, which matters when the queue is full.
  def send_message(channel, {name, node} = destination, message, options)
      when is_atom(channel) and is_atom(name) and is_atom(node) and node != node() and
             name not in [:service, :capability] and channel != :auto and
             (options == [] or only_timeout(options)) do
    with handle when handle != nil <- Fabric.handle(),
         :ok <- Native.fabric_send(handle, channel, node, name, message) do
      :ok
    else
      {:error, reason} when reason != :busy or options == [] -> {:error, reason}
      # Perhaps of another cluster, where this node has no main one; or it takes longer.
      _ -> resolved(channel, destination, message, options)
    end
  end

  def send_message(:auto, destination, message, options),
    do: send_message(Route.channel(message), destination, message, options)

  def send_message(channel, :all, message, options),
    do: Broadcast.direct(channel!(channel), message, Wire.options(options))

  def send_message(channel, destination, message, options),
    do: resolved(channel, destination, message, options)

  defp resolved(channel, destination, message, options) do
    options = Wire.options(options)

    with {:ok, at} <- Route.resolve(channel!(channel), destination, options.cluster),
         do: Wire.send(channel, at, message, options)
  end

  @doc """
  Sends a message to the subscribers of a channel on every node, this one included, each of which gets it once.

  Options: those of `send_message/4`; `:urgency` (`:normal`), `:urgent` or `:background`; and `:via`:

    * `:direct`: from here to each node, with what the channel promises;
    * `:staged`: √n nodes pass it on to the rest, so that this one sends fewer copies, in no order with other messages.
      Each node confirms; those whose node between is gone before they did, or who have not after 5 s and the time that
      the bytes take, are sent it from here;
    * `:tree`: over the overlay's broadcast tree (see `Foundation.Distributed.Broadcast`), at most some 250 KB, repaired
      on the way and in no order with other messages; with `urgency: :urgent` to every link at once;
    * `:gossip`: over the overlay to a few random neighbours at each hop; nothing is repaired;
    * `:auto` (the default): direct below 16 nodes, or with `:ack`; else staged from 64 KB on; else gossip in the
      background; else the tree in `:hyparview`, `:client_server` and `:pub_sub`, and from 64 nodes on in `:full_mesh`;
      else, and without an overlay that knows all nodes, direct.

  Errors as for `:all`; `:busy` when 1,000 broadcasts in stages are unconfirmed, `{:too_large, max_bytes}` by the
  overlay. O(nodes) directly, O(√nodes) in stages, O(links) over the overlay.
  """
  @spec broadcast(channel, term, keyword) :: :ok | {:error, reason | {:too_large, pos_integer}}
  def broadcast(channel, message, options \\ []),
    do: Broadcast.send(channel!(channel), message, options)

  @doc """
  Sends a message to the subscribers of a best-effort channel on every node: `:gossip`, or the option `:channel`.

  As `broadcast/3` with `urgency: :background`: from 16 nodes on the overlay carries it, where each node tells a few
  others. A full queue drops the message for a node. Errors: `:not_running`, `:unknown_channel`. O(nodes) below 16
  nodes, O(1) beyond.
  """
  @spec gossip(term, keyword) :: :ok | {:error, reason | {:too_large, pos_integer}}
  def gossip(message, options \\ []) do
    {channel, options} = Keyword.pop(options, :channel, :gossip)

    case Broadcast.send(channel!(channel), message, [urgency: :background] ++ options) do
      {:error, {:partial, _}} -> :ok
      other -> other
    end
  end

  @doc """
  Sends a large message on `:data`, or the option `:channel`, waiting for room; the other options are those of
  `send_message/4`, with a `:timeout` of 60,000 ms.

  It is cut into chunks that take turns with what others send; the sender's own later messages wait behind it. Errors as
  for `send_message/4`. O(bytes), binaries of 8 KB and more not copied.
  """
  @spec send_bulk(destination, term, keyword) :: :ok | {:error, reason}
  def send_bulk(destination, message, options \\ []) do
    {channel, options} = Keyword.pop(options, :channel, :data)
    send_message(channel, destination, message, Keyword.put_new(options, :timeout, 60_000))
  end

  @doc """
  Sends a message of which only the latest matters: it takes the place of one with the same `:key` (`:latest`) to the
  same destination that is still in the queue. On `:gossip`, or the option `:channel`.

  Among themselves such messages keep the order in which their keys began to wait; ordinary messages may overtake
  them. At most 256 KB. Errors as for `send_message/4`; a full queue still takes a message in the place of another.
  O(bytes).
  """
  @spec send_monotonic(destination, term, keyword) :: :ok | {:error, reason}
  def send_monotonic(destination, message, options \\ []) do
    {channel, options} = Keyword.pop(options, :channel, :gossip)
    {key, options} = Keyword.pop(options, :key, :latest)
    options = Wire.options(options)

    with {:ok, at} <- Route.resolve(channel!(channel), destination, options.cluster),
         do: Wire.send(channel, at, message, %{options | key: {key}})
  end

  @doc """
  Makes the caller a subscriber of a channel: it gets `{:foundation_channel, channel, from_node, message}` for every
  message to this node or to all.

  Options: `:max_mailbox` (nil): a mailbox with more messages than that stops the credit of the channel's senders until
  it is half as long; other channels go on. `:pid` (the caller). `:context` (false): the subscriber gets
  `{:foundation_channel, channel, from_node, message, carrier}`, where `carrier` is nil or the context that the message
  was sent in, for `Foundation.Distributed.Context.attach/2`. It ends with the subscriber. Errors:
  `{:error, :not_running}`. O(1).
  """
  @spec subscribe(channel, keyword) :: :ok | {:error, :not_running}
  def subscribe(channel, options \\ []) do
    Fabric.Subscribers.add(
      Scope.of(options[:cluster]),
      channel!(channel),
      Keyword.get(options, :pid, self()),
      Keyword.get(options, :max_mailbox),
      Keyword.get(options, :context, false)
    )
  end

  @doc """
  Starts a process that runs `function` with each message to the subscribers of a channel and the node it came from, in
  the context that the message was sent in: `{:ok, pid}`.

  A function that fails is logged, and the next message is taken. The process ends with Foundation, or by
  `GenServer.stop/1`. Options: `:max_mailbox` as `subscribe/2` has. Errors: `{:error, :not_running}`.

      {:ok, _} = Channels.handle(:events, fn message, from -> MyApp.Events.came(message, from) end)
  """
  @spec handle(channel, (term, node -> term), keyword) :: {:ok, pid} | {:error, :not_running}
  def handle(channel, function, options \\ []) when is_function(function, 2) do
    child = {Handler, {channel!(channel), function, Keyword.take(options, [:max_mailbox, :cluster])}}

    case DynamicSupervisor.start_child(Foundation.ProcessSupervisor, child) do
      {:ok, pid} -> {:ok, pid}
      {:error, {:shutdown, :not_running}} -> {:error, :not_running}
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  @doc "Ends a subscription of the caller, or of `pid`. Errors: `{:error, :not_running}`. O(1)."
  @spec unsubscribe(channel, pid, keyword) :: :ok | {:error, :not_running}
  def unsubscribe(channel, pid \\ self(), options \\ []) do
    Fabric.Subscribers.remove(Scope.of(options[:cluster]), channel!(channel), pid)
  end

  @doc """
  Chooses channels by kind of message: a keyword list or a map from a tag to a channel.

  A message that is the tag, or a tuple that begins with it, and is sent on channel `:auto`, takes that channel; others
  take `:data`. Replaces what was configured before. Raises ArgumentError for what is no such list. O(entries).
  """
  @spec configure_routing(keyword | %{atom => channel}) :: :ok
  def configure_routing(rules), do: Route.configure(rules)

  @doc """
  What is measured, a map for each channel and node: `:node`, `:channel`, `:linked` and `:links` (open now, opened in
  all), `:sent`, `:sent_bytes`, `:frames`, `:resent`, `:busy` (refused), `:lost`, `:superseded`, `:queued`,
  `:queued_bytes`, `:received`, `:received_bytes`, `:duplicates`, `:nobody` (no such process), `:malformed`, and
  `:latency_us`, nil or `:count`, `:p50`, `:p99` and `:max` of the time from queue to acknowledgement in µs, measured
  on a message every 20 ms and on those with `:ack`.

  Errors: `{:error, :not_running}`. O(channels × nodes), on a dirty CPU scheduler.
  """
  @spec get_channel_metrics(keyword) :: {:ok, [map]} | {:error, :not_running}
  def get_channel_metrics(options \\ []) do
    with_fabric(Scope.of(options[:cluster]), fn handle -> {:ok, Native.fabric_metrics(handle)} end)
  end

  @doc false
  def with_fabric(scope \\ nil, fun) do
    case Fabric.handle(scope) do
      nil -> {:error, :not_running}
      handle -> fun.(handle)
    end
  end

  defp channel!(channel) when is_atom(channel) and channel not in [nil, true, false], do: channel

  defp channel!(channel),
    do: raise(ArgumentError, "a channel is named by an atom, got: #{inspect(channel)}")
end
