defmodule Foundation.Distributed.Discovery do
  @moduledoc """
  Knows which processes of which nodes provide a service, and what they are capable of.

      :ok = Discovery.register_service(:search, self(), capabilities: [:fuzzy], metadata: %{zone: "a"})
      [%{node: _, pid: _}] = Discovery.discover_services(service: :search, capability: :fuzzy)

  Each node owns what its processes registered and tells the others of every change over `:events`; nodes that meet tell
  each other all they own. A service ends with its process, and a node's services with the node.

  In a node that is in several clusters each has services of its own: every function takes the option `:cluster` (see
  `Foundation.Distributed.Clusters`), and is about the main one without it.

  **Scheduling**: look-ups read a table; registering is a call of a process and a message to each node.
  """

  use GenServer

  alias Foundation.Distributed.Channels.Wire
  alias Foundation.Distributed.{Call, Fabric}
  alias Foundation.Distributed.Fabric.Scope

  @channel :events
  @patience_ms 30_000

  @type service :: %{service: term, pid: pid, node: node, capabilities: [term], metadata: map}

  @doc """
  Registers a process of this node as a provider of a service. A process may provide several services; registering it
  again for the same one replaces capabilities and metadata.

  Options: `:capabilities` ([]), `:metadata` (%{}). Errors: `{:error, :not_running}`. O(nodes).
  """
  @spec register_service(term, pid, keyword) :: :ok | {:error, :not_running}
  def register_service(service, pid, options \\ []) when is_pid(pid) do
    {scope, options} = Scope.pop(options)
    {capabilities, rest} = Keyword.pop(options, :capabilities, [])
    {metadata, rest} = Keyword.pop(rest, :metadata, %{})

    cond do
      rest != [] ->
        raise ArgumentError, "a service has no options #{inspect(Keyword.keys(rest))}"

      not is_list(capabilities) ->
        raise ArgumentError, "capabilities is a list, got: #{inspect(capabilities)}"

      not is_map(metadata) ->
        raise ArgumentError, "metadata is a map, got: #{inspect(metadata)}"

      node(pid) != node() ->
        raise ArgumentError, "a provider is a process of this node, got: #{inspect(pid)}"

      Fabric.handle(scope) == nil ->
        {:error, :not_running}

      true ->
        GenServer.call(Scope.process(scope, __MODULE__), {:register, service, pid, capabilities, metadata})
    end
  end

  @doc "Ends what a process provides. Errors: `{:error, :not_running}`. O(nodes)."
  @spec unregister_service(term, pid, keyword) :: :ok | {:error, :not_running}
  def unregister_service(service, pid, options \\ []) do
    scope = Scope.of(options[:cluster])

    if Fabric.handle(scope),
      do: GenServer.call(Scope.process(scope, __MODULE__), {:unregister, service, pid}),
      else: {:error, :not_running}
  end

  @doc """
  The providers that fit every criterion: `:service`, `:capability`, `:node`. Empty when none does or no fabric runs.

  O(services known).
  """
  @spec discover_services(keyword) :: [service]
  def discover_services(criteria \\ []) do
    {scope, criteria} = Scope.pop(criteria)
    table = Scope.process(scope, __MODULE__)

    for {key, _} <- criteria, key not in [:service, :capability, :node] do
      raise ArgumentError, "services are found by :service, :capability and :node, not by #{inspect(key)}"
    end

    if :ets.whereis(table) == :undefined,
      do: [],
      else: for({_, found} <- rows(table, criteria[:service]), fits?(found, criteria), do: found)
  end

  defp rows(table, nil), do: :ets.tab2list(table)
  defp rows(table, service), do: :ets.match_object(table, {{service, :_}, :_})

  defp fits?(service, criteria) do
    Enum.all?(criteria, fn
      {:service, name} -> service.service == name
      {:node, node} -> service.node == node
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

  @doc false
  def start_link(scope), do: GenServer.start_link(__MODULE__, scope, name: Scope.process(scope, __MODULE__))

  # The table holds {{service, pid}, service}; the state, the monitors of our own providers.
  @impl true
  def init(scope) do
    table = Scope.process(scope, __MODULE__)
    :ets.new(table, [:named_table, :ordered_set, :protected, read_concurrency: true])
    {:ok, %{scope: scope, table: table, monitors: %{}}, {:continue, :ask}}
  end

  # What others own is told again to a node whose table is new.
  @impl true
  def handle_continue(:ask, state) do
    tell_all(state.scope, {:foundation_services_wanted, node()})
    {:noreply, state}
  end

  @impl true
  def handle_call({:register, service, pid, capabilities, metadata}, _from, state) do
    found = %{service: service, pid: pid, node: node(), capabilities: capabilities, metadata: metadata}
    :ets.insert(state.table, {{service, pid}, found})
    tell_all(state.scope, {:foundation_services, node(), [found], []})
    monitors = Map.put_new_lazy(state.monitors, pid, fn -> Process.monitor(pid) end)
    {:reply, :ok, %{state | monitors: monitors}}
  end

  def handle_call({:unregister, service, pid}, _from, state) do
    {:reply, :ok, remove([{service, pid}], state)}
  end

  def handle_call({:health, pid}, _from, state) do
    case Process.info(pid, :message_queue_len) do
      {:message_queue_len, length} -> {:reply, {:up, length}, state}
      nil -> {:reply, :down, state}
    end
  end

  @impl true
  def handle_info({:foundation_services, node, added, removed}, state) do
    for found <- added, found.node == node, do: :ets.insert(state.table, {{found.service, found.pid}, found})
    for key <- removed, do: :ets.delete(state.table, key)
    {:noreply, state}
  end

  def handle_info({wanted, node}, state) when wanted in [:foundation_peer_up, :foundation_services_wanted] do
    own = for {_, found} <- :ets.tab2list(state.table), found.node == node(), do: found
    if own != [], do: tell(state.scope, node, {:foundation_services, node(), own, []})
    {:noreply, state}
  end

  def handle_info({:foundation_peer_down, node}, state) do
    :ets.match_delete(state.table, {:_, %{node: node}})
    {:noreply, state}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    keys = for [service] <- :ets.match(state.table, {{:"$1", pid}, :_}), do: {service, pid}
    {:noreply, remove(keys, state)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp remove(keys, state) do
    for key <- keys, do: :ets.delete(state.table, key)
    if keys != [], do: tell_all(state.scope, {:foundation_services, node(), [], keys})

    idle =
      for {_, pid} <- keys,
          :ets.match(state.table, {{:_, pid}, :"$1"}) == [],
          monitor = state.monitors[pid] do
        Process.demonitor(monitor, [:flush])
        pid
      end

    %{state | monitors: Map.drop(state.monitors, idle)}
  end

  defp tell_all(scope, news), do: Enum.each(Fabric.nodes(scope), &tell(scope, &1, news))

  defp tell(scope, node, news) do
    options = %{Wire.options(timeout: @patience_ms) | cluster: scope}
    Wire.send(@channel, {node, __MODULE__}, news, options)
  end
end
