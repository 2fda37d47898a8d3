defmodule Foundation.MABEAM.Coordination.Games.Shares do
  @moduledoc false
  # Shapley shares: all coalitions by the bits of their players, or a sample of the orders of arrival.

  import Bitwise

  alias Foundation.MABEAM.Arguments
  alias Foundation.MABEAM.Coordination.Games.Input
  alias Foundation.Native

  def exact(players, worth, opts) do
    players = Input.names!(:players, players)
    limits = Input.limits!(opts, [])
    count = length(players)

    if count > 20 do
      {:error, {:too_large, :players}}
    else
      bits = Enum.with_index(players)
      worths = for coalition <- 1..((1 <<< count) - 1), do: whole!(worth, members(bits, coalition))

      with {:ok, shares} <- Native.market_shapley([0 | worths], limits),
           do: {:ok, players |> Enum.zip(shares) |> Map.new()}
    end
  end

  defp members(bits, coalition), do: for({player, bit} <- bits, (coalition >>> bit &&& 1) == 1, do: player)

  defp whole!(worth, members) do
    case earned(worth, members) do
      amount when is_integer(amount) and abs(amount) < 1 <<< 62 -> amount
      other -> Input.bad!(:worth, {members, other}, "a whole number for each list of players")
    end
  end

  defp earned(_worth, []), do: 0
  defp earned(worth, members) when is_function(worth, 1), do: worth.(members)
  defp earned(worth, members) when is_map(worth), do: Map.get(worth, members, 0)
  defp earned(worth, _members), do: Input.bad!(:worth, worth, "a function of a list of players, or a map")

  def sampled(players, worth, opts) do
    players = Input.names!(:players, players)
    Arguments.known!(opts, [:samples, :delta, :low, :high, :seed])
    low = Input.number!(:low, opts[:low])
    high = Input.number!(:high, opts[:high])
    samples = Input.natural!(:samples, Keyword.get(opts, :samples, 1_000))
    delta = Input.number!(:delta, Keyword.get(opts, :delta, 0.05))
    seed = Input.seed!(Keyword.get(opts, :seed, 0))

    with {:ok, sampler} <- Native.market_open({:shapley, length(players), low, high, seed}),
         {:ok, sampler} <- sample(sampler, List.to_tuple(players), worth, {low, high}, samples),
         {:ok, _sampler, shares} <- Native.market_event(:shapley, sampler, {:estimate, delta}) do
      {:ok,
       players
       |> Enum.zip(shares)
       |> Map.new(fn {player, {share, within}} -> {player, %{share: share, within: within}} end)}
    end
  end

  defp sample(sampler, _players, _worth, _bounds, 0), do: {:ok, sampler}

  defp sample(sampler, players, worth, {low, high} = bounds, left) do
    {:ok, sampler, order} = Native.market_event(:shapley, sampler, {:order})
    added = added(order, players, worth)

    case Enum.find(Enum.zip(order, added), fn {_, amount} -> amount < low or amount > high end) do
      nil ->
        {:ok, sampler, _orders} = Native.market_event(:shapley, sampler, {:report, order, added})
        sample(sampler, players, worth, bounds, left - 1)

      {number, amount} ->
        {:error, {:out_of_bounds, {elem(players, number), amount}}}
    end
  end

  # Coalitions are named in the order of the players, not in that of arrival.
  defp added(order, players, worth) do
    {added, _} =
      Enum.map_reduce(order, {[], 0}, fn number, {there, before} ->
        there = Enum.sort([number | there])
        now = number!(earned(worth, Enum.map(there, &elem(players, &1))))
        {now - before, {there, now}}
      end)

    added
  end

  defp number!(value), do: Input.number!(:worth, value)
end
