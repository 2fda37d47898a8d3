defmodule Foundation.Distributed.Discovery.Weights do
  @moduledoc false
  # Picks by weight in O(1), by the alias method of Walker and Vose: each place keeps its own index with a certain share
  # and stands for one other index for the rest.

  @one 0x40000000

  @type t :: {shares :: tuple, others :: tuple}

  @doc "From positive integers; nil when all are the same. O(n)."
  @spec new([pos_integer]) :: t | nil
  def new([]), do: nil

  def new([first | _] = weights) do
    if Enum.all?(weights, &(&1 == first)), do: nil, else: build(weights)
  end

  # In whole numbers: each place holds `total`, of which weight × n is its own.
  defp build(weights) do
    {n, total} = {length(weights), Enum.sum(weights)}
    filled = weights |> Enum.map(&(&1 * n)) |> Enum.with_index()
    {small, large} = Enum.split_with(filled, fn {own, _} -> own < total end)
    places = pair(small, large, total, [])
    sorted = Enum.sort(places)

    {sorted |> Enum.map(fn {_, share, _} -> share end) |> List.to_tuple(),
     sorted |> Enum.map(fn {_, _, other} -> other end) |> List.to_tuple()}
  end

  defp pair([{own, i} | small], [{more, j} | large], total, places) do
    place = {i, div(own * @one, total), j}

    case more - (total - own) do
      rest when rest < total -> pair([{rest, j} | small], large, total, [place | places])
      rest -> pair(small, [{rest, j} | large], total, [place | places])
    end
  end

  defp pair(small, large, _total, places), do: for({_, i} <- small ++ large, do: {i, @one, i}) ++ places

  @doc "An index from 0."
  @spec pick(t) :: non_neg_integer
  def pick({shares, others}) do
    place = :rand.uniform(tuple_size(shares)) - 1
    if :rand.uniform(@one) <= elem(shares, place), do: place, else: elem(others, place)
  end
end
