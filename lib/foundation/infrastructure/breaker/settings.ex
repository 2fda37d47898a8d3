defmodule Foundation.Infrastructure.Breaker.Settings do
  @moduledoc false
  # Turns a breaker's options into what the native library takes, or names the option that is wrong.

  @defaults %{
    tolerance: 5,
    failure_rate: nil,
    slow_rate: nil,
    slow_after_ms: 0,
    minimum_calls: 10,
    window_ms: 60_000,
    open_ms: 60_000,
    probes: 1,
    probe_timeout_ms: 60_000,
    ramp_ms: 0,
    ramp_start: 0.1
  }

  @u32 4_294_967_295
  @longest_ms 10_000_000_000_000

  @spec new(keyword) :: {:ok, map} | {:error, {:invalid_option, atom, term}}
  def new(options) when is_list(options) do
    Enum.reduce_while(options, {:ok, @defaults}, fn
      {name, value}, {:ok, settings} when is_map_key(@defaults, name) ->
        if valid?(name, value),
          do: {:cont, {:ok, Map.put(settings, name, shaped(name, value))}},
          else: {:halt, {:error, {:invalid_option, name, value}}}

      other, _ ->
        {:halt, {:error, {:invalid_option, :unknown, other}}}
    end)
    |> needs_threshold()
  end

  def new(other), do: {:error, {:invalid_option, :options, other}}

  defp needs_threshold({:ok, %{tolerance: nil, failure_rate: nil, slow_rate: nil}}),
    do: {:error, {:invalid_option, :tolerance, nil}}

  defp needs_threshold(result), do: result

  defp valid?(:tolerance, value), do: value == nil or natural?(value)
  defp valid?(name, value) when name in [:failure_rate, :slow_rate], do: value == nil or share?(value)
  defp valid?(:ramp_start, value), do: share?(value)
  defp valid?(name, value) when name in [:probes, :minimum_calls], do: natural?(value) and value >= 1
  defp valid?(_ms, value), do: natural?(value)

  defp shaped(name, value) when name in [:tolerance, :probes, :minimum_calls] and is_integer(value),
    do: min(value, @u32)

  defp shaped(name, value) when name in [:failure_rate, :slow_rate, :ramp_start] and is_number(value),
    do: value * 1.0

  defp shaped(_name, nil), do: nil
  defp shaped(_ms, value), do: min(value, @longest_ms)

  defp natural?(value), do: is_integer(value) and value >= 0
  defp share?(value), do: is_number(value) and value > 0 and value <= 1
end
