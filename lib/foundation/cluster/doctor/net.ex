defmodule Foundation.Cluster.Doctor.Net do
  @moduledoc false
  # The network as the doctor sees it: addresses of names, network interfaces, and epmd's protocol, with the reasons that
  # :erl_epmd leaves out.

  import Bitwise

  @connect_ms 2_000
  @receive_ms 2_000
  @max_names 1_048_576

  @type reason :: :timeout | :econnrefused | :closed | atom

  @doc "The host part of a node's name."
  @spec host(node) :: String.t()
  def host(node), do: node |> Atom.to_string() |> String.split("@") |> List.last()

  @doc "The part before it."
  @spec basename(node) :: String.t()
  def basename(node), do: node |> Atom.to_string() |> String.split("@") |> hd()

  @doc "Whether a host name makes a long node name."
  @spec long?(String.t()) :: boolean
  def long?(host), do: String.contains?(host, [".", ":"])

  @spec address(String.t()) :: {:ok, :inet.ip_address()} | {:error, atom}
  def address(host) do
    with {:error, _} <- :inet.getaddr(String.to_charlist(host), :inet),
         do: :inet.getaddr(String.to_charlist(host), :inet6)
  end

  @spec shown(:inet.ip_address()) :: String.t()
  def shown(address), do: address |> :inet.ntoa() |> List.to_string()

  @doc "`{name, flags, addresses}` of each network interface."
  @spec interfaces() :: [{String.t(), [atom], [:inet.ip_address()]}]
  def interfaces do
    {:ok, list} = :inet.getifaddrs()

    for {name, options} <- list,
        do: {List.to_string(name), Keyword.get(options, :flags, []), Keyword.get_values(options, :addr)}
  end

  @spec loopback?(:inet.ip_address()) :: boolean
  def loopback?({127, _, _, _}), do: true
  def loopback?({0, 0, 0, 0, 0, 0, 0, 1}), do: true
  def loopback?(_), do: false

  @doc "Whether the address belongs to this host."
  @spec own?(:inet.ip_address()) :: boolean
  def own?(address),
    do: loopback?(address) or Enum.any?(interfaces(), fn {_, _, addresses} -> address in addresses end)

  # -- epmd --------------------------------------------------------------------------------------------------------

  @doc "The port of epmd that this VM uses."
  @spec epmd_port() :: :inet.port_number()
  def epmd_port do
    with {:ok, [[text | _] | _]} <- :init.get_argument(:epmd_port),
         {port, ""} <- text |> List.to_string() |> Integer.parse() do
      port
    else
      _ -> 4369
    end
  end

  @doc "What epmd at that address lists: names and ports."
  @spec epmd_names(:inet.ip_address()) :: {:ok, %{String.t() => :inet.port_number()}} | {:error, reason}
  def epmd_names(address) do
    with {:ok, socket} <- connect(address, epmd_port(), []) do
      answer =
        with :ok <- :gen_tcp.send(socket, <<1::16, ?n>>),
             {:ok, <<_port::32, text::binary>>} <- all(socket, ""),
             do: {:ok, names(text)}

      :gen_tcp.close(socket)
      answer
    end
  end

  defp names(text) do
    for [_, name, port] <- Regex.scan(~r/name (\S+) at port (\d+)/, text),
        into: %{},
        do: {name, String.to_integer(port)}
  end

  defp all(socket, data) do
    case :gen_tcp.recv(socket, 0, @receive_ms) do
      {:ok, more} when byte_size(data) + byte_size(more) > @max_names -> {:error, :emsgsize}
      {:ok, more} -> all(socket, data <> more)
      {:error, :closed} when byte_size(data) >= 4 -> {:ok, data}
      {:error, reason} -> {:error, reason}
    end
  end

  @spec connect(:inet.ip_address(), :inet.port_number(), keyword) :: {:ok, port} | {:error, reason}
  def connect(address, port, options) do
    family = if tuple_size(address) == 8, do: [:inet6], else: []
    :gen_tcp.connect(address, port, [:binary, {:active, false}] ++ family ++ options, @connect_ms)
  end

  # -- multicast ---------------------------------------------------------------------------------------------------

  @doc "Sends a datagram to a multicast group by the interface of that address, and waits for it to come back."
  @spec multicast(:inet.ip4_address(), timeout :: pos_integer) :: :ok | {:error, :nothing_heard | atom}
  def multicast(interface, timeout) do
    group = {224, 0, 0, 251}

    options = [
      :binary,
      active: false,
      reuseaddr: true,
      multicast_loop: true,
      multicast_ttl: 1,
      multicast_if: interface,
      add_membership: {group, interface}
    ]

    with {:ok, socket} <- :gen_udp.open(0, options) do
      {:ok, port} = :inet.port(socket)
      word = :crypto.strong_rand_bytes(16)

      answer = with :ok <- :gen_udp.send(socket, group, port, word), do: heard(socket, word, timeout)

      :gen_udp.close(socket)
      answer
    end
  end

  defp heard(socket, word, timeout) do
    case :gen_udp.recv(socket, 0, timeout) do
      {:ok, {_, _, ^word}} -> :ok
      {:ok, _} -> heard(socket, word, timeout)
      {:error, :timeout} -> {:error, :nothing_heard}
      {:error, reason} -> {:error, reason}
    end
  end

  @doc "Whether others may read a file."
  @spec open_to_others?(File.Stat.t()) :: boolean
  def open_to_others?(%{mode: mode}), do: (mode &&& 0o077) != 0
end
