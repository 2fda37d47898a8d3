Code.require_file("support.exs", __DIR__)

defmodule Foundation.ContextBench do
  # What a hop costs: arriving with a context against arriving without one, and a request of 20 tasks with each.
  alias Foundation.Bench
  alias Foundation.Distributed.Context

  @hops 20

  def run do
    carried = Context.run(%{user: 7, tenant: "acme"}, &Context.carry/0)
    ns = Bench.run(fn _ -> :ok = Context.attach(carried, {:message, :data}) end, 100_000)
    Bench.figure("a hop: attach and record", Bench.nanoseconds(ns), "at most 1 ms")

    ns =
      Bench.run(
        fn _ ->
          if Context.current() == %{}, do: Context.attach(carried)
          %{} = Context.carry()
        end,
        100_000
      )

    Bench.figure("the present context, read twice", Bench.nanoseconds(ns))

    trace = Context.run(%{user: 7}, fn -> work(&Context.async/1) && Context.trace_id() end)
    {:ok, %{hops: hops}} = Context.hops(trace, [node()])
    recorded = 100 * length(hops) / (@hops + 1)

    Bench.figure(
      "hops of a traced request that are recorded",
      "#{Float.round(recorded, 1)} %",
      "at least 95 %"
    )

    # Each task does some 300 us of work, as one that is worth a task.
    Bench.compare("a request of #{@hops} tasks, traced, against one that is not",
      ours: fn _ -> Context.run(%{user: 7}, fn -> work(&Context.async/1) end) end,
      theirs: fn _ -> work(&Task.async/1) end,
      iterations: 30,
      rounds: 15,
      at_most: 1.02
    )
  end

  defp work(async) do
    for _ <- 1..@hops, do: async.(fn -> Enum.sum(for i <- 1..20_000, do: rem(i * i, 7)) end) |> Task.await()
  end
end

Foundation.ContextBench.run()
