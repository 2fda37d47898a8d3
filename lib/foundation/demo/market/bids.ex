defmodule Foundation.Demo.Market.Bids do
  @moduledoc false
  # What lots are worth to an agent: the fees it gets for them, less its time at its wage. Lots that call
  # the same modules are worth more together, because these are looked up once. Pure.

  @most_lots 4
  @most_offers 100
  # Each second in a round costs more than the one before: at so many it is twice the first.
  @patience 4.0

  @type able :: %{
          skills: [atom],
          wage: pos_integer,
          speed: float,
          lookup_us: float,
          known: (String.t() -> boolean)
        }

  @doc "Offers `{[lot], amount}`, none above the balance; the agent takes one of them at most."
  @spec offers(%{String.t() => map}, able, non_neg_integer) :: [{[String.t()], pos_integer}]
  def offers(lots, able, balance) do
    lots = for {id, lot} <- lots, lot.kind in able.skills, do: Map.put(lot, :id, id)

    for bundle <- lots |> Enum.sort_by(&{-worth([&1], able), &1.id}) |> bundles(),
        amount = min(worth(bundle, able), balance),
        amount > 0,
        do: {Enum.map(bundle, & &1.id), amount}
  end

  @doc "The fees of a bundle less what it costs the agent, in millionths; it may be below zero."
  @spec worth([map], able) :: integer
  def worth(bundle, able) do
    fees = bundle |> Enum.map(& &1.fee) |> Enum.sum()
    fees - cost(bundle, able)
  end

  defp cost(bundle, able) do
    seconds = seconds(bundle, able)
    round(able.wage * seconds * (1 + seconds / (2 * @patience)))
  end

  @doc "The time that an agent needs for a bundle, as far as it knows."
  @spec seconds([map], able) :: float
  def seconds(bundle, able) do
    bytes = bundle |> Enum.map(& &1.bytes) |> Enum.sum()
    lookups = bundle |> Enum.flat_map(& &1.calls) |> Enum.uniq() |> Enum.count(&(not able.known.(&1)))
    bytes / able.speed + lookups * able.lookup_us / 1_000_000
  end

  # Each alone, those of one application together, and the best together, whatever they are of.
  defp bundles(lots) do
    same = lots |> Enum.group_by(& &1.application) |> Map.values() |> Enum.flat_map(&together/1)
    best = for n <- 2..@most_lots, length(lots) >= n, do: Enum.take(lots, n)

    (Enum.map(lots, &[&1]) ++ same ++ best ++ pairs(Enum.take(lots, 6)))
    |> Enum.uniq_by(fn bundle -> bundle |> Enum.map(& &1.id) |> Enum.sort() end)
    |> Enum.take(@most_offers)
  end

  defp together([_alone]), do: []

  defp together(lots),
    do: pairs(lots) ++ for(n <- 3..@most_lots, length(lots) >= n, do: Enum.take(lots, n))

  defp pairs([]), do: []
  defp pairs([one | rest]), do: Enum.map(rest, &[one, &1]) ++ pairs(rest)
end
