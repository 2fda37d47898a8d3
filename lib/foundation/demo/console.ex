defmodule Foundation.Demo.Console do
  @moduledoc false
  # What the demo shows while it works and when it is done. A bar on a terminal, plain lines elsewhere.

  alias Foundation.Demo.{Format, Market}

  @width 32
  @redraw_ms 80

  @type t :: %{
          mode: {:bar, columns :: pos_integer} | :lines | :quiet,
          total: non_neg_integer,
          started: integer,
          shown: integer
        }

  @doc "A progress display for so many files."
  @spec start(non_neg_integer, boolean) :: t
  def start(total, quiet?) do
    start_as(if(quiet?, do: :quiet, else: mode()), total)
  end

  @doc false
  def start_as({:bar, _columns} = mode, total),
    do: %{mode: mode, total: total, started: now(), shown: now() - @redraw_ms}

  def start_as(mode, total), do: %{mode: mode, total: total, started: now(), shown: 0}

  # A bar is worth drawing only where someone watches. The VM runs Mix without a shell and then does not know the
  # terminal (before OTP 26), so a program that has the same standard output is asked.
  defp mode do
    watched = Process.group_leader() == Process.whereis(:user) and System.get_env("TERM") not in [nil, "dumb"]

    case watched && System.find_executable("sh") |> terminal_columns() do
      columns when is_integer(columns) -> {:bar, columns}
      _ -> :lines
    end
  end

  defp terminal_columns(nil), do: nil

  defp terminal_columns(shell) do
    options = [:nouse_stdio, :exit_status, :binary, args: ["-c", "test -t 1 && stty size <&1 >&4"]]
    {:spawn_executable, shell} |> Port.open(options) |> columns("")
  end

  # "rows columns"
  defp columns(port, text) do
    receive do
      {^port, {:data, data}} ->
        columns(port, text <> data)

      {^port, {:exit_status, 0}} ->
        case String.split(text) do
          [_rows, "0"] -> 80
          [_rows, columns] -> String.to_integer(columns)
          _ -> nil
        end

      {^port, {:exit_status, _}} ->
        nil
    end
  end

  @doc "Says how far it is. A bar is redrawn a few times a second, a line is printed at each tenth."
  @spec advance(t, non_neg_integer, String.t()) :: t
  def advance(%{mode: {:bar, _}} = progress, done, name) do
    if done == progress.total or now() - progress.shown >= @redraw_ms do
      draw(progress, done, name)
      %{progress | shown: now()}
    else
      progress
    end
  end

  def advance(%{mode: :lines} = progress, done, name) do
    tenth = div(done * 10, max(progress.total, 1))

    if tenth > progress.shown do
      IO.puts("#{tenth * 10}%  #{done}/#{progress.total} files  #{name}")
      %{progress | shown: tenth}
    else
      progress
    end
  end

  def advance(progress, _done, _name), do: progress

  @doc "Leaves the line of the bar."
  @spec finish(t) :: :ok
  def finish(%{mode: {:bar, _}, total: total}) when total > 0, do: IO.write("\r\e[2K")
  def finish(_progress), do: :ok

  defp draw(progress, done, name) do
    filled = div(done * @width, max(progress.total, 1))
    bar = String.duplicate("█", filled) <> String.duplicate("░", @width - filled)
    seconds = max(now() - progress.started, 1) / 1_000
    left = if done > 0, do: round(seconds * (progress.total - done) / done), else: 0
    percent = String.pad_leading("#{div(done * 100, max(progress.total, 1))}", 3)
    line = "#{bar} #{percent}%  #{done}/#{progress.total}  #{left} s left  #{name}"
    IO.write("\r\e[2K" <> String.slice(line, 0, elem(progress.mode, 1) - 1))
  end

  defp now, do: System.monotonic_time(:millisecond)

  @doc "The result of a run as text."
  @spec render(map) :: iodata
  def render(%{summary: summary} = result) do
    [
      heading("Foundation demo"),
      rows(totals(result)),
      heading("Slowest modules"),
      rows(for fact <- summary.slowest, do: {fact.module, Format.time(fact.parse_us)}),
      heading("Most called functions"),
      rows(for {name, calls, callers} <- summary.most_called, do: {name, called(calls, callers)}),
      heading("Most called of those built into the virtual machine"),
      rows(for {name, calls, callers} <- Enum.take(summary.built_ins, 5), do: {name, called(calls, callers)}),
      heading("Distributions"),
      Enum.map(result.percentiles, &percentiles/1),
      heading("A causal trace"),
      indent(result.trace),
      heading("A search: " <> result.search.query),
      rows(for hit <- result.search.hits, do: {hit.module, Format.time(hit.parse_us)}),
      "  took #{Format.time(result.search.took_us)} over #{Format.count(result.search.events)} events\n",
      heading("Limiter, breaker, pool"),
      rows(result.limiter.settings ++ result.limiter.figures),
      cluster(result.cluster),
      Enum.map(Market.Text.blocks(result[:market]), &block/1),
      unreadable(result.failed),
      "\nReport: #{result.report}\nStore:  #{result.store.path}\n"
    ]
  end

  defp totals(%{summary: summary} = result) do
    [
      {"modules", Format.count(summary.modules)},
      {"functions", Format.count(summary.functions)},
      {"calls", "#{Format.count(summary.remote_calls)} remote, #{Format.count(summary.local_calls)} local"},
      {"analysed now", "#{Format.count(result.done)} files in #{Format.time(result.elapsed_us)}"},
      {"recovered",
       "#{Format.count(result.kept)} files, store opened in #{Format.time(result.store.recovery_us)}"},
      {"unreadable", Format.count(length(result.failed))}
    ]
  end

  defp called(calls, callers), do: "#{Format.count(calls)} calls in #{Format.count(callers)} modules"

  defp percentiles(row) do
    unit = if row.unit == :bytes, do: &Format.bytes/1, else: &Format.time/1

    figures =
      for {name, value} <- [p50: row.p50, p90: row.p90, p99: row.p99, "p99.9": row.p999, largest: row.max] do
        "#{name} #{String.pad_leading(unit.(value), 8)}"
      end

    ["  ", String.pad_trailing(row.name, 24), Enum.intersperse(figures, "  "), "\n"]
  end

  defp cluster(nil), do: []

  defp cluster(story) do
    [
      heading("The cluster"),
      rows(for node <- story.nodes, do: {node.label, "#{Format.count(node.files)} files  #{node.node}"}),
      rows(for moment <- story.moments, do: {Format.time(moment.at_us), "#{moment.node} #{moment.says}"})
    ]
  end

  defp block({_title, nothing}) when nothing in [nil, []], do: []
  defp block({title, text}) when is_binary(text), do: [heading(title), indent(text)]
  defp block({title, rows}), do: [heading(title), rows(rows)]

  defp unreadable([]), do: []

  defp unreadable(failed) do
    [heading("Unreadable"), rows(for failure <- Enum.take(failed, 10), do: {failure.path, failure.reason})]
  end

  defp heading(text), do: ["\n", text, "\n"]

  defp indent(text), do: for(line <- String.split(text, "\n", trim: true), do: ["  ", line, "\n"])

  defp rows(rows) do
    width = rows |> Enum.map(&String.length(elem(&1, 0))) |> Enum.max(fn -> 0 end)
    for {name, value} <- rows, do: ["  ", String.pad_trailing(name, width), "  ", value, "\n"]
  end
end
