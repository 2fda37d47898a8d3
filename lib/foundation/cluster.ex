defmodule Foundation.Cluster do
  @moduledoc """
  Forms a cluster of the nodes that belong together, says who is in it, and takes nodes out of it in good order.

      config :foundation, cluster: true

  starts the distribution if this node has none, finds the others, and connects. `guides/clustering.md` tells of the other
  forms; without the key nothing starts. A running application can do the same:

      :ok = Foundation.Cluster.start(:gossip)
      :ok = Foundation.Cluster.await_ready(quorum: 3, timeout: 10_000)
      Foundation.Cluster.nodes()

  ## Members

  Every visible node that this one is connected to is a member. When the connection breaks, the member is unreachable; it
  has left when it said goodbye (it was drained, or its cluster was stopped) or when it did not come back within
  `down_after` (5 s). A member that the strategies of this node find no longer is given up when `leave_after` (15 s) has
  passed and none of them has found it again; it leaves when more than half of the others have given it up. A strategy
  that gets an error keeps what it knew. A node that is being
  drained, or was, is not connected again until it says that it is back, or `rejoin_after` (60 s) is over.

  ## Events

  `subscribe/1` sends `{:foundation_cluster, %{seq: n, event: event, node: node, reason: reason, at: ms}}`, in one order,
  `seq` growing by one with each. `event` is `:joined`, `:unreachable`, `:reachable`, `:left`, `:draining` or
  `:resumed`. Each is also the telemetry event `[:foundation, :cluster, event]` with the measurement `size` and the
  metadata `node` and `reason`.

  | event | reasons |
  |---|---|
  | `:joined` | `{:found_by, strategies}`, `:connected_to_us`, `:restarted`; `:present` for those who are there at the time of subscribing |
  | `:unreachable` | the runtime's: `:connection_closed`, `:net_tick_timeout`, … |
  | `:reachable` | `:reconnected` |
  | `:left` | `{:goodbye, why}`, `{:given_up, strategy}`, `:restarted`, `:draining`, or that of the `:unreachable` before it |
  | `:draining`, `:resumed` | what `drain/1` was given, `:sigterm`; `:resumed` |

  ## Several clusters

  All this is about the main cluster, that of `config :foundation, cluster:`. `await_ready/1`, `info/1`, `drain/1`,
  `resume/1`, `draining?/2`, `on_drain/3` and `doctor/1` take the option `:cluster`, the name of a cluster that this node has
  joined besides (see `Foundation.Distributed.Clusters`) or that of the main one, and answer `{:error, :not_joined}` for
  any other name.

  **Scheduling**: no function here calls the native library for the main cluster; for another, `info/1` and
  `await_ready/1` ask its fabric, on a dirty CPU scheduler, O(members).
  """

  alias Foundation.Cluster.{
    Config,
    Drain,
    Elsewhere,
    Environment,
    Federation,
    Membership,
    Strategy,
    Table
  }

  @call_ms 5_000
  @ready_ms 30_000
  @events [:joined, :unreachable, :reachable, :left, :draining, :resumed]

  @type event :: :joined | :unreachable | :reachable | :left | :draining | :resumed

  @doc """
  Starts a cluster as `config :foundation, cluster: spec, cluster_options: options` would, and starts the distribution
  if this node has none.

  Errors: `:already_started`; `{:invalid_config, %{key: key, value: value, expected: text}}`; `{:distribution, reason}`
  when this node cannot be made one that others connect to; `:not_running` when the application is not.
  """
  @spec start(term, keyword) :: :ok | {:error, term}
  def start(spec \\ true, options \\ []) do
    with {:ok, config} <- Config.read(spec, options),
         {:ok, child} <- child(config),
         do: child |> start_child()
  end

  defp start_child(child) do
    case Supervisor.start_child(Foundation.Supervisor, child) do
      {:ok, _pid} -> :ok
      {:error, {:already_started, _}} -> {:error, :already_started}
      {:error, :already_present} -> Supervisor.restart_child(Foundation.Supervisor, child.id) |> restarted()
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  defp restarted({:ok, _}), do: :ok
  defp restarted({:error, reason}), do: {:error, reason}

  @doc false
  # What the environment asks for.
  @spec from_environment() :: {:ok, Config.t() | :none} | {:error, term}
  def from_environment do
    case Config.from_environment() do
      :none -> {:ok, :none}
      result -> result
    end
  end

  @doc false
  # The children for it, when this node can be connected to.
  @spec prepare(Config.t() | :none) :: {:ok, [Supervisor.child_spec()]} | {:error, term}
  def prepare(:none), do: {:ok, []}
  def prepare(config), do: with({:ok, child} <- child(config), do: {:ok, [child]})

  @doc false
  @spec describe(term) :: String.t()
  def describe({:invalid_config, _} = problem), do: Config.message(problem)
  def describe({:distribution, reason}), do: "the distribution cannot be started: #{inspect(reason)}"
  def describe(other), do: inspect(other)

  defp child(config) do
    with :ok <- Environment.prepare(config), do: {:ok, Foundation.Cluster.Supervisor.child_spec(config)}
  end

  @doc """
  Leaves the cluster: says goodbye to the members, disconnects from them, and ends the strategies. The distribution runs
  on; the others do not connect to this node for `rejoin_after`, unless it connects to them. `:ok`, also when no cluster
  runs.
  """
  @spec stop() :: :ok
  def stop do
    if running?(), do: Drain.part(:stopped)
    _ = Supervisor.terminate_child(Foundation.Supervisor, Foundation.Cluster.Supervisor)
    _ = Supervisor.delete_child(Foundation.Supervisor, Foundation.Cluster.Supervisor)
    :ok
  catch
    :exit, _ -> :ok
  end

  @doc "Whether a cluster is switched on. O(1)."
  @spec running?() :: boolean
  def running?, do: Table.exists?()

  @doc """
  The members that are up, this node among them, in order; without a running cluster, this node and those it is connected
  to. O(members).

      iex> node() in Foundation.Cluster.nodes()
      true
  """
  @spec nodes() :: [node]
  defdelegate nodes, to: Membership

  @doc """
  The names of the nodes of a cluster, as text: of one that this node has joined, or of another by one call to it; see
  `Foundation.Cluster.Federation.nodes/1`.
  """
  @spec nodes(Federation.cluster()) :: {:ok, [String.t()]} | {:error, Federation.reason()}
  defdelegate nodes(cluster), to: Federation

  @doc "The clusters that `config :foundation, clusters:` names, and those joined since, in order. O(clusters)."
  @spec clusters() :: [Federation.cluster()]
  defdelegate clusters, to: Federation

  @doc """
  Calls a function in another cluster: `{module, function, arguments}`, which that cluster must allow; on one of its nodes
  when this node has joined it, else through its gateway.
  `timeout:` in ms (5,000). Errors and cost: see `Foundation.Cluster.Federation.call/3`.
  """
  @spec send_to_cluster(Federation.cluster(), {module, atom, [term]}, keyword) ::
          {:ok, term} | {:error, Federation.reason()}
  def send_to_cluster(cluster, target, opts \\ []), do: Federation.call(cluster, target, opts)

  @doc """
  How many members are up, this node counted. O(members).

      iex> Foundation.Cluster.size() == length(Foundation.Cluster.nodes())
      true
  """
  @spec size() :: pos_integer
  def size, do: length(nodes())

  @doc """
  How the cluster stands: `running`, `node`, `alive` (whether the distribution runs), `nodes`, `size`, `draining` (of this
  node), `members` (for each node: `state`, `:up` or `:unreachable`, `since` in ms of that state, `reason`, `draining`,
  `found_by`) and `strategies` (for each: `module`, `status`, the `nodes` it found last, its last `error` or nil,
  `failures` in a row, `rounds`). Secrets and options are not part of it. O(members + strategies).

  With `cluster:` the same of another cluster, in which a member that its overlay suspects is `:unreachable`; what its
  fabric knows besides is in `Foundation.Distributed.Clusters.info/1`. Errors: `:not_joined`.
  """
  @spec info(keyword) :: map | {:error, :not_joined}
  def info(opts \\ []) do
    case Elsewhere.of(opts) do
      nil -> own_info()
      cluster -> Elsewhere.ask(:info, [cluster])
    end
  end

  defp own_info do
    now = System.monotonic_time(:millisecond)

    %{
      running: running?(),
      node: node(),
      alive: Node.alive?(),
      nodes: nodes(),
      size: size(),
      draining: draining?(),
      members: Map.new(Table.all(:member), &member(&1, now)),
      strategies: strategies()
    }
  end

  defp member({node, member}, now) do
    {node,
     %{
       state: member.state,
       since: now - member.since,
       reason: member.reason,
       draining: draining?(node),
       found_by: Table.claims(node)
     }}
  end

  defp strategies do
    reports = Strategy.reports()

    Map.new(Table.all(:strategy), fn {topology, %{module: module, status: status}} ->
      report = Map.get(reports, topology, %{nodes: [], error: nil, failures: 0, rounds: 0, at: nil})
      {topology, Map.merge(report, %{module: module, status: status})}
    end)
  end

  @doc """
  Waits until the cluster is large enough.

  `quorum:` is a number of members, or `:majority` (the default): every strategy has answered once, and more than half of
  the nodes that any has found are up (or, with the option `expected_size`, more than half of that many). `timeout:` in ms
  (30,000) or `:infinity`. `cluster:` waits for another cluster; the nodes behind its `:seeds` count as found.

  Errors: `{:timeout, %{size: n, wanted: n, waiting_for: strategies}}` (`:seeds` among them when a joined cluster's seeds
  could not be asked); `:not_running`; `:not_joined`.
  """
  @spec await_ready(keyword) :: :ok | {:error, term}
  def await_ready(opts \\ []) do
    quorum = Keyword.get(opts, :quorum, :majority)
    timeout = Keyword.get(opts, :timeout, @ready_ms)

    unless quorum == :majority or (is_integer(quorum) and quorum > 0),
      do: reject("quorum", quorum, ":majority or a number of nodes above 0")

    unless timeout == :infinity or (is_integer(timeout) and timeout >= 0),
      do: reject("timeout", timeout, "a number of milliseconds or :infinity")

    case Elsewhere.of(opts) do
      nil -> ask(fn -> Membership.await(quorum, timeout) end)
      cluster -> Elsewhere.ask(:await, [cluster, quorum, timeout])
    end
  end

  @doc """
  Sends the caller the cluster's events from now on: all, or those of the list. First come those that say who is there
  already. A second call replaces the first. Ends with `unsubscribe/0` or the process.

  Errors: `:not_running`.
  """
  @spec subscribe(:all | [event]) :: :ok | {:error, :not_running}
  def subscribe(events \\ :all) do
    unless events == :all or (is_list(events) and events != [] and Enum.all?(events, &(&1 in @events))),
      do: reject("events", events, ":all or a list of some of #{inspect(@events)}")

    ask(fn -> Membership.subscribe(self(), events) end)
  end

  @doc "Ends the caller's subscription. Errors: `:not_running`."
  @spec unsubscribe() :: :ok | {:error, :not_running}
  def unsubscribe, do: ask(fn -> Membership.unsubscribe(self()) end)

  @doc """
  Empties this node and takes it out of the cluster.

  All members hear at once that it is draining (`draining?/1`, the event `:draining`), and what is above sends it no new
  work. Then the functions of `on_drain/2` run, side by side, until they are done or `timeout:` ms
  (option `drain_timeout`, 30,000) are over; then the node says goodbye and disconnects. It is not connected again, by
  anyone, until `resume/0` or its next start. Other options: `reason:` (`:drain`), any term, for the events; `node:`,
  another member to be drained instead.

  With `cluster:` another cluster is left, and the node stays in the others: its members hear of it over its fabric, the
  functions that `on_drain/3` was given for that cluster run, and the fabric is stopped. `cluster: :all` does so with each
  cluster that this node is in, side by side.

  A release drains by itself on SIGTERM, out of all clusters (option `drain_on_sigterm`: `:release`, `true` or `false`),
  before its applications are stopped.

  Errors: `{:deadline, names}` of functions that were not done and have been ended, `{:failed, names}` of those that
  raised (the node has left all the same); `:resumed` when `resume/1` came before the end; `:not_running`; `:not_joined`;
  `{:unreachable, node}`; with `:all` `{:clusters, [{cluster, error}]}`, where nil is the main one. A second drain waits for
  the first.
  """
  @spec drain(keyword) :: :ok | {:error, term}
  def drain(opts \\ []) do
    timeout = Keyword.get_lazy(opts, :timeout, fn -> option(:drain_timeout, @ready_ms) end)

    unless is_integer(timeout) and timeout > 0,
      do: reject("timeout", timeout, "a number of milliseconds above 0")

    cluster = if opts[:cluster] == :all, do: :all, else: Elsewhere.of(opts)
    drain_in(cluster, Keyword.get(opts, :node, node()), Keyword.get(opts, :reason, :drain), timeout)
  end

  defp drain_in(nil, node, reason, timeout) when node == node(), do: ask(fn -> Drain.run(reason, timeout) end)
  defp drain_in(nil, other, reason, timeout) when is_atom(other), do: drain_other(other, reason, timeout)
  defp drain_in(nil, other, _reason, _timeout), do: reject("node", other, "a node's name")
  defp drain_in(:all, node, reason, timeout) when node == node(), do: drain_all(reason, timeout)

  defp drain_in(cluster, node, reason, timeout) when node == node(),
    do: Elsewhere.ask(:drain, [cluster, reason, timeout])

  defp drain_in(_cluster, other, _reason, _timeout),
    do: reject("node", other, "this node: another one is drained by name in the main cluster only")

  defp drain_all(reason, timeout) do
    clusters = if(running?(), do: [nil], else: []) ++ Elsewhere.ask(:joined, [], [])

    results =
      clusters
      |> Enum.map(&{&1, Task.async(fn -> drain_in(&1, node(), reason, timeout) end)})
      |> Enum.map(fn {cluster, task} -> {cluster, Task.await(task, :infinity)} end)

    case for({cluster, {:error, error}} <- results, do: {cluster, error}) do
      _ when results == [] -> {:error, :not_running}
      [] -> :ok
      errors -> {:error, {:clusters, errors}}
    end
  end

  defp drain_other(node, reason, timeout) do
    result = :erpc.call(node, __MODULE__, :drain_for_other, [reason, timeout], timeout + @call_ms)
    if result != {:error, :not_running}, do: await_gone(node, System.monotonic_time(:millisecond) + @call_ms)
    result
  catch
    :error, {:erpc, :noconnection} -> {:error, {:unreachable, node}}
    :error, {:erpc, reason} -> {:error, {reason, node}}
  end

  @doc false
  @spec drain_for_other(term, pos_integer) :: :ok | {:error, term}
  def drain_for_other(reason, timeout), do: ask(fn -> Drain.run_for_other(reason, timeout) end)

  defp await_gone(node, deadline) do
    if node in nodes() and System.monotonic_time(:millisecond) < deadline do
      receive do
      after
        5 -> await_gone(node, deadline)
      end
    end
  end

  @doc """
  Makes this node a member again after `drain/1`, in the main cluster, in that of `cluster:`, or with `:all` in each that it
  has been drained out of.

  Errors: `:not_running`; `:not_joined`; what the fabric of the cluster could not be started for; with `:all`
  `{:clusters, [{cluster, error}]}`.
  """
  @spec resume(keyword) :: :ok | {:error, term}
  def resume(opts \\ []) do
    if opts[:cluster] == :all, do: resume_all(), else: resume_in(Elsewhere.of(opts))
  end

  defp resume_in(nil), do: ask(&Drain.resume/0)
  defp resume_in(cluster), do: Elsewhere.ask(:resume, [cluster])

  defp resume_all do
    clusters = if(running?(), do: [nil], else: []) ++ Elsewhere.ask(:draining, [], [])

    case for(cluster <- clusters, {:error, error} <- [resume_in(cluster)], do: {cluster, error}) do
      [] -> :ok
      errors -> {:error, {:clusters, errors}}
    end
  end

  @doc "Whether this node is being drained, or has been. O(log n), no message."
  @spec draining?() :: boolean
  def draining?, do: draining?(node())

  @doc "Whether that node is being drained, or has left that way; in the main cluster, or that of `cluster:`. O(log n), no message."
  @spec draining?(node, keyword) :: boolean
  def draining?(node, opts \\ []) when is_atom(node) do
    case Elsewhere.of(opts) do
      # Nodes that are in this cluster by its fabric alone say it there.
      nil -> Membership.draining?(node) or Drain.noted(nil, node) != nil
      cluster -> Elsewhere.ask(:draining?, [cluster, node], false)
    end
  end

  @doc """
  Runs the function in a process of its own when this node is drained, and has the drain wait for it; a function given
  before under the same name is replaced, and `nil` takes it away. It may be given before the cluster is started, and stays
  until Foundation stops. With `cluster:` it runs when the node is drained out of that cluster, and not for another.
  Errors: `:not_running` (Foundation does not).
  """
  @spec on_drain(term, (() -> term) | nil, keyword) :: :ok | {:error, :not_running}
  def on_drain(name, fun, opts \\ []) do
    unless is_nil(fun) or is_function(fun, 0), do: reject("fun", fun, "a function without arguments, or nil")
    cluster = Elsewhere.of(opts)
    done = if fun, do: Drain.register(cluster, name, fun), else: Drain.unregister(cluster, name)
    if done, do: :ok, else: {:error, :not_running}
  end

  @doc """
  Finds out why nodes do not come together: `{:ok | :problems, findings}`, each finding with what is wrong and what to
  change, in words; of the cluster `cluster:`, if that is given. Options, and what is looked at:
  `Foundation.Cluster.Doctor.run/1`.
  """
  @spec doctor(keyword) :: Foundation.Cluster.Doctor.result()
  defdelegate doctor(opts \\ []), to: Foundation.Cluster.Doctor, as: :run

  @doc false
  # The option as configured, or the default without a cluster.
  @spec option(atom, term) :: term
  def option(key, default) do
    case Table.get(:config) do
      %{options: %{^key => value}} -> value
      _ -> default
    end
  end

  defp ask(fun) do
    if running?(), do: fun.(), else: {:error, :not_running}
  catch
    :exit, {reason, {GenServer, :call, _}} when reason in [:noproc, :normal, :shutdown] ->
      {:error, :not_running}
  end

  defp reject(argument, value, expected),
    do: raise(ArgumentError, "#{argument} is #{inspect(value)}, and #{expected} was expected")
end
