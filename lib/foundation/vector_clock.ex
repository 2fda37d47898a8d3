defmodule Foundation.VectorClock do
  @moduledoc false
  @type t :: %{term => pos_integer}
  def new, do: %{}
  def increment(clock, node), do: Map.update(clock, node, 1, &(&1 + 1))
  def merge(a, b), do: Map.merge(a, b, fn _, x, y -> max(x, y) end)

  def compare(a, b) do
    case {descends?(a, b), descends?(b, a)} do
      {true, true} -> :equal
      {true, false} -> :after
      {false, true} -> :before
      _ -> :concurrent
    end
  end

  def descends?(a, b), do: Enum.all?(b, fn {n, c} -> Map.get(a, n, 0) >= c end)
end
