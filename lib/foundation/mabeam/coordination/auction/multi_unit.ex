defmodule Foundation.MABEAM.Coordination.Auction.MultiUnit do
  @moduledoc """
  Sells several units of one thing to the highest sealed bids: the protocol `:multi_unit`.

      Coordination.coordinate(:multi_unit, agents, %{item: :gpu_hour, units: 100, pricing: :uniform})

  The problem: `units:`, 1 to 10^9; `pricing:` `:uniform` (each unit costs the highest price that got nothing
  or not all, at least the reserve price) or `:discriminatory` (each bid pays its own price); `reserve:` for a
  unit (0); `item:`, `data:`, and the fields that all auctions have. Agents get these and bid
  `{units, price}`, up to so many at so much each, or a list of up to 100 such offers. Fewer units than were
  asked for may be won.

  Decision: `%{wins: [%{agent: id, units: n, unit_price: money, price: money}], revenue: money, unsold: n}`,
  best offer first. `detail`: `:bids`, `:payments`, `:cannot_pay`. Fails with `:unsold`.

  Properties: Krishna, Auction Theory, 2002, chapter 12. 2n messages. The uniform price is truthful for agents
  that want one unit; who wants more gains by asking for less than it wants. Neither is efficient then.
  Budget-balanced.

  **Scheduling**: one call on a dirty CPU scheduler, O(offers · log offers).
  """

  use Foundation.MABEAM.Coordination.Auction.Sealed, kind: :multi_unit

  @impl true
  def properties do
    %{
      truthful: :uniform_price_for_one_unit,
      efficient: :at_true_bids,
      budget_balanced: true,
      messages: "2n",
      source: "Krishna 2002"
    }
  end
end
