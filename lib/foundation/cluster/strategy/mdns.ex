defmodule Foundation.Cluster.Strategy.Mdns do
  @moduledoc """
  Finds the nodes of the local network by multicast DNS, without any configuration.

      config :foundation, cluster: :mdns

  The node announces `_foundation._tcp.local` on every network interface, over IPv4 and IPv6: its name, application and
  cluster, and a proof that it has the same cookie, from which the cookie cannot be computed. Nodes with another
  cookie or another cluster name are ignored and counted. Who stops says goodbye; a node that is draining is not announced.

  What is found is connected; nobody is ever disconnected for not being heard, since a lost datagram says nothing.

  Options:

    * `cluster`: only nodes of the same cluster name find each other (`"default"`)
    * `secret`: what the proof is made with (the node's cookie). It must be a random one: who listens on the network can try
      words from a list against a proof
    * `interfaces`: names of the network interfaces to use (all)
    * `announce`: whether others are to find this node (`true`)
    * `app`: the application's name to announce (the release's name, if any)
    * `add_hosts`: when the host name of a found node cannot be resolved, let this VM know it by the address it
      announces (`true`). That is what lets laptops find each other that no DNS server knows
    * `port`: the UDP port (5353)

  Errors in its report: `:no_multicast` when the node does not hear its own announcement within 5 s (no network interface
  with multicast, or a firewall), `:not_alive`, and `:busy`, `:node`, `:name`, `:interface`, `:secret`, `{:daemon, text}` when
  nothing could be started.

  **Scheduling**: starting and stopping run on dirty IO schedulers (stopping waits at most 500 ms for the goodbye), looking
  at the counts on a dirty CPU scheduler; what is found comes as messages from a native thread.
  """

  use GenServer
  use Foundation.Cluster.Strategy

  alias Foundation.Cluster.{Membership, Strategy, Table}
  alias Foundation.Cluster.Strategy.Mdns.Hosts
  alias Foundation.Cluster.Strategy.Names
  alias Foundation.Native

  require Logger

  @tick_ms 1_000
  @deaf_after 5
  @retry_ms 5_000
  @udp_port 5353

  @impl Foundation.Cluster.Strategy
  def start_link([state]), do: GenServer.start_link(__MODULE__, state)

  @doc """
  What a running strategy has seen, by its process: `nodes` and `strangers` (nodes with another cookie, with their clusters), and
  `counts` of records by what was done with them. `{:error, :not_running}` while nothing could be started.
  """
  @spec stats(pid) :: {:ok, map} | {:error, :not_running}
  def stats(strategy), do: GenServer.call(strategy, :stats)

  @doc """
  Listens for `ms` without announcing anything: the nodes found, and those with another cookie.

  Options are those of the strategy. Errors: as in its report.
  """
  @spec look(keyword, pos_integer) ::
          {:ok, [node], [{name :: String.t(), cluster :: String.t()}]} | {:error, term}
  def look(config, ms) do
    own = if Node.alive?(), do: node(), else: :doctor@localhost

    with {:ok, session} <- open(config, own, false) do
      receive do
      after
        ms -> :ok
      end

      stats = Native.discovery_stats(session)
      Native.discovery_stop(session)
      flush()
      {:ok, Enum.flat_map(stats.nodes, &Names.node_name/1), stats.strangers}
    end
  end

  defp flush do
    receive do
      {:foundation_discovery, _} -> flush()
    after
      0 -> :ok
    end
  end

  @doc "The nodes with another cookie that the strategy of that name has heard, with their clusters."
  @spec strangers(Strategy.topology()) :: [{name :: String.t(), cluster :: String.t()}]
  def strangers(topology), do: Table.get({:strangers, topology}, [])

  @impl GenServer
  def init(state) do
    Process.flag(:trap_exit, true)
    state = %{state | config: concealed(state.config)}

    {:ok, %{state: state, session: nil, known: MapSet.new(), announced: false, ticks: 0, strangers: []},
     {:continue, :start}}
  end

  @impl GenServer
  def handle_continue(:start, mdns), do: {:noreply, start(mdns)}

  @impl GenServer
  def handle_call(:stats, _from, %{session: nil} = mdns), do: {:reply, {:error, :not_running}, mdns}
  def handle_call(:stats, _from, mdns), do: {:reply, {:ok, Native.discovery_stats(mdns.session)}, mdns}

  @impl GenServer
  def handle_info({:foundation_discovery, {:found, {name, _app, _boot}, addresses, port}}, mdns),
    do: {:noreply, name |> Names.node_name() |> Enum.reduce(mdns, &found(&2, &1, addresses, port))}

  def handle_info({:foundation_discovery, {:lost, {name, _app, _boot}}}, mdns),
    do: {:noreply, name |> Names.node_name() |> Enum.reduce(mdns, &lost(&2, &1))}

  def handle_info(:start, mdns), do: {:noreply, start(mdns)}
  def handle_info(:tick, mdns), do: {:noreply, mdns |> tick() |> again()}
  def handle_info(_other, mdns), do: {:noreply, mdns}

  @impl GenServer
  def terminate(_reason, %{session: nil}), do: :ok
  def terminate(_reason, %{session: session}), do: Native.discovery_stop(session)

  # -- start -------------------------------------------------------------------------------------------------------

  defp start(%{state: %{config: config} = state} = mdns) do
    announce = announce?(config)

    case opened(config, announce) do
      {:ok, session} ->
        Strategy.report(state, {:ok, []})
        again(%{mdns | session: session, announced: announce})

      {:error, reason} ->
        Strategy.report(state, {:error, reason})
        Process.send_after(self(), :start, @retry_ms)
        mdns
    end
  end

  # For a cluster whose nodes the fabric alone connects, the node has the name and the port that it has there.
  defp opened(config, announce) do
    case config[:announced] do
      {own, _port} -> open(config, own, announce)
      nil -> if Node.alive?(), do: open(config, node(), announce), else: {:error, :not_alive}
    end
  end

  defp open(config, own, announce) do
    names = {Atom.to_string(own), app(config), to_string(Keyword.get(config, :cluster, "default"))}
    port = port(config[:announced])
    numbers = {System.os_time(:microsecond), port, Keyword.get(config, :port, @udp_port)}
    interfaces = config |> Keyword.get(:interfaces, []) |> Enum.map(&to_string/1)
    Native.discovery_start(self(), names, numbers, secret(config), {announce, interfaces})
  end

  defp app(config),
    do: to_string(Keyword.get_lazy(config, :app, fn -> System.get_env("RELEASE_NAME", "") end))

  defp secret(config) do
    case Keyword.get_lazy(config, :secret, fn -> :erlang.get_cookie() end) do
      concealed when is_function(concealed, 0) -> concealed.()
      secret -> to_string(secret)
    end
  end

  # A function shows nothing of what it holds when a state is printed.
  defp concealed(config) do
    case Keyword.fetch(config, :secret) do
      {:ok, secret} when not is_function(secret) -> Keyword.put(config, :secret, fn -> to_string(secret) end)
      _ -> config
    end
  end

  defp port({_own, port}), do: port.()
  defp port(nil), do: if(Node.alive?(), do: distribution_port(), else: 0)

  # The port that this node listens on, where it can be known.
  defp distribution_port do
    name = node() |> Atom.to_string() |> String.split("@") |> hd() |> String.to_charlist()

    case :erl_epmd.port_please(name, {127, 0, 0, 1}, 1_000) do
      {:port, port, _version} -> port
      _ -> 0
    end
  end

  # -- what was found ----------------------------------------------------------------------------------------------

  defp found(%{state: state} = mdns, node, addresses, port) do
    mdns = %{mdns | known: MapSet.put(mdns.known, node)}
    Strategy.report(state, {:ok, MapSet.to_list(mdns.known)})
    spawn(fn -> connect(state, node, addresses, port) end)
    mdns
  end

  # Both may wait: for DNS, and for the other host.
  defp connect(%{config: config} = state, node, addresses, port) do
    if config[:found], do: config[:found].(node, addresses, port), else: connect(state, node, addresses)
  end

  defp connect(%{config: config} = state, node, addresses) do
    if Keyword.get(config, :add_hosts, true), do: Hosts.introduce(node, addresses)
    Strategy.connect_nodes(state.topology, state.connect, state.list_nodes, [node])
  end

  # Not heard is not gone: the node is merely looked for no longer.
  defp lost(%{state: state} = mdns, node) do
    mdns = %{mdns | known: MapSet.delete(mdns.known, node)}
    Strategy.release(state, [node])
    Strategy.report(state, {:ok, MapSet.to_list(mdns.known)})
    mdns
  end

  # -- from time to time -------------------------------------------------------------------------------------------

  defp again(mdns) do
    Process.send_after(self(), :tick, @tick_ms)
    %{mdns | ticks: mdns.ticks + 1}
  end

  defp tick(%{state: state} = mdns) do
    stats = Native.discovery_stats(mdns.session)
    mdns |> follow_drain(announce?(state.config)) |> listen(stats) |> name_strangers(stats.strangers)
  end

  defp announce?(config), do: Keyword.get(config, :announce, true) and not Membership.draining?(node())

  defp follow_drain(%{announced: announce} = mdns, announce), do: mdns

  defp follow_drain(mdns, announce) do
    Native.discovery_announce(mdns.session, announce)
    %{mdns | announced: announce, ticks: 0}
  end

  # Whoever is heard by nobody does not hear itself either.
  defp listen(%{ticks: @deaf_after, announced: true, state: state} = mdns, %{counts: %{own: 0}}) do
    if MapSet.size(mdns.known) == 0, do: Strategy.report(state, {:error, :no_multicast})
    %{mdns | ticks: 0}
  end

  defp listen(%{ticks: ticks} = mdns, _stats) when ticks >= @deaf_after do
    Strategy.report(mdns.state, {:ok, MapSet.to_list(mdns.known)})
    %{mdns | ticks: 0}
  end

  defp listen(mdns, _stats), do: mdns

  defp name_strangers(mdns, strangers) do
    for {node, cluster} <- strangers -- mdns.strangers do
      Logger.warning(
        "[cluster] #{node} announces cluster #{inspect(cluster)} with another cookie; it is ignored"
      )
    end

    if strangers != mdns.strangers, do: Table.put({:strangers, mdns.state.topology}, strangers)
    %{mdns | strangers: strangers}
  end
end
