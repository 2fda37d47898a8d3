defmodule Foundation.PeerNodes do
  @moduledoc false
  # Real nodes (see Foundation.RealNode) that are connected to the test's own.

  alias Foundation.{Eventually, RealNode}

  @type peer :: %{peer: pid, node: node}

  @doc """
  Starts that many connected nodes. Options: `app:` start Foundation there (true), `env:` its application environment,
  `connect:` connect it to this node (true).
  """
  @spec start(pos_integer, keyword) :: [peer]
  def start(count, options \\ []) do
    ensure_distributed()

    1..count
    |> Enum.map(fn _ -> Task.async(fn -> one(options) end) end)
    |> Task.await_many(60_000)
  end

  @doc "Ends the nodes, and the distribution of this one."
  @spec leave([peer]) :: :ok
  def leave(peers) do
    stop(peers)
    # The node may have its name for a moment longer, and the next test would take it for a distributed one.
    if Node.stop() == :ok, do: Eventually.wait(fn -> not Node.alive?() end, 5_000, "the node has no name")
    :ok
  end

  @doc "Ends the nodes."
  @spec stop([peer]) :: :ok
  def stop(peers) do
    Enum.each(peers, &RealNode.stop/1)
  end

  @doc "Makes this node a distributed one, with epmd, if it is none yet."
  @spec ensure_distributed() :: :ok
  def ensure_distributed do
    if Node.alive?() do
      :ok
    else
      {_, 0} = System.cmd("epmd", ["-daemon"])
      {:ok, _} = Node.start(:"foundation_test_#{System.pid()}@127.0.0.1", :longnames)
      :ok
    end
  end

  defp one(options) do
    name = :"foundation_peer_#{System.pid()}_#{System.unique_integer([:positive])}"

    {peer, node} =
      RealNode.boot(
        name: name,
        cookie: Node.get_cookie(),
        env: Keyword.get(options, :env, test_mode: false),
        start: Keyword.get(options, :app, true)
      )

    if Keyword.get(options, :connect, true), do: true = Node.connect(node)
    %{peer: peer, node: node}
  end
end
