defmodule Foundation.Telemetry.Metrics do
  @moduledoc false
  # The series of 2.x: checks arguments, calls the native library, gives its answers their shape.

  require Foundation.Engine

  alias Foundation.{Engine, Native}
  alias Foundation.Telemetry.Series

  @kinds [:counter, :gauge, :sum, :histogram]
  @windows [:all, :minute, :five_minutes, :hour]
  @percentiles [50, 90, 99, 99.9]

  # -- recording ---------------------------------------------------------------------------------------------------

  def record(kind, name, value, tags) do
    case Native.metrics_record(Engine.inline_handle(:metrics), kind, name, tags, value) do
      :ok -> :ok
      other -> settle(other, kind, name, value, tags)
    end
  end

  # What the native library did not take at once.
  def settle(:badarg, kind, name, value, tags), do: record_anyway(kind, name, value, tags)
  def settle(refused, _kind, _name, _value, _tags), do: refused

  # What is no number may be a decimal in text; the rest is refused with its name.
  defp record_anyway(kind, name, value, tags) do
    unless is_map(tags), do: raise(ArgumentError, "tags must be a map, got: #{inspect(tags)}")
    number = number!(value)
    unless is_binary(value), do: bad_series!(name, tags)
    record(kind, name, number, tags)
  end

  # What a prepared series did not take: its registry has forgotten it, or the value is no number.
  def record_again(%Series{} = series, value, :gone), do: record(series.kind, series.name, value, series.tags)

  def record_again(%Series{} = series, value, :badarg) do
    number = number!(value)
    unless is_binary(value), do: bad_series!(series.name, series.tags)
    Foundation.Telemetry.record(series, number)
  end

  def record_again(_series, _value, refused), do: refused

  def record_exemplar(kind, name, value, tags, exemplar) do
    value = number!(value)
    labels = for {k, v} <- exemplar, do: {to_string(k), to_string(v)}
    now = System.os_time(:millisecond)

    with_handle(fn handle ->
      Native.metrics_record_exemplar(handle, kind, name, tags, value, labels, now)
    end)
  rescue
    ArgumentError ->
      raise ArgumentError,
            "an exemplar must be text labels of at most 128 characters together, on a valid series; got: " <>
              inspect({name, tags, exemplar})
  end

  def prepare(kind, name, tags) when kind in @kinds and is_map(tags) do
    with_handle(fn handle ->
      with {:ok, ref} <- Native.metrics_prepare(handle, kind, name, tags),
           do: {:ok, Series.new(kind, name, tags, ref)}
    end)
  rescue
    ArgumentError -> bad_series!(name, tags)
  end

  def prepare(kind, _name, tags) do
    raise ArgumentError,
          "expected a kind of #{inspect(@kinds)} and a map of tags, got: #{inspect(kind)}, #{inspect(tags)}"
  end

  def declare(name, kind, opts) when kind in @kinds do
    known = [:help, :unit, :digits, :resolution, :highest, :buckets, :max_series]

    case Keyword.keys(opts) -- known do
      [] -> :ok
      more -> raise ArgumentError, "unknown options #{inspect(more)}; known are #{inspect(known)}"
    end

    digits = Keyword.get(opts, :digits, 3)

    unless digits in 2..4,
      do: raise(ArgumentError, "digits must be 2, 3 or 4, got: #{inspect(digits)}")

    highest = opts[:highest]
    buckets = opts |> Keyword.get(:buckets, []) |> Enum.map(&number!/1) |> Enum.sort() |> Enum.uniq()

    config = {
      to_string(Keyword.get(opts, :help, "")),
      to_string(Keyword.get(opts, :unit, "")),
      digits,
      opts |> Keyword.get(:resolution, 1) |> number!(),
      highest && number!(highest),
      buckets,
      opts[:max_series]
    }

    with_handle(&Native.metrics_declare(&1, kind, name, config))
  end

  def declare(_name, kind, _opts),
    do: raise(ArgumentError, "expected a kind of #{inspect(@kinds)}, got: #{inspect(kind)}")

  # -- reading -----------------------------------------------------------------------------------------------------

  def value(name, tags) when is_map(tags), do: with_handle(&Native.metrics_value(&1, name, tags))

  def percentiles(name, at, opts) do
    quantiles = quantiles!(at)

    with {:ok, found} <- read(name, opts, quantiles), do: {:ok, values(found, at)}
  end

  def summary(name, opts) do
    with {:ok, found} <- read(name, opts, quantiles!(@percentiles)), do: {:ok, shape(found)}
  end

  def describe(encoded) when is_binary(encoded) do
    with {:ok, found} <- Native.metrics_decode(unwrap(encoded), quantiles!(@percentiles)),
         do: {:ok, shape(found)}
  end

  def describe(encoded, at) when is_binary(encoded) do
    with {:ok, found} <- Native.metrics_decode(unwrap(encoded), quantiles!(at)), do: {:ok, values(found, at)}
  end

  def encode(name, opts) do
    {tags, window} = scope!(opts)
    compressed = Keyword.get(opts, :compressed, true)

    with_handle(fn handle ->
      with {:ok, encoded} <- Native.metrics_encode(handle, name, tags, window, compressed),
           do: {:ok, wrap(encoded, opts)}
    end)
  end

  def merge(encoded, opts) when is_list(encoded) do
    compressed = Keyword.get(opts, :compressed, true)

    with {:ok, merged} <- encoded |> Enum.map(&unwrap/1) |> Native.metrics_merge(compressed),
         do: {:ok, wrap(merged, opts)}
  end

  def set_baseline(name, opts) do
    {tags, _window} = scope!(opts)
    with_handle(&Native.metrics_baseline_set(&1, name, tags, System.os_time(:millisecond)))
  end

  def compare_baseline(name, opts) do
    at = Keyword.get(opts, :percentiles, @percentiles)
    tags = tags!(opts)
    window = Keyword.get(opts, :window, :since_baseline)
    unless window in [:since_baseline | @windows], do: bad_window!(window)

    with_handle(fn handle ->
      with {:ok, found} <- Native.metrics_baseline_compare(handle, name, tags, window, quantiles!(at)),
           do: {:ok, comparison(found, at)}
    end)
  end

  def scrape(opts) do
    {format, at} = text_options!(opts)
    with_handle(fn handle -> {:ok, Native.metrics_scrape(handle, format, at)} end)
  end

  # The text format, and the quantiles of a summary; none for buckets.
  def text_options!(opts) do
    format = Keyword.get(opts, :format, :prometheus)

    unless format in [:prometheus, :openmetrics],
      do: raise(ArgumentError, "format must be :prometheus or :openmetrics, got: #{inspect(format)}")

    at =
      if opts[:histograms] == :summary,
        do: quantiles!(Keyword.get(opts, :percentiles, @percentiles)),
        else: []

    {format, at}
  end

  def cardinality do
    with_handle(fn handle ->
      {names, series, refused, dropped, bytes, by_name} = Native.metrics_cardinality(handle)

      {:ok,
       %{
         names: names,
         series: series,
         refused_names: refused,
         dropped_events: dropped,
         bytes: bytes,
         by_name:
           Map.new(by_name, fn {name, kind, series, overflowed} ->
             {name, %{kind: kind, series: series, overflowed: overflowed}}
           end)
       }}
    end)
  end

  def series do
    with_handle(fn handle ->
      {:ok,
       for({name, tags, kind} <- Native.metrics_series(handle), do: %{name: name, tags: tags, kind: kind})}
    end)
  end

  def forget(name), do: with_handle(fn handle -> {:ok, Native.metrics_forget(handle, name)} end)

  # Lets prepared series know that their registry ends with the application.
  def close do
    with_handle(&Native.metrics_clear/1)
    :ok
  end

  # -- shapes ------------------------------------------------------------------------------------------------------

  defp read(name, opts, quantiles) do
    {tags, window} = scope!(opts)
    with_handle(&Native.metrics_read(&1, name, tags, window, quantiles))
  end

  def shape({count, sum, min, max, mean, stddev, clamped, resolution, digits, sum_units, at}) do
    [p50, p90, p99, p999] = if at == [], do: [nil, nil, nil, nil], else: Enum.map(at, &whole(&1, resolution))

    %{
      count: count,
      sum: whole(sum, resolution),
      total: total(sum_units, resolution),
      min: whole(min, resolution),
      max: whole(max, resolution),
      mean: mean,
      stddev: stddev,
      p50: p50,
      p90: p90,
      p99: p99,
      p999: p999,
      clamped: clamped,
      digits: digits,
      resolution: resolution
    }
  end

  # The quantiles come back ascending, the caller's list may be in any order.
  defp values({_, _, _, _, _, _, _, resolution, _, _, found}, at) do
    ascending = at |> Enum.sort() |> Enum.zip(Enum.map(found, &whole(&1, resolution))) |> Map.new()
    Map.new(at, &{&1, Map.get(ascending, &1)})
  end

  defp comparison({statistic, p_value, quantiles, {count, mean}, {now_count, now_mean}, unix_ms}, at) do
    shifts =
      at
      |> Enum.sort()
      |> Enum.zip(quantiles)
      |> Map.new(fn {percentile, {_quantile, before, now}} ->
        {percentile, %{before: before, now: now, change: change(before, now)}}
      end)

    %{
      ks: statistic,
      p_value: p_value,
      shifts: shifts,
      baseline: %{count: count, mean: mean, stored_at: unix_ms},
      present: %{count: now_count, mean: now_mean}
    }
  end

  defp change(before, _now) when before == 0, do: nil
  defp change(before, now), do: (now - before) / before

  defp whole(nil, _resolution), do: nil
  defp whole(value, resolution) when resolution == 1.0, do: round(value)
  defp whole(value, _resolution), do: value

  # The exact sum as decimal text, where the resolution is a power of ten not above one.
  defp total(units, resolution) do
    case Enum.find(0..18, &(:math.pow(10, -&1) == resolution)) do
      nil ->
        nil

      0 ->
        Integer.to_string(units)

      places ->
        digits = units |> Integer.to_string() |> String.pad_leading(places + 1, "0")
        {whole, fraction} = String.split_at(digits, -places)
        whole <> "." <> fraction
    end
  end

  # -- arguments ---------------------------------------------------------------------------------------------------

  defp with_handle(fun) do
    case Engine.handle(:metrics) do
      nil -> {:error, :not_running}
      handle -> fun.(handle)
    end
  rescue
    error in ArgumentError ->
      # What the native library refuses says no more than badarg.
      if error.message =~ "argument error" or error.message =~ "errors were found" do
        raise ArgumentError,
              "out of bounds: a name with its tags takes at most 4096 bytes, 32 levels and 32 tags, help and unit " <>
                "1024 bytes, percentiles 1000, bucket bounds 256, max_series 1 to 4294967295"
      else
        reraise error, __STACKTRACE__
      end
  end

  defp scope!(opts) do
    window = Keyword.get(opts, :window, :all)
    unless window in @windows, do: bad_window!(window)
    {tags!(opts), window}
  end

  defp tags!(opts) do
    tags = Keyword.get(opts, :tags, %{})

    unless is_map(tags) or tags == :all,
      do: raise(ArgumentError, "tags must be a map or :all, got: #{inspect(tags)}")

    tags
  end

  defp quantiles!(at) do
    unless is_list(at) and Enum.all?(at, &(is_number(&1) and &1 >= 0 and &1 <= 100)),
      do: raise(ArgumentError, "percentiles must be a list of numbers from 0 to 100, got: #{inspect(at)}")

    at |> Enum.sort() |> Enum.map(&(&1 / 100))
  end

  defp number!(value) when is_number(value), do: value

  defp number!(value) when is_binary(value) do
    case Float.parse(value) do
      {number, ""} -> number
      _ -> raise ArgumentError, "value must be a number or a decimal in text, got: #{inspect(value)}"
    end
  end

  defp number!(value),
    do: raise(ArgumentError, "value must be a number or a decimal in text, got: #{inspect(value)}")

  defp bad_window!(window),
    do: raise(ArgumentError, "window must be one of #{inspect(@windows)}, got: #{inspect(window)}")

  defp bad_series!(name, tags) do
    raise ArgumentError,
          "a series needs a name and at most 32 tags, together within 4096 bytes and 32 levels, and integers " <>
            "within 64 bits; got: #{inspect({name, tags}, limit: 10, printable_limit: 200)}"
  end

  defp wrap(encoded, opts), do: if(opts[:base64], do: Base.encode64(encoded), else: encoded)

  # Both cookies begin with 0x1C, which no base64 text does.
  defp unwrap(<<0x1C, _::binary>> = encoded), do: encoded

  defp unwrap(text) do
    case Base.decode64(text) do
      {:ok, encoded} -> encoded
      :error -> text
    end
  end
end
