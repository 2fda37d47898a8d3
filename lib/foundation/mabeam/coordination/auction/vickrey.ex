defmodule Foundation.MABEAM.Coordination.Auction.Vickrey do
  @moduledoc """
  Sells one item to the highest sealed bid, at the highest bid of anyone else: the protocol `:vickrey`.

      Coordination.coordinate(:vickrey, agents, %{item: "slot 7", reserve: Economics.units("1")})

  As `Foundation.MABEAM.Coordination.Auction.FirstPrice` in all but the price, which is the second highest
  bid, and at least the reserve price.

  Properties: Vickrey, Counterspeculation, Auctions, and Competitive Sealed Tenders, 1961. 2n messages.
  Truthful: to bid what the item is worth to it is the best an agent can do, whatever others do, when it bids
  for itself alone. So it is efficient. Budget-balanced. Two agents that agree beforehand can lower the price.

  **Scheduling**: one call on a dirty CPU scheduler, O(bids).
  """

  use Foundation.MABEAM.Coordination.Auction.Sealed, kind: :vickrey

  @impl true
  def properties do
    %{truthful: true, efficient: true, budget_balanced: true, messages: "2n", source: "Vickrey 1961"}
  end
end
