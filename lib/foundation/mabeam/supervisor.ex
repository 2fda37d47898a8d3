defmodule Foundation.MABEAM.Supervisor do
  @moduledoc false
  # MABEAM's processes on this node; exists only while it is switched on. The tables are its own, so that a process that
  # is started again finds what it needs.

  use Supervisor

  alias Foundation.MABEAM.{AgentRegistry, Comms, Coordination, Core, Economics, Replicas, Sweeper}

  @protocols [
    majority: Coordination.Majority,
    weighted: Coordination.Weighted,
    unanimity: Coordination.Unanimity,
    approval: Coordination.Approval,
    borda: Coordination.Borda,
    refinement: Coordination.Refinement,
    contract_net: Coordination.ContractNet,
    alternating_offers: Coordination.AlternatingOffers,
    sealed_first_price: Coordination.Auction.FirstPrice,
    vickrey: Coordination.Auction.Vickrey,
    english: Coordination.Auction.English,
    dutch: Coordination.Auction.Dutch,
    multi_unit: Coordination.Auction.MultiUnit,
    combinatorial: Coordination.Auction.Combinatorial,
    double_auction: Coordination.Auction.Double,
    condorcet: Coordination.Condorcet,
    instant_runoff: Coordination.InstantRunoff,
    hierarchical: Coordination.Hierarchical,
    sampled: Coordination.Sampled,
    byzantine: Coordination.Byzantine,
    assignment: Coordination.TaskAssignment,
    monotonic_concession: Coordination.MonotonicConcession,
    multi_issue: Coordination.MultiIssue,
    wishes: Core.Wishes,
    worths: Core.Worths
  ]

  def start_link(opts), do: Supervisor.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(opts) do
    opts = if is_list(opts), do: opts, else: []
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
      Coordination.Averaging.Server,
      Coordination.Market.Supervisor,
      {DynamicSupervisor, name: Foundation.MABEAM.Sessions, max_children: Coordination.most()}
    ]

    children = replicas(opts[:replicas]) ++ children ++ AgentRegistry.Placement.children(opts)
    Supervisor.init(children, strategy: :one_for_one, max_restarts: 10, max_seconds: 10)
  end

  # Where the ledger is must be known before anyone asks it.
  defp replicas(nil), do: []
  defp replicas(nodes), do: [{Replicas.Member, Replicas.nodes!(nodes)}]
end
