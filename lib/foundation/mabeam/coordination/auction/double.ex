defmodule Foundation.MABEAM.Coordination.Auction.Double do
  @moduledoc """
  Brings buyers and sellers of one unit each together, at prices that nobody can move by a lie: the protocol
  `:double_auction`.

      Coordination.coordinate(:double_auction, agents, %{item: :gpu_hour})

  Agents get `%{auction: :double_auction, item: _, round: 1}` and bid `{:buy, amount}`, at most so much, or
  `{:sell, amount}`, at least so much. With `accounts: true`, `to:` is the account through which it is paid
  and that keeps the surplus.

  Decision: `%{buyers: [id], sellers: [id], buy_price: money, sell_price: money, surplus: money}`, as many
  buyers as sellers, the best offer first. `detail`: `:bids`, `:payments`, `:cannot_pay`. Fails with
  `:unsold`.

  Properties: McAfee, A Dominant Strategy Double Auction, 1992. 2n messages. Truthful for one unit each. It
  never pays in (weakly budget-balanced); what buyers pay more than sellers get is the surplus. All efficient
  trades but at most the least valuable one are made.

  **Scheduling**: one call on a dirty CPU scheduler, O(bids · log bids).
  """

  use Foundation.MABEAM.Coordination.Auction.Sealed, kind: :double_auction

  @impl true
  def properties do
    %{
      truthful: true,
      efficient: :but_one_trade,
      budget_balanced: :weakly,
      messages: "2n",
      source: "McAfee 1992"
    }
  end
end
