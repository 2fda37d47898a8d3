defmodule Foundation.Telemetry do
  @moduledoc """
  Records what a program does, as counts, levels and distributions, without asking a process.

  Two families of functions share one store. Those of 1.x (`execute/3`, `emit_counter/2`, `emit_gauge/3`,
  `emit_histogram/3`, `measure/3`) aggregate by event name and are read with `get_metrics/0`. Those of 2.x (`record/3`,
  `counter_add/3`, `gauge_set/3`, `sum_add/3`) record series by name and tags and are read with `percentiles/3`,
  `summary/2`, `value/2`, `histogram/2`, `baseline/3` and `prometheus/1`. guides/metrics.md explains them.

  A function of 2.x answers `{:error, :not_running}` while the application does not run, and raises ArgumentError for
  arguments that cannot be right; those of 1.x keep the shapes of 1.x.

  ## Scheduling

  Recording, `value/2`, `prepare/3` and `declare/3` run on a normal scheduler, below a microsecond; once in ten seconds
  a record also closes a slot of its histogram's windows, O(buckets in use). The first event of a name, and everything
  else that reads, merges or writes text, runs on a dirty CPU scheduler.
  """

  require Foundation.Engine

  alias Foundation.{Engine, Native}
  alias Foundation.Services.TelemetryService
  alias Foundation.Telemetry.{Cluster, Metrics, Series}
  alias Foundation.Types.Error

  @type event_name :: [atom]
  @type measurements :: map
  @type metadata :: map
  @type metric_value :: number
  @typedoc "Any term; a list of atoms as a rule."
  @type name :: term
  @typedoc "At most 32; keys and values are any terms, together with the name within 4096 bytes."
  @type tags :: map
  @type kind :: :counter | :gauge | :sum | :histogram

  # -- 1.x ---------------------------------------------------------------------------------------------------------

  @doc "Starts the service unless it runs."
  @spec initialize() :: :ok | {:error, Error.t()}
  defdelegate initialize(), to: TelemetryService

  @doc "`%{status: :running, metrics_count: n, handlers_count: n, config: map}` of the service."
  @spec status() :: {:ok, map} | {:error, Error.t()}
  defdelegate status(), to: TelemetryService

  @doc "Whether the service runs."
  @spec available?() :: boolean
  defdelegate available?(), to: TelemetryService

  @doc """
  Records an event.

  Per name and measurement: a `:counter` adds up, a `:gauge` keeps the last value, the mean of the old and the new
  value stays of any other number, and the last value of anything that is no number. The metadata of a name's first
  event is kept. Events also go to the `:telemetry` package's handlers when it is loaded and has any for the name.

  O(measurements); also `:ok` when the application does not run.

      iex> Foundation.Telemetry.execute([:docs, :execute], %{counter: 2}, %{from: :docs})
      :ok
  """
  @spec execute(event_name, measurements, metadata) :: :ok
  defdelegate execute(name, measurements, metadata), to: TelemetryService

  @doc """
  Runs the function in the caller and records its duration, in native time units, as `name ++ [:stop]`.

  When it raises, `name ++ [:exception]` is recorded with `:error` in the metadata, and the exception goes on. A throw
  or an exit passes without an event.
  """
  @spec measure(event_name, metadata, (() -> result)) :: result when result: var
  defdelegate measure(name, metadata, fun), to: TelemetryService

  @doc "Adds one to the counter of that name. O(1)."
  @spec emit_counter(event_name, metadata) :: :ok
  defdelegate emit_counter(name, metadata), to: TelemetryService

  @doc "Sets the gauge of that name. O(1)."
  @spec emit_gauge(event_name, metric_value, metadata) :: :ok
  defdelegate emit_gauge(name, value, metadata), to: TelemetryService

  @doc "`emit_histogram/3` without metadata."
  @spec emit_histogram([atom, ...], number) :: :ok
  defdelegate emit_histogram(name, value), to: TelemetryService

  @doc "Records a value under that name. Raises ArgumentError for what is no name, number or map. O(1)."
  @spec emit_histogram([atom, ...], number, map) :: :ok
  defdelegate emit_histogram(name, value, metadata), to: TelemetryService

  @doc """
  All aggregates, nested along the names, and `:retrieved_at`.

  A leaf is `%{timestamp: native monotonic time, measurements: map, metadata: map, count: n}`; a name that is also the
  beginning of a longer one shares its map. O(names).
  """
  @spec get_metrics() :: {:ok, map} | {:error, Error.t()}
  defdelegate get_metrics(), to: TelemetryService

  @doc """
  The aggregates of the names that begin with `prefix`, in the same shape as `get_metrics/0` gives. O(names).
  """
  @spec get_metrics_for(event_name) :: {:ok, map} | {:error, Error.t()}
  defdelegate get_metrics_for(prefix), to: TelemetryService

  @doc "Logs each event of exactly these names at debug level from now on."
  @spec attach_handlers([event_name]) :: :ok | {:error, Error.t()}
  defdelegate attach_handlers(names), to: TelemetryService

  @doc "Undoes `attach_handlers/1`."
  @spec detach_handlers([event_name]) :: :ok
  defdelegate detach_handlers(names), to: TelemetryService

  @doc "`measure/3` of `[:foundation, :function, :execution]` with module and function as metadata."
  @spec time_function(module, atom, (() -> result)) :: result when result: var
  def time_function(module, function, fun)
      when is_atom(module) and is_atom(function) and is_function(fun, 0) do
    measure([:foundation, :function, :execution], %{module: module, function: function}, fun)
  end

  @doc "Sets the gauge `[:foundation, :performance, metric]`."
  @spec emit_performance(atom, metric_value, metadata) :: :ok
  def emit_performance(metric, value, metadata \\ %{}) when is_atom(metric) and is_number(value),
    do: emit_gauge([:foundation, :performance, metric], value, metadata)

  @doc "Adds one to the counter `[:foundation, :system, type]`."
  @spec emit_system_event(atom, metadata) :: :ok
  def emit_system_event(type, metadata \\ %{}) when is_atom(type),
    do: emit_counter([:foundation, :system, type], metadata)

  # -- recording ---------------------------------------------------------------------------------------------------

  @doc """
  Counts `value` in the histogram of that name without tags, or in a prepared series.

  `value` is a number or a decimal in text (`"0.0125"`); what lies outside of the histogram's range is counted at its
  end and shows as `:clamped`. A name not declared counts whole numbers in ones and, from the first fraction on,
  in millionths, to three digits. With `exemplar: %{trace_id: "…"}` the value is also kept as an example for OpenMetrics.

  `{:error, :kind}` when the name is a counter, gauge or sum; `{:error, :full}` when no more names are taken. O(name
  and tags).

      iex> Foundation.Telemetry.record([:docs, :latency], 12, %{route: "/"})
      :ok
      iex> {:ok, series} = Foundation.Telemetry.prepare(:histogram, [:docs, :latency], %{route: "/"})
      iex> Foundation.Telemetry.record(series, 14)
      :ok
  """
  @spec record(name | Series.t(), number | String.t()) :: :ok | {:error, atom}
  def record(%Series{ref: ref} = series, value) do
    case Native.metrics_record_at(ref, value) do
      :ok -> :ok
      other -> Metrics.record_again(series, value, other)
    end
  end

  def record(name, value), do: record(name, value, %{})

  @doc "`record/2` of the series with these tags."
  @spec record(name, number | String.t(), tags) :: :ok | {:error, atom}
  def record(name, value, tags) do
    case Native.metrics_record(Engine.inline_handle(:metrics), :histogram, name, tags, value) do
      :ok -> :ok
      other -> Metrics.settle(other, :histogram, name, value, tags)
    end
  end

  @doc "`record/3` with options: `exemplar:`, a map of labels, at most 128 characters together."
  @spec record(name, number | String.t(), tags, keyword) :: :ok | {:error, atom}
  def record(name, value, tags, opts) do
    case Keyword.fetch(opts, :exemplar) do
      {:ok, exemplar} -> Metrics.record_exemplar(:histogram, name, value, tags, exemplar)
      :error -> record(name, value, tags)
    end
  end

  @doc """
  Adds to a counter; `{:error, :negative}` for a negative number. O(name and tags).

      iex> Foundation.Telemetry.counter_add([:docs, :requests], 2, %{method: :get})
      :ok
      iex> Foundation.Telemetry.value([:docs, :requests], %{method: :get})
      {:ok, 2}
  """
  @spec counter_add(name, number, tags) :: :ok | {:error, atom}
  def counter_add(name, n \\ 1, tags \\ %{}), do: Metrics.record(:counter, name, n, tags)

  @doc "Adds to a sum, which may go down as well as up. O(name and tags)."
  @spec sum_add(name, number, tags) :: :ok | {:error, atom}
  def sum_add(name, n, tags \\ %{}), do: Metrics.record(:sum, name, n, tags)

  @doc "Sets a gauge. O(name and tags)."
  @spec gauge_set(name, number, tags) :: :ok | {:error, atom}
  def gauge_set(name, value, tags \\ %{}), do: Metrics.record(:gauge, name, value, tags)

  @doc """
  Looks a series up once, for `record/2` to record into at the cost of an atomic addition.

  `kind` is `:histogram`, `:counter`, `:sum` or `:gauge`.
  """
  @spec prepare(kind, name, tags) :: {:ok, Series.t()} | {:error, atom}
  def prepare(kind, name, tags \\ %{}), do: Metrics.prepare(kind, name, tags)

  @doc """
  Says what a name measures, before its first value.

  - `unit:` the unit of its values, as text or atom; shown to scrapers
  - `help:` one sentence; shown to scrapers
  - `digits:` significant digits of a histogram, 2 to 4 (3)
  - `resolution:` the smallest difference that counts, in that unit, as number or decimal text (1)
  - `highest:` the largest value that is not clamped (9.2e18 times the resolution)
  - `buckets:` upper bounds of the buckets shown to scrapers (1, 2 and 5 of each decade seen)
  - `max_series:` most distinct sets of tags (10_000)

  `:ok` again for the same declaration; `{:error, :kind}`, `{:error, :declared}` when the name already has another,
  `{:error, :range}`, `{:error, :resolution}`, `{:error, :full}`. O(1).

  Money is a histogram whose resolution is a small part of the unit; its `:total` in `summary/2` is exact:

      iex> Foundation.Telemetry.declare([:docs, :cost], :histogram, unit: :usd, resolution: "0.000001")
      :ok
      iex> Foundation.Telemetry.record([:docs, :cost], "0.001250")
      :ok
      iex> {:ok, %{total: total}} = Foundation.Telemetry.summary([:docs, :cost])
      iex> total
      "0.001250"
  """
  @spec declare(name, kind, keyword) :: :ok | {:error, atom}
  def declare(name, kind, opts \\ []), do: Metrics.declare(name, kind, opts)

  # -- reading -----------------------------------------------------------------------------------------------------

  @doc "Where a counter, sum or gauge stands; nil for a gauge never set. `{:error, :unknown | :kind}`. O(1)."
  @spec value(name, tags) :: {:ok, number | nil} | {:error, atom}
  def value(name, tags \\ %{}), do: Metrics.value(name, tags)

  @doc """
  The values that so many percent of all values do not exceed, exact to the histogram's digits.

  Options of this and the following functions: `tags:` a map (`%{}`) or `:all` for all series of the name together;
  `window:` `:all` (since the start), `:minute`, `:five_minutes` or `:hour`. A window begins at most 10 s, 30 s or
  5 min after its full length. `{:error, :unknown}` without such a series, `{:error, :kind}` when it is no histogram;
  nil values when it has recorded nothing in the window. O(buckets in use), with `tags: :all` O(series).

      iex> for n <- 1..1000, do: Foundation.Telemetry.record([:docs, :size], n)
      iex> Foundation.Telemetry.percentiles([:docs, :size], [50, 99])
      {:ok, %{50 => 500, 99 => 990}}
  """
  @spec percentiles(name, [number], keyword) :: {:ok, %{number => number | nil}} | {:error, atom}
  def percentiles(name, percentiles \\ [50, 90, 99, 99.9], opts \\ []),
    do: Metrics.percentiles(name, percentiles, opts)

  @doc """
  A map of `:count :sum :total :min :max :mean :stddev :p50 :p90 :p99 :p999 :clamped :digits :resolution`.

  `:total` is the exact sum as decimal text, `:clamped` says how many values lay outside of the range. Options as
  `percentiles/3`.
  """
  @spec summary(name, keyword) :: {:ok, map} | {:error, atom}
  def summary(name, opts \\ []), do: Metrics.summary(name, opts)

  @doc """
  The histogram itself, in the HdrHistogram V2 encoding.

  `compressed:` (true), `base64:` (false), and options as `percentiles/3`. What every HdrHistogram library reads when
  the resolution is 1. `merge/2`, `describe/1` and `describe/2` take it, from this node or any other.
  """
  @spec histogram(name, keyword) :: {:ok, binary} | {:error, atom}
  def histogram(name, opts \\ []), do: Metrics.encode(name, opts)

  @doc """
  Merges encoded histograms: as if all their values had been recorded into one.

  Without loss when digits and resolution agree; else the finer of both is taken. A list, or two histograms. `{:error,
  :encoding}` for bytes that are no histogram, `{:error, :empty}` for an empty list. O(buckets in use).
  """
  @spec merge([binary], keyword) :: {:ok, binary} | {:error, atom}
  @spec merge(binary, binary) :: {:ok, binary} | {:error, atom}
  def merge(encoded, opts \\ [])
  def merge(encoded, opts) when is_list(encoded) and is_list(opts), do: Metrics.merge(encoded, opts)
  def merge(one, other) when is_binary(one) and is_binary(other), do: Metrics.merge([one, other], [])

  @doc "`summary/2` of an encoded histogram. Sum, least and largest value are those of its buckets."
  @spec describe(binary) :: {:ok, map} | {:error, atom}
  def describe(encoded), do: Metrics.describe(encoded)

  @doc "`percentiles/2` of an encoded histogram."
  @spec describe(binary, [number]) :: {:ok, %{number => number | nil}} | {:error, atom}
  def describe(encoded, percentiles), do: Metrics.describe(encoded, percentiles)

  @doc """
  Keeps a distribution to compare with (`:store`), or says how far the present one has moved from it (`:compare`).

  `baseline(name, :store)` gives `{:ok, count}`. `baseline(name, :compare)` gives `{:ok, map}`:

  - `:ks` the Kolmogorov–Smirnov statistic, 0 (alike) to 1 (disjoint), and `:p_value`, how likely a distance of at least
    that is by chance
  - `:shifts` per percentile `%{before: v, now: v, change: relative}`
  - `:baseline` and `:present`, each with count and mean

  The present one is what came since the baseline was stored, or with `window:` what `percentiles/3` says. `percentiles:`
  chooses the shifts. `{:error, :unknown}` without a series or baseline, `{:error, :empty}` when one of both is.
  """
  @spec baseline(name, :store | :compare, keyword) :: {:ok, map | non_neg_integer} | {:error, atom}
  def baseline(name, action, opts \\ [])
  def baseline(name, :store, opts), do: Metrics.set_baseline(name, opts)
  def baseline(name, :compare, opts), do: Metrics.compare_baseline(name, opts)

  @doc """
  All metrics as text for Prometheus.

  `format:` `:prometheus` (0.0.4) or `:openmetrics` (1.0, with exemplars); `histograms:` `:buckets` or `:summary`;
  `percentiles:` those of a summary. 1.x counters and gauges are there under their event's name; of two names that are
  written the same, the one declared or recorded by the functions of 2.x is shown. O(series).

  `scope: :cluster` writes those of all nodes: counters, sums and histograms added, gauges with a label `node`; it takes
  `nodes:`, `time_window:` and `timeout:` as `get_cluster_metrics/1` does.
  """
  @spec prometheus(keyword) :: {:ok, String.t()} | {:error, :not_running}
  def prometheus(opts \\ []) do
    case Keyword.pop(opts, :scope, :node) do
      {:node, opts} -> Metrics.scrape(opts)
      {:cluster, opts} -> Cluster.scrape(opts)
      {other, _} -> raise ArgumentError, "scope must be :node or :cluster, got: #{inspect(other)}"
    end
  end

  @doc """
  The metrics of all nodes of the cluster, put together without loss.

      {:ok, all} = Foundation.Telemetry.get_cluster_metrics(time_window: :minute)
      for %{name: [:app, :latency]} = m <- all.metrics, do: {m.tags, m.count, m.p99}

  `metrics:` are maps with `:name`, `:tags` and `:kind`. Counters and sums have the sum of all nodes as `:value`;
  histograms are merged value by value and have the fields of `summary/2`; gauges have `:sum`, `:mean`, `:min`, `:max`,
  `:by_node`, and `:value`, which is the sum unless `aggregation:` chooses. What 1.x counts is among them under its name.
  `nodes:` answered; `missing:` are those that did not, as `{node, reason}` with `:timeout`, `:noconnection`,
  `:not_running` or what the node failed by; `disputed:` are names that two nodes use for different kinds, of which the
  first node's is taken.

  Options:

    * `aggregation:` `:merge` (default), `:sum`, `:mean`, `:min` or `:max` of gauges; `:by_node`, which merges nothing and gives each map a
      `:node`;
    * `time_window:` of histograms, as `window:` of `percentiles/3`, or milliseconds, of which the next longer window
      is taken; counters, sums and gauges have none;
    * `names:` only these names; `nodes:` only these nodes (all that are connected, or reached by the fabric);
    * `timeout:` how many ms to wait for all answers (5,000);
    * `max_age:` be content with what `enable_cluster_aggregation/1` has gathered, with the same options, within so many
      ms.

  Each node works O(its series) on a dirty CPU scheduler, and so does the caller's for all of them. `{:error,
  :not_running}` when this node is alone and its application does not run.
  """
  @spec get_cluster_metrics(keyword) :: {:ok, map} | {:error, :not_running}
  def get_cluster_metrics(opts \\ []), do: Cluster.metrics(opts)

  @doc """
  Gathers the metrics of the cluster again and again: every `interval:` ms (15,000), with the options of
  `get_cluster_metrics/1`.

  Every node answers such questions without this; it spares the readers on this node the wait. Each time is an event
  `[:foundation, :telemetry, :cluster_gathered]` with `:nodes`, `:missing`, `:series` and `:took_ms`. A second call changes
  nothing. `{:error, :not_running}` while the application does not run.
  """
  @spec enable_cluster_aggregation(keyword) :: :ok | {:error, :not_running}
  def enable_cluster_aggregation(opts \\ []), do: Cluster.enable(opts)

  @doc "Ends what `enable_cluster_aggregation/1` began."
  @spec disable_cluster_aggregation() :: :ok
  def disable_cluster_aggregation, do: Cluster.disable()

  @doc """
  How many names and series there are, how many bytes they take, and which names' tags overflowed.

  A name that has as many series as it may have sends further tags to a series with the tags `%{overflow: true}`;
  `:overflowed` counts the look-ups that ended there. O(series).
  """
  @spec cardinality() :: {:ok, map} | {:error, :not_running}
  def cardinality, do: Metrics.cardinality()

  @doc "Every series as `%{name: n, tags: t, kind: k}`. O(series)."
  @spec series() :: {:ok, [map]} | {:error, :not_running}
  def series, do: Metrics.series()

  @doc "Forgets a name, its declaration and its series; says how many series that were. O(series)."
  @spec forget(name) :: {:ok, non_neg_integer} | {:error, :not_running}
  def forget(name), do: Metrics.forget(name)
end
