defmodule Foundation.Cluster.Strategy.Mdns.Hosts do
  @moduledoc false
  # Lets this VM, and it alone, know hosts that nothing resolves by the addresses that their nodes announce.

  import Bitwise

  alias Foundation.Cluster.Table

  require Logger

  @type network :: {address :: :inet.ip4_address(), mask :: :inet.ip4_address()}

  @doc """
  Sees to it that the host of the node has an address. A host that resolves is left alone, one that was introduced before
  follows its announcement. May ask DNS, and take as long as that takes.
  """
  @spec introduce(node, [String.t()]) :: :ok
  def introduce(node, addresses) do
    host = node |> Atom.to_string() |> String.split("@") |> List.last()

    parsed =
      for text <- addresses, {:ok, address} <- [:inet.parse_address(String.to_charlist(text))], do: address

    with {:ok, address} <- choose(parsed, networks()), true <- wanted?(host, address) do
      forget(host, Table.get({:introduced, host}))
      Logger.info("[cluster] #{host} is not known here; it is #{:inet.ntoa(address)} by its announcement")
      :inet_db.add_host(address, [String.to_charlist(host)])
      Table.put({:introduced, host}, address)
      lookup = :inet_db.res_option(:lookup)
      unless :file in lookup, do: :inet_db.set_lookup(lookup ++ [:file])
    end

    :ok
  end

  defp wanted?(host, address) do
    case Table.get({:introduced, host}) do
      nil -> not Enum.any?([:inet, :inet6], &match?({:ok, _}, :inet.getaddr(String.to_charlist(host), &1)))
      before -> before != address
    end
  end

  defp forget(_host, nil), do: :ok
  defp forget(_host, address), do: :inet_db.del_host(address)

  @doc """
  The address to use of those announced: one on a network that this host is on too, and not one of its own, such as that of a
  container bridge which every host has; after those any other; the loopback's never.
  """
  @spec choose([:inet.ip_address()], [network]) :: {:ok, :inet.ip4_address()} | :none
  def choose(addresses, networks) do
    case Enum.filter(addresses, &match?({a, _, _, _} when a != 127, &1)) do
      [] -> :none
      usable -> {:ok, Enum.min_by(usable, &rank(&1, networks))}
    end
  end

  defp rank(address, networks) do
    cond do
      Enum.any?(networks, fn {own, _} -> own == address end) -> 1
      Enum.any?(networks, &within?(address, &1)) -> 0
      true -> 2
    end
  end

  defp within?(address, {own, mask}),
    do: band(number(address), number(mask)) == band(number(own), number(mask))

  defp number({a, b, c, d}), do: a <<< 24 ||| b <<< 16 ||| c <<< 8 ||| d

  defp networks do
    {:ok, interfaces} = :inet.getifaddrs()

    for {_name, options} <- interfaces,
        {{_, _, _, _} = address, {_, _, _, _} = mask} <-
          Enum.zip(Keyword.get_values(options, :addr), Keyword.get_values(options, :netmask)),
        do: {address, mask}
  end
end
