defmodule AstAnalysis.Bundles do
  @moduledoc """
  What bundles of blocks are worth to an analyst.

  Blocks that call each other are worth more together: a question about them is answered by one agent. That is why they are
  sold by a combinatorial auction and not one by one.
  """

  @type market :: %{
          blocks: %{String.t() => pos_integer},
          links: AstAnalysis.Source.links(),
          share: pos_integer
        }

  # What a call that stays within one group is worth, in bytes of code.
  @call_bytes 100
  @most_offers 100

  @doc """
  The offers of analyst `number` of `count`: bundles that grow from each block whose turn is its, always by the block that has
  most to do with them, until its share is full.
  """
  @spec offers(market, pos_integer, pos_integer) :: [{[String.t()], pos_integer}]
  def offers(market, number, count) do
    market.blocks
    |> Map.keys()
    |> Enum.sort()
    |> Enum.drop(number - 1)
    |> Enum.take_every(count)
    |> Enum.flat_map(&grow([&1], market))
    |> Enum.uniq_by(fn {blocks, _worth} -> Enum.sort(blocks) end)
    |> Enum.take(@most_offers)
  end

  defp grow(bundle, market) do
    room = market.share - bytes(bundle, market)

    next =
      for {block, bytes} <- market.blocks, bytes <= room, block not in bundle do
        {saved(Map.get(market.links, block, %{}), bundle), block}
      end

    offer = {bundle, worth(bundle, market)}
    if next == [], do: [offer], else: [offer | grow([next |> Enum.max() |> elem(1) | bundle], market)]
  end

  defp worth(bundle, market) do
    # Each pair is seen from both sides.
    kept = for block <- bundle, do: saved(Map.get(market.links, block, %{}), bundle)
    bytes(bundle, market) + div(Enum.sum(kept), 2)
  end

  @doc "What a block's links to these blocks are worth."
  @spec saved(%{String.t() => pos_integer}, [String.t()]) :: non_neg_integer
  def saved(links, blocks), do: @call_bytes * Enum.sum(for(block <- blocks, do: Map.get(links, block, 0)))

  defp bytes(bundle, market), do: bundle |> Enum.map(&market.blocks[&1]) |> Enum.sum()
end
