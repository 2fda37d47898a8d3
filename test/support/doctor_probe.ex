defmodule Foundation.DoctorProbe do
  @moduledoc false
  # Has the doctor look at real nodes, and checks that what it says is well formed.

  import ExUnit.Assertions
  import Foundation.Eventually

  alias Foundation.Cluster.Doctor
  alias Foundation.ClusterNodes, as: Nodes

  @doc "Boots a node that ends with the test; without the application unless `start: true`."
  def boot(group, name, opts \\ []) do
    peer = Nodes.boot(group, Keyword.merge([name: name, start: false], opts))
    ExUnit.Callbacks.on_exit(fn -> Nodes.stop(peer) end)
    peer
  end

  def findings(peer, opts \\ []) do
    {verdict, findings} = Nodes.call(peer, Doctor, :run, [opts], 60_000)
    assert verdict == if(Enum.any?(findings, &(&1.status == :error)), do: :problems, else: :ok)

    for finding <- findings do
      assert String.valid?(finding.says) and finding.says != ""
      if finding.status == :ok, do: assert(finding.change == nil), else: assert(finding.change =~ ~r/\w/)
    end

    findings
  end

  def errors(peer, opts \\ []),
    do: for(%{status: :error} = f <- findings(peer, opts), do: {f.check, f.cause})

  # What is doubtful, without what every test here brings along: loopback addresses, and no cluster.
  @usual [:no_strategy, :loopback_name]
  def warnings(peer, opts \\ []),
    do: for(%{status: :warning, cause: c} = f <- findings(peer, opts), c not in @usual, do: {f.check, c})

  def local(name), do: :"#{name}@127.0.0.1"

  # An epmd that can be ended while it knows nodes.
  def epmd(group) do
    arguments = ["-port", "#{group.epmd}", "-relaxed_command_check", "-daemon"]
    listening = fn -> match?({:ok, _}, :gen_tcp.connect({127, 0, 0, 1}, group.epmd, [])) end
    assert_eventually(not listening.())
    {_, 0} = System.cmd(Nodes.epmd_path(), arguments)
    assert_eventually(listening.())
  end

  # A name that epmd knows, and whoever holds it open.
  def register(group, name, port) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, group.epmd, [:binary, active: false])
    request = <<?x, port::16, 77, 0, 6::16, 5::16, byte_size(name)::16, name::binary, 0::16>>
    :ok = :gen_tcp.send(socket, <<byte_size(request)::16, request::binary>>)
    {:ok, <<kind, 0, _::binary>>} = :gen_tcp.recv(socket, 0, 5_000)
    assert kind in [?y, ?v]
    socket
  end
end
