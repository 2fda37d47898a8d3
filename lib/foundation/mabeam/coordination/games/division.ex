defmodule Foundation.MABEAM.Coordination.Games.Division do
  @moduledoc false
  # Matchings, goods and cakes: names outside, numbers in the native library.

  alias Foundation.MABEAM.Arguments
  alias Foundation.MABEAM.Coordination.Games.Input
  alias Foundation.Native

  def matching(firsts, seconds, opts) do
    Arguments.known!(opts, [:places, :proposing])
    {ones, others} = {side!(:firsts, firsts), side!(:seconds, seconds)}
    {one, other} = {numbered(ones), numbered(others)}
    places = Keyword.get(opts, :places, %{})

    places =
      for name <- others do
        case is_map(places) and Map.get(places, name, 1) do
          count when count in 0..1_000_000 -> count
          wrong -> Input.bad!(:places, wrong, "a map from names to whole numbers from 0 to 1,000,000")
        end
      end

    first = Enum.map(ones, &choices!(:firsts, firsts[&1], other))
    second = Enum.map(others, &choices!(:seconds, seconds[&1], one))

    with {:ok, found} <- Native.market_matching(first, second, places, proposing!(opts[:proposing])),
         do: {:ok, matched(ones, others, found, places)}
  end

  defp proposing!(who) when who in [nil, :firsts], do: :from_first
  defp proposing!(:seconds), do: :from_second
  defp proposing!(other), do: Input.bad!(:proposing, other, ":firsts or :seconds")

  defp matched(ones, others, found, places) do
    named = List.to_tuple(others)

    {with_one, without} =
      ones |> Enum.zip(found.partner) |> Enum.split_with(fn {_, partner} -> partner != nil end)

    pairs = Map.new(with_one, fn {name, partner} -> {name, elem(named, partner)} end)
    taken = pairs |> Map.values() |> Enum.frequencies()
    free = for {name, count} <- Enum.zip(others, places), Map.get(taken, name, 0) < count, do: name
    %{pairs: pairs, unmatched: {Enum.map(without, &elem(&1, 0)), free}, proposals: found.proposals}
  end

  defp side!(_what, %{} = side) when not is_struct(side), do: side |> Map.keys() |> Enum.sort()
  defp side!(what, other), do: Input.bad!(what, other, "a map from names to lists of names")

  defp numbered(names), do: names |> Enum.with_index() |> Map.new()

  defp choices!(what, choices, numbers) do
    with true <- Input.list?(choices),
         found = Enum.map(choices, &Map.get(numbers, &1)),
         false <- nil in found,
         true <- Enum.uniq(found) == found do
      found
    else
      _ -> Input.bad!(what, choices, "lists of different names of the other side")
    end
  end

  def goods(rule, values) when rule in [:adjusted_winner, :round_robin] do
    {players, goods} = table!(values)
    rows = for player <- players, do: for(good <- goods, do: values[player][good])

    cond do
      rule == :adjusted_winner and length(players) != 2 ->
        Input.bad!(:values, players, "the points of two players")

      rule == :adjusted_winner ->
        adjusted(players, goods, Native.market_fair(rule, rows))

      true ->
        bundles(players, goods, Native.market_fair(rule, rows))
    end
  end

  def goods(rule, _values), do: Input.bad!(:rule, rule, ":adjusted_winner or :round_robin")

  defp table!(%{} = values) when map_size(values) > 0 and not is_struct(values) do
    players = values |> Map.keys() |> Enum.sort()
    [goods | others] = for player <- players, do: goods!(values[player])

    if Enum.all?(others, &(&1 == goods)),
      do: {players, goods},
      else: Input.bad!(:values, values, "worths for the same goods of each player")
  end

  defp table!(other), do: Input.bad!(:values, other, "a map from players to maps from goods to whole numbers")

  defp goods!(%{} = worths) when map_size(worths) > 0 and not is_struct(worths) do
    if Enum.all?(worths, fn {_, worth} -> is_integer(worth) and worth in 0..0x4000000000000000 end),
      do: worths |> Map.keys() |> Enum.sort(),
      else: Input.bad!(:values, worths, "a map from goods to whole numbers from 0 to 2^62")
  end

  defp goods!(other), do: Input.bad!(:values, other, "a map from goods to whole numbers")

  # Of each good what part the first has; at most one is shared.
  defp adjusted([one, other], goods, {:ok, %{first: first}}) do
    parts = Enum.zip(goods, first)

    {:ok,
     %{
       one => for({good, {part, whole}} <- parts, part > 0, into: %{}, do: {good, least(part, whole)}),
       other =>
         for({good, {part, whole}} <- parts, part < whole, into: %{}, do: {good, least(whole - part, whole)})
     }}
  end

  defp adjusted(_players, _goods, error), do: error

  defp least(part, whole) do
    divisor = Integer.gcd(part, whole)
    {div(part, divisor), div(whole, divisor)}
  end

  defp bundles(players, goods, {:ok, bundles}) do
    named = List.to_tuple(goods)

    {:ok,
     players
     |> Enum.zip(bundles)
     |> Map.new(fn {player, list} -> {player, Enum.map(list, &elem(named, &1))} end)}
  end

  defp bundles(_players, _goods, error), do: error

  def cake(rule, %{} = values) when rule in [:divide_and_choose, :moving_knife] and map_size(values) > 0 do
    players = values |> Map.keys() |> Enum.sort()
    rows = Enum.map(players, &values[&1])

    unless Enum.all?(rows, &Input.list?/1),
      do: Input.bad!(:values, values, "a map from players to lists of numbers")

    Input.matrix!(:values, rows)

    with {:ok, pieces} <- Native.market_fair(rule, rows) do
      named = List.to_tuple(players)

      {:ok,
       for(
         {who, from, to, share} <- pieces,
         do: %{player: elem(named, who), from: from, to: to, share: share}
       )}
    end
  end

  def cake(rule, values),
    do:
      Input.bad!(
        :cut,
        {rule, values},
        ":divide_and_choose or :moving_knife, and a map from players to lists of numbers"
      )
end
