defmodule Foundation.RealNode do
  @moduledoc false
  # A real node for a test: an OS process of its own with this project's code, driven over its standard input and output,
  # so that it needs no name and no connection to the test's node, and can be cut off, frozen and killed.

  @type t :: pid | %{:peer => pid, optional(atom) => term}

  @doc """
  Boots a node: its controlling process and its name.

  Options: `name:` (without it the node has none), `host:` ("127.0.0.1"), `cookie:`, `args:` more arguments of the
  emulator, `os_env:` a list of pairs, `exec:` a command in front of erl, `peer:` more options of `:peer`, `log:` (`:error`) the
  level of its log, `env:` the environment of Foundation, which survives its restart, `start:` whether to start
  Foundation (true).
  """
  @spec boot(keyword) :: {pid, node}
  def boot(options) do
    {:ok, peer, node} = :peer.start(peer_options(options))

    for {key, value} <- Keyword.get(options, :env, []),
        do: :ok = call(peer, :application, :set_env, [:foundation, key, value, [persistent: true]])

    level = Keyword.get(options, :log, :error)
    :ok = call(peer, :application, :set_env, [:logger, :level, level, [persistent: true]])
    {:ok, _} = call(peer, :application, :ensure_all_started, [:logger])
    if Keyword.get(options, :start, true), do: start(peer)
    {peer, node}
  end

  @doc "Starts Foundation there."
  @spec start(t) :: :ok
  def start(node) do
    {:ok, _} = call(node, :application, :ensure_all_started, [:foundation], 60_000)
    :ok
  end

  defp peer_options(options) do
    named =
      if options[:name],
        do: %{
          name: options[:name],
          host: to_charlist(Keyword.get(options, :host, "127.0.0.1")),
          longnames: true
        },
        # The other ways would stop this node in place of one without a name.
        else: %{shutdown: :close}

    env = for {key, value} <- Keyword.get(options, :os_env, []), do: {to_charlist(key), to_charlist(value)}
    exec = if options[:exec], do: %{exec: options[:exec]}, else: %{}

    %{connection: :standard_io, wait_boot: 60_000, env: env, args: args(options)}
    |> Map.merge(named)
    |> Map.merge(exec)
    |> Map.merge(Keyword.get(options, :peer, %{}))
  end

  defp args(options) do
    cookie = if options[:cookie], do: [~c"-setcookie", to_charlist(options[:cookie])], else: []
    level = to_charlist(Keyword.get(options, :log, :error))
    quiet = [~c"-kernel", ~c"logger_level", level]
    paths = for path <- :code.get_path(), File.dir?("#{path}"), do: ~c"#{Path.expand("#{path}")}"
    more = Enum.map(Keyword.get(options, :args, []), &to_charlist/1)
    cookie ++ quiet ++ more ++ Enum.flat_map(paths, &[~c"-pa", &1])
  end

  @doc "Calls a function there."
  @spec call(t, module, atom, [term], timeout) :: term
  def call(node, module, function, arguments, timeout \\ 30_000),
    do: :peer.call(pid(node), module, function, arguments, timeout)

  @doc "The number of its OS process."
  @spec os_pid(t) :: String.t()
  def os_pid(node), do: call(node, System, :pid, [])

  @doc "Ends it in good order, if it runs."
  @spec stop(t) :: :ok
  def stop(node) do
    if Process.alive?(pid(node)), do: :peer.stop(pid(node))
    :ok
  catch
    :exit, _ -> :ok
  end

  @doc "Ends it without any farewell."
  @spec kill(t) :: :ok
  def kill(node) do
    os_pid = os_pid(node)
    Process.unlink(pid(node))
    signal(os_pid, "KILL")
  end

  @doc "Sends a signal to an OS process: \"STOP\" freezes it, \"CONT\" lets it go on."
  @spec signal(String.t(), String.t()) :: :ok
  def signal(os_pid, name) do
    {_, 0} = System.cmd("kill", ["-#{name}", os_pid])
    :ok
  end

  defp pid(%{peer: peer}), do: peer
  defp pid(peer), do: peer
end
