defmodule Foundation.MABEAM.Coordination.Market.Equilibrium do
  @moduledoc false
  # Traders with goods by name, as the market library takes them, and its answer with the names again.

  alias Foundation.MABEAM.Types.Fields
  alias Foundation.Native

  defmodule Options do
    @moduledoc false
    defstruct [:tolerance, :rounds, :timeout]
  end

  @spec find([map], keyword) :: {:ok, map} | {:error, term}
  def find(traders, opts) do
    with {:ok, opts} <- Fields.build(Options, opts, rules()), :ok <- check(traders) do
      goods =
        traders
        |> Enum.flat_map(&(Map.keys(&1.endowment) ++ Map.keys(&1.weights)))
        |> Enum.uniq()
        |> Enum.sort()

      given = for trader <- traders, do: numbers(trader, goods)
      limits = {1_000_000_000, opts.timeout}

      with {:ok, found} <- Native.market_equilibrium(given, opts.tolerance, opts.rounds, limits) do
        named = fn list -> goods |> Enum.zip(list) |> Map.new() end
        {:ok, %{found | prices: named.(found.prices), demand: Enum.map(found.demand, named)}}
      end
    end
  end

  defp numbers(trader, goods) do
    list = fn map -> for good <- goods, do: Map.get(map, good, 0) end
    {list.(trader.endowment), list.(trader.weights), Map.get(trader, :elasticity, 1.0)}
  end

  defp check([]), do: Fields.invalid(:traders, [], "a list of at least one trader")

  defp check(traders) do
    Enum.find_value(traders, :ok, fn
      %{endowment: endowment, weights: weights} = trader ->
        elasticity = Map.get(trader, :elasticity, 1.0)

        cond do
          not numbers?(endowment) ->
            Fields.invalid(:endowment, endowment, "a map from goods to numbers from 0")

          not numbers?(weights) ->
            Fields.invalid(:weights, weights, "a map from goods to numbers from 0")

          not is_number(elasticity) ->
            Fields.invalid(:elasticity, elasticity, "a number above 0, at most 100")

          true ->
            nil
        end

      other ->
        Fields.invalid(:traders, other, "maps of endowment: and weights:")
    end)
  end

  defp numbers?(map), do: is_map(map) and Enum.all?(map, fn {_good, number} -> number?(number) end)

  # Larger whole numbers are no floats.
  defp number?(number), do: is_number(number) and number >= 0 and number <= 1.0e15

  defp rules do
    [
      {:tolerance, 1.0e-6, &(is_number(&1) and &1 > 0), "a number above 0"},
      {:rounds, 10_000, &(is_integer(&1) and &1 in 1..1_000_000_000), "a whole number from 1"},
      {:timeout, 5_000, &(is_integer(&1) and &1 in 1..600_000), "a whole number of ms from 1 to 600,000"}
    ]
  end
end
