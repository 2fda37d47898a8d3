# Names of the cluster on three nodes of this machine: this VM and two others.
#
#     mix run bench/registry_bench.exs            (FOUNDATION_BENCH_OUT=file for tab-separated rows)
Code.require_file("support.exs", __DIR__)

defmodule RegistryBench do
  alias Foundation.{Bench, PeerNodes}
  alias Foundation.Distributed.{Consensus, Coordination}
  alias Foundation.ProcessRegistry
  alias Foundation.ProcessRegistry.Global

  @names 20_000
  @many 64

  def run do
    Logger.configure(level: :warning)
    dir = Path.join(System.tmp_dir!(), "foundation_registry_bench_#{System.pid()}")
    PeerNodes.ensure_distributed()
    Application.put_env(:foundation, :consensus, dir: Path.join(dir, "here"))
    peers = PeerNodes.start(2, app: false)

    for {%{peer: peer}, n} <- Enum.with_index(peers) do
      :peer.call(peer, Application, :put_env, [:foundation, :consensus, [dir: Path.join(dir, "peer#{n}")]])
      {:ok, _} = :peer.call(peer, Application, :ensure_all_started, [:foundation], 60_000)
    end

    {:ok, _} = Application.ensure_all_started(:foundation)

    try do
      measure([node() | Enum.map(peers, & &1.node)])
    after
      PeerNodes.leave(peers)
      File.rm_rf!(dir)
    end
  end

  defp measure([_here | others] = nodes) do
    wait(fn -> match?({:ok, %{peers: peers}} when map_size(peers) == 2, Global.status()) end)
    IO.puts("names of the cluster, three nodes")
    available(others)
    lookup()
    {:ok, _} = Coordination.create_consensus_group(:foundation, nodes)
    wait(fn -> Consensus.leader(:foundation) == {:ok, node()} or lead() end)
    leased()
  end

  defp lead do
    _ =
      with {:ok, _other} <- Consensus.leader(:foundation),
           do: Consensus.transfer_leadership(:foundation, node(), 5_000)

    false
  end

  # Each name has a process of its own, that lives; the other nodes have all of them in the end.
  defp available(others) do
    rounds =
      for round <- 1..5 do
        pids = processes(@names)
        named = Enum.zip(pids, 1..@names)

        {us, _} =
          :timer.tc(fn ->
            for {pid, n} <- named, do: :ok = ProcessRegistry.register_global({round, n}, pid)
          end)

        {spread, _} =
          :timer.tc(fn ->
            for node <- others, do: wait(fn -> :erpc.call(node, Global, :count, []) == @names end)
          end)

        for pid <- pids, do: send(pid, :end)
        for node <- [node() | others], do: wait(fn -> :erpc.call(node, Global, :count, []) == 0 end)
        {@names * 1_000_000 / us, div(spread, 1_000)}
      end

    rate = rounds |> Enum.map(&elem(&1, 0)) |> Bench.median()
    Bench.figure(":crdt register/s", round(rate), "(wanted 60,000)")

    Bench.figure(
      "then until both others have all",
      "#{rounds |> Enum.map(&elem(&1, 1)) |> Bench.median()} ms"
    )
  end

  defp lookup do
    me = self()
    for n <- 0..999, do: :ok = ProcessRegistry.register_global({:lookup, n}, me, metadata: %{version: 1})
    look = fn i -> {:ok, %{pid: ^me}} = ProcessRegistry.lookup_global({:lookup, rem(i, 1_000)}) end
    whereis = fn i -> ^me = ProcessRegistry.whereis_global({:lookup, rem(i, 1_000)}) end

    for {name, function} <- [{"lookup/s, 2 processes", look}, {"whereis/s, 2 processes", whereis}] do
      Bench.run(function, 50_000, 2)
      nanoseconds = for(_ <- 1..9, do: Bench.run(function, 200_000, 2)) |> Bench.median()
      Bench.figure(name, round(1.0e9 / nanoseconds), "(wanted 2,500,000)")
    end

    table = :ets.new(:bench, [:public, read_concurrency: true])
    for n <- 0..999, do: :ets.insert(table, {{:default, {:lookup, n}}, me, %{version: 1}})
    bare = fn i -> [{_, ^me, _}] = :ets.lookup(table, {:default, {:lookup, rem(i, 1_000)}}) end
    Bench.compare("lookup, against a bare :ets.lookup, 2 processes", ours: look, theirs: bare, processes: 2)

    for n <- 0..999, do: :ok = ProcessRegistry.unregister_global({:lookup, n})
  end

  defp leased do
    # Each names a process of its own, that ends with the round.
    unique = fn -> System.unique_integer() end
    process = fn -> spawn_link(fn -> receive(do: (:end -> :ok)) end) end
    ours = fn _ -> :ok = ProcessRegistry.register_global(unique.(), process.(), consistency: :consensus) end
    theirs = fn _ -> :yes = :global.register_name(unique.(), process.()) end

    Bench.compare(":consensus register, #{@many} processes, against :global.register_name",
      ours: ours,
      theirs: theirs,
      processes: @many,
      iterations: 50,
      their_iterations: 4,
      rounds: 5,
      at_least: 5
    )

    Bench.compare("the same, one after the other", ours: ours, theirs: theirs, iterations: 200, rounds: 5)
  end

  defp processes(count), do: for(_ <- 1..count, do: spawn(fn -> receive(do: (:end -> :ok)) end))

  defp wait(condition) do
    unless condition.() do
      Process.sleep(1)
      wait(condition)
    end
  end
end

RegistryBench.run()
