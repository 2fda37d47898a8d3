defmodule Foundation.PeerNodes do
  @moduledoc false
  # Starts real nodes with this project's code and its application, and ends them.
  #
  # A peer is controlled over its standard input and output, so it can be cut off from the distribution and frozen.

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
    _ = Node.stop()
    :ok
  end

  @doc "Ends the nodes."
  @spec stop([peer]) :: :ok
  def stop(peers) do
    for %{peer: peer} <- peers, Process.alive?(peer), do: catch_exit(fn -> :peer.stop(peer) end)
    :ok
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

    {:ok, peer, node} =
      :peer.start(%{
        name: name,
        host: ~c"127.0.0.1",
        longnames: true,
        connection: :standard_io,
        args: [~c"-setcookie", Atom.to_charlist(Node.get_cookie()), ~c"-kernel", ~c"logger_level", ~c"error"]
      })

    :ok = :peer.call(peer, :code, :add_pathsa, [:code.get_path()])
    {:ok, _} = :peer.call(peer, :application, :ensure_all_started, [:elixir])
    :ok = :peer.call(peer, Application, :put_env, [:logger, :level, :error])
    {:ok, _} = :peer.call(peer, :application, :ensure_all_started, [:logger])

    for {key, value} <- Keyword.get(options, :env, test_mode: false),
        do: :ok = :peer.call(peer, Application, :put_env, [:foundation, key, value])

    if Keyword.get(options, :app, true),
      do: {:ok, _} = :peer.call(peer, Application, :ensure_all_started, [:foundation], 60_000)

    if Keyword.get(options, :connect, true), do: true = Node.connect(node)
    %{peer: peer, node: node}
  end

  defp catch_exit(function) do
    function.()
  catch
    :exit, _ -> :ok
  end
end
