# Times every native function with the arguments of its catalogue entry, one call at a time, and with --write puts the
# table into guides/scheduling.md.
Code.require_file("support.exs", __DIR__)

defmodule Foundation.Bench.Scheduling do
  alias Foundation.{Native, NifCatalog}

  @guide "guides/scheduling.md"
  @budget_ms 400

  def run(argv) do
    IO.puts("native functions, one call at a time")
    rows = Enum.map(NifCatalog.entries(), &row/1)

    if "--write" in argv do
      [head, _] = @guide |> File.read!() |> String.split("<!-- table -->\n", parts: 2)
      File.write!(@guide, head <> "<!-- table -->\n" <> table(rows))
    end
  end

  defp row(%{nif: {name, arity}, scheduler: scheduler, bound: bound} = entry) do
    {median, p99} = if entry[:skip], do: {nil, nil}, else: time(name, arguments(entry))
    Foundation.Bench.figure("#{name}/#{arity}", "#{scheduler}  p50 #{show(median)}  p99 #{show(p99)}")
    {"#{name}/#{arity}", scheduler, bound, median, p99}
  end

  # How the arguments of the next call are had.
  defp arguments(%{consumes: true, args: args}), do: args

  defp arguments(%{args: args}) do
    reused = args.()
    fn -> reused end
  end

  defp time(name, args) do
    for _ <- 1..20, do: call(name, args.())
    deadline = System.monotonic_time(:millisecond) + @budget_ms
    samples = sample(name, args, deadline, 0, []) |> Enum.sort()
    count = length(samples)
    {Enum.at(samples, div(count, 2)), Enum.at(samples, div(count * 99, 100))}
  end

  defp sample(_name, _args, _deadline, 20_000, samples), do: samples

  defp sample(name, args, deadline, n, samples) do
    ready = args.()
    started = System.monotonic_time(:nanosecond)
    call(name, ready)
    took = System.monotonic_time(:nanosecond) - started

    if n > 100 and System.monotonic_time(:millisecond) > deadline,
      do: [took | samples],
      else: sample(name, args, deadline, n + 1, [took | samples])
  end

  defp call(name, args) do
    apply(Native, name, args)
  rescue
    ArgumentError -> :ok
  end

  defp table(rows) do
    head = "| function | scheduler | bound on its work | p50 | p99 |\n|---|---|---|---:|---:|\n"

    body =
      for {name, scheduler, bound, median, p99} <- rows do
        words = scheduler |> to_string() |> String.replace("_", " ")
        "| `#{name}` | #{words} | #{bound} | #{show(median)} | #{show(p99)} |\n"
      end

    IO.iodata_to_binary([head, body])
  end

  defp show(nil), do: "–"
  defp show(ns) when ns < 10_000, do: "#{Float.round(ns / 1000, 2)} µs"
  defp show(ns), do: "#{round(ns / 1000)} µs"
end

Foundation.Bench.Scheduling.run(System.argv())
