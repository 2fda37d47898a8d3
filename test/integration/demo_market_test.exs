defmodule Foundation.DemoMarketTest do
  # The demo's second half on real nodes. The event store's directory is the application's: it is restarted around each test.
  use ExUnit.Case, async: false

  alias Foundation.{Demo, Events, MABEAM}
  alias Foundation.Distributed.Consensus

  @moduletag timeout: 180_000

  setup do
    directory = Path.join(System.tmp_dir!(), "foundation_market_#{System.unique_integer([:positive])}")
    before = Application.get_env(:foundation, :events)
    alive = Node.alive?()
    stop()

    on_exit(fn ->
      stop()
      # The demo made this node a distributed one.
      unless alive, do: Node.stop()

      if before,
        do: Application.put_env(:foundation, :events, before),
        else: Application.delete_env(:foundation, :events)

      {:ok, _} = Application.ensure_all_started(:foundation)
      File.rm_rf!(directory)
    end)

    sample(directory, "stdlib-4.2", :stdlib, 70)
    sample(directory, "elixir-1.14", :elixir, 35)
    {:ok, out: Path.join(directory, "out"), path: Path.join(directory, "*/ebin/*.beam")}
  end

  defp sample(directory, name, application, count) do
    target = Path.join([directory, name, "ebin"])
    File.mkdir_p!(target)

    application
    |> :code.lib_dir()
    |> Path.join("ebin/*.beam")
    |> Path.wildcard()
    |> Enum.take(count)
    |> Enum.each(&File.cp!(&1, Path.join(target, Path.basename(&1))))
  end

  defp stop, do: assert(Application.stop(:foundation) in [:ok, {:error, {:not_started, :foundation}}])

  defp run(context, options) do
    {:ok, _} = Demo.open(context.out)
    Demo.run([out: context.out, path: context.path, quiet: true] ++ options)
  end

  test "agents buy the work, lose a node in the middle, and every module is studied once", context do
    files = Path.wildcard(context.path)
    count = length(files)
    assert {:ok, %{market: market, done: ^count} = result} = run(context, nodes: 3)
    assert %{ran: true, modules: ^count, studied: ^count, left: 0, failed: []} = market

    # Nothing is lost and nothing is there twice: neither in the store nor in what the agents were paid for.
    {:ok, %{events: studies}} = Events.search(where: {:==, :event_type, :demo_study}, limit: 10_000)
    assert studies |> Enum.map(& &1.data.path) |> Enum.sort() == Enum.sort(files)
    assert market.agents |> Enum.map(& &1.modules) |> Enum.sum() == count
    assert market.cluster.nodes |> Enum.map(& &1.files) |> Enum.sum() == count
    by_node = Enum.frequencies_by(studies, & &1.node)
    for node <- market.cluster.nodes, do: assert(Map.get(by_node, node.node, 0) == node.files)

    # The node was lost with work under way, which was sold again, and its agents live on elsewhere.
    assert %{lost: %{node: lost, agents: [_ | _] = agents}, again: %{modules: again}} = market
    assert lost != "node 1" and again > 0
    told = Enum.map(market.cluster.moments, &{&1.what, &1.node})
    assert {:killed, lost} in told and {:unreachable, lost} in told
    # The first half has lost another one, which was replaced.
    assert {:killed, "node 3"} in Enum.map(result.cluster.moments, &{&1.what, &1.node})
    assert {:joined, "node 4"} in told

    for %{id: id} = agent <- market.agents, id in agents do
      assert agent.began_on == lost
      assert agent.ended_on in (["node 1", "node 2", "node 4"] -- [lost])
    end

    # Money is where it should be.
    assert market.audit == 0

    for agent <- market.agents,
        do: assert(agent.balance == agent.budget - agent.paid + agent.returned + agent.earned)

    wins = for auction <- market.auctions, win <- auction.wins, do: win
    assert wins != [] and Enum.all?(wins, &(&1.price <= &1.offered))

    # A bandit has tried sizes, and both nodes that are left read the same value.
    assert length(market.batch.path) > 6
    assert [_, _] = market.batch.agreed
    assert [value] = market.batch.agreed |> Enum.map(&elem(&1, 1)) |> Enum.uniq()
    assert value in Demo.Market.Batch.sizes()

    # All agents vote, those too that have begun anew.
    assert %{failed: nil, winner: winner, missing: []} = market.vote
    assert map_size(market.vote.ballots) + length(market.vote.abstained) == 6
    assert winner in hd(market.vote.ranking)

    # The first auction was on three nodes.
    assert %{nodes: 3, hops: hops} = market.trace
    assert hops >= 8
    assert market.trace.text =~ "session of :combinatorial on node 1"

    page = File.read!(result.report)
    assert page =~ "heads the report" and page =~ "One session across the nodes"
    console = result |> Demo.Console.render() |> IO.iodata_to_binary()
    assert console =~ "auctioned again" and console =~ "Prices"

    # Nothing of it is left on this node.
    refute MABEAM.running?()
    refute Foundation.Cluster.running?()
    assert {:error, :no_group} = Consensus.status(:foundation)
    assert Node.list() == []

    # What has not changed is not auctioned again; what has, is.
    stop()
    assert {:ok, %{done: 0, market: earlier}} = run(context, nodes: 3)
    assert earlier == %{market | ran: false}
    refute Foundation.Cluster.running?()
    stop()

    [first | _] = files
    File.cp!(:code.which(:lists), first)
    File.touch!(first, System.os_time(:second) + 5)
    assert {:ok, %{done: 1, market: %{ran: true, modules: 1, studied: 1, lots: 1}}} = run(context, nodes: 2)
  end

  test "one node has no market, and it can be left out", context do
    assert {:ok, %{market: nil, report: report}} = run(context, limit: 3)
    refute File.read!(report) =~ "The market"
    stop()
    assert {:ok, %{market: nil, done: 0}} = run(context, limit: 3, nodes: 3, market: false)
    assert {:ok, %{events: []}} = Events.search(where: {:==, :event_type, :demo_study})
  end
end
