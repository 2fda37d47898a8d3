defmodule Foundation.FabricPeers do
  @moduledoc false
  # Real nodes (see Foundation.RealNode) with a fabric, without Erlang distribution to the test's node.

  alias Foundation.RealNode

  @doc """
  Starts a node; `fabric:` are the fabric's options, `env:` the rest of Foundation's environment, `args:` more arguments
  of the emulator, `host:`, `cookie:`.
  """
  def start(name, options \\ []) do
    env = [fabric: Keyword.get(options, :fabric, []), test_mode: true, environment: :test]

    {peer, node} =
      RealNode.boot(
        name: :"#{name}#{System.unique_integer([:positive])}p#{System.pid()}",
        host: Keyword.get(options, :host, "127.0.0.1"),
        cookie: Keyword.get(options, :cookie, "fabric_peers"),
        args: ~w(-kernel prevent_overlapping_partitions false) ++ Keyword.get(options, :args, []),
        env: Keyword.merge(env, Keyword.get(options, :env, [])),
        log: :warning
      )

    %{peer: peer, node: node}
  end

  @doc "Calls a function there."
  defdelegate rpc(node, module, function, arguments, timeout \\ 30_000), to: RealNode, as: :call

  @doc "Connects two nodes by Erlang distribution."
  def connect(a, b), do: rpc(a, :net_kernel, :connect_node, [b.node])

  @doc "Makes two nodes known to each other without distribution."
  def introduce(a, b) do
    {:ok, %{address: address}} = rpc(b, Foundation.Distributed.Fabric, :info, [])
    [_, port] = Regex.run(~r/:(\d+)$/, address)
    rpc(a, Foundation.Distributed.Fabric, :add_peer, [b.node, {127, 0, 0, 1}, String.to_integer(port)])
  end

  defdelegate stop(node), to: RealNode
end
