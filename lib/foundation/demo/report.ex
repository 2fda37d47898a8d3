defmodule Foundation.Demo.Report do
  @moduledoc false
  # The result of a run as one HTML file: no script, no font, no picture from elsewhere. Pure.

  alias Foundation.Demo.{Chart, Format, Guard, Market, Style}

  import Chart, only: [escape: 1]
  import Foundation.Demo.Html

  @doc "The page of a result of `Foundation.Demo.run/1`."
  @spec render(map) :: iodata
  def render(result) do
    [
      """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="color-scheme" content="light dark">
      <title>Foundation demo: #{Format.count(result.summary.modules)} modules</title>
      <style>#{Style.sheet()}</style>
      </head>
      <body>
      <main>
      """,
      header(result),
      tiles(result),
      Market.Page.findings(result[:market]),
      times(result),
      calls(result.summary),
      size_and_time(result.summary),
      applications(result.summary),
      cluster(result[:cluster]),
      Market.Page.sections(result[:market]),
      limiter(result),
      search(result),
      trace(result),
      failures(result.failed),
      footer(result),
      "</main>\n</body>\n</html>\n"
    ]
  end

  defp header(result) do
    """
    <header>
    <h1>What this machine's Erlang/OTP and Elixir are made of</h1>
    <p>#{escape(sentence(result))}</p>
    </header>
    """
  end

  defp sentence(%{done: 0, failed: []} = result) do
    "Nothing had changed: all #{Format.count(result.kept)} modules were recovered from the store."
  end

  defp sentence(result) do
    "#{Format.count(result.done)} modules analysed in #{Format.time(result.elapsed_us)}, " <>
      "#{Format.count(result.kept)} recovered from the store, #{Format.count(length(result.failed))} unreadable."
  end

  defp tiles(%{summary: summary} = result) do
    [
      {"modules", Format.count(summary.modules)},
      {"functions", Format.count(summary.functions)},
      {"calls found", Format.count(summary.local_calls + summary.remote_calls + summary.dynamic_calls)},
      {"BEAM files", Format.bytes(summary.bytes)},
      {"files/s", rate(result)},
      {"store on disk", Format.bytes(result.store.bytes)}
    ]
    |> Enum.map(fn {name, value} ->
      ~s(<div class="tile"><b>#{escape(value)}</b><span>#{escape(name)}</span></div>\n)
    end)
    |> then(&[~s(<div class="tiles">\n), &1, "</div>\n"])
  end

  defp rate(%{done: 0}), do: "–"
  defp rate(result), do: Format.decimal(result.done * 1_000_000 / max(result.elapsed_us, 1))

  defp times(%{summary: summary} = result) do
    slowest = for fact <- summary.slowest, do: {fact.module, fact.parse_us, Format.time(fact.parse_us)}
    times = for {_bytes, us, _name} <- summary.points, do: us

    section("Time to read a module", [
      Chart.histogram(times, &time/1, "Modules by the time reading them took"),
      percentiles(result.percentiles),
      "<h3>Slowest modules</h3>",
      Chart.bars(slowest, "Slowest modules")
    ])
  end

  defp percentiles(rows) do
    body =
      for row <- rows do
        unit = if row.unit == :bytes, do: &Format.bytes/1, else: &Format.time/1
        cells = for value <- [row.p50, row.p90, row.p99, row.p999, row.max], do: cell(unit.(value))
        ["<tr>", text(row.name), cell(Format.count(row.count)), cells, "</tr>\n"]
      end

    table(["Distribution", "values", "p50", "p90", "p99", "p99.9", "largest"], body)
  end

  defp calls(summary) do
    behaviours = for {name, count} <- summary.behaviours, do: {name, count, Format.count(count)}

    section("Most called functions", [
      Chart.bars(called(summary.most_called), "Most called functions"),
      "<h3>Built into the virtual machine</h3>",
      Chart.bars(called(summary.built_ins), "Most called built-in functions"),
      if(behaviours == [], do: [], else: ["<h3>Behaviours</h3>", Chart.bars(behaviours, "Behaviours")])
    ])
  end

  defp called(functions) do
    for {name, calls, callers} <- functions do
      {name, calls, "#{Format.count(calls)} in #{Format.count(callers)} modules"}
    end
  end

  defp size_and_time(summary) do
    sizes = for {bytes, _us, _name} <- summary.points, do: bytes

    section("Size", [
      Chart.histogram(sizes, &bytes/1, "Modules by the size of their file"),
      "<h3>Size of the file against the time reading it took</h3>",
      Chart.scatter(summary.points, &bytes/1, &time/1, "Size and time of every module")
    ])
  end

  defp applications(summary) do
    rows =
      for app <- summary.applications do
        [
          ["<tr>", text(app.name), cell(Format.count(app.modules)), cell(Format.count(app.functions))],
          [
            cell(Format.count(app.remote_calls)),
            cell(Format.bytes(app.bytes)),
            cell(Format.time(app.parse_us))
          ],
          "</tr>\n"
        ]
      end

    head = ["Application", "modules", "functions", "remote calls", "size", "time"]
    section("Applications", [details("#{length(summary.applications)} applications", table(head, rows))])
  end

  defp cluster(nil), do: []

  defp cluster(story) do
    bars = for node <- story.nodes, do: {node.label, node.files, "#{Format.count(node.files)} files"}

    section("The cluster's life", [Chart.bars(bars, "Files done by each node"), moments(story.moments)])
  end

  defp limiter(result) do
    limiter = result.limiter

    limited =
      for {dimension, count} <- Enum.sort(limiter.limited) do
        {Guard.why(dimension), count, "#{Format.count(count)} times"}
      end

    rows =
      for {name, value} <- limiter.settings ++ limiter.figures do
        row([text(name), cell(value)])
      end

    section("What the limiter, the breaker and the pool did", [
      table(["", ""], rows),
      if(limited == [], do: [], else: ["<h3>Why files waited</h3>", Chart.bars(limited, "Why files waited")])
    ])
  end

  defp search(%{search: search}) do
    rows =
      for hit <- search.hits do
        row([text(hit.module), text(hit.application), cell(Format.time(hit.parse_us))])
      end

    section("A search in the event store", [
      "<pre>#{escape(search.query)}</pre>",
      "<p>#{escape("#{length(search.hits)} events shown of a search over #{Format.count(search.events)} events, in #{Format.time(search.took_us)}.")}</p>",
      table(["Module", {:text, "Application"}, "time"], rows)
    ])
  end

  defp trace(%{trace: trace}), do: section("Why: a causal trace", ["<pre>#{escape(trace)}</pre>"])

  defp failures([]), do: []

  defp failures(failed) do
    rows = for failure <- failed, do: row([text(failure.path), text(failure.reason)])
    section("Not readable", [table(["File", "Reason"], rows)])
  end

  defp footer(result) do
    """
    <footer>#{escape(DateTime.to_iso8601(result.started_at))} · Erlang/OTP #{System.otp_release()}, Elixir
    #{escape(System.version())} · store recovered in #{Format.time(result.store.recovery_us)}</footer>
    """
  end

  defp time(us), do: us |> Format.time() |> Format.short()
  defp bytes(n), do: n |> Format.bytes() |> Format.short()
end
