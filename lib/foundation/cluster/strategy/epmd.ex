defmodule Foundation.Cluster.Strategy.Epmd do
  @moduledoc """
  Connects to named nodes, and to all nodes that the epmd of named hosts knows.

      config :foundation, cluster: {:epmd, hosts: [:"a@host1", :"b@host2"]}
      config :foundation, cluster: {:epmd, hosts: ["host1", "host2"]}

  Options: `hosts`: full node names, as in libcluster, and host names (strings, charlists or atoms without `@`), whose epmd
  is asked each round; `polling_interval` (5,000 ms). A node that epmd no longer lists is no longer looked for; it is not
  disconnected, since an epmd that was restarted knows nobody. When some hosts answer and others do not, the last known
  nodes of those that do not are kept.
  """

  use Foundation.Cluster.Strategy.Poll, leaves: false

  @impl true
  def discover(%{config: config, meta: meta} = state) do
    {nodes, hosts} = config |> Keyword.get(:hosts, []) |> Enum.map(&entry/1) |> Enum.split_with(&is_atom/1)
    answers = Map.new(hosts, &{&1, names(&1)})
    known = Map.merge(meta || %{}, for({host, {:ok, found}} <- answers, into: %{}, do: {host, found}))
    found = Enum.uniq(nodes ++ (known |> Map.take(hosts) |> Map.values() |> List.flatten()))

    case for {host, {:error, reason}} <- answers, do: {List.to_string(host), reason} do
      failed when failed != [] and length(failed) == length(hosts) and nodes == [] ->
        {:error, {:epmd, failed}, %{state | meta: known}}

      _ ->
        {:ok, found, %{state | meta: known}}
    end
  end

  @doc false
  # The full names of the nodes that the epmd of a host lists.
  @spec names(charlist) :: {:ok, [node]} | {:error, term}
  def names(host) do
    case :net_adm.names(host) do
      {:ok, names} -> {:ok, for({name, _port} <- names, do: :"#{name}@#{host}")}
      {:error, reason} -> {:error, reason}
    end
  end

  # A node's name as an atom, a host's as a charlist.
  defp entry(entry) do
    text = to_string(entry)
    if String.contains?(text, "@"), do: String.to_atom(text), else: String.to_charlist(text)
  end
end
