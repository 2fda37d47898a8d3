defmodule Foundation.Bench do
  @moduledoc false
  # Compares a function of ours with what a user would otherwise write, in the same run.
  #
  # Both are warmed up, then timed in alternating rounds; the ratio is taken round by round and its median is what
  # counts, so that a machine which slows down half way slows both. Results go to stdout as one line a comparison and,
  # when FOUNDATION_BENCH_OUT names a file, as tab-separated rows.

  @doc """
  Prints how many times faster `ours` is than `theirs`.

  `ours:` and `theirs:` are functions of one integer (the iteration), `rounds:` (7), `iterations:` per process and
  round (100_000), `processes:` (1), `at_least:` the ratio wanted, or `at_most:` for "ours may cost that many of
  theirs". Returns the median ratio theirs/ours.
  """
  def compare(name, opts) do
    ours = Keyword.fetch!(opts, :ours)
    theirs = Keyword.fetch!(opts, :theirs)
    rounds = Keyword.get(opts, :rounds, 7)
    iterations = Keyword.get(opts, :iterations, 100_000)
    their_iterations = Keyword.get(opts, :their_iterations, iterations)
    processes = Keyword.get(opts, :processes, 1)

    run(ours, div(iterations, 10) + 1, processes)
    run(theirs, div(their_iterations, 10) + 1, processes)

    samples =
      for _ <- 1..rounds do
        {run(ours, iterations, processes), run(theirs, their_iterations, processes)}
      end

    mine = samples |> Enum.map(&elem(&1, 0)) |> median()
    other = samples |> Enum.map(&elem(&1, 1)) |> median()
    ratio = samples |> Enum.map(fn {a, b} -> b / a end) |> median()
    report(name, mine, other, ratio, opts)
    ratio
  end

  @doc "Nanoseconds an operation takes: `iterations` calls in each of `processes` processes, wall clock."
  def run(fun, iterations, processes \\ 1) do
    parent = self()
    gate = make_ref()

    pids =
      for p <- 1..processes do
        spawn_link(fn ->
          receive do: (^gate -> :ok)
          loop(fun, p * iterations, iterations)
          send(parent, {gate, self()})
        end)
      end

    {us, _} =
      :timer.tc(fn ->
        Enum.each(pids, &send(&1, gate))
        Enum.each(pids, fn pid -> receive do: ({^gate, ^pid} -> :ok) end)
      end)

    us * 1000 / (iterations * processes)
  end

  @doc "Prints one measured figure that is not a comparison of two functions."
  def figure(name, value, wanted \\ ""), do: emit([name, value, wanted])

  def median(values) do
    sorted = Enum.sort(values)
    Enum.at(sorted, div(length(sorted), 2))
  end

  def nanoseconds(ns) when ns >= 1.0e6, do: "#{Float.round(ns / 1.0e6, 2)} ms"
  def nanoseconds(ns) when ns >= 1.0e4, do: "#{Float.round(ns / 1.0e3, 1)} us"
  def nanoseconds(ns), do: "#{round(ns)} ns"

  defp report(name, mine, other, ratio, opts) do
    {shown, wanted} =
      case opts do
        %{} -> {"", ""}
        _ -> verdict(ratio, opts[:at_least], opts[:at_most])
      end

    emit([name, "#{nanoseconds(mine)} against #{nanoseconds(other)}", shown, wanted])
  end

  defp verdict(ratio, nil, nil), do: {"#{Float.round(ratio, 2)}x", ""}

  defp verdict(ratio, least, nil),
    do: {"#{Float.round(ratio, 2)}x", "#{met(ratio >= least)} (wanted #{least}x)"}

  defp verdict(ratio, nil, most) do
    cost = 1 / ratio
    {"costs #{Float.round(cost, 2)} of it", "#{met(cost <= most)} (at most #{most})"}
  end

  defp met(true), do: "met"
  defp met(false), do: "MISSED"

  defp emit(cells) do
    cells = Enum.map(cells, &to_string/1)
    [name | rest] = cells
    IO.puts("  " <> String.pad_trailing(name, 58) <> " " <> Enum.join(rest, "   "))

    case System.get_env("FOUNDATION_BENCH_OUT") do
      nil -> :ok
      file -> File.write!(file, Enum.join(cells, "\t") <> "\n", [:append])
    end
  end

  defp loop(_fun, _i, 0), do: :ok

  defp loop(fun, i, n) do
    fun.(i)
    loop(fun, i + 1, n - 1)
  end
end
