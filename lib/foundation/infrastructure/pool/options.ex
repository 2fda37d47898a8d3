defmodule Foundation.Infrastructure.Pool.Options do
  @moduledoc false
  # Checks the options of a pool and fills in the defaults.

  @defaults %{
    min: 5,
    max: nil,
    linger_ms: 5_000,
    max_waiting: 10_000,
    strategy: :lifo,
    health_check: nil,
    health_interval_ms: 30_000,
    health_timeout_ms: 5_000,
    on_client_down: :return,
    register: nil
  }

  @most 1_000_000

  @spec new(keyword) :: {:ok, map} | {:error, {:invalid_option, atom, term}}
  def new(options) do
    needed = [:name, :worker] -- Keyword.keys(options)

    if needed != [] do
      {:error, {:invalid_option, hd(needed), nil}}
    else
      options
      |> Enum.reduce_while({:ok, @defaults}, fn {name, value}, {:ok, checked} ->
        if valid?(name, value),
          do: {:cont, {:ok, Map.put(checked, name, value)}},
          else: {:halt, {:error, {:invalid_option, name, value}}}
      end)
      |> bounds()
    end
  end

  defp bounds({:ok, %{min: min, max: nil} = checked}), do: {:ok, %{checked | max: max(min, 1)}}

  defp bounds({:ok, %{min: min, max: max}}) when min > max, do: {:error, {:invalid_option, :max, max}}
  defp bounds(result), do: result

  defp valid?(:name, _term), do: true
  defp valid?(:worker, {module, _argument}), do: is_atom(module)
  defp valid?(:worker, start), do: is_function(start, 0)
  defp valid?(:register, name), do: is_atom(name)
  defp valid?(name, n) when name in [:min, :max], do: is_integer(n) and n >= 0 and n < @most
  defp valid?(:max_waiting, n), do: is_integer(n) and n >= 0 and n <= 4_294_967_295
  defp valid?(:linger_ms, n), do: is_integer(n) and n >= 0 and n <= 4_294_967_295
  defp valid?(:strategy, strategy), do: strategy in [:lifo, :fifo]
  defp valid?(:health_check, check), do: check == nil or is_function(check, 1)

  defp valid?(name, n) when name in [:health_interval_ms, :health_timeout_ms],
    do: is_integer(n) and n >= 1 and n <= 4_294_967_295

  defp valid?(:on_client_down, what), do: what in [:return, :replace]
  defp valid?(_name, _value), do: false
end
