defmodule AstAnalysis.Groups do
  @moduledoc """
  Forms the module groups: each block of modules goes to one analyst.

  Most are sold in bundles, by a combinatorial auction (`AstAnalysis.Bundles` says why). What is left over goes by
  contract net, block after block, to the analyst that asks least for it; so does a module that turns up later.
  """

  alias AstAnalysis.Source
  alias Foundation.MABEAM.Coordination
  alias Foundation.MABEAM.Coordination.Auction

  # An analyst's share is so much more than an equal part: with less room the blocks that belong together do not fit.
  @room 1.2
  @search_ms 2_000

  @type result :: %{
          owners: %{String.t() => String.t()},
          bundles: [%{agent: String.t(), items: [String.t()], price: non_neg_integer}],
          optimal: boolean,
          gap: non_neg_integer,
          left_over: non_neg_integer,
          sessions: [String.t()]
        }

  @doc "Gives every block to an analyst, and tells the analysts."
  @spec form([Source.block()], [String.t()]) :: result
  def form(blocks, analysts) do
    links = Source.links(blocks)
    outcome = auction(blocks, links, analysts)
    decision = outcome.decision
    sold = for win <- decision.wins, block <- win.items, into: %{}, do: {block, win.agent}
    by_name = Map.new(blocks, &{&1.name, &1})

    for {name, analyst} <- sold,
        do: {:ok, :adopted} = AstAnalysis.Ask.task(analyst, adoption(by_name[name], links))

    {owners, sessions} =
      blocks
      |> Enum.reject(&is_map_key(sold, &1.name))
      |> Enum.sort_by(&{-&1.bytes, &1.name})
      |> Enum.reduce({sold, [outcome.session_id]}, fn block, {owners, sessions} ->
        {analyst, session} = tender(block, links, analysts)
        {Map.put(owners, block.name, analyst), [session | sessions]}
      end)

    %{
      owners: owners,
      bundles: decision.wins,
      optimal: decision.optimal,
      gap: decision.gap,
      left_over: length(blocks) - map_size(sold),
      sessions: Enum.reverse(sessions)
    }
  end

  defp auction(blocks, links, analysts) do
    sizes = Map.new(blocks, &{&1.name, &1.bytes})
    share = ceil(@room * Enum.sum(Map.values(sizes)) / length(analysts))

    {:ok, outcome} =
      Auction.run_auction(:combinatorial, analysts,
        items: Map.keys(sizes),
        data: %{blocks: sizes, links: links, share: share},
        search_ms: @search_ms,
        timeout: 30_000
      )

    outcome
  end

  @doc "Gives one block to the analyst that asks least: the analyst and the id of the session."
  @spec tender(Source.block(), Source.links(), [String.t()]) :: {String.t(), String.t()}
  def tender(block, links, analysts) do
    {:ok, outcome} =
      Coordination.coordinate(:contract_net, analysts, %{task: adoption(block, links)}, timeout: 30_000)

    {outcome.decision.agent, outcome.session_id}
  end

  defp adoption(block, links),
    do: {:adopt, %{name: block.name, bytes: block.bytes, links: Map.get(links, block.name, %{})}}
end
