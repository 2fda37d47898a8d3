defmodule Foundation.Distributed.JepsenTest do
  # For a minute five real nodes use registers, the cluster's configuration, locks, names, a queue and a counter, all at the
  # same time, while nodes are killed, stopped and cut off; then what they were told is compared with what can have
  # happened. FOUNDATION_JEPSEN_SECONDS and FOUNDATION_JEPSEN_SEED make it another time or the same faults again.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.{ClusterNodes, Coordination, Jepsen, JepsenHistory, RealNode}
  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.Consensus
  alias Foundation.JepsenChecks, as: Checks

  @seconds String.to_integer(System.get_env("FOUNDATION_JEPSEN_SECONDS", "60"))
  @session_ms 1_500
  # A minority is asked for longer than a call waits, and than a session lasts.
  @cut_ms 4_000
  @away_ms 2_500
  @calm_ms 1_200
  @kinds [:register, :config, :lock, :name, :queue, :counter]

  @tag :soak
  @tag timeout: 420_000
  test "nothing is lost, nothing is doubled, and a minority refuses" do
    seed = System.get_env("FOUNDATION_JEPSEN_SEED", "#{:rand.uniform(1_000_000)}") |> String.to_integer()
    :rand.seed(:exsss, {seed, 0, 0})
    cluster = Nodes.start(5, coordination: [expect: 5, session_ms: @session_ms])
    {:ok, running} = Agent.start(fn -> cluster end)
    on_exit(fn -> Nodes.stop(Agent.get(running, & &1)) end)
    names = [first | _] = Nodes.names(cluster)
    for node <- names, do: wait_for(cluster, node, Consensus, :members, [:foundation], &(&1 == {:ok, names}))
    {:ok, queue} = Nodes.rpc(cluster, first, Coordination, :create_queue, [:queue, 1_000_000])
    directory = Path.join(cluster.group.directory, "history")
    for node <- names, do: :ok = Nodes.rpc(cluster, node, Jepsen, :start, [directory, seed])

    run = %{
      cluster: cluster,
      names: names,
      worker: [directory, seed],
      running: running,
      cuts: [],
      faults: []
    }

    %{cluster: cluster} = run = break(run, [], now() + @seconds * 1_000)
    for node <- names, do: :ok = Nodes.rpc(cluster, node, Jepsen, :stop, [], 40_000)

    for node <- names,
        do: wait_for(cluster, node, Coordination, :queue_status, [queue], &match?({:ok, _}, &1))

    history = JepsenHistory.read(directory)
    history = history ++ Nodes.rpc(cluster, first, Jepsen, :last_reads, [Checks.keys(history)], 60_000)
    report(history, run, seed)
    check(history, run, drain(cluster, first, queue, []), counted(cluster, first), seed)
  end

  defp wait_for(cluster, node, module, function, arguments, right?),
    do: assert_eventually(right?.(Nodes.rpc(cluster, node, module, function, arguments)), 60_000)

  # -- faults, each kind as often as the others

  defp break(run, deck, until) do
    if now() >= until do
      run
    else
      [next | deck] = if deck == [], do: Enum.shuffle([:split, :leader_cut, :freeze, :kill]), else: deck
      run = fault(run, next)
      pause(@calm_ms)
      break(%{run | faults: [next | run.faults]}, deck, until)
    end
  end

  defp fault(run, :split), do: run.names |> Enum.shuffle() |> Enum.take(2) |> cut(run)

  defp fault(run, :leader_cut) do
    case Nodes.rpc(run.cluster, hd(run.names), Consensus, :leader, [:foundation]) do
      {:ok, leader} -> cut([leader], run)
      _ -> run.names |> Enum.take_random(1) |> cut(run)
    end
  end

  defp fault(run, :freeze) do
    process = ClusterNodes.pid_of_system(run.cluster.nodes[Enum.random(run.names)].peer)
    RealNode.signal(process, "STOP")
    pause(@away_ms)
    RealNode.signal(process, "CONT")
    run
  end

  defp fault(run, :kill) do
    node = Enum.random(run.names)
    Nodes.kill(run.cluster, node)
    pause(@away_ms)
    cluster = Nodes.restart(run.cluster, node)
    Agent.update(run.running, fn _ -> cluster end)
    :ok = Nodes.rpc(cluster, node, Jepsen, :start, run.worker)
    %{run | cluster: cluster}
  end

  defp cut(minority, run) do
    Nodes.split(run.cluster, [minority, run.names -- minority])
    from = System.os_time(:microsecond)
    pause(@cut_ms)
    to = System.os_time(:microsecond)
    Nodes.heal(run.cluster)
    %{run | cuts: [{minority, from, to} | run.cuts]}
  end

  defp pause(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # -- what came of it

  defp drain(cluster, node, queue, taken) do
    case Nodes.rpc(cluster, node, Coordination, :pop, [queue, [wait: false]]) do
      {:ok, value} -> drain(cluster, node, queue, [value | taken])
      {:error, :empty} -> taken
    end
  end

  defp counted(cluster, node) do
    {:ok, counter} = Nodes.rpc(cluster, node, Coordination, :create_distributed_counter, [:counter])
    {:ok, value} = Nodes.rpc(cluster, node, Coordination, :value, [counter])
    value
  end

  defp check(history, run, rest, value, seed) do
    found =
      Checks.registers(history) ++
        Checks.invented(history) ++
        Checks.versions(history) ++
        Checks.in_turn(history, :held) ++
        Checks.in_turn(history, :named) ++
        Checks.queue(history, rest) ++
        Checks.counter(history, value) ++
        Checks.minority(history, run.cuts, @session_ms * 1_000)

    assert found == [], "seed #{seed}: #{inspect(found, limit: 200, printable_limit: 20_000)}"

    for kind <- @kinds,
        do: assert(calls(history, kind).done > 0, "no call of #{kind} was answered (seed #{seed})")

    refused = for {:call, _, _, _, _, :refused} = call <- Checks.cut_off(history, run.cuts, 0), do: call
    assert run.cuts == [] or refused != [], "a minority was never asked (seed #{seed})"
  end

  defp calls(history, kind) do
    calls = for {:call, ^kind, _, _, _, verdict} <- history, do: verdict
    Map.merge(%{done: 0, refused: 0, unknown: 0}, Enum.frequencies(calls))
  end

  defp report(history, run, seed) do
    IO.puts("\n  five nodes, #{@seconds} s, seed #{seed}, faults #{inspect(Enum.frequencies(run.faults))}")

    for kind <- @kinds, %{done: done, refused: refused, unknown: unknown} = calls(history, kind) do
      IO.puts("  #{String.pad_trailing("#{kind}", 9)} #{done} done, #{refused} refused, #{unknown} unknown")
    end

    of = fn pattern -> Enum.count(history, pattern) end
    cut_off = Checks.cut_off(history, run.cuts, @session_ms * 1_000)
    others = for {nodes, from, to} <- run.cuts, do: {run.names -- nodes, from, to}
    majority = Enum.count(Checks.cut_off(history, others, 0), &(elem(&1, 5) == :done))
    refused = Enum.count(cut_off, &(elem(&1, 5) == :refused))
    cut_ms = for({_, from, to} <- run.cuts, do: to - from) |> Enum.sum() |> div(1_000)

    IO.puts(
      "  #{length(Checks.keys(history))} registers, #{of.(&match?({:held, _, _, _, _, _}, &1))} holds of locks, " <>
        "#{of.(&match?({:named, _, _, _, _, _}, &1))} of names, #{of.(&match?({:pushed, _, :ok}, &1))} pushed, " <>
        "#{of.(&match?({:popped, _, :ok}, &1))} popped, #{of.(&match?({:added, {:ok, _}}, &1))} added\n" <>
        "  minorities, for #{cut_ms} ms: #{length(cut_off)} calls, #{refused} refused, " <>
        "#{Enum.count(cut_off, &(elem(&1, 5) == :unknown))} unknown, " <>
        "#{Enum.count(cut_off, &(elem(&1, 5) == :done))} answered; their majorities did #{majority}"
    )
  end
end
