# Consensus on three nodes of this machine, logs on disk with fsync: this VM and two others.
#
#     mix run bench/consensus_bench.exs                 frames go over the fabric (TLS), as in a cluster
#     mix run bench/consensus_bench.exs distribution    over Distributed Erlang (no fabric)
#     (FOUNDATION_BENCH_OUT=file for tab-separated rows)
Code.require_file("support.exs", __DIR__)

defmodule ConsensusBench do
  alias Foundation.{Bench, PeerNodes}
  alias Foundation.Distributed.{Consensus, Coordination, Fabric}

  @value :binary.copy("x", 256)
  @failovers 5

  def run(arguments) do
    Logger.configure(level: :warning)
    fabric = "distribution" not in arguments
    dir = Path.join(System.tmp_dir!(), "foundation_consensus_bench_#{System.pid()}")
    File.mkdir_p!(dir)
    PeerNodes.ensure_distributed()
    Application.stop(:foundation)
    # The directory of each is its own.
    for {key, value} <- env(fabric, Path.join(dir, "here")), do: Application.put_env(:foundation, key, value)
    {:ok, _} = Application.ensure_all_started(:foundation)

    try do
      measure(fabric, dir)
    after
      Node.stop()
      File.rm_rf!(dir)
    end
  end

  defp env(fabric, dir), do: [consensus: [dir: dir], fabric: fabric]

  defp peers(fabric, dir) do
    peers = PeerNodes.start(2, app: false)

    for {%{peer: peer, node: node}, n} <- Enum.with_index(peers) do
      for {key, value} <- env(fabric, Path.join(dir, "peer_#{node}_#{n}")),
          do: :peer.call(peer, Application, :put_env, [:foundation, key, value])

      {:ok, _} = :peer.call(peer, Application, :ensure_all_started, [:foundation], 60_000)
    end

    if fabric, do: wait(fn -> Enum.all?(peers, &(&1.node in Fabric.nodes())) end)
    peers
  end

  defp wait(holds) do
    unless holds.() do
      Process.sleep(20)
      wait(holds)
    end
  end

  defp measure(fabric, dir) do
    peers = peers(fabric, dir)
    nodes = [node() | Enum.map(peers, & &1.node)]
    {:ok, :bench} = Coordination.create_consensus_group(:bench, nodes, machine: Foundation.Tally)
    {:ok, :primitives} = Coordination.create_consensus_group(:primitives, nodes)
    for group <- [:bench, :primitives], do: lead(group)
    over = if fabric, do: "the fabric", else: "Distributed Erlang"
    IO.puts("three nodes, fsync on, frames over #{over}, this one leads")
    pipelined()
    one_at_a_time()
    reads(hd(peers).node)
    locks(nodes)
    PeerNodes.stop(peers)
    failovers(fabric, dir)
  end

  defp lead(group) do
    case Consensus.leader(group) do
      {:ok, node} when node == node() -> :ok
      {:ok, _other} -> Consensus.transfer_leadership(group, node(), 10_000)
      _ -> :wait
    end

    unless Consensus.leader(group) == {:ok, node()} do
      Process.sleep(50)
      lead(group)
    end
  end

  defp pipelined do
    {:ok, before} = Consensus.query(:bench, :applied)
    processes = 256
    each = 100

    run = fn ->
      Bench.run(fn _ -> {:ok, _} = Consensus.propose(:bench, {:write, @value}) end, each, processes)
    end

    run.()
    nanoseconds = for(_ <- 1..3, do: run.()) |> Bench.median()
    {:ok, applied} = Consensus.query(:bench, :applied)
    true = applied == before + 4 * processes * each
    Bench.figure("256-byte proposals/s, 256 processes", round(1.0e9 / nanoseconds), "(wanted 35,000)")
  end

  defp one_at_a_time do
    Bench.figure(
      "one proposal at a time, p50",
      us(percentile(fn -> {:ok, _} = Consensus.propose(:bench, {:write, @value}) end, 1_000)),
      "(wanted <= 800 us)"
    )
  end

  defp reads(peer) do
    {:ok, echo} = :erpc.call(peer, Agent, :start, [Map, :new, []])
    trip = percentile(fn -> Agent.get(echo, Map, :size, []) end, 3_000)

    for {name, level} <- [{"linearizable", :linearizable}, {"by the lease:", :lease}] do
      read = percentile(fn -> {:ok, _} = Consensus.query(:bench, :applied, consistency: level) end, 3_000)
      against("#{name} read, p50", read, trip)
    end

    # Where the leader is another node.
    :ok = Consensus.transfer_leadership(:bench, peer, 10_000)
    read = percentile(fn -> {:ok, _} = Consensus.query(:bench, :applied) end, 3_000)
    against("linearizable read on a follower, p50", read, trip)
    lead(:bench)
  end

  defp against(name, read, trip) do
    Bench.figure(
      name,
      "#{us(read)} against #{us(trip)} of a call to another node: #{Float.round(read / trip, 2)}x",
      "(wanted <= 2x)"
    )
  end

  defp locks(nodes) do
    {:ok, lock} = Coordination.create_distributed_lock(:bench, group: :primitives)
    global = fn n -> :global.trans({:bench, self()}, fn -> n end, nodes) end
    options = [iterations: 300, rounds: 5, at_least: 3]

    Bench.compare(
      "lock: acquire + release, against :global.trans",
      [ours: fn _ -> {:ok, 1} = Coordination.with_lock(lock, fn -> 1 end) end, theirs: global] ++ options
    )

    for {lease, what} <- [
          {60_000, "a minute"},
          {1_000, "a second, shorter than the session: the group each time"}
        ] do
      leased = fn _ -> {:ok, 1} = Coordination.with_lock(lock, [lease: lease], fn -> 1 end) end

      Bench.compare("the same with a lease of #{what}",
        ours: leased,
        theirs: global,
        iterations: 300,
        rounds: 5
      )
    end
  end

  # The leader is another node's VM, which is killed; until the next proposal is answered.
  defp failovers(fabric, dir) do
    times = for n <- 1..@failovers, do: failover(:"bench_#{n}", fabric, dir)

    Bench.figure(
      "kill -9 of the leader to the next answer",
      "median #{Bench.median(times)} ms, worst #{Enum.max(times)} ms of #{@failovers}",
      "(wanted <= 1 s median, 3 s worst)"
    )
  end

  defp failover(group, fabric, dir) do
    [%{peer: peer, node: leader}, other] = peers(fabric, dir)
    nodes = [node(), leader, other.node]
    {:ok, ^group} = Coordination.create_consensus_group(group, nodes, machine: Foundation.Tally)
    {:ok, _} = Consensus.propose(group, {:write, @value}, timeout: 20_000)
    :ok = Consensus.transfer_leadership(group, leader, 10_000)
    {:ok, _} = Consensus.propose(group, {:write, @value})
    pid = :peer.call(peer, System, :pid, [])
    Process.unlink(peer)
    System.cmd("kill", ["-9", pid])
    {us, {:ok, _}} = :timer.tc(fn -> Consensus.propose(group, {:write, @value}, timeout: 20_000) end)
    Consensus.stop_group(group)
    PeerNodes.stop([other])
    div(us, 1_000)
  end

  defp percentile(function, times) do
    for(_ <- 1..div(times, 10), do: function.())
    for(_ <- 1..times, do: elem(:timer.tc(function), 0)) |> Bench.median()
  end

  defp us(us), do: "#{us} us"
end

ConsensusBench.run(System.argv())
