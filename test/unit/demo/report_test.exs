defmodule Foundation.Demo.ReportTest do
  use ExUnit.Case, async: true

  alias Foundation.Demo.{Chart, Console, Format, Report, Summary}

  @hostile "<script>alert('x')</script>&\"\u2028"

  defp fact(name, us, callees) do
    %{
      module: name,
      application: "app",
      path: "/#{name}.beam",
      source: "code",
      functions: 2,
      exports: 1,
      local_calls: 1,
      remote_calls: 3,
      dynamic_calls: 0,
      file_bytes: 1_500,
      code_bytes: 700,
      parse_us: us,
      attributes: [@hostile],
      callees: callees
    }
  end

  defp result(facts) do
    row = %{name: @hostile, unit: :time, count: 2, p50: 10, p90: 20, p99: 20, p999: 20, max: 20}

    %{
      started_at: ~U[2026-01-01 00:00:00Z],
      kept: 0,
      done: length(facts),
      failed: [%{path: @hostile, reason: @hostile}],
      elapsed_us: 1_000,
      summary: Summary.of(facts),
      percentiles: if(facts == [], do: [], else: [row]),
      limiter: %{settings: [{"Limit", @hostile}], figures: [], limited: %{files: 3}},
      cluster: %{
        nodes: [%{label: "node 1", node: :"a@#{@hostile}", files: length(facts)}],
        moments: [%{at_us: 5, node: @hostile, what: :killed, says: @hostile}]
      },
      search: %{query: @hostile, took_us: 5, events: 9, hits: facts},
      trace: @hostile,
      store: %{path: "store", bytes: 10, recovery_us: 3},
      report: "report.html"
    }
  end

  test "the page loads nothing from elsewhere and runs nothing" do
    page = render([fact("A", 10, []), fact(@hostile, 20, [{@hostile, 4}])])
    refute page =~ ~r/<script|<link|<img|<iframe|@import|url\(|https?:\/\//i
    assert page =~ "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"
    assert page =~ "prefers-color-scheme: dark"
  end

  test "every tag that opens closes, in order" do
    page = render([fact("A", 10, []), fact(@hostile, 20, [{@hostile, 4}, {":erlang.hd/1", 2}])])

    left =
      ~r{<(/?)([a-z0-9]+)[^>]*?(/?)>}
      |> Regex.scan(page, capture: :all_but_first)
      |> Enum.reduce([], fn
        [_, _, "/"], open -> open
        ["", "meta", ""], open -> open
        ["", tag, ""], open -> [tag | open]
        ["/", tag, ""], [tag | open] -> open
      end)

    assert left == []
  end

  test "the cluster's life is told on the page and on the console, and may be missing" do
    assert render([]) =~ "cluster&#39;s life"
    console = IO.iodata_to_binary(Console.render(result([])))
    assert console =~ "The cluster\n  node 1  0 files"
    alone = %{result([]) | cluster: nil}
    refute IO.iodata_to_binary(Report.render(alone)) =~ "cluster"
    refute IO.iodata_to_binary(Console.render(alone)) =~ "The cluster"
  end

  test "a result without modules is a page too" do
    assert render([]) =~ "0 modules"
    assert IO.iodata_to_binary(Console.render(result([]))) =~ "Report: report.html"
  end

  test "rankings: the slowest, the most called, built-ins apart" do
    facts = [
      fact("A", 10, [{":erlang.hd/1", 9}, {"Enum.map/2", 2}]),
      fact("B", 30, [{"Enum.map/2", 3}, {"Enum.at/2", 1}])
    ]

    summary = Summary.of(facts)
    assert Enum.map(summary.slowest, & &1.module) == ["B", "A"]
    assert summary.most_called == [{"Enum.map/2", 5, 2}, {"Enum.at/2", 1, 1}]
    assert summary.built_ins == [{":erlang.hd/1", 9, 1}]
    assert [%{name: "app", modules: 2, parse_us: 40}] = summary.applications
    text = IO.iodata_to_binary(Console.render(result(facts)))
    assert text =~ "Enum.map/2  5 calls in 2 modules"
  end

  test "a histogram counts each value once" do
    svg = IO.iodata_to_binary(Chart.histogram([1, 2, 3, 4, 5, 99, 100], &to_string/1, "t"))

    counts =
      Regex.scan(~r/text-anchor="middle">(\d+)<\/text>\n *<text class="tick"/, svg, capture: :all_but_first)

    assert counts |> List.flatten() |> Enum.map(&String.to_integer/1) |> Enum.sum() == 7
  end

  test "numbers" do
    assert Format.count(1_234_567) == "1,234,567"
    assert Format.count(12) == "12"
    assert Format.time(999) == "999 µs"
    assert Format.time(1_500) == "1.50 ms"
    assert Format.time(2_000_000) == "2.00 s"
    assert Format.bytes(12_345) == "12.3 kB"
    assert Format.short("2.00 s") == "2 s"
    assert Format.short("2.50 s") == "2.50 s"
  end

  test "plain lines where the output is no terminal" do
    lines =
      ExUnit.CaptureIO.capture_io(fn ->
        progress = Console.start(40, false)
        1..40 |> Enum.reduce(progress, &Console.advance(&2, &1, "m#{&1}.beam")) |> Console.finish()
      end)

    assert length(String.split(lines, "\n", trim: true)) == 10
    assert lines =~ "50%  20/40 files  m20.beam"
    refute lines =~ "\e"
  end

  test "a bar on a terminal: drawn at once, within its width, gone at the end" do
    output =
      ExUnit.CaptureIO.capture_io(fn ->
        progress = Console.advance(Console.start_as({:bar, 60}, 40), 20, "a_module_with_a_long_name.beam")
        IO.write("|")
        progress |> Console.advance(40, "last.beam") |> Console.finish()
      end)

    assert [half, done] = String.split(output, "|")
    assert "\r\e[2K" <> bar = half
    assert String.length(bar) == 59
    assert bar =~ ~r/^█{16}░{16}  50%  20\/40/u
    assert done =~ "100%  40/40"
    assert String.ends_with?(done, "\r\e[2K")
  end

  test "quiet says nothing" do
    assert ExUnit.CaptureIO.capture_io(fn ->
             1..40 |> Enum.reduce(Console.start(40, true), &Console.advance(&2, &1, "m")) |> Console.finish()
           end) == ""
  end

  defp render(facts), do: facts |> result() |> Report.render() |> IO.iodata_to_binary()
end
