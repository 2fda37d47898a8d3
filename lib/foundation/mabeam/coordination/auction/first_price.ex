defmodule Foundation.MABEAM.Coordination.Auction.FirstPrice do
  @moduledoc """
  Sells one item to the highest sealed bid, at that bid: the protocol `:sealed_first_price`.

      Coordination.coordinate(:sealed_first_price, agents, %{item: "slot 7", reserve: Economics.units("1")})

  The problem: `item:` and `data:` for the agents, `reserve:` (0), and the fields that all auctions have
  (`Foundation.MABEAM.Coordination.Auction`). Agents get, in `handle_bid_request/2`,
  `%{auction: :sealed_first_price, item: _, reserve: _, round: 1}` and bid a whole number of millionths, or a
  map with such an `:amount`.

  Decision: `%{agent: id, price: money}`. `detail`: `:bids` by agent, `:payments`, `:cannot_pay`. Of equal
  bids the one of the agent that comes first in the list of participants wins. Fails with `:unsold`.

  Properties: Vickrey, Counterspeculation, Auctions, and Competitive Sealed Tenders, 1961. 2n messages. Not
  truthful: bidders gain by bidding less than the item is worth to them (in equilibrium (n - 1) / n of it, for
  n with values uniform from 0). Efficient where all do so alike. Budget-balanced: what the winner pays, the
  seller gets.

  **Scheduling**: one call on a dirty CPU scheduler, O(bids).
  """

  use Foundation.MABEAM.Coordination.Auction.Sealed, kind: :sealed_first_price

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: :in_symmetric_equilibrium,
      budget_balanced: true,
      messages: "2n",
      source: "Vickrey 1961"
    }
  end
end
