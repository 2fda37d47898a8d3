defmodule Foundation.MdnsNodes do
  @moduledoc false
  # Starts the mDNS strategy in nodes, each network of nodes on a UDP port of its own.

  alias Foundation.Cluster.Strategy.{Mdns, State}

  @doc "A UDP port that no other test of this run uses."
  def port, do: 20_000 + rem(System.unique_integer([:positive]) + String.to_integer(System.pid()), 20_000)

  @doc "Starts the strategy in the VM that runs this, unlinked; with plain distribution below it."
  def start(config) do
    GenServer.start(Mdns, %State{
      topology: :mdns_test,
      connect: {:net_kernel, :connect_node, []},
      disconnect: {:erlang, :disconnect_node, []},
      list_nodes: {:erlang, :nodes, [:connected]},
      config: config
    })
  end
end
