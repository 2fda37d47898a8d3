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
      connect: {__MODULE__, :connect, [100]},
      disconnect: {:erlang, :disconnect_node, []},
      list_nodes: {:erlang, :nodes, [:connected]},
      config: config
    })
  end

  @doc "Connects to a node; two that try each other at the same moment may both fail, and then one tries again."
  def connect(tries, node) do
    cond do
      :net_kernel.connect_node(node) -> true
      tries == 0 -> false
      true -> again(tries - 1, node)
    end
  end

  defp again(tries, node) do
    receive do
    after
      200 -> connect(tries, node)
    end
  end
end
