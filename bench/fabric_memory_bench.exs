# What a node's fabric takes up: memory and file descriptors for each node it knows, each link, and each joined cluster.
#
# The node is a real one; those it talks to are endpoints in a second OS process. Memory is what the operating system
# counts as resident, after garbage collection, so it holds buffers of both the library and the VM.

Code.require_file("support.exs", __DIR__)

# Loaded into both nodes.
{:module, _, code, _} =
  defmodule Foundation.FabricMemory do
    alias Foundation.Distributed.Channels
    alias Foundation.Distributed.Channels.Settings
    alias Foundation.Distributed.Fabric
    alias Foundation.Native

    @channels [:coordination, :events, :video, :warm]

    @doc "Endpoints that others can link to, kept by a process: their names and ports."
    def endpoints(count) do
      parent = self()

      spawn(fn ->
        handles = for n <- 1..count, do: endpoint(n)
        send(parent, {:made, Enum.map(handles, fn {name, handle} -> {name, port(handle)} end)})
        Process.sleep(:infinity)
        _ = handles
      end)

      receive do: ({:made, made} -> made)
    end

    defp endpoint(n) do
      options = %{
        cluster: "foundation",
        name: "memory#{n}@127.0.0.1",
        secret: "memory",
        boot: 1,
        bind: "127.0.0.1:0",
        advertise: nil,
        idle_ms: 600_000,
        stall_ms: 30_000,
        forget_ms: 60_000,
        backoff_ms: 500,
        max_links: 64
      }

      {:ok, handle} = Native.fabric_start(options, self(), [self()], [self()])
      for channel <- @channels, do: :ok = Native.fabric_open(handle, channel, Settings.new(channel, []))
      {:"memory#{n}@127.0.0.1", handle}
    end

    defp port(handle),
      do: Native.fabric_info(handle).address |> String.split(":") |> List.last() |> String.to_integer()

    def introduce(peers) do
      for {name, port} <- peers, do: :ok = Fabric.add_peer(name, {127, 0, 0, 1}, port)
      for channel <- @channels, do: Channels.open(channel)
      known(length(peers))
    end

    # The endpoint tells of them one by one.
    defp known(count) do
      if length(Fabric.nodes()) < count, do: Process.sleep(5) && known(count), else: count
    end

    @doc "One acknowledged message to each on a channel, which opens a link to each."
    def link(peers, channel) do
      peers
      |> Task.async_stream(
        fn {name, _} ->
          :ok = Channels.send_message(channel, {:nobody, name}, :hello, ack: true, timeout: 30_000)
        end,
        max_concurrency: 16,
        timeout: 60_000
      )
      |> Enum.count()
    end

    def usage do
      for pid <- Process.list(), do: :erlang.garbage_collect(pid)
      [_, resident | _] = String.split(File.read!("/proc/self/statm"))
      {String.to_integer(resident) * 4_096, length(File.ls!("/proc/self/fd"))}
    end
  end

defmodule Foundation.FabricMemoryBench do
  alias Foundation.{Bench, FabricPeers}
  alias Foundation.Distributed.Clusters
  alias Foundation.FabricMemory, as: There

  @peers 300

  def run(code) do
    options = [fabric: [secret: "memory", bind: {127, 0, 0, 1}, topology: false, idle_ms: 600_000]]
    node = FabricPeers.start("memory", options)
    others = FabricPeers.start("others", fabric: false)

    try do
      for peer <- [node, others], do: {:module, _} = call(peer, :code, :load_binary, [There, ~c"bench", code])
      peers = call(others, There, :endpoints, [@peers])
      measure(node, peers)
    after
      Enum.each([node, others], &FabricPeers.stop/1)
    end
  end

  defp measure(node, peers) do
    IO.puts("A fabric and #{@peers} nodes")
    # What is loaded and allocated once is none of their cost.
    some = Enum.take(peers, 2)
    2 = call(node, There, :introduce, [some])
    2 = call(node, There, :link, [some, :warm])
    first = call(node, There, :usage, [])
    @peers = call(node, There, :introduce, [peers])
    known = call(node, There, :usage, [])
    report("a node that is known", known, first, @peers - 2)

    Enum.reduce([:coordination, :events, :video], known, fn channel, before ->
      @peers = call(node, There, :link, [peers, channel])
      linked = call(node, There, :usage, [])
      report("a link to each, on :#{channel}", linked, before, @peers)
      linked
    end)

    joined(node)
  end

  defp joined(node) do
    before = call(node, There, :usage, [])

    for n <- 1..8 do
      entry = [secret: "a secret for each of them", fabric: [bind: {127, 0, 0, 1}], topology: :full_mesh]
      :ok = call(node, Clusters, :join, [:"cluster#{n}", entry])
    end

    report("a joined cluster without other nodes", call(node, There, :usage, []), before, 8)
  end

  defp report(name, {bytes, files}, {bytes_before, files_before}, count) do
    kb = Float.round((bytes - bytes_before) / count / 1_024, 1)
    Bench.figure(name, "#{kb} KB, #{Float.round((files - files_before) / count, 2)} file descriptors")
  end

  defp call(node, module, function, arguments),
    do: FabricPeers.rpc(node, module, function, arguments, 120_000)
end

Foundation.FabricMemoryBench.run(code)
