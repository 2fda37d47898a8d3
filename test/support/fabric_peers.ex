defmodule Foundation.FabricPeers do
  @moduledoc false
  # Real nodes with a fabric, each an OS process of its own, controlled over its standard input and output, so that they
  # need no Erlang distribution to the test's node.

  @doc "Starts a node; `fabric:` are the fabric's options, `args:` more arguments of the emulator, `host:`, `cookie:`."
  def start(name, options \\ []) do
    fabric = Keyword.get(options, :fabric, [])
    unique = :"#{name}#{System.unique_integer([:positive])}p#{System.pid()}"

    {:ok, peer, node} =
      :peer.start(%{
        name: unique,
        host: to_charlist(Keyword.get(options, :host, "127.0.0.1")),
        longnames: true,
        connection: :standard_io,
        args: args(options),
        wait_boot: 60_000
      })

    setup(peer, fabric)
    %{peer: peer, node: node}
  end

  defp args(options) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    cookie = Keyword.get(options, :cookie, "fabric_peers")

    [~c"-setcookie", to_charlist(cookie), ~c"-kernel", ~c"prevent_overlapping_partitions", ~c"false"] ++
      Enum.map(Keyword.get(options, :args, []), &to_charlist/1) ++ paths
  end

  defp setup(peer, fabric) do
    for {key, value} <- [fabric: fabric, test_mode: true, environment: :test],
        do: :ok = :peer.call(peer, :application, :set_env, [:foundation, key, value, [persistent: true]])

    :ok = :peer.call(peer, :application, :set_env, [:logger, :level, :warning, [persistent: true]])
    {:ok, _} = :peer.call(peer, :application, :ensure_all_started, [:foundation], 60_000)
    :ok
  end

  @doc "Calls a function there."
  def rpc(%{peer: peer}, module, function, arguments, timeout \\ 30_000),
    do: :peer.call(peer, module, function, arguments, timeout)

  @doc "Connects two nodes by Erlang distribution."
  def connect(a, b), do: rpc(a, :net_kernel, :connect_node, [b.node])

  @doc "Makes two nodes known to each other without distribution."
  def introduce(a, b) do
    {:ok, %{address: address}} = rpc(b, Foundation.Distributed.Fabric, :info, [])
    [_, port] = Regex.run(~r/:(\d+)$/, address)
    rpc(a, Foundation.Distributed.Fabric, :add_peer, [b.node, {127, 0, 0, 1}, String.to_integer(port)])
  end

  def stop(%{peer: peer}) do
    :peer.stop(peer)
  catch
    :exit, _ -> :ok
  end
end
