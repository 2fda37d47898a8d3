# Replicated state: local changes, what two replicas send each other, and what a key costs in memory.
#
#     mix run bench/state_bench.exs

Code.require_file("support.exs", __DIR__)

defmodule Foundation.StateBench do
  alias Foundation.Bench
  alias Foundation.Distributed.State
  alias Foundation.Native

  @type_of {:or_map, :lww_register}
  @bounds {10_000_000, 8_000_000_000, 60_000}
  @value "a value of thirty-two bytes here"

  def run do
    Logger.configure(level: :error)
    IO.puts("Replicated state")
    # First, while the allocator has nothing in store.
    memory()
    inserts()
    converge(:written)
    converge(:removed)
  end

  # What one would write without it: a map in a process of its own, which is not replicated.
  defp inserts do
    {:ok, agent} = Agent.start_link(fn -> %{} end)
    {:ok, _} = State.new(:bench, @type_of)

    ratio =
      Bench.compare("OR-map: local insert, against a map in an Agent",
        ours: fn i -> :ok = State.mutate(:bench, {:put, i, @value}) end,
        theirs: fn i -> Agent.update(agent, &Map.put(&1, i, @value)) end,
        iterations: 100_000,
        rounds: 5,
        at_least: 1
      )

    ns = Bench.run(fn i -> :ok = State.mutate(:bench, {:put, {:fresh, i}, @value}) end, 200_000)
    {:ok, 32} = {:ok, byte_size(@value)}
    {:ok, @value} = State.read(:bench, [{:fresh, 200_001}])
    per_second = round(1.0e9 / ns)

    Bench.figure(
      "OR-map: inserts of new keys a second, one process",
      per_second,
      met(per_second >= 300_000, "300,000")
    )

    State.stop(:bench)
    Agent.stop(agent)
    ratio
  end

  # Two replicas of 100,000 keys in this process, of which 1 % differ, half of them changed on each side.
  defp converge(how) do
    samples =
      for round <- 1..5 do
        {a, b} = {filled(2 * round, 100_000), replica(2 * round + 1)}
        settle(a, b)
        changed = for i <- 1..500, do: {i * 97, i * 89 + 50_000}
        for {i, j} <- changed, do: {change(a, i, how), change(b, j, how)}
        difference = Enum.reduce(changed, 0, fn {i, j}, sum -> sum + size(i, how) + size(j, how) end)
        {us, bytes} = :timer.tc(fn -> settle(a, b) end)
        true = Native.crdt_root(a) == Native.crdt_root(b)
        {us / 1000, bytes / difference, bytes}
      end

    ms = samples |> Enum.map(&elem(&1, 0)) |> Bench.median()
    ratio = samples |> Enum.map(&elem(&1, 1)) |> Bench.median()
    bytes = samples |> Enum.map(&elem(&1, 2)) |> Bench.median()
    name = "converge 2 x 100,000 keys, 1 % #{how}"
    Bench.figure("#{name}: ms", Float.round(ms, 1), met(ms <= 50, "at most 50"))
    text = "#{bytes} bytes, #{Float.round(ratio, 2)} of the difference"
    Bench.figure("#{name}: sent", text, met(ratio <= 3, "at most 3"))
  end

  defp change(state, i, :written),
    do: Native.crdt_mutate(state, [key(i)], {:assign, "another of thirty-two bytes, new"})

  defp change(state, i, :removed), do: Native.crdt_mutate(state, [key(i)], :remove)

  # The key, and the value where there is one, as they are stored.
  defp size(i, :written), do: byte_size(key(i)) + 5 + 32 + 5
  defp size(i, :removed), do: byte_size(key(i)) + 5

  defp memory do
    count = 1_000_000
    before = resident()
    {us, state} = :timer.tc(fn -> filled(1, count) end)
    used = resident() - before
    # The time of each write is no data.
    %{keys: ^count, bytes: bytes} = Native.crdt_status(state)
    bytes = bytes - 9 * count
    over = (used - bytes) / count
    Bench.figure("1,000,000 keys: bytes a key over the data", round(over), met(over <= 300, "at most 300"))
    Bench.figure("1,000,000 keys: of data", round(bytes / count))
    Bench.figure("1,000,000 keys: filled in ms", div(us, 1000))

    other = replica(2)
    {us, sent} = :timer.tc(fn -> settle(other, state) end)
    true = Native.crdt_root(state) == Native.crdt_root(other)

    Bench.figure(
      "1,000,000 keys: brought to a new replica in ms",
      div(us, 1000),
      "#{div(sent, 1_000_000)} MB"
    )

    {us, nil} = :timer.tc(fn -> if settle(other, state) < 1_000, do: nil end)
    Bench.figure("1,000,000 keys: compared when equal in us", us)
  end

  defp key(i), do: "user:#{i}"

  defp replica(id) do
    {:ok, state} = Native.crdt_new(@type_of, id, 32, @bounds)
    state
  end

  defp filled(id, count) do
    state = replica(id)
    for i <- 1..count, do: Native.crdt_mutate(state, [key(i)], {:assign, @value})
    state
  end

  # Every message that the two send until they have nothing more to say: how many bytes.
  defp settle(a, b), do: talk(a, b, Native.crdt_roots(a), 0)

  defp talk(_from, _to, nil, bytes), do: bytes

  defp talk(from, to, message, bytes) do
    {reply, _changed, _equal, _gave} = Native.crdt_handle(to, 9, message, 524_288)
    talk(to, from, reply, bytes + byte_size(message))
  end

  defp resident do
    :erlang.garbage_collect()
    [_, kb] = Regex.run(~r/VmRSS:\s+(\d+) kB/, File.read!("/proc/self/status"))
    String.to_integer(kb) * 1024
  end

  defp met(true, wanted), do: "met (#{wanted})"
  defp met(false, wanted), do: "MISSED (#{wanted})"
end

Foundation.StateBench.run()
