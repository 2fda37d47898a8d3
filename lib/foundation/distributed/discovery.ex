defmodule Foundation.Distributed.Discovery do
  @moduledoc """
  Knows which processes of which nodes provide a service, and what they are capable of.

      :ok = Discovery.register_service(:search, self(), capabilities: [:fuzzy], metadata: %{zone: "a"})
      [%{node: _, pid: _}] = Discovery.discover_services(service: :search, capability: :fuzzy)

  Each node owns what its processes registered and tells the others of every change; nodes that meet tell each other all
  they own, and every two seconds a sum of it, by which a node that missed something notices and asks again. A service
  ends with its process, and a node's services with the node. News go over the channel `:events` to nodes of the fabric,
  over Distributed Erlang to others.

  In a node that is in several clusters each has services of its own: every function takes the option `:cluster` (see
  `Foundation.Distributed.Clusters`), and is about the main one without it.

  **Scheduling**: look-ups read a table; registering is a call of a process and a message to each node.
  """

  use GenServer

  alias Foundation.Distributed.Call
  alias Foundation.Distributed.Discovery.{Directory, News}
  alias Foundation.Distributed.Fabric.Scope

  @defaults %{capabilities: [], metadata: %{}, weight: 1, zone: nil, status: :up}
  @statuses [:up, :unhealthy, :draining]
  @most 1_000

  @typedoc """
  `:status` is what the provider's node says of it: `:up`, `:unhealthy` (its check fails) or `:draining` (it is to get no
  more calls). `:weight` says how much of the calls it is to get in proportion to others, `:zone` where it is.
  """
  @type service :: %{
          service: term,
          pid: pid,
          node: node,
          capabilities: [term],
          metadata: map,
          weight: pos_integer,
          zone: term,
          status: :up | :unhealthy | :draining
        }

  @doc """
  Registers a process of this node as a provider of a service. A process may provide several services; registering it
  again for the same one replaces all that was said of it.

  Options: `:capabilities` ([]), `:metadata` (%{}), `:weight` (1, at most 1,000), `:zone` (that of the node, `config
  :foundation, zone:`), `:status` (`:up`). Errors: `{:error, :not_running}`. O(nodes).
  """
  @spec register_service(term, pid, keyword) :: :ok | {:error, :not_running}
  def register_service(service, pid, options \\ []) when is_pid(pid) do
    {scope, options} = Scope.pop(options)
    options = Map.merge(%{@defaults | zone: zone()}, options!(options))

    if node(pid) != node(),
      do: raise(ArgumentError, "a provider is a process of this node, got: #{inspect(pid)}")

    call(scope, {:register, Map.merge(options, %{service: service, pid: pid, node: node()})})
  end

  defp options!(options) do
    for {key, value} <- options, into: %{} do
      case {key, value} do
        {:capabilities, list} when is_list(list) -> :ok
        {:metadata, map} when is_map(map) -> :ok
        {:weight, n} when is_integer(n) and n in 1..@most -> :ok
        {:zone, _} -> :ok
        {:status, status} when status in @statuses -> :ok
        {:capabilities, other} -> wrong(:capabilities, "a list", other)
        {:metadata, other} -> wrong(:metadata, "a map", other)
        {:weight, other} -> wrong(:weight, "an integer from 1 to #{@most}", other)
        {:status, other} -> wrong(:status, ":up, :unhealthy or :draining", other)
        {other, _} -> raise ArgumentError, "a service has no option #{inspect(other)}"
      end

      {key, value}
    end
  end

  defp wrong(name, what, got), do: raise(ArgumentError, "#{name} is #{what}, got: #{inspect(got)}")

  @doc "The zone of this node, `config :foundation, zone:`; nil when it has none. O(1)."
  @spec zone() :: term
  def zone, do: Application.get_env(:foundation, :zone)

  @doc """
  Says how a provider of this node is. Errors: `{:error, :not_found}`, `{:error, :not_running}`. O(nodes).
  """
  @spec set_status(term, pid, :up | :unhealthy | :draining, keyword) ::
          :ok | {:error, :not_found | :not_running}
  def set_status(service, pid, status, options \\ []) when is_pid(pid) and status in @statuses,
    do: call(Scope.of(options[:cluster]), {:status, service, pid, status})

  @doc """
  Sends the caller `{:foundation_services_changed, cluster, changes}` of what changes from now on, a list of
  `{:up | :changed | :down, service}`; `cluster` is nil for the main one. It ends with the caller.

  Errors: `{:error, :not_running}`. O(1).
  """
  @spec subscribe(keyword) :: :ok | {:error, :not_running}
  def subscribe(options \\ []), do: call(Scope.of(options[:cluster]), {:subscribe, self()})

  @doc "Ends what a process provides. Errors: `{:error, :not_running}`. O(nodes)."
  @spec unregister_service(term, pid, keyword) :: :ok | {:error, :not_running}
  def unregister_service(service, pid, options \\ []),
    do: call(Scope.of(options[:cluster]), {:unregister, service, pid})

  defp call(scope, request) do
    GenServer.call(Scope.process(scope, __MODULE__), request)
  catch
    :exit, {:noproc, _} -> {:error, :not_running}
  end

  @doc """
  The providers that fit every criterion: `:service`, `:capability`, `:node`, `:zone`, `:status`. Empty when none does.

  O(services known).
  """
  @spec discover_services(keyword) :: [service]
  def discover_services(criteria \\ []) do
    {scope, criteria} = Scope.pop(criteria)
    table = Scope.process(scope, __MODULE__)

    for {key, _} <- criteria, key not in [:service, :capability, :node, :zone, :status] do
      raise ArgumentError,
            "services are found by :service, :capability, :node, :zone and :status, not by #{inspect(key)}"
    end

    if :ets.whereis(table) == :undefined,
      do: [],
      else: for({_, found, _id} <- rows(table, criteria), fits?(found, criteria), do: found)
  end

  defp rows(table, criteria) do
    case Keyword.fetch(criteria, :service) do
      {:ok, service} -> Directory.rows(table, service)
      :error -> :ets.tab2list(table)
    end
  end

  defp fits?(service, criteria) do
    Enum.all?(criteria, fn
      {:service, name} -> service.service === name
      {:node, node} -> service.node == node
      {:zone, zone} -> service.zone === zone
      {:status, status} -> service.status == status
      {:capability, capability} -> capability in service.capabilities
    end)
  end

  @doc """
  Asks the node of each provider of a service whether it lives and how many messages wait for it: a list of
  `%{node:, pid:, status: :up | :down | :unreachable, mailbox: n | nil, took_us: n}`.

  Waits up to a second for each node. Errors: `{:error, :unknown_service}`. O(providers).
  """
  @spec get_service_health(term, keyword) :: {:ok, [map]} | {:error, :unknown_service}
  def get_service_health(service, options \\ []) do
    scope = Scope.of(options[:cluster])

    case discover_services(service: service, cluster: scope) do
      [] -> {:error, :unknown_service}
      providers -> {:ok, Enum.map(providers, &health(&1, scope))}
    end
  end

  defp health(%{node: node, pid: pid}, scope) do
    started = System.monotonic_time(:microsecond)
    # There the name is that of the cluster's own process.
    name = if node == node(), do: Scope.process(scope, __MODULE__), else: __MODULE__
    answer = Call.call(:coordination, {name, node}, {:health, pid}, timeout: 1_000, cluster: scope)
    took = System.monotonic_time(:microsecond) - started

    {status, mailbox} =
      case answer do
        {:ok, {:up, mailbox}} -> {:up, mailbox}
        {:ok, :down} -> {:down, nil}
        {:error, _} -> {:unreachable, nil}
      end

    %{node: node, pid: pid, status: status, mailbox: mailbox, took_us: took}
  end

  # -- the process

  @doc false
  def start_link(scope), do: GenServer.start_link(__MODULE__, scope, name: Scope.process(scope, __MODULE__))

  # The state: the tables, the monitors of our own providers, who is told of changes, and what goes to other nodes.
  @impl true
  def init(scope) do
    if scope == nil, do: :net_kernel.monitor_nodes(true)

    state = %{
      scope: scope,
      directory: Directory.new(scope),
      monitors: %{},
      listeners: %{},
      sums: %{},
      lost: [],
      renewing: false
    }

    # What an earlier life of this process knew of our own. Those that ended meanwhile are told of as such.
    own = for {_, found} <- :ets.tab2list(Directory.own(scope)), do: found
    monitors = Map.new(own, &{&1.pid, Process.monitor(&1.pid)})
    {:ok, enter(%{state | monitors: monitors}, own, []), {:continue, :ask}}
  end

  # What others own is told again to a node whose table is new.
  @impl true
  def handle_continue(:ask, state) do
    News.tell_all(state.scope, {:foundation_services_wanted, node()})
    Process.send_after(self(), :sum, News.sum_ms())
    {:noreply, state}
  end

  @impl true
  def handle_call({:register, found}, _from, state) do
    monitors = Map.put_new_lazy(state.monitors, found.pid, fn -> Process.monitor(found.pid) end)
    {:reply, :ok, change(%{state | monitors: monitors}, [found], [])}
  end

  def handle_call({:status, service, pid, status}, _from, state) do
    case :ets.lookup(state.directory.services, {service, pid}) do
      [{_, %{node: node} = found, _}] when node == node() ->
        {:reply, :ok, change(state, [%{found | status: status}], [])}

      _ ->
        {:reply, {:error, :not_found}, state}
    end
  end

  def handle_call({:unregister, service, pid}, _from, state),
    do: {:reply, :ok, state |> change([], [{service, pid}]) |> release([pid])}

  def handle_call({:subscribe, pid}, _from, state) do
    listeners = Map.put_new_lazy(state.listeners, pid, fn -> Process.monitor(pid) end)
    {:reply, :ok, %{state | listeners: listeners}}
  end

  def handle_call({:health, pid}, _from, state) do
    case Process.info(pid, :message_queue_len) do
      {:message_queue_len, length} -> {:reply, {:up, length}, state}
      nil -> {:reply, :down, state}
    end
  end

  @impl true
  def handle_info({:foundation_services, node, added, removed}, state) when node != node() do
    removed = for {_service, pid} = key <- removed, node(pid) == node, do: key
    {:noreply, enter(state, owned(added, node), removed)}
  end

  # All that a node has.
  def handle_info({:foundation_services_all, node, all}, state) when node != node() do
    all = owned(all, node)
    kept = MapSet.new(all, &{&1.service, &1.pid})

    gone =
      for found <- Directory.of_node(state.directory, node),
          key = {found.service, found.pid},
          key not in kept,
          do: key

    {:noreply, enter(state, all, gone)}
  end

  def handle_info({:foundation_services_sum, node, sum}, state) when node != node() do
    {ours, state} = sum_of(state, node)
    if ours != sum, do: News.tell(state.scope, node, {:foundation_services_wanted, node()})
    {:noreply, state}
  end

  def handle_info({wanted, node}, state)
      when wanted in [:foundation_peer_up, :foundation_services_wanted, :nodeup] do
    own = Directory.of_node(state.directory, node())

    if own != [] or wanted == :foundation_services_wanted,
      do: News.tell(state.scope, node, {:foundation_services_all, node(), own})

    {:noreply, state}
  end

  def handle_info({:foundation_peer_down, node}, state), do: {:noreply, forget(state, node)}

  def handle_info({:nodedown, node}, state) do
    if node in Foundation.Distributed.Fabric.nodes(state.scope),
      do: {:noreply, state},
      else: {:noreply, forget(state, node)}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state)
      when is_map_key(state.listeners, pid) and not is_map_key(state.monitors, pid),
      do: {:noreply, %{state | listeners: Map.delete(state.listeners, pid)}}

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    state =
      change(
        %{state | listeners: Map.delete(state.listeners, pid)},
        [],
        Directory.of_pid(state.directory, pid)
      )

    {:noreply, release(state, [pid])}
  end

  # By now the changes that had come with those before are in the tables too.
  def handle_info(:renew, state),
    do: {:noreply, %{state | directory: Directory.renew(state.directory), renewing: false}}

  def handle_info(:sum, state) do
    Process.send_after(self(), :sum, News.sum_ms())
    {sum, state} = sum_of(state, node())
    News.tell_all(state.scope, {:foundation_services_sum, node(), sum})
    {:noreply, unreachable(state)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp owned(list, node) do
    for %{service: _, pid: pid, node: ^node} = found <- list,
        is_pid(pid),
        node(pid) == node,
        do: Map.merge(@defaults, found)
  end

  defp sum_of(%{sums: sums} = state, node) do
    case sums do
      %{^node => sum} ->
        {sum, state}

      _ ->
        sum = News.sum(Directory.of_node(state.directory, node))
        {sum, %{state | sums: Map.put(sums, node, sum)}}
    end
  end

  # Nodes that were lost with a fabric that ended here, of which nobody tells.
  defp unreachable(state) do
    lost = Directory.nodes(state.directory) -- [node() | News.reachable(state.scope)]
    state = Enum.reduce(lost, state, &if(&1 in state.lost, do: forget(&2, &1), else: &2))
    %{state | lost: lost}
  end

  # Of our own: the other nodes are told.
  defp change(state, added, removed) do
    if added != [] or removed != [],
      do: News.tell_all(state.scope, {:foundation_services, node(), added, removed})

    enter(state, added, removed)
  end

  defp forget(state, node) do
    gone = for found <- Directory.of_node(state.directory, node), do: {found.service, found.pid}
    enter(state, [], gone)
  end

  defp enter(state, added, removed) do
    {changes, directory} =
      Enum.flat_map_reduce(added, state.directory, fn found, directory ->
        case Directory.put(directory, found) do
          {:same, directory} -> {[], directory}
          {change, directory} -> {[{change, found}], directory}
        end
      end)

    {gone, directory} =
      Enum.flat_map_reduce(removed, directory, fn key, directory ->
        {found, directory} = Directory.delete(directory, key)
        {if(found, do: [{:down, found}], else: []), directory}
      end)

    changes = changes ++ gone
    sums = Map.drop(state.sums, for({_, found} <- changes, do: found.node))
    told(%{state | directory: directory, sums: sums}, changes)
  end

  defp told(state, []), do: state

  defp told(state, changes) do
    for {pid, _} <- state.listeners, do: send(pid, {:foundation_services_changed, state.scope, changes})
    unless state.renewing, do: send(self(), :renew)
    %{state | renewing: true}
  end

  # Those that provide nothing any more need not be watched.
  defp release(state, pids) do
    idle =
      for pid <- pids, Directory.of_pid(state.directory, pid) == [], monitor = state.monitors[pid] do
        Process.demonitor(monitor, [:flush])
        pid
      end

    %{state | monitors: Map.drop(state.monitors, idle)}
  end
end
