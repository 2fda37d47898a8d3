defmodule Foundation.Cluster.Strategy.LocalEpmd do
  @moduledoc """
  Connects to every node that the epmd of this host lists.

      config :foundation, cluster: :local_epmd

  Options: `polling_interval` (5,000 ms); `host`: the host part of the nodes' names, by default that of this node's name.
  A node that epmd no longer lists is no longer looked for; it is not disconnected, since an epmd that was restarted
  knows nobody. Nodes with another cookie refuse the connection, and are tried again ever more seldom.
  """

  use Foundation.Cluster.Strategy.Poll, leaves: false

  @impl true
  def discover(%{config: config}) do
    host =
      Keyword.get_lazy(config, :host, fn -> node() |> Atom.to_string() |> String.split("@") |> List.last() end)

    case :erl_epmd.names() do
      {:ok, names} -> {:ok, for({name, _port} <- names, do: :"#{name}@#{host}")}
      {:error, reason} -> {:error, {:epmd, reason}}
    end
  end
end
