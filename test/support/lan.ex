defmodule Foundation.Lan do
  @moduledoc false
  # A local network of its own: network namespaces, each with one interface on a bridge that passes multicast on, and
  # Erlang nodes inside. Needs root and iproute2; everything is removed by stop/1.

  @type t :: %{switch: String.t(), hosts: [String.t()], prefix: String.t()}

  @doc "Whether namespaces can be made here."
  @spec available?() :: boolean
  def available? do
    name = "fdt#{System.pid()}x#{System.unique_integer([:positive])}"

    with path when is_binary(path) <- System.find_executable("ip"),
         {_, 0} <- System.cmd("ip", ["netns", "add", name], stderr_to_stdout: true) do
      {_, 0} = System.cmd("ip", ["netns", "delete", name])
      true
    else
      _ -> false
    end
  end

  @doc "A network of that many hosts, at 10.99.N.1 and so on. Option: `multicast: false` leaves it out of the interfaces."
  @spec start(pos_integer, keyword) :: t
  def start(count, opts \\ []) do
    number = rem(System.unique_integer([:positive]) + String.to_integer(System.pid()), 200)
    prefix = "fdt#{System.pid()}n#{System.unique_integer([:positive])}"

    lan = %{
      switch: prefix <> "s",
      hosts: for(n <- 1..count, do: "#{prefix}h#{n}"),
      prefix: "10.99.#{number}."
    }

    ip!(~w(netns add #{lan.switch}))
    ip!(~w(-n #{lan.switch} link add br0 type bridge mcast_snooping 0))
    ip!(~w(-n #{lan.switch} link set br0 up))

    for {host, n} <- Enum.with_index(lan.hosts, 1),
        do: plug(lan, host, n, Keyword.get(opts, :multicast, true))

    lan
  end

  defp plug(lan, host, n, multicast) do
    ip!(~w(netns add #{host}))
    ip!(~w(-n #{host} link set lo up))
    connect(lan, host, n, "eth0", multicast)
  end

  @doc "Gives a host one more interface, `name`, at address `n` of another network."
  @spec connect(t, String.t(), pos_integer, String.t(), boolean) :: :ok
  def connect(lan, host, n, name, multicast \\ true) do
    ip!(~w(-n #{host} link add #{name} type veth peer name port#{n} netns #{lan.switch}))
    ip!(~w(-n #{lan.switch} link set port#{n} master br0 up))
    # Without waiting until the IPv6 address is known to be nobody else's.
    sysctl(host, "net/ipv6/conf/#{name}/accept_dad", 0)
    unless multicast, do: ip!(~w(-n #{host} link set #{name} multicast off))
    ip!(~w(-n #{host} addr add #{lan.prefix}#{n}/24 dev #{name}))
    ip!(~w(-n #{host} link set #{name} up))
  end

  @doc "Runs an `ip` command within a host, `link set eth0 down` for example."
  @spec ip(String.t(), String.t()) :: :ok
  def ip(host, command), do: ip!(["-n", host | String.split(command)])

  @doc "Sets a parameter of the kernel for one host."
  @spec sysctl(String.t(), String.t(), integer) :: :ok
  def sysctl(host, key, value),
    do: ip!(["netns", "exec", host, "sh", "-c", "echo #{value} > /proc/sys/#{key}"])

  @doc "Starts an Erlang node inside of a host, with this project's code and no epmd that the outside has."
  @spec node(String.t(), atom, keyword) :: %{peer: pid, node: node}
  def node(host, name, opts \\ []) do
    exec = {~c"/bin/sh", [~c"-c", ~c"exec ip netns exec #{host} erl \"$@\"", ~c"erl"]}
    [short, at] = name |> Atom.to_string() |> String.split("@")

    {:ok, peer, node} =
      :peer.start(%{
        name: String.to_charlist(short),
        host: String.to_charlist(at),
        longnames: Keyword.get(opts, :longnames, String.contains?(at, ".")),
        connection: :standard_io,
        exec: exec,
        args: [~c"-setcookie", ~c"foundation_lan", ~c"-kernel", ~c"logger_level", ~c"error"]
      })

    :ok = :peer.call(peer, :code, :add_pathsa, [:code.get_path()])
    {:ok, _} = :peer.call(peer, :application, :ensure_all_started, [:elixir])
    :ok = :peer.call(peer, Application, :put_env, [:logger, :level, :error])
    {:ok, _} = :peer.call(peer, :application, :ensure_all_started, [:logger])
    %{peer: peer, node: node}
  end

  @doc "Ends what runs inside and removes the namespaces."
  @spec stop(t) :: :ok
  def stop(lan) do
    for host <- lan.hosts do
      {pids, _} = System.cmd("ip", ["netns", "pids", host], stderr_to_stdout: true)
      for pid <- String.split(pids), do: System.cmd("kill", ["-9", pid], stderr_to_stdout: true)
      System.cmd("ip", ["netns", "delete", host], stderr_to_stdout: true)
    end

    System.cmd("ip", ["netns", "delete", lan.switch], stderr_to_stdout: true)
    :ok
  end

  defp ip!(args) do
    case System.cmd("ip", args, stderr_to_stdout: true) do
      {_, 0} -> :ok
      {text, _} -> raise "ip #{Enum.join(args, " ")}: #{text}"
    end
  end
end
