defmodule Foundation.Distributed.Clusters.Seeds do
  @moduledoc false
  # Where the fabrics of one cluster's nodes may be: what its strategies find and what is configured. Whoever of them is no
  # member is asked, again and again, to let this node in.

  use GenServer

  alias Foundation.Distributed.{Fabric, Overlay, Topology}
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Native

  # Soon while this node is alone, seldom while only some are missing.
  @alone_ms 300
  @missing_ms 2_000
  @most 1_024

  def child_spec(%{name: name} = options) do
    plain = Map.take(options, [:name, :seeds, :port])
    %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [plain]}}
  end

  def start_link(%{name: name} = options),
    do: GenServer.start_link(__MODULE__, options, name: Scope.process(name, __MODULE__))

  @doc "For strategies: a node was found, whose fabric has the port that all have. Whether it is a member already."
  @spec connect(atom, node) :: boolean
  def connect(cluster, node) do
    if node != node(), do: GenServer.cast(Scope.process(cluster, __MODULE__), {:found, node})
    node in Fabric.nodes(cluster)
  end

  @doc "For strategies: a node is looked for no longer. Whether it is a member is for membership to say."
  @spec disconnect(atom, node) :: true
  def disconnect(cluster, node) do
    GenServer.cast(Scope.process(cluster, __MODULE__), {:gone, node})
    true
  end

  @doc "For strategies: the members besides this node."
  @spec list(atom) :: [node]
  def list(cluster), do: Fabric.nodes(cluster)

  @doc "For mDNS: a node was found, with its addresses as text and the port of its fabric."
  @spec found(atom, node, [String.t()], :inet.port_number()) :: :ok
  def found(cluster, node, addresses, port) do
    addresses =
      for text <- addresses, {:ok, ip} <- [:inet.parse_address(String.to_charlist(text))], global?(ip) do
        Fabric.Options.address(ip, port)
      end

    GenServer.cast(Scope.process(cluster, __MODULE__), {:found, node, addresses})
  end

  # One that needs the name of an interface is of no use without it.
  defp global?({0xFE80, _, _, _, _, _, _, _}), do: false
  defp global?(_ip), do: true

  @doc "The port of this node's fabric in that cluster."
  @spec port(atom) :: :inet.port_number()
  def port(cluster) do
    case Fabric.info(cluster: cluster) do
      {:ok, %{address: address}} -> port_of(address)
      {:error, :not_running} -> 0
    end
  end

  defp port_of(address), do: address |> String.split(":") |> List.last() |> String.to_integer()

  @doc "The addresses that are being looked for."
  @spec wanted(atom) :: [String.t()]
  def wanted(cluster) do
    GenServer.call(Scope.process(cluster, __MODULE__), :wanted)
  catch
    :exit, _ -> []
  end

  @doc "Those of the configured ones at which no member is; `:unknown` when that cannot be said now."
  @spec missing(atom) :: {:ok, [String.t()]} | :unknown
  def missing(cluster) do
    {:ok, GenServer.call(Scope.process(cluster, __MODULE__), :missing)}
  catch
    :exit, _ -> :unknown
  end

  @impl true
  def init(%{name: name, seeds: seeds, port: port}) do
    Process.send_after(self(), :look, 0)
    {:ok, %{cluster: name, port: port, fixed: seeds, found: %{}}}
  end

  @impl true
  def handle_call(:wanted, _from, state), do: {:reply, wanting(state), state}
  def handle_call(:missing, _from, state), do: {:reply, fixed(state) -- own(state.cluster), state}

  @impl true
  def handle_cast({:found, node}, state) do
    %{cluster: cluster, port: port} = state
    # The name server may take its time.
    unless is_map_key(state.found, node), do: spawn(fn -> resolve(cluster, node, port) end)
    {:noreply, state}
  end

  def handle_cast({:found, node, addresses}, state) do
    fresh = state.found[node] != addresses and node != node()
    state = if node == node(), do: state, else: put_in(state.found[node], addresses)
    if fresh, do: join(state, addresses)
    {:noreply, state}
  end

  def handle_cast({:gone, node}, state), do: {:noreply, %{state | found: Map.delete(state.found, node)}}

  @impl true
  def handle_info(:look, state) do
    missing = wanting(state)
    if missing != [], do: join(state, missing)
    ms = if Fabric.nodes(state.cluster) == [], do: @alone_ms, else: @missing_ms
    Process.send_after(self(), :look, ms + :rand.uniform(ms))
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp resolve(cluster, node, port) do
    host = node |> Atom.to_string() |> String.split("@") |> List.last() |> String.to_charlist()

    addresses =
      for family <- [:inet, :inet6],
          {:ok, ip} <- [:inet.getaddr(host, family)],
          do: Fabric.Options.address(ip, port)

    if addresses != [], do: GenServer.cast(Scope.process(cluster, __MODULE__), {:found, node, addresses})
  end

  # Without those of this node and of members.
  defp wanting(%{cluster: cluster} = state) do
    nodes = Fabric.nodes(cluster)
    found = for {node, addresses} <- state.found, node not in nodes, address <- addresses, do: address
    Enum.uniq(found ++ fixed(state)) -- own(cluster)
  end

  defp fixed(%{fixed: []}), do: []

  defp fixed(%{cluster: cluster, fixed: fixed}) do
    members = MapSet.new(Topology.members(cluster: cluster), & &1.address)
    Enum.reject(fixed, &MapSet.member?(members, &1))
  end

  defp own(cluster) do
    case Fabric.info(cluster: cluster) do
      {:ok, %{address: address}} -> [address, "127.0.0.1:#{port_of(address)}"]
      {:error, :not_running} -> []
    end
  end

  defp join(%{cluster: cluster} = state, addresses) do
    case Overlay.handle(cluster) do
      nil -> introduce(state, addresses)
      handle -> Native.topology_join(handle, Enum.take(addresses, @most))
    end
  end

  # Without an overlay, by name.
  defp introduce(%{cluster: cluster, found: found}, addresses) do
    with handle when handle != nil <- Fabric.handle(cluster) do
      for {node, known} <- found, address <- known, address in addresses do
        Native.fabric_peer(handle, node, 0, address)
      end
    end
  end
end
