defmodule Foundation.ClusterNodes do
  @moduledoc false
  # Real nodes (see Foundation.RealNode) that have a name and connections only when the test gives them. Each group has an
  # epmd of its own on a free port, and its own cookie.

  alias Foundation.RealNode

  @doc "A group: a cookie, an epmd port, and a directory for home and work. Ended by `stop_group/1`."
  def group do
    directory = Path.join(System.tmp_dir!(), "foundation_cluster_#{unique()}")
    File.mkdir_p!(directory)
    cookie = "c#{unique()}"
    File.write!(Path.join(directory, ".erlang.cookie"), cookie)
    File.chmod!(Path.join(directory, ".erlang.cookie"), 0o400)
    %{cookie: cookie, epmd: free_port(), directory: directory}
  end

  @doc "Ends the group's epmd and removes its directory."
  def stop_group(%{epmd: port, directory: directory} = group) do
    unless kill_epmd(group),
      do: System.cmd(epmd_path(), ["-port", "#{port}", "-kill"], stderr_to_stdout: true)

    File.rm_rf!(directory)
  end

  @doc "Kills the epmd that the group's nodes started, also while it knows nodes. Says whether there was one."
  def kill_epmd(%{epmd: port}) do
    for comm <- Path.wildcard("/proc/[0-9]*/comm"), epmd_of?(Path.dirname(comm), port), reduce: false do
      _ ->
        System.cmd("kill", ["-9", comm |> Path.dirname() |> Path.basename()])
        true
    end
  end

  defp epmd_of?(process, port) do
    with {:ok, "epmd\n"} <- File.read(Path.join(process, "comm")),
         {:ok, environment} <- File.read(Path.join(process, "environ")) do
      "ERL_EPMD_PORT=#{port}" in String.split(environment, <<0>>)
    else
      _ -> false
    end
  end

  @doc """
  Boots a node and gives its controlling process. Options: `name:` (without it the node has none), `env:` (foundation's
  environment), `start:` (whether to start Foundation; true), `os_env:` a list of pairs, `args:`, `exec:` a command
  in front of erl, `cookie:`.
  """
  def boot(group, opts \\ []) do
    os_env = [
      {"ERL_EPMD_PORT", "#{group.epmd}"},
      {"HOME", group.directory},
      {"RELEASE_NAME", ""},
      {"ERL_CRASH_DUMP_BYTES", "0"} | opts[:os_env] || []
    ]

    {peer, _node} =
      opts
      |> Keyword.take([:name, :host, :exec, :env, :start])
      |> Keyword.merge(
        cookie: opts[:cookie] || group.cookie,
        os_env: os_env,
        args: ~w(-logger level error) ++ (opts[:args] || []),
        peer: %{shutdown: :close, wait_boot: 30_000}
      )
      |> RealNode.boot()

    peer
  end

  @doc "Boots several, at the same time."
  def boot_all(group, count, opts) do
    1..count
    |> Task.async_stream(fn _ -> boot(group, opts) end, timeout: 60_000, max_concurrency: count)
    |> Enum.map(fn {:ok, peer} -> peer end)
  end

  defdelegate call(peer, module, function, arguments, timeout \\ 15_000), to: RealNode

  def name(peer), do: call(peer, :erlang, :node, [])
  def nodes(peer), do: call(peer, Foundation.Cluster, :nodes, [])
  defdelegate pid_of_system(peer), to: RealNode, as: :os_pid

  @doc "Ends a node without any farewell."
  defdelegate kill(peer), to: RealNode

  @doc "Ends a node."
  defdelegate stop(peer), to: RealNode

  @doc "Whether each of the nodes sees exactly all of them."
  def all_see_all?(peers) do
    names = peers |> Enum.map(&name/1) |> Enum.sort()
    Enum.all?(peers, &(nodes(&1) == names))
  end

  def free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end

  def unique, do: Base.encode16(:crypto.strong_rand_bytes(5), case: :lower)

  def epmd_path do
    bundled = Path.join(["#{:code.root_dir()}", "erts-#{:erlang.system_info(:version)}", "bin", "epmd"])
    if File.regular?(bundled), do: bundled, else: System.find_executable("epmd")
  end
end
