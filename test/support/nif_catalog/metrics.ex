defmodule Foundation.NifCatalog.Metrics do
  @moduledoc false

  alias Foundation.Native

  @key "name and tags at most 4096 bytes, 32 tags"

  def entries, do: aggregates() ++ recording() ++ reading() ++ encodings()

  defp aggregates do
    [
      %{nif: {:metrics_new, 3}, scheduler: :normal, bound: "O(1)", args: fn -> [1000, 1000, 100] end},
      %{
        nif: {:metrics_execute, 5},
        scheduler: :normal,
        bound: "O(measurements), at most 64; name at most 4096 bytes",
        args: fn -> [filled(), [:catalog, :event], %{counter: 1}, 1, false] end,
        hot: true
      },
      dirty({:metrics_execute_new, 6}, "O(measurements + metadata)", fn ->
        [filled(), [:catalog, :other], %{gauge: 1.5}, %{from: :catalog}, 1, false]
      end),
      dirty({:metrics_collect, 1}, "O(names)", fn -> [filled()] end),
      dirty({:metrics_sweep, 2}, "O(names)", fn -> [filled(), 0] end),
      dirty({:metrics_clear, 1}, "O(names + series)", fn -> [filled()] end),
      %{nif: {:metrics_names, 1}, scheduler: :normal, bound: "O(shards)", args: fn -> [filled()] end}
    ]
  end

  defp recording do
    [
      %{
        nif: {:metrics_record, 5},
        scheduler: :normal,
        bound: "O(#{@key}); O(buckets in use) once in 10 s",
        args: fn -> [filled(), :histogram, [:catalog, :size], %{a: 1}, 250] end,
        hot: true
      },
      %{
        nif: {:metrics_record_at, 2},
        scheduler: :normal,
        bound: "O(1); O(buckets in use) once in 10 s",
        args: fn -> [prepared(), 250] end,
        hot: true
      },
      %{
        nif: {:metrics_record_exemplar, 7},
        scheduler: :normal,
        bound: "O(#{@key} and labels, at most 128)",
        args: fn -> [filled(), :histogram, [:catalog, :size], %{a: 1}, 250, [{"trace", "x"}], 1] end
      },
      %{
        nif: {:metrics_prepare, 4},
        scheduler: :normal,
        bound: "O(#{@key})",
        args: fn -> [filled(), :counter, [:catalog, :count], %{a: 1}] end
      },
      %{
        nif: {:metrics_declare, 4},
        scheduler: :normal,
        bound: "O(bucket bounds), at most 256",
        args: fn -> [filled(), :histogram, [:catalog, :new], {"help", "ms", 3, 0.001, nil, [1, 2], nil}] end
      },
      %{
        nif: {:metrics_value, 3},
        scheduler: :normal,
        bound: "O(#{@key})",
        args: fn -> [filled(), [:catalog, :count], %{a: 1}] end,
        hot: true
      }
    ]
  end

  defp reading do
    [
      dirty({:metrics_read, 5}, "O(buckets in use), of all tags O(series)", fn ->
        [filled(), [:catalog, :size], %{a: 1}, :all, [0.5, 0.99]]
      end),
      dirty({:metrics_baseline_set, 4}, "O(buckets in use)", fn ->
        [filled(), [:catalog, :size], %{a: 1}, 1]
      end),
      dirty({:metrics_baseline_compare, 5}, "O(buckets in use)", fn ->
        metrics = filled()
        Native.metrics_baseline_set(metrics, [:catalog, :size], %{a: 1}, 1)
        [metrics, [:catalog, :size], %{a: 1}, :all, [0.5, 0.99]]
      end),
      dirty({:metrics_series, 1}, "O(series)", fn -> [filled()] end),
      dirty({:metrics_cardinality, 1}, "O(series)", fn -> [filled()] end),
      dirty({:metrics_forget, 2}, "O(series)", fn -> [filled(), [:catalog, :size]] end),
      dirty({:metrics_scrape, 3}, "O(series)", fn -> [filled(), :openmetrics, []] end),
      dirty({:metrics_export, 2}, "O(series)", fn -> [filled(), :all] end),
      dirty({:metrics_gather, 2}, "O(series of all nodes)", fn -> [exports(), [0.5]] end),
      dirty({:metrics_gather_scrape, 3}, "O(series of all nodes)", fn -> [exports(), :prometheus, []] end)
    ]
  end

  defp encodings do
    [
      dirty({:metrics_encode, 5}, "O(buckets in use), of all tags O(series)", fn ->
        [filled(), [:catalog, :size], %{a: 1}, :all, true]
      end),
      dirty({:metrics_decode, 2}, "O(bytes), at most 16 MiB unpacked", fn -> [encoded(), [0.5]] end),
      dirty({:metrics_merge, 2}, "O(bytes), each at most 16 MiB unpacked", fn ->
        [[encoded(), encoded()], true]
      end)
    ]
  end

  defp dirty(nif, bound, args), do: %{nif: nif, scheduler: :dirty_cpu, bound: bound, args: args}

  defp filled do
    metrics = Native.metrics_new(1000, 1000, 100)
    Native.metrics_execute_new(metrics, [:catalog, :event], %{counter: 1}, %{}, 1, false)
    for n <- 1..100, do: Native.metrics_record(metrics, :histogram, [:catalog, :size], %{a: 1}, n)
    Native.metrics_record(metrics, :counter, [:catalog, :count], %{a: 1}, 1)
    metrics
  end

  defp exports, do: for(node <- [:a@host, :b@host], do: {node, Native.metrics_export(filled(), :all)})

  defp prepared do
    {:ok, series} = Native.metrics_prepare(filled(), :histogram, [:catalog, :size], %{a: 1})
    series
  end

  defp encoded do
    {:ok, encoded} = Native.metrics_encode(filled(), [:catalog, :size], %{a: 1}, :all, true)
    encoded
  end
end
