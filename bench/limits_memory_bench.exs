# Memory of limited keys, in a VM that has done nothing else: mix run bench/limits_memory_bench.exs
Code.require_file("support.exs", __DIR__)

defmodule Foundation.Bench.LimitsMemory do
  alias Foundation.Bench
  alias Foundation.Infrastructure.Limits

  @dimensions [:requests, :input_tokens, :output_tokens, :usd]

  def run do
    IO.puts("memory of limits")
    memory()
  end

  defp memory do
    for {name, limits, most} <- [
          {:one, [requests: [limit: 60, per: 60_000]], 250},
          {:four, for(d <- @dimensions, do: {d, [limit: 60, per: 60_000]}), 250}
        ] do
      keys = 1_000_000
      :ok = Limits.set_limits({name, :_}, limits)
      :erlang.garbage_collect()
      {count, before} = {Limits.count(), resident()}
      for i <- 1..keys, do: :ok = Limits.acquire({name, i}, %{requests: 1})
      ^keys = Limits.count() - count
      bytes = (resident() - before) / keys
      verdict = if bytes < most, do: "met", else: "MISSED"

      Bench.figure(
        "memory per key at 1,000,000 keys, #{name} dimension(s)",
        "#{round(bytes)} bytes",
        "#{verdict} (below #{most})"
      )
    end
  end

  # Resident memory of the whole VM: nothing native can hide from it.
  defp resident do
    [pages | _] = "/proc/self/statm" |> File.read!() |> String.split() |> tl()
    String.to_integer(pages) * 4096
  end
end

Foundation.Bench.LimitsMemory.run()
