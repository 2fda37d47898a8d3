defmodule Foundation.Telemetry.PrometheusTest do
  use ExUnit.Case, async: false

  alias Foundation.Services.TelemetryService
  alias Foundation.Telemetry

  setup do
    :ok = TelemetryService.reset_state()
    on_exit(fn -> TelemetryService.reset_state() end)
  end

  @sample ~r/^([a-zA-Z_][a-zA-Z0-9_]*)(\{(.*)\})? (-?[0-9.e+-]+|\+Inf)( # \{.*\} [0-9.e+-]+ [0-9.]+)?$/

  # Reads a text by the rules of its format; answers the samples of each family.
  defp parse(text, format) do
    assert String.ends_with?(text, "\n")
    lines = String.split(text, "\n", trim: true)

    lines =
      if format == :openmetrics do
        assert List.last(lines) == "# EOF"
        List.delete_at(lines, -1)
      else
        refute "# EOF" in lines
        lines
      end

    {families, _} =
      Enum.reduce(lines, {%{}, nil}, fn
        "# TYPE " <> rest, {families, _} ->
          [name, type] = String.split(rest, " ")
          refute Map.has_key?(families, name), "#{name} comes twice"
          {Map.put(families, name, %{type: type, samples: []}), name}

        "# " <> _, acc ->
          acc

        line, {families, name} ->
          assert [_, sample, _, labels, value | exemplar] = Regex.run(@sample, line), "not a sample: #{line}"
          assert String.starts_with?(sample, name)
          entry = {String.replace_prefix(sample, name, ""), labels, value, exemplar}
          {update_in(families[name].samples, &(&1 ++ [entry])), name}
      end)

    for {name, %{type: type, samples: samples}} <- families, {suffix, labels, _, exemplar} <- samples do
      case type do
        "counter" when format == :openmetrics -> assert suffix == "_total"
        "counter" -> assert String.ends_with?(name <> suffix, "_total")
        "gauge" -> assert suffix == ""
        "summary" -> assert suffix in ["", "_sum", "_count"]
        "histogram" -> assert suffix in ["_bucket", "_sum", "_count"]
      end

      if suffix == "_bucket", do: assert(labels =~ ~r/(^|,)le="[^"]+"$/)
      if exemplar != [], do: assert({format, type in ["histogram", "counter"]} == {:openmetrics, true})
    end

    families
  end

  defp fill do
    for n <- 1..100, do: Telemetry.record([:http, :latency], n / 10, %{route: "/a\"\\\n"})
    Telemetry.record([:http, :latency], 0.42, %{route: "/a\"\\\n"}, exemplar: %{trace_id: "4bf92f"})
    Telemetry.declare([:size], :histogram, unit: :bytes, buckets: [10, 100], help: "How large.\nReally")
    for n <- 1..50, do: Telemetry.record([:size], n * 4)
    Telemetry.counter_add("http.requests_total", 3, %{:method => :get, "le" => 1})
    Telemetry.counter_add(:float, 0.5)
    Telemetry.gauge_set([:depth], 1.0e20)
    Telemetry.sum_add([:balance], -2)
    Telemetry.emit_counter([:old, :count], %{})
    Telemetry.emit_gauge([:old, :level], 3, %{})
    Telemetry.emit_gauge([:depth], 9, %{})
  end

  test "both formats follow their rules" do
    fill()

    for format <- [:prometheus, :openmetrics], histograms <- [:buckets, :summary] do
      {:ok, text} = Telemetry.prometheus(format: format, histograms: histograms)
      families = parse(text, format)
      suffix = if format == :prometheus, do: "_total", else: ""
      assert %{type: "counter"} = families["http_requests" <> suffix]
      assert %{type: "counter"} = families["old_count" <> suffix]
      assert %{type: "gauge", samples: [{"", _, "3", _}]} = families["old_level"]
      assert %{type: "gauge", samples: [{"", _, "1e20", _}]} = families["depth"]
      assert %{type: "gauge", samples: [{"", _, "-2", _}]} = families["balance"]
      type = if histograms == :buckets, do: "histogram", else: "summary"
      assert %{type: ^type} = families["http_latency"]
      assert %{type: ^type} = families["size_bytes"]
    end
  end

  test "buckets are cumulative and end with all" do
    fill()
    {:ok, text} = Telemetry.prometheus()
    %{"size_bytes" => %{samples: samples}} = parse(text, :prometheus)

    assert [
             {"_bucket", "le=\"10.0\"", "2", _},
             {"_bucket", "le=\"100.0\"", "25", _},
             {"_bucket", "le=\"+Inf\"", "50", _},
             {"_sum", "", "5100.0", _},
             {"_count", "", "50", _}
           ] = samples

    counts =
      for {"_bucket", _, n, _} <- parse(text, :prometheus)["http_latency"].samples, do: String.to_integer(n)

    assert counts == Enum.sort(counts)
    assert List.last(counts) == 101
  end

  test "labels and help are escaped, exemplars stand at their bucket" do
    fill()
    {:ok, text} = Telemetry.prometheus(format: :openmetrics)
    assert text =~ ~S(http_latency_bucket{route="/a\"\\\n",le=)
    assert text =~ ~S(# HELP size_bytes How large.\nReally)
    assert text =~ "# UNIT size_bytes bytes\n"
    assert text =~ ~S(http_requests_total{method="get",tag_le="1"} 3)
    assert text =~ ~r/http_latency_bucket\{.*le="0.5"\} \d+ # \{trace_id="4bf92f"\} 0.42 \d+\.\d{3}\n/
  end

  test "exemplars are at most 128 characters" do
    assert_raise ArgumentError, ~r/128/, fn ->
      Telemetry.record([:x], 1, %{}, exemplar: %{trace: String.duplicate("x", 130)})
    end
  end
end
