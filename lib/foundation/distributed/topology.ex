defmodule Foundation.Distributed.Topology do
  @moduledoc """
  Decides which nodes of the fabric are linked, and changes that for the whole cluster while it runs.

      config :foundation, fabric: [topology: :hyparview]

      :ok = Foundation.Distributed.Topology.switch_topology(:pub_sub)
      :pub_sub = Foundation.Distributed.Topology.current_topology()

  | topology | links of a node | made for |
  |---|---|---|
  | `:full_mesh` (default) | to every node | up to some 100 nodes, any to any at once |
  | `:hyparview` | 4 to 8, to random nodes that answer soon | many nodes, nodes that come and go |
  | `:client_server` | clients to 2 servers, servers to all servers | many users of a few |
  | `:pub_sub` | as `:hyparview`, and a tree for each topic | news for subscribers |

  Membership is SWIM's: a node that stops is noticed in under two seconds on a local network, one that is slow or loses
  30 % of its packets is not taken for dead. The links here carry membership, broadcasts and routes. Channels open
  theirs on demand to whom they send, where the topology lets them: between two clients they lead through a server, and
  beyond `fabric: [max_dialled: n]`, or to a node that cannot be dialled, through a neighbour, sealed from end to end.

  The fabric's option `:topology` is one of the four, `false` for none, or a keyword list: `:start` (one of the four),
  `:profile` (`:lan` or `:wan`, how patient failure detection is), `:role` (`:peer`, `:server` or `:client`, for
  `:client_server`; without servers the three nodes that are up longest serve), `:meta` (at most 512 bytes that other
  nodes see), `:active` and `:passive` (sizes of the views of `:hyparview`; by default they follow the number of nodes),
  `:probe_ms` and `:suspicion_ms` (how often a member is probed, and how long it may stay silent).

  Every function takes the option `:cluster` (see `Foundation.Distributed.Clusters`), and is about the main cluster
  without it.

  **Scheduling**: every function that asks the overlay runs on a dirty CPU scheduler, bounded by the number of members
  (some 0.1 µs for each); the protocols run on the threads of the native library.
  """

  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Distributed.Overlay
  alias Foundation.Distributed.Overlay.Options
  alias Foundation.Native

  @type topology :: :full_mesh | :hyparview | :client_server | :pub_sub
  @type workload ::
          :low_latency | :high_throughput | :broadcast | :pub_sub | :client_server | :scale | :measured
  @type estimate :: %{
          topology: topology,
          links: float,
          messages: float,
          broadcasts: float,
          upkeep: float,
          total: float
        }
  @type advice :: %{
          workload: workload,
          current: topology,
          best: topology,
          saving: float,
          estimates: [estimate]
        }

  @topologies Options.topologies()
  @workloads [:low_latency, :high_throughput, :broadcast, :pub_sub, :client_server, :scale, :measured]
  @settle_ms 30_000

  @doc """
  Changes the topology of the whole cluster, as `switch_topology/2` without options.

  Errors: `{:error, :not_running}`; ArgumentError for another topology. O(links).
  """
  @spec switch_topology(topology) :: :ok | {:error, term}
  def switch_topology(topology), do: switch_topology(topology, [])

  @doc """
  Changes the topology of the whole cluster, waiting for it, or only from a certain one.

  With options: `:settled` (false), whether to wait until this node has the new links and has let the former ones go;
  `:timeout` in ms for that (30,000); `:cluster`. With two topologies the second takes the place of the first, and the answer is
  `{:error, {:topology, current}}` when another one is in force.

  Each node keeps the links it had until those of the new topology stand, so nothing that is under way is lost. Of two
  switches at the same time one wins on all nodes. A node that is away learns of it when it is back.

  Errors: `{:error, :not_running}`, `{:error, :timeout}` (the switch goes on all the same); ArgumentError for what is no
  topology. O(links).
  """
  @spec switch_topology(topology, keyword | topology) :: :ok | {:error, term}
  def switch_topology(from, to) when is_atom(to) and to != nil do
    topology!(from)
    topology!(to)

    Overlay.with_handle(fn handle ->
      case Native.topology_info(handle).topology do
        ^from -> Native.topology_switch(handle, to)
        other -> {:error, {:topology, other}}
      end
    end)
  end

  def switch_topology(topology, options) when is_list(options) do
    topology!(topology)
    {scope, options} = Scope.pop(options)
    {settled, timeout} = options!(options)

    Overlay.with_handle(scope, fn handle ->
      with :ok <- Native.topology_switch(handle, topology) do
        if settled, do: Overlay.await_settled(scope, topology, timeout), else: :ok
      end
    end)
  end

  defp options!(options) do
    for {key, _} <- options,
        key not in [:settled, :timeout],
        do:
          raise(
            ArgumentError,
            "switch_topology has no option #{inspect(key)}; it has :settled, :timeout and :cluster"
          )

    settled = Keyword.get(options, :settled, false)
    timeout = Keyword.get(options, :timeout, @settle_ms)
    unless is_boolean(settled), do: bad(:settled, settled, "true or false")
    unless is_integer(timeout) and timeout >= 0, do: bad(:timeout, timeout, "milliseconds, an integer")
    {settled, timeout}
  end

  @doc "The topology in force, or nil when no overlay runs. O(members)."
  @spec current_topology(keyword) :: topology | nil
  def current_topology(options \\ []) do
    case with_handle(options, &Native.topology_info/1) do
      %{topology: topology} -> topology
      {:error, :not_running} -> nil
    end
  end

  @doc """
  Says which topology would serve a workload best by what was measured, and switches to it when that saves at least a
  tenth: `{:ok, advice}`.

  Workloads: `:low_latency` (small requests between any nodes), `:high_throughput` (much data between few), `:broadcast`,
  `:pub_sub`, `:client_server` (many use a few), `:scale` (very many nodes, or nodes that come and go), `:measured` (what
  was measured, nothing assumed). The advice names the `:current` and the `:best` topology, the `:saving` as a share, and
  for each topology what it would cost a node, in microseconds for each second, cheapest first. `recommend/1` only says.

  Errors: `{:error, :not_running}`; ArgumentError for another workload. O(members).
  """
  @spec optimize_for_workload(workload, keyword) :: {:ok, advice} | {:error, :not_running}
  def optimize_for_workload(workload, options \\ []) do
    with {:ok, advice} <- recommend(workload, options) do
      if advice.saving >= 0.1, do: switch_topology(advice.best, Keyword.take(options, [:cluster]))
      {:ok, advice}
    end
  end

  @doc "As `optimize_for_workload/1`, but changes nothing. O(members)."
  @spec recommend(workload, keyword) :: {:ok, advice} | {:error, :not_running}
  def recommend(workload, options \\ []) do
    workload!(workload)
    with_handle(options, fn handle -> {:ok, Native.topology_recommend(handle, workload)} end)
  end

  @doc """
  Lets the cluster choose its topology for a workload by measurement from now on, or (`nil`) no more.

  Call it on every node: of those told so, the one that is up longest looks every 10 s. It switches when a topology has
  been at least a quarter cheaper at three looks in a row, and never within two minutes of the last switch.

  Errors: `{:error, :not_running}`; ArgumentError for another workload. O(1).
  """
  @spec automatic(workload | nil, keyword) :: :ok | {:error, :not_running}
  def automatic(workload \\ :measured, options \\ []) do
    if workload != nil, do: workload!(workload)
    with_handle(options, &Native.topology_automatic(&1, workload))
  end

  @doc """
  What was measured over the last minute: `{:ok, map}`.

  `:nodes`, `:links` of this node, `:seconds` measured over, `:rtt_us` (`:min`, `:median`, `:p90`, `:max` over the
  members, or nil), `:loss` (share of datagrams lost one way, from unanswered probes), `:sent_per_second` and
  `:received_per_second` (payload bytes of all channels), `:lost_per_second` (messages lost or sent again),
  `:broadcasts_per_second`, `:churn_per_minute` (members that came or went), `:partners` (members that carry traffic),
  and `:peers`, a map of each node to `:rtt_us`, `:jitter_us`, `:sent`, `:received`, `:lost`, `:linked`.

  Errors: `{:error, :not_running}`. O(members).
  """
  @spec analyze_performance(keyword) :: {:ok, map} | {:error, :not_running}
  def analyze_performance(options \\ []) do
    with_handle(options, fn handle ->
      analysis = Native.topology_analyze(handle)
      {:ok, %{analysis | peers: Map.new(analysis.peers, fn {name, peer} -> {String.to_atom(name), peer} end)}}
    end)
  end

  @doc """
  The members of the cluster besides this node: maps of `:node`, `:boot` (µs since the epoch), `:address`, `:role`,
  `:meta`. Empty when no overlay runs. O(members).
  """
  @spec members(keyword) :: [map]
  def members(options \\ []) do
    case with_handle(options, &Native.topology_members/1) do
      {:error, :not_running} -> []
      members -> Enum.map(members, &member/1)
    end
  end

  defp member({name, boot, address, role, meta}),
    do: %{node: String.to_atom(name), boot: boot, address: address, role: role, meta: meta}

  @doc "The links this node's topology wants: `{node, open?}`. Empty when no overlay runs. O(links)."
  @spec links(keyword) :: [{node, boolean}]
  def links(options \\ []) do
    case with_handle(options, &Native.topology_links/1) do
      {:error, :not_running} -> []
      links -> Enum.map(links, fn {name, open} -> {String.to_atom(name), open} end)
    end
  end

  @doc """
  The overlay in numbers: `:topology`, `:epoch` (of the last switch), `:settled`, `:members`, `:suspects`, `:links`,
  `:health` (0 well to 8 worst: how much this node distrusts its own clockwork) and counters since the start.

  Errors: `{:error, :not_running}`. O(members).
  """
  @spec info(keyword) :: {:ok, map} | {:error, :not_running}
  def info(options \\ []), do: with_handle(options, fn handle -> {:ok, Native.topology_info(handle)} end)

  @doc """
  Sends news to a process until it ends: `{:foundation_member, event, node}`, where the event is `:up`, `:suspect`,
  `:alive` (not suspected any more), `:meta`, `{:down, :silent | :replaced}` or `:left`, in order for each node, and
  `{:foundation_topology, topology, epoch, settled?}`.

  Errors: `{:error, :not_running}`. O(1).
  """
  @spec subscribe(pid, keyword) :: :ok | {:error, :not_running}
  def subscribe(pid \\ self(), options \\ []) when is_pid(pid),
    do: Overlay.watch(Scope.of(options[:cluster]), pid)

  @doc "Ends that. O(1)."
  @spec unsubscribe(pid, keyword) :: :ok | {:error, :not_running}
  def unsubscribe(pid \\ self(), options \\ []) when is_pid(pid),
    do: Overlay.unwatch(Scope.of(options[:cluster]), pid)

  defp with_handle(options, fun), do: Overlay.with_handle(Scope.of(options[:cluster]), fun)

  defp topology!(topology) when topology in @topologies, do: topology
  defp topology!(other), do: bad(:topology, other, "one of #{inspect(@topologies)}")

  defp workload!(workload) when workload in @workloads, do: workload
  defp workload!(other), do: bad(:workload, other, "one of #{inspect(@workloads)}")

  defp bad(name, value, expected),
    do: raise(ArgumentError, "#{name} is #{expected}, got: #{inspect(value)}")
end
