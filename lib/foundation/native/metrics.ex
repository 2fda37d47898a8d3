defmodule Foundation.Native.Metrics do
  @moduledoc false
  # The functions of the domain `metrics`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @typep metric_reply :: :ok | {:error, atom}
      @typep distribution :: tuple

      @spec metrics_new(pos_integer, pos_integer, pos_integer) :: reference
      def metrics_new(_max_names, _max_series, _max_per_name), do: missing()

      @spec metrics_execute(reference, list, map, integer, boolean) :: :ok | :new
      def metrics_execute(_metrics, _name, _measurements, _timestamp, _timed), do: missing()

      @spec metrics_execute_new(reference, list, map, map, integer, boolean) :: :ok
      def metrics_execute_new(_metrics, _name, _measurements, _metadata, _timestamp, _timed), do: missing()

      @spec metrics_collect(reference) :: [{list, integer, pos_integer, [{term, term}], map}]
      def metrics_collect(_metrics), do: missing()

      @spec metrics_sweep(reference, integer) :: non_neg_integer
      def metrics_sweep(_metrics, _oldest), do: missing()

      @spec metrics_clear(reference) :: :ok
      def metrics_clear(_metrics), do: missing()

      @spec metrics_names(reference) :: non_neg_integer
      def metrics_names(_metrics), do: missing()

      @spec metrics_record(reference | nil, atom, term, map, number) :: metric_reply | :badarg
      def metrics_record(_metrics, _kind, _name, _tags, _value), do: missing()

      @spec metrics_prepare(reference, atom, term, map) :: {:ok, reference} | {:error, atom}
      def metrics_prepare(_metrics, _kind, _name, _tags), do: missing()

      @spec metrics_record_at(reference, number) :: metric_reply | :gone | :badarg
      def metrics_record_at(_prepared, _value), do: missing()

      @spec metrics_record_exemplar(reference, atom, term, map, number, [{String.t(), String.t()}], integer) ::
              metric_reply
      def metrics_record_exemplar(_metrics, _kind, _name, _tags, _value, _labels, _unix_ms), do: missing()

      @spec metrics_declare(reference, atom, term, tuple) :: metric_reply
      def metrics_declare(_metrics, _kind, _name, _config), do: missing()

      @spec metrics_value(reference, term, map) :: {:ok, number | nil} | {:error, atom}
      def metrics_value(_metrics, _name, _tags), do: missing()

      @spec metrics_read(reference, term, map | :all, atom, [number]) :: {:ok, distribution} | {:error, atom}
      def metrics_read(_metrics, _name, _tags, _window, _quantiles), do: missing()

      @spec metrics_encode(reference, term, map | :all, atom, boolean) :: {:ok, binary} | {:error, atom}
      def metrics_encode(_metrics, _name, _tags, _window, _compressed), do: missing()

      @spec metrics_decode(binary, [number]) :: {:ok, distribution} | {:error, atom}
      def metrics_decode(_encoded, _quantiles), do: missing()

      @spec metrics_merge([binary], boolean) :: {:ok, binary} | {:error, atom}
      def metrics_merge(_encoded, _compressed), do: missing()

      @spec metrics_baseline_set(reference, term, map, integer) :: {:ok, non_neg_integer} | {:error, atom}
      def metrics_baseline_set(_metrics, _name, _tags, _unix_ms), do: missing()

      @spec metrics_baseline_compare(reference, term, map, atom, [number]) :: {:ok, tuple} | {:error, atom}
      def metrics_baseline_compare(_metrics, _name, _tags, _window, _quantiles), do: missing()

      @spec metrics_series(reference) :: [{term, map, atom}]
      def metrics_series(_metrics), do: missing()

      @spec metrics_cardinality(reference) :: tuple
      def metrics_cardinality(_metrics), do: missing()

      @spec metrics_forget(reference, term) :: non_neg_integer
      def metrics_forget(_metrics, _name), do: missing()

      @spec metrics_scrape(reference, :prometheus | :openmetrics, [number]) :: String.t()
      def metrics_scrape(_metrics, _format, _quantiles), do: missing()

      @spec metrics_export(reference, atom) :: {[tuple], [tuple]}
      def metrics_export(_metrics, _window), do: missing()

      @spec metrics_gather([{node, {[tuple], [tuple]}}], [number]) :: {[tuple], [term]}
      def metrics_gather(_exports, _quantiles), do: missing()

      @spec metrics_gather_scrape([{node, {[tuple], [tuple]}}], :prometheus | :openmetrics, [number]) ::
              String.t()
      def metrics_gather_scrape(_exports, _format, _quantiles), do: missing()
    end
  end
end
