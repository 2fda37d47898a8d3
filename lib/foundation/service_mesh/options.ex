defmodule Foundation.ServiceMesh.Options do
  @moduledoc false
  # The options of a call and of a service, checked. What a service was told stands in the tables as one map, over which a
  # call puts its own.

  alias Foundation.ServiceMesh.{Budget, Pick, Tables}
  alias Foundation.Telemetry

  @call %{
    policy: :p2c_ewma,
    timeout: 5_000,
    attempt_timeout: :infinity,
    retries: 2,
    idempotent: false,
    backoff_ms: 10,
    hedge: nil,
    failure?: nil,
    channel: :data,
    spill_over: :infinity
  }
  @outlier %{
    consecutive: 5,
    interval_ms: 10_000,
    base_ms: 5_000,
    max_ms: 300_000,
    max_percent: 50,
    min_calls: 20,
    min_providers: 3,
    deviations: 1.9
  }
  @service %{retry_ratio: 0.2, retries_per_second: 10, retry_burst: 100, outlier: @outlier}
  @defaults Map.merge(@call, @service)

  @type t :: map

  @typedoc "What a selection was told, its budget, and where the durations of its calls are recorded."
  @type row :: {t, Budget.t(), Telemetry.Series.t() | nil}

  @doc "Those of a call; raises ArgumentError."
  @spec call(term, keyword) :: t
  def call(selection, options), do: selection |> of() |> over(options)

  @doc "Those of a call over those of its selection."
  @spec over(t, keyword) :: t
  def over(settings, []), do: settings

  def over(settings, options) when is_list(options),
    do: options |> put(settings, Map.keys(@call), "a call") |> consistent()

  def over(_settings, other), do: wrong(:options, "a keyword list", other)

  @doc "Those of a selection."
  @spec of(term) :: t
  def of(selection) do
    case Tables.call(selection) do
      {settings, _, _} -> settings
      nil -> @defaults
    end
  end

  @doc "All that a call of a selection needs; made with the first one. O(1)."
  @spec row(term) :: row
  def row(selection) do
    with nil <- Tables.call(selection) do
      Tables.put_new_call(selection, fresh(selection, @defaults))
      Tables.call(selection)
    end
  end

  defp fresh(selection, settings) do
    series =
      case Telemetry.prepare(:histogram, [:foundation, :mesh, :call_us], %{target: selection}) do
        {:ok, series} -> series
        {:error, _} -> nil
      end

    {settings, Budget.new(settings, System.monotonic_time(:millisecond)), series}
  end

  @doc "Puts options over those that a selection has; raises ArgumentError."
  @spec configure(term, keyword) :: t
  def configure(selection, options) do
    {settings, _, _} = row(selection)
    settings = options |> put(settings, Map.keys(@defaults), "a service") |> consistent()
    # The budget begins anew, since its bounds may be others.
    Tables.put_call(selection, fresh(selection, settings))
    settings
  end

  defp put(options, settings, known, what) do
    Enum.reduce(options, settings, fn {key, value}, settings ->
      unless key in known, do: raise(ArgumentError, "#{what} has no option #{inspect(key)}")
      %{settings | key => check(key, value)}
    end)
  end

  # A second attempt beside one that runs is harmless only where doing it twice is.
  defp consistent(%{hedge: hedge, idempotent: false}) when hedge != nil,
    do: wrong(:hedge, "nil unless idempotent: true", hedge)

  defp consistent(settings), do: settings

  defp check(:policy, policy) do
    if policy in Pick.policies(),
      do: policy,
      else: wrong(:policy, "one of #{inspect(Pick.policies())}", policy)
  end

  defp check(:timeout, ms) when is_integer(ms) and ms in 0..0xFFFFFFFF, do: ms
  defp check(:timeout, other), do: wrong(:timeout, "ms below 2^32", other)
  defp check(:attempt_timeout, :infinity), do: :infinity
  defp check(:attempt_timeout, ms) when is_integer(ms) and ms in 1..0xFFFFFFFF, do: ms
  defp check(:attempt_timeout, other), do: wrong(:attempt_timeout, "ms above 0 or :infinity", other)
  defp check(:retries, n) when is_integer(n) and n in 0..100, do: n
  defp check(:retries, other), do: wrong(:retries, "an integer from 0 to 100", other)
  defp check(:idempotent, value) when is_boolean(value), do: value
  defp check(:idempotent, other), do: wrong(:idempotent, "true or false", other)
  defp check(:backoff_ms, ms) when is_integer(ms) and ms in 0..60_000, do: ms
  defp check(:backoff_ms, other), do: wrong(:backoff_ms, "ms up to 60,000", other)
  defp check(:hedge, nil), do: nil
  defp check(:hedge, ms) when is_integer(ms) and ms in 1..0xFFFFFFFF, do: ms
  defp check(:hedge, {:percentile, p}) when is_number(p) and p >= 50 and p < 100, do: {:percentile, p}
  defp check(:hedge, other), do: wrong(:hedge, "nil, ms or {:percentile, 50 to below 100}", other)
  defp check(:failure?, nil), do: nil
  defp check(:failure?, function) when is_function(function, 1), do: function
  defp check(:failure?, other), do: wrong(:failure?, "a function of the reply", other)
  defp check(:channel, channel) when is_atom(channel) and channel not in [nil, true, false], do: channel
  defp check(:channel, other), do: wrong(:channel, "the name of a channel", other)
  defp check(:spill_over, :infinity), do: :infinity
  defp check(:spill_over, n) when is_integer(n) and n > 0, do: n
  defp check(:spill_over, other), do: wrong(:spill_over, "calls in flight above 0 or :infinity", other)
  defp check(:retry_ratio, n) when is_number(n) and n >= 0 and n <= 10, do: n
  defp check(:retry_ratio, other), do: wrong(:retry_ratio, "a number from 0 to 10", other)
  defp check(:retries_per_second, n) when is_integer(n) and n in 0..1_000_000, do: n
  defp check(:retries_per_second, other), do: wrong(:retries_per_second, "an integer up to 1,000,000", other)
  defp check(:retry_burst, n) when is_integer(n) and n in 1..1_000_000, do: n
  defp check(:retry_burst, other), do: wrong(:retry_burst, "an integer from 1 to 1,000,000", other)

  defp check(:outlier, options) when is_list(options) do
    Enum.reduce(options, @outlier, fn {key, value}, outlier ->
      unless is_map_key(outlier, key), do: raise(ArgumentError, "outlier has no option #{inspect(key)}")
      %{outlier | key => outlier(key, value)}
    end)
  end

  defp check(:outlier, other), do: wrong(:outlier, "a keyword list", other)

  defp outlier(:consecutive, :infinity), do: :infinity
  defp outlier(:max_percent, n) when is_integer(n) and n in 0..100, do: n
  defp outlier(:max_percent, other), do: wrong(:max_percent, "an integer from 0 to 100", other)
  defp outlier(:deviations, n) when is_number(n) and n >= 0, do: n
  defp outlier(:deviations, other), do: wrong(:deviations, "a number from 0", other)
  defp outlier(_key, n) when is_integer(n) and n > 0 and n <= 0xFFFFFFFF, do: n
  defp outlier(key, other), do: wrong(key, "a positive integer", other)

  defp wrong(name, what, got), do: raise(ArgumentError, "#{name} is #{what}, got: #{inspect(got)}")
end
