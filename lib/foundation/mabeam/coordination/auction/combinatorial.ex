defmodule Foundation.MABEAM.Coordination.Auction.Combinatorial do
  @moduledoc """
  Sells different items, on bundles of which agents bid, so that the winning bids are worth most: the protocol
  `:combinatorial`.

      Coordination.coordinate(:combinatorial, agents, %{items: [:cpu, :gpu, :disk], bidding: :xor, pricing: :vcg})

  The problem: `items:`, up to 1,000 different terms; `bidding:` `:xor` (at most one offer of an agent wins)
  or `:or` (any number that share no item); `pricing:` `:vcg` or `:first_price`; `search_ms:` how long winners
  and payments may be searched for (1,000); `item:`, `data:`, and the fields that all auctions have. Agents
  get these and bid `{[item], amount}` or a list of up to 100 such offers. An offer of 0 never wins.

  Decision:
  `%{wins: [%{agent: id, items: [item], offered: money, price: money}], revenue: money, value: money, bound: money, gap: money, optimal: boolean, exact: boolean, nodes: n}`:
  `value` is the sum of the winning offers, `bound` what no allocation exceeds; `optimal` when they are the
  same, and `exact` when the payments are proved too. `detail`: `:bids`, `:payments`, `:cannot_pay`. Fails
  with `:unsold`, and with `:stopped` when the time was not enough for any allocation.

  Properties: Vickrey 1961, Clarke 1971, Groves 1973; the winners are found by branch and bound (de Vries and
  Vohra, Combinatorial Auctions, 2003). 2n messages. With `:vcg` and `exact`: truthful, efficient, and no
  agent pays more than it offered; the revenue may be small, and agents that act together or under several
  names may gain. An allocation that is not optimal promises none of this: look at `exact`. With
  `:first_price` not truthful. Budget-balanced.

  **Scheduling**: one call on a dirty CPU scheduler, for at most `search_ms:`.
  """

  use Foundation.MABEAM.Coordination.Auction.Sealed, kind: :combinatorial

  @impl true
  def properties do
    %{
      truthful: :vcg_when_exact,
      efficient: :when_optimal,
      budget_balanced: true,
      messages: "2n",
      source: "Vickrey 1961, Clarke 1971, Groves 1973"
    }
  end
end
