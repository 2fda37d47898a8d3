defmodule Foundation.Distributed.State.Operation do
  @moduledoc false
  # What users write for a change, as a path and what is done at its end.

  @doc "The path and the native operation; raises ArgumentError."
  def compile({:put, key, value}), do: {[key], {:assign, value}}
  def compile({:set, value}), do: {[], {:assign, value}}
  def compile({:add, element}), do: {[element], :add}
  def compile({:remove, key}), do: {[key], :remove}
  def compile(:increment), do: {[], {:increment, 1}}
  def compile(:decrement), do: {[], {:decrement, 1}}
  def compile({:increment, n}), do: {[], {:increment, amount!(n)}}
  def compile({:decrement, n}), do: {[], {:decrement, amount!(n)}}
  def compile(flag) when flag in [:enable, :disable], do: {[], flag}
  def compile({:update, key, operation}), do: nested(operation, [key])

  def compile(other) do
    raise ArgumentError,
          "a change is {:put, key, value}, {:set, value}, {:add, element}, {:remove, key_or_element}, :increment, " <>
            ":decrement, {:increment, n}, {:decrement, n}, :enable, :disable or {:update, key, change}, " <>
            "got: #{inspect(other)}"
  end

  defp nested({:update, key, operation}, path) when length(path) < 16, do: nested(operation, [key | path])

  defp nested(operation, path) do
    {inner, native} = compile(operation)
    {Enum.reverse(path, inner), native}
  end

  # The largest that one replica may add up to.
  @most 4_611_686_018_427_387_904

  defp amount!(n) when is_integer(n) and n in 0..@most, do: n

  defp amount!(n),
    do: raise(ArgumentError, "a counter takes an integer from 0 to 2^62, got: #{inspect(n)}")
end
