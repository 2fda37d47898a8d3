defmodule Foundation.Telemetry.Cluster do
  @moduledoc false
  # The metrics of all nodes, put together: each node hands out what it has, the asking one merges.

  alias Foundation.{Engine, Native, Peers}
  alias Foundation.Telemetry.Cluster.Gatherer
  alias Foundation.Telemetry.Metrics

  @supervisor Foundation.ProcessSupervisor
  @timeout 5_000
  @aggregations [:merge, :by_node, :sum, :mean, :min, :max]
  @windows %{all: :all, minute: :minute, five_minutes: :five_minutes, hour: :hour}
  @options [:aggregation, :time_window, :window, :nodes, :timeout, :names]
  @interval 15_000

  def metrics(opts) do
    {max_age, opts} = Keyword.pop(opts, :max_age)
    known!(opts, @options)
    found = max_age && Gatherer.last(opts, max_age)
    found || fresh(opts)
  end

  def enable(opts) do
    {interval, opts} = Keyword.pop(opts, :interval, @interval)
    known!(opts, @options)

    unless is_integer(interval) and interval > 0,
      do: raise(ArgumentError, "interval must be milliseconds above 0, got: #{inspect(interval)}")

    case DynamicSupervisor.start_child(@supervisor, {Gatherer, [{:interval, interval} | opts]}) do
      {:ok, _} -> :ok
      {:error, {:already_started, _}} -> :ok
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  def disable do
    with pid when is_pid(pid) <- Process.whereis(Gatherer),
         do: DynamicSupervisor.terminate_child(@supervisor, pid)

    :ok
  catch
    :exit, _ -> :ok
  end

  defp fresh(opts) do
    aggregation = one_of!(opts, :aggregation, :merge, @aggregations)

    with {:ok, exports, missing} <- collect(opts) do
      {series, disputed} = merge(exports, aggregation)

      {:ok,
       %{
         nodes: Enum.map(exports, &elem(&1, 0)),
         missing: missing,
         metrics: chosen(series, opts[:names]),
         disputed: Enum.uniq(disputed)
       }}
    end
  end

  def scrape(opts) do
    {scrape, opts} = Keyword.split(opts, [:format, :histograms, :percentiles])
    known!(opts, [:scope | @options])
    {format, at} = Metrics.text_options!(scrape)

    with {:ok, exports, _missing} <- collect(opts),
         do: {:ok, Native.metrics_gather_scrape(exports, format, at)}
  end

  @doc "What this node hands out. Called by others."
  @spec export(atom) :: {list, list} | {:error, :not_running}
  def export(window) do
    case Engine.handle(:metrics) do
      nil -> {:error, :not_running}
      handle -> Native.metrics_export(handle, window)
    end
  end

  defp collect(opts) do
    nodes = Keyword.get_lazy(opts, :nodes, &Peers.nodes/0)
    timeout = Keyword.get(opts, :timeout, @timeout)

    unless is_list(nodes) and Enum.all?(nodes, &is_atom/1),
      do: raise(ArgumentError, "nodes must be a list of nodes, got: #{inspect(nodes)}")

    unless is_integer(timeout) and timeout > 0,
      do: raise(ArgumentError, "timeout must be milliseconds above 0, got: #{inspect(timeout)}")

    case Peers.ask(nodes, {__MODULE__, :export, [window!(opts)]}, timeout) do
      {[], [{_, :not_running}]} -> {:error, :not_running}
      {exports, missing} -> {:ok, exports, missing}
    end
  end

  defp merge(exports, :by_node) do
    parts = for {node, _} = export <- exports, do: {node, merge([export], :merge)}

    {for({node, {series, _}} <- parts, one <- series, do: Map.put(one, :node, node)),
     Enum.flat_map(parts, fn {_, {_, disputed}} -> disputed end)}
  end

  defp merge(exports, aggregation) do
    {series, disputed} = Native.metrics_gather(exports, [0.5, 0.9, 0.99, 0.999])
    {gauges, rest} = Enum.split_with(series, fn {_, _, kind, _} -> kind == :gauge end)
    {Enum.map(rest, &shape/1) ++ levels(gauges, aggregation), disputed}
  end

  defp shape({name, tags, :histogram, found}),
    do: Map.merge(Metrics.shape(found), %{name: name, tags: tags, kind: :histogram})

  defp shape({name, tags, kind, value}), do: %{name: name, tags: tags, kind: kind, value: value}

  # A gauge of several nodes is a level on each: their sum says something of queues, their mean of temperatures.
  defp levels(gauges, aggregation) do
    gauges
    |> Enum.group_by(fn {name, tags, _, _} -> {name, Map.delete(tags, :node)} end)
    |> Enum.map(fn {{name, tags}, levels} ->
      by_node = Map.new(levels, fn {_, tags, _, value} -> {tags.node, value} end)
      values = Map.values(by_node)
      sum = Enum.sum(values)

      level = %{sum: sum, mean: sum / length(values), min: Enum.min(values), max: Enum.max(values)}
      value = if aggregation == :merge, do: level.sum, else: level[aggregation]
      Map.merge(level, %{name: name, tags: tags, kind: :gauge, value: value, by_node: by_node})
    end)
  end

  defp chosen(series, nil), do: series
  defp chosen(series, names) when is_list(names), do: Enum.filter(series, &(&1.name in names))

  defp chosen(_series, names),
    do: raise(ArgumentError, "names must be a list of names, got: #{inspect(names)}")

  defp window!(opts) do
    case opts[:time_window] || opts[:window] || :all do
      ms when is_integer(ms) and ms > 0 ->
        cond do
          ms <= 60_000 -> :minute
          ms <= 300_000 -> :five_minutes
          ms <= 3_600_000 -> :hour
          true -> raise ArgumentError, "time_window reaches back an hour at most, got: #{ms} ms"
        end

      window when is_map_key(@windows, window) ->
        window

      other ->
        raise ArgumentError,
              "time_window must be one of #{inspect(Map.keys(@windows))} or milliseconds, got: #{inspect(other)}"
    end
  end

  defp one_of!(opts, name, default, allowed) do
    value = Keyword.get(opts, name, default)

    if value in allowed,
      do: value,
      else: raise(ArgumentError, "#{name} must be one of #{inspect(allowed)}, got: #{inspect(value)}")
  end

  defp known!(opts, known) do
    case Keyword.keys(opts) -- known do
      [] -> :ok
      more -> raise ArgumentError, "unknown options #{inspect(more)}; known are #{inspect(known)}"
    end
  end
end
