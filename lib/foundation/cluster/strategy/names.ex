defmodule Foundation.Cluster.Strategy.Names do
  @moduledoc false
  # Makes node names out of what others answer. Each new name is an atom for ever, so what cannot be a node's name becomes
  # none, and an answer of more than 10,000 names is refused as a whole.

  @max_names 10_000
  @max_bytes 250

  @doc "The nodes `base@host` for the hosts: addresses as tuples, or text. What is no host name is left out."
  @spec nodes(String.t() | atom, [String.t() | charlist | :inet.ip_address()]) ::
          {:ok, [node]} | {:error, {:too_many_nodes, pos_integer}}
  def nodes(base, hosts) do
    count = length(hosts)

    if count > @max_names,
      do: {:error, {:too_many_nodes, count}},
      else: {:ok, hosts |> Enum.flat_map(&node_of(base, text(&1))) |> Enum.uniq()}
  end

  @doc "The atom for a full node name, in a list; empty for what is none."
  @spec node_name(String.t()) :: [node]
  def node_name(name) do
    if byte_size(name) <= @max_bytes and name =~ ~r/\A[A-Za-z0-9_.+~-]+@[A-Za-z0-9_.:%-]+\z/,
      do: [String.to_atom(name)],
      else: []
  end

  defp node_of(base, host), do: node_name("#{base}@#{host}")

  defp text(address) when is_tuple(address), do: address |> :inet.ntoa() |> List.to_string()
  defp text(host), do: host |> to_string() |> String.trim_trailing(".")
end
