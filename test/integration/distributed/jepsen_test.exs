defmodule Foundation.Distributed.JepsenTest do
  # Five real nodes use registers, the cluster's configuration, locks, a queue and a counter while nodes are killed, stopped and cut off; then what
  # they were told is compared with what can have happened. FOUNDATION_JEPSEN_SECONDS makes it longer.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.{ClusterNodes, Coordination, Jepsen, Linearizable}
  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.Consensus

  @moduletag :slow
  @moduletag timeout: 300_000

  @seconds String.to_integer(System.get_env("FOUNDATION_JEPSEN_SECONDS", "24"))

  test "the checker finds what cannot be" do
    write = {1, 2, {:write, :a}, :ok}
    assert Linearizable.check([write, {3, 4, :read, {:ok, :a}}], nil) == :ok
    assert Linearizable.check([write, {3, 4, :read, {:ok, nil}}], nil) == :error
    assert Linearizable.check([{1, 5, {:write, :a}, :ok}, {3, 4, :read, {:ok, nil}}], nil) == :ok
    assert Linearizable.check([{1, :infinity, {:write, :a}, :unknown}, {3, 4, :read, {:ok, :a}}], nil) == :ok
    reads = [{3, 4, :read, {:ok, :a}}, {5, 6, :read, {:ok, nil}}]
    assert Linearizable.check([{1, :infinity, {:write, :a}, :unknown} | reads], nil) == :error
    both = [{1, 3, {:cas, nil, :a}, {:ok, true}}, {2, 4, {:cas, nil, :b}, {:ok, true}}]
    assert Linearizable.check(both, nil) == :error
  end

  test "nothing is lost, nothing is doubled, and a minority refuses" do
    seed = System.get_env("FOUNDATION_JEPSEN_SEED", "#{:rand.uniform(1_000_000)}") |> String.to_integer()
    :rand.seed(:exsss, {seed, 0, 0})
    cluster = Nodes.start(5, coordination: [expect: 5, session_ms: 1_500])
    Process.put(:cluster, cluster)
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.names(cluster)

    for node <- names,
        do:
          assert_eventually(
            Nodes.rpc(cluster, node, Consensus, :members, [:foundation]) == {:ok, names},
            60_000
          )

    {:ok, queue} = Nodes.rpc(cluster, hd(names), Coordination, :create_queue, [:queue, 1_000_000])
    for {node, n} <- Enum.with_index(names), do: :ok = Nodes.rpc(cluster, node, Jepsen, :start, [seed + n])

    {cluster, lost, faults} = break(cluster, names, now() + @seconds * 1_000, {[], []})
    on_exit(fn -> Nodes.stop(cluster) end)
    Nodes.heal(cluster)

    history =
      for node <- names -- lost, entry <- Nodes.rpc(cluster, node, Jepsen, :stop, [], 40_000), do: entry

    assert_eventually(
      match?({:ok, _}, Nodes.rpc(cluster, hd(names), Coordination, :queue_status, [queue])),
      30_000
    )

    registers(history, seed)
    versions(history, seed)
    locks(history, seed)
    names(history, seed)
    queue(history, drain(cluster, hd(names), queue, []), lost, seed)
    counter(history, cluster, hd(names), lost, seed)
    report(history, faults, seed)
  end

  # -- faults

  defp break(cluster, names, until, {lost, faults}) do
    if now() >= until do
      {cluster, lost, faults}
    else
      {cluster, lost, fault} = fault(cluster, names, lost, Enum.random([:split, :leader, :freeze, :kill]))
      pause(1_500)
      break(cluster, names, until, {lost, [fault | faults]})
    end
  end

  defp fault(cluster, names, lost, :split) do
    {minority, majority} = names |> Enum.shuffle() |> Enum.split(2)
    Nodes.split(cluster, [minority, majority])
    pause(2_500)
    Nodes.heal(cluster)
    {cluster, lost, :split}
  end

  defp fault(cluster, names, lost, :leader) do
    case Nodes.rpc(cluster, hd(names), Consensus, :leader, [:foundation]) do
      {:ok, leader} ->
        Nodes.split(cluster, [[leader], names -- [leader]])
        pause(2_500)
        Nodes.heal(cluster)

      _ ->
        :ok
    end

    {cluster, lost, :leader_cut}
  end

  defp fault(cluster, names, lost, :freeze) do
    pid = ClusterNodes.pid_of_system(cluster.nodes[Enum.random(names)].peer)
    System.cmd("kill", ["-STOP", pid])
    pause(2_500)
    System.cmd("kill", ["-CONT", pid])
    {cluster, lost, :freeze}
  end

  # What the workers of a node that dies have done is not known any more, so it is done to one node only.
  defp fault(cluster, names, lost, :kill) do
    node = Enum.find(lost, Enum.random(tl(names)), fn _ -> true end)
    Nodes.kill(cluster, node)
    pause(1_500)
    {Nodes.restart(cluster, node), Enum.uniq([node | lost]), :kill}
  end

  defp pause(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # -- checks

  # Writes of a node that was killed are known by those that read them: its registers are left out.
  defp registers(history, seed) do
    by_key =
      for({:register, key, from, to, command, outcome} <- history, do: {key, {from, to, command, outcome}})
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))

    written =
      for {_key, operations} <- by_key,
          {_, _, command, _} <- operations,
          value = new_value(command),
          into: MapSet.new(),
          do: value

    never = for {:never, value} <- history, into: MapSet.new(), do: value

    seen =
      for {_key, operations} <- by_key, {_, _, :read, {:ok, value}} <- operations, value in never, do: value

    assert seen == [], "read, though it was said to be refused (seed #{seed}): #{inspect(seen)}"

    for {key, operations} <- by_key, Enum.all?(operations, &known?(&1, written)) do
      assert Linearizable.check(operations, nil) == :ok,
             "#{inspect(key)} is not linearizable (seed #{seed}): #{inspect(Enum.sort(operations), limit: :infinity)}"
    end
  end

  defp new_value({:write, value}), do: value
  defp new_value({:cas, _from, to}), do: to
  defp new_value(:read), do: nil

  defp known?({_, _, :read, {:ok, value}}, written), do: value == nil or value in written
  defp known?({_, _, {:cas, from, _to}, _}, written), do: from == nil or from in written
  defp known?(_operation, _written), do: true

  # Each change of the configuration is a version of its own.
  defp versions(history, seed) do
    versions = for {:agreed, version} <- history, do: version
    assert versions -- Enum.uniq(versions) == [], "two changes have one version (seed #{seed})"
  end

  # Nobody holds a lock, as far as its node can tell, while another one does.
  defp locks(history, seed) do
    for {name, held} <- Enum.group_by(for({:held, _, _, _, _, _} = held <- history, do: held), &elem(&1, 1)) do
      held
      |> Enum.sort_by(&elem(&1, 3))
      |> Enum.chunk_every(2, 1, :discard)
      |> Enum.each(fn [{_, _, token, _, until, _} = one, {_, _, later, from, _, _} = other] ->
        assert until <= from, "#{inspect(name)} was held twice (seed #{seed}): #{inspect({one, other})}"
        assert token < later, "#{inspect(name)}: tokens go back (seed #{seed}): #{inspect({one, other})}"
      end)
    end
  end

  # Nobody has a name, as far as its node can tell, while another one does; no token is given twice.
  defp names(history, seed) do
    named = for {:named, _, _, _, _, _} = named <- history, do: named
    tokens = for {:named, _, token, _, _, _} <- named, do: token
    assert tokens -- Enum.uniq(tokens) == [], "a token of a name was given twice (seed #{seed})"
    named |> Enum.group_by(&elem(&1, 1)) |> Enum.each(fn {name, held} -> in_turn(name, held, seed) end)
  end

  defp in_turn(name, held, seed) do
    held
    |> Enum.sort_by(&elem(&1, 3))
    |> Enum.chunk_every(2, 1, :discard)
    |> Enum.each(fn [{_, _, token, _, until, _} = one, {_, _, later, from, _, _} = other] ->
      assert until <= from, "#{inspect(name)} named two (seed #{seed}): #{inspect({one, other})}"
      assert token < later, "#{inspect(name)}: tokens go back (seed #{seed}): #{inspect({one, other})}"
    end)
  end

  defp queue(history, rest, lost, seed) do
    taken = for({:popped, value, :ok} <- history, do: value) ++ rest
    doubled = taken -- Enum.uniq(taken)
    assert doubled == [], "popped twice (seed #{seed}): #{inspect(doubled)}"
    # What a worker that died has taken is not known.
    missing =
      for({:pushed, value, :ok} <- history, do: value) --
        (taken ++ for({:popped, value, _} <- history, do: value))

    if lost == [], do: assert(missing == [], "pushed and lost (seed #{seed}): #{inspect(missing)}")
  end

  defp drain(cluster, node, queue, taken) do
    case Nodes.rpc(cluster, node, Coordination, :pop, [queue, [wait: false]]) do
      {:ok, value} -> drain(cluster, node, queue, [value | taken])
      {:error, :empty} -> taken
    end
  end

  defp counter(history, cluster, node, lost, seed) do
    {:ok, counter} = Nodes.rpc(cluster, node, Coordination, :create_distributed_counter, [:counter])
    {:ok, value} = Nodes.rpc(cluster, node, Coordination, :value, [counter])
    added = Enum.count(history, &match?({:added, {:ok, _}}, &1))
    unknown = Enum.count(history, &match?({:added, {:error, :unknown}}, &1))
    assert value >= added, "#{added} were added, and the counter is at #{value} (seed #{seed})"

    if lost == [],
      do: assert(value <= added + unknown, "#{added} + #{unknown} unknown, and #{value} (seed #{seed})")

    numbers = for {:added, {:ok, number}} <- history, do: number
    assert numbers -- Enum.uniq(numbers) == [], "a value of the counter was answered twice (seed #{seed})"
  end

  defp report(history, faults, seed) do
    count = fn pattern -> Enum.count(history, pattern) end

    IO.puts(
      "\n  #{@seconds} s, seed #{seed}, faults #{inspect(Enum.frequencies(faults))}: " <>
        "#{count.(&match?({:register, _, _, _, _, _}, &1))} of registers, " <>
        "#{count.(&match?({:register, {:config, _}, _, _, _, _}, &1))} of them in the configuration " <>
        "(#{count.(&match?({:register, _, _, :infinity, _, _}, &1))} unknown), " <>
        "#{count.(&match?({:held, _, _, _, _, _}, &1))} locks held, " <>
        "#{count.(&match?({:named, _, _, _, _, _}, &1))} named (#{count.(&match?({:unnamed, _}, &1))} not), #{count.(&match?({:pushed, _, :ok}, &1))} pushed, " <>
        "#{count.(&match?({:popped, _, :ok}, &1))} popped, #{count.(&match?({:added, {:ok, _}}, &1))} added, " <>
        "#{count.(&match?({:refused, _}, &1))} refused"
    )
  end
end
