# Consensus on three nodes of this machine, logs on disk with fsync: this VM and two others.
#
#     mix run bench/consensus_bench.exs            (FOUNDATION_BENCH_OUT=file for tab-separated rows)
Code.require_file("support.exs", __DIR__)

defmodule ConsensusBench do
  alias Foundation.{Bench, PeerNodes}
  alias Foundation.Distributed.{Consensus, Coordination}

  @value :binary.copy("x", 256)

  def run do
    Logger.configure(level: :warning)
    dir = Path.join(System.tmp_dir!(), "foundation_consensus_bench_#{System.pid()}")
    File.mkdir_p!(dir)
    PeerNodes.ensure_distributed()
    # The directory of each is its own.
    Application.put_env(:foundation, :consensus, dir: Path.join(dir, "here"))
    peers = PeerNodes.start(2, app: false)

    for {%{peer: peer}, n} <- Enum.with_index(peers) do
      :peer.call(peer, Application, :put_env, [:foundation, :consensus, [dir: Path.join(dir, "peer#{n}")]])
      {:ok, _} = :peer.call(peer, Application, :ensure_all_started, [:foundation], 60_000)
    end

    {:ok, _} = Application.ensure_all_started(:foundation)

    try do
      measure([node() | Enum.map(peers, & &1.node)], peers)
    after
      PeerNodes.leave(peers)
      File.rm_rf!(dir)
    end
  end

  defp measure(nodes, peers) do
    {:ok, :bench} = Coordination.create_consensus_group(:bench, nodes, machine: Foundation.Tally)
    {:ok, :primitives} = Coordination.create_consensus_group(:primitives, nodes)
    for group <- [:bench, :primitives], do: lead(group)
    IO.puts("three nodes, fsync on, this one leads")
    pipelined()
    one_at_a_time()
    reads(hd(peers).node)
    locks(nodes)
    failover(peers)
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

    for level <- [:linearizable, :lease] do
      read = percentile(fn -> {:ok, _} = Consensus.query(:bench, :applied, consistency: level) end, 3_000)

      Bench.figure(
        "#{level} read, p50",
        "#{us(read)} against #{us(trip)} of a call to another node: #{Float.round(read / trip, 2)}x",
        "(wanted <= 2x)"
      )
    end
  end

  defp locks(nodes) do
    {:ok, lock} = Coordination.create_distributed_lock(:bench, group: :primitives)
    global = fn n -> :global.trans({:bench, self()}, fn -> n end, nodes) end
    options = [iterations: 300, rounds: 5, at_least: 3]

    Bench.compare(
      "lock: acquire + release, against :global.trans",
      [ours: fn _ -> {:ok, 1} = Coordination.with_lock(lock, fn -> 1 end) end, theirs: global] ++ options
    )

    # One that no node keeps: with a lease it goes back to the group each time.
    leased = fn _ -> {:ok, 1} = Coordination.with_lock(lock, [lease: 60_000], fn -> 1 end) end

    Bench.compare("the same with a lease: asks the group each time",
      ours: leased,
      theirs: global,
      iterations: 300,
      rounds: 5
    )
  end

  # The leader is another node's VM, which is killed; until the next proposal is answered.
  defp failover(peers) do
    %{peer: peer, node: leader} = hd(peers)
    :ok = Consensus.transfer_leadership(:bench, leader, 10_000)
    pid = :peer.call(peer, System, :pid, [])
    {:ok, _} = Consensus.propose(:bench, {:write, @value})
    Process.unlink(peer)
    System.cmd("kill", ["-9", pid])
    {us, {:ok, _}} = :timer.tc(fn -> Consensus.propose(:bench, {:write, @value}, timeout: 20_000) end)

    Bench.figure(
      "kill -9 of the leader to the next answer",
      "#{div(us, 1_000)} ms",
      "(wanted <= 1 s median, 3 s worst)"
    )
  end

  defp percentile(function, times) do
    for(_ <- 1..div(times, 10), do: function.())
    for(_ <- 1..times, do: elem(:timer.tc(function), 0)) |> Bench.median()
  end

  defp us(us), do: "#{us} us"
end

ConsensusBench.run()
