defmodule Foundation.MABEAM.Supervisor do
  @moduledoc false
  # MABEAM's processes on this node; exists only while it is switched on. The tables are its own, so that a process that
  # is started again finds what it needs.

  use Supervisor

  alias Foundation.MABEAM.{AgentRegistry, Comms, Coordination, Core, Economics, Sweeper}

  @protocols [
    sealed_first_price: Coordination.Auction.FirstPrice,
    vickrey: Coordination.Auction.Vickrey,
    english: Coordination.Auction.English,
    dutch: Coordination.Auction.Dutch,
    multi_unit: Coordination.Auction.MultiUnit,
    combinatorial: Coordination.Auction.Combinatorial,
    double_auction: Coordination.Auction.Double,
    majority: Coordination.Majority,
    weighted: Coordination.Weighted,
    unanimity: Coordination.Unanimity,
    approval: Coordination.Approval,
    borda: Coordination.Borda,
    refinement: Coordination.Refinement,
    contract_net: Coordination.ContractNet,
    alternating_offers: Coordination.AlternatingOffers,
    wishes: Core.Wishes
  ]

  def start_link(opts), do: Supervisor.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts) do
    AgentRegistry.Table.create()
    Comms.Directory.create()
    Comms.Seen.create()
    Comms.Topics.create()
    Coordination.Table.create()
    Core.Table.create()
    for {name, module} <- @protocols, do: Coordination.Table.add_protocol(name, module)

    children = [
      Sweeper,
      Economics.Server,
      Core.Server,
      # The registry restarts agents; this one only ends them with the application.
      {DynamicSupervisor, name: Foundation.MABEAM.Agents},
      AgentRegistry.Server,
      Comms.Inbox,
      Coordination.Market.Supervisor,
      {DynamicSupervisor, name: Foundation.MABEAM.Sessions, max_children: Coordination.most()}
    ]

    Supervisor.init(children, strategy: :one_for_one, max_restarts: 10, max_seconds: 10)
  end
end
