defmodule Foundation.Distributed.Fabric do
  @moduledoc """
  Runs this node's endpoint in the fabric: links of its own beside Distributed Erlang, encrypted, one or more for each
  channel and node.

      config :foundation, fabric: true
      config :foundation, fabric: [port: 4400, channels: [video: [lanes: 8, reliability: :best_effort]]]

  Options: `:port` (0, a free one), `:bind` (`{0, 0, 0, 0}`), `:advertise` (`{ip, port}` at which others reach us, where
  that is another), `:secret` (the Erlang cookie), `:accept` ([]: secrets of which nodes are believed too, while one is
  exchanged for another, see `set_secret/2`), `:cluster` ("foundation"), `:name` (the node's name), `:channels` (see
  `Foundation.Distributed.Channels.open/2`), `:peers` (a list of `{node, ip, port}` to know without Distributed Erlang),
  `:idle_ms` (60,000: unused links close), `:stall_ms` (3,000: a link whose peer owes an answer is given up),
  `:forget_ms` (60,000: how long messages for a lost node are kept), `:backoff_ms` (500: longest wait between attempts to
  open a link), `:max_links` (4,096, both ways; when all are taken, one that was silent for 2 s makes room),
  `:max_dialled` (half of `:max_links`: links opened on demand to nodes that neighbours could relay to; beyond them they
  do), `:max_relayed` (1,024: links of other nodes that this one carries at once), `:transport` (`:tls`, over TCP; `:quic`, on one UDP port, for lossy networks and for NAT), `:pem` (`[chain: path, key: path, roots:
  path]`: certificates of your own authority instead of those made from the secret; the node's certificate names it by the
  URI `foundation://CLUSTER/NODE` in its subject alternative names; changed files are read again), `:topology` (see
  `Foundation.Distributed.Topology`).

  Nodes connected by Distributed Erlang tell each other their fabric addresses; nothing else goes that way.

  A node may be in other clusters besides, each with an endpoint of its own: see `Foundation.Distributed.Clusters`.
  Functions that take an option `:cluster` are about the main cluster, that of `config :foundation, fabric:`, without it.

  This process owns the endpoint's life and its address book. No message passes through it.

  **Scheduling**: `info/1` and `set_secret/2` run on a dirty CPU scheduler; starting binds a socket on a dirty IO scheduler.
  """

  use GenServer

  alias Foundation.Distributed.Fabric.{Callee, Options, Relay, Scope, Subscribers}
  alias Foundation.Native

  @key :foundation_fabric
  @bind_tries 40
  @bind_wait_ms 50

  @doc false
  # Within a function, because supervisors write the arguments of their children into logs, and options may be secret.
  def start_link({scope, options, callees, deliverers}) do
    GenServer.start_link(__MODULE__, {scope, fn -> options end, callees, deliverers},
      name: Scope.process(scope, __MODULE__)
    )
  end

  @doc "The handle of the main cluster's endpoint, or nil when no fabric runs. O(1), no copy."
  @spec handle() :: reference | nil
  def handle, do: :persistent_term.get(@key, nil)

  @doc "The handle of another cluster's endpoint, or nil when this node has none; that of the main one for nil. O(1), no copy."
  @spec handle(atom | nil) :: reference | nil
  def handle(nil), do: handle()

  def handle(cluster) do
    with nil <- :persistent_term.get({@key, :of, cluster}, nil),
         do: if(Scope.of(cluster) == nil, do: handle())
  end

  @doc """
  What the endpoint knows: `:address` it accepts links at, `:boot` (µs since the epoch), `:peers` as
  `{node name, boot, address, up?}`, `:waiting` processes, links `:refused` by reason; links of other nodes that this one
  carries now (`:relaying`), has carried (`:relayed`, `:relayed_bytes`) or did not (`:relays_refused`), and its own that
  others carried (`:circuits`).

  Options: `:cluster`. Errors: `{:error, :not_running}`. O(peers).
  """
  @spec info(keyword) :: {:ok, map} | {:error, :not_running}
  def info(options \\ []) do
    case handle(options[:cluster]) do
      nil -> {:error, :not_running}
      handle -> {:ok, Native.fabric_info(handle)}
    end
  end

  @doc """
  Makes a node known by the address it accepts links at, where Distributed Erlang does not.

  Options: `:cluster`. Errors: `{:error, :not_running}`. O(1).
  """
  @spec add_peer(node, :inet.ip_address() | String.t(), :inet.port_number(), keyword) ::
          :ok | {:error, :not_running}
  def add_peer(node, ip, port, options \\ []) when is_atom(node) do
    case handle(options[:cluster]) do
      nil -> {:error, :not_running}
      handle -> Native.fabric_peer(handle, node, 0, Options.address(ip, port))
    end
  end

  @doc "The nodes that messages can be sent to now. Empty when no fabric runs. O(peers)."
  @spec nodes() :: [node]
  def nodes, do: nodes(nil)

  @doc "As `nodes/0`, of another cluster, by its name. O(peers)."
  @spec nodes(atom | nil) :: [node]
  def nodes(cluster) do
    case Scope.of(cluster) do
      nil -> :persistent_term.get({@key, :nodes}, [])
      cluster -> :persistent_term.get({@key, :nodes, cluster}, [])
    end
  end

  @doc """
  Proves this node to others by another secret from now on, on this node alone; open links stay open.

  Options: `:accept` ([]), at most eight secrets by which other nodes may still, or already, prove themselves; `:cluster`.
  To exchange a cluster's secret without a node being refused, call it on every node in three rounds, each finished
  before the next begins: `set_secret(old, accept: [new])`, `set_secret(new, accept: [old])`, `set_secret(new)`. Give the
  last to the configuration too: a node that starts anew takes what stands there.

  Errors: `{:error, :not_running}`, `{:error, :pem}` (the certificates are from files, which are read again when they
  change). ArgumentError for what is no secret. O(secrets).
  """
  @spec set_secret(binary | atom, keyword) :: :ok | {:error, :not_running | :pem | {:io, atom}}
  def set_secret(secret, options \\ []) do
    {scope, options} = Scope.pop(options)
    secret = Options.secret(secret)
    accepted = Options.secrets(Keyword.get(options, :accept, []))

    # Links, then the overlay's datagrams, if it has one.
    with handle when handle != nil <- handle(scope),
         :ok <- Native.fabric_secrets(handle, secret, accepted),
         overlay when overlay != nil <- Foundation.Distributed.Overlay.handle(scope) do
      Native.topology_secrets(overlay, secret, accepted)
    else
      nil -> if handle(scope), do: :ok, else: {:error, :not_running}
      error -> error
    end
  end

  @impl true
  def init({scope, given, callees, deliverers}) do
    Process.flag(:trap_exit, true)
    options = Options.new(given.())

    # What a fabric left behind that was killed still holds the port.
    if old = handle(scope), do: Native.fabric_stop(old)
    native = options |> Map.drop([:channels, :peers]) |> Map.put(:names, Scope.names(scope))

    case start_endpoint(native, {callees, deliverers}, @bind_tries) do
      {:ok, handle} -> {:ok, started(scope, handle, options, callees)}
      {:error, reason} -> {:stop, reason}
    end
  end

  defp start_endpoint(options, {callees, deliverers} = hands, tries) do
    case Native.fabric_start(options, self(), callees, deliverers) do
      {:error, {:transport, :eaddrinuse}} when tries > 1 ->
        receive do
        after
          @bind_wait_ms -> start_endpoint(options, hands, tries - 1)
        end

      answer ->
        answer
    end
  end

  defp started(scope, handle, options, callees) do
    for {name, settings} <- options.channels, do: :ok = Native.fabric_open(handle, name, settings)
    :persistent_term.put(key(scope), handle)
    :persistent_term.put(nodes_key(scope), [])
    if scope == nil, do: Scope.put_main(String.to_atom(options.cluster))
    :ok = Subscribers.restore(scope, handle)
    for {name, address} <- options.peers, do: Native.fabric_peer(handle, name, 0, address)

    :net_kernel.monitor_nodes(true)

    state = %{
      scope: scope,
      handle: handle,
      boot: options.boot,
      address: advertised(handle, options),
      up: %{},
      callees: callees
    }

    for node <- Node.list(), do: greet(node, state, true)
    state
  end

  defp key(nil), do: @key
  defp key(scope), do: {@key, :of, scope}
  defp nodes_key(nil), do: {@key, :nodes}
  defp nodes_key(scope), do: {@key, :nodes, scope}

  defp advertised(handle, options), do: options.advertise || Native.fabric_info(handle).address

  # An answer is asked for with the first greeting only.
  defp greet(node, state, asks) do
    hello = {:foundation_hello, node(), state.boot, state.address, asks}
    :erlang.send({Scope.process(state.scope, __MODULE__), node}, hello, [:noconnect])
  end

  @impl true
  def handle_info({:nodeup, node}, state) do
    greet(node, state, true)
    {:noreply, state}
  end

  def handle_info({:nodedown, node}, state) do
    case state.up do
      %{^node => boot} -> Native.fabric_peer(state.handle, node, boot, nil)
      _ -> :ok
    end

    {:noreply, state}
  end

  def handle_info({:foundation_hello, node, boot, address, asks}, state) do
    Native.fabric_peer(state.handle, node, boot, reachable(node, address))
    if asks, do: greet(node, state, false)
    {:noreply, state}
  end

  def handle_info({:foundation_fabric, :peer_up, node, boot}, state) do
    state = publish(%{state | up: Map.put(state.up, node, boot)})
    tell(state, {:foundation_peer_up, node})
    {:noreply, state}
  end

  def handle_info({:foundation_fabric, :peer_down, node, boot}, state) do
    state = if state.up[node] == boot, do: publish(%{state | up: Map.delete(state.up, node)}), else: state
    tell(state, {:foundation_peer_down, node})
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # Those that stand on the endpoint; they start after it, and those that do not run yet ask for nothing.
  defp tell(state, news) do
    for callee <- state.callees, do: send(callee, news)

    for module <- [
          Foundation.Distributed.Discovery,
          Foundation.Distributed.Overlay,
          Foundation.Distributed.Clusters.Roll,
          Relay
        ],
        pid = Process.whereis(Scope.process(state.scope, module)),
        do: send(pid, news)
  end

  defp publish(state) do
    :persistent_term.put(nodes_key(state.scope), state.up |> Map.keys() |> Enum.sort())
    state
  end

  # A node that listens everywhere is reached where Distributed Erlang reaches it.
  defp reachable(node, "0.0.0.0:" <> port), do: of_distribution(node, port)
  defp reachable(node, "[::]:" <> port), do: of_distribution(node, port)
  defp reachable(_node, address), do: address

  defp of_distribution(node, port) do
    case :net_kernel.node_info(node, :address) do
      {:ok, {:net_address, {ip, _port}, _host, _protocol, _family}} -> Options.address(ip, port)
      _ -> Options.address({127, 0, 0, 1}, port)
    end
  end

  @impl true
  def terminate(_reason, state) do
    :persistent_term.erase(key(state.scope))
    :persistent_term.erase(nodes_key(state.scope))
    if state.scope == nil, do: Scope.put_main(nil)
    Native.fabric_stop(state.handle)
  end

  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(GenServer)
  @doc false
  # The reason of a bad end goes into logs, the handle and the options do not.
  def format_status(status), do: Map.replace_lazy(status, :state, &Map.take(&1, [:scope, :address, :up]))

  @doc false
  def callees(scope \\ nil), do: for(n <- 1..System.schedulers_online(), do: Callee.name(scope, n))
end
