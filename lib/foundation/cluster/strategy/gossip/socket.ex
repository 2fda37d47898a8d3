defmodule Foundation.Cluster.Strategy.Gossip.Socket do
  @moduledoc false
  # The UDP socket of gossip: opened by libcluster's options, joined to the groups on every interface, sending on each.

  @port 45_892
  # What libcluster has today, and what it had before 3.3: nodes of both kinds are found.
  @groups [{233, 252, 1, 32}, {230, 1, 1, 251}]
  @sol_socket 0xFFFF
  @so_reuseport 0x0200
  # Packets that are taken before the process is asked again.
  @batch 64

  @type t :: %{
          socket: port,
          port: :inet.port_number(),
          targets: [{:inet.ip4_address(), :any | :inet.ip4_address()}]
        }

  @spec open(keyword) :: {:ok, t} | {:error, term}
  def open(config) do
    port = Keyword.get(config, :port, @port)

    with {:ok, bound} <- address(:if_addr, Keyword.get(config, :if_addr, {0, 0, 0, 0})),
         {:ok, groups} <- groups(Keyword.get(config, :multicast_addr, :default)),
         {:ok, interfaces} <- interfaces(config, bound),
         {:ok, socket} <- :gen_udp.open(port, options(bound, config)) do
      join(%{socket: socket, port: port, targets: []}, groups, interfaces, config[:broadcast_only] == true)
    end
  end

  @doc "Sends the packet to every group on every interface; an error only when none could be sent."
  @spec send(t, binary) :: :ok | {:error, term}
  def send(%{socket: socket, port: port, targets: targets}, packet) do
    results =
      for {group, interface} <- targets do
        if interface != :any, do: :inet.setopts(socket, multicast_if: interface)
        :gen_udp.send(socket, group, port, packet)
      end

    if :ok in results, do: :ok, else: hd(results)
  end

  @doc "Takes further packets."
  @spec more(t) :: :ok
  def more(%{socket: socket}) do
    :inet.setopts(socket, active: @batch)
    :ok
  end

  @spec close(t) :: :ok
  def close(%{socket: socket}), do: :gen_udp.close(socket)

  defp options(bound, config) do
    multicast =
      if config[:broadcast_only] == true,
        do: [],
        else: [multicast_ttl: Keyword.get(config, :multicast_ttl, 1), multicast_loop: true]

    [:binary, active: @batch, ip: bound, reuseaddr: true, broadcast: true] ++ multicast ++ reuse_port()
  end

  # The systems of the BSD family share a port only with this option, which has its number there.
  defp reuse_port do
    case :os.type() do
      {:unix, name} when name in [:darwin, :freebsd, :openbsd, :netbsd] ->
        [{:raw, @sol_socket, @so_reuseport, <<1::native-32>>}]

      _ ->
        []
    end
  end

  defp join(open, groups, _interfaces, true), do: {:ok, %{open | targets: Enum.map(groups, &{&1, :any})}}

  defp join(open, groups, interfaces, false) do
    tried =
      for group <- groups, interface <- interfaces do
        {{group, interface}, :inet.setopts(open.socket, add_membership: {group, interface})}
      end

    case for {target, :ok} <- tried, do: target do
      [] ->
        :gen_udp.close(open.socket)
        {:error, {:multicast, tried |> Enum.map(&elem(&1, 1)) |> Enum.uniq()}}

      targets ->
        {:ok, %{open | targets: targets}}
    end
  end

  defp groups(:default), do: {:ok, @groups}
  defp groups(given), do: with({:ok, group} <- address(:multicast_addr, given), do: {:ok, [group]})

  # Those asked for, else every one that is up and has an IPv4 address.
  defp interfaces(config, bound) do
    case {config[:multicast_if], bound} do
      {nil, {0, 0, 0, 0}} -> {:ok, up()}
      {nil, bound} -> {:ok, [bound]}
      {given, _} -> with({:ok, address} <- address(:multicast_if, given), do: {:ok, [address]})
    end
  end

  defp up do
    {:ok, interfaces} = :inet.getifaddrs()

    for {_name, options} <- interfaces,
        :up in Keyword.get(options, :flags, []),
        {:addr, {_, _, _, _} = address} <- options,
        uniq: true,
        do: address
  end

  defp address(_key, {_, _, _, _} = address), do: {:ok, address}

  defp address(key, text) when is_binary(text) do
    case text |> String.to_charlist() |> :inet.parse_ipv4_address() do
      {:ok, address} -> {:ok, address}
      {:error, _} -> {:error, {:not_an_ipv4_address, {key, text}}}
    end
  end

  defp address(key, other), do: {:error, {:not_an_ipv4_address, {key, other}}}
end
