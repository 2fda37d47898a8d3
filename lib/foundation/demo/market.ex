defmodule Foundation.Demo.Market do
  @moduledoc false
  # The demo's second half: what the first half has read is studied closer, by agents on the demo's nodes
  # that bid for the work. They differ in skill, speed, wage and budget; how many modules an agent gets at
  # once is a shared variable that a bandit finds; a node is killed in the middle, and what its agents had
  # not done is auctioned again; at the end the agents vote on what heads the report.
  #
  # Only modules are auctioned that have changed since they were studied.

  alias Foundation.Demo.{Console, Crew, Journal}
  alias Foundation.Demo.Market.{Batch, Books, Findings, Hops, Lots, Round, Stage, Vote}

  # Lots in one auction.
  @lots 10
  # Auctions in a row in which nobody wants anything, each with higher fees.
  @fruitless 40
  @pause_ms 100
  @back_ms 20_000

  @type option :: {:nodes, pos_integer} | {:kill, boolean} | {:quiet, boolean}

  @doc """
  Has the modules studied that these facts are of, on the nodes of the crew, or on a crew of its own when there is none;
  what was found, and the last market that there was, in `:ran` whether it was now. Nil when there never was one.
  """
  @spec run([map], pid | nil, [option]) :: {:ok, map | nil} | {:error, term}
  def run(facts, crew, options) do
    with {:ok, known} <- Journal.studies() do
      case Enum.reject(facts, &studied?(&1, known)) do
        [] -> told(facts, false)
        pending -> with :ok <- with_crew(pending, facts, crew, options), do: told(facts, true)
      end
    end
  end

  defp studied?(fact, known), do: match?(%{data: %{md5: md5}} when md5 == fact.md5, known[fact.path])

  defp told(facts, ran) do
    with {:ok, event} when event != nil <- Journal.last_market(), {:ok, studies} <- Journal.studies() do
      {:ok, Map.merge(event.data, %{ran: ran, findings: Findings.of(facts, studies)})}
    end
  end

  defp with_crew(pending, facts, nil, options) do
    with {:ok, crew} <- Crew.start(Keyword.fetch!(options, :nodes)) do
      try do
        hold(pending, facts, crew, options)
      after
        Crew.stop(crew)
      end
    end
  end

  defp with_crew(pending, facts, crew, options) do
    with {:ok, since} <- Crew.refill(crew), do: hold(pending, facts, crew, [{:since, since} | options])
  end

  defp hold(pending, facts, crew, options) do
    lots = Lots.of(pending)
    nodes = Crew.nodes(crew)

    try do
      with :ok <- Stage.open(nodes, lots),
           {:ok, event} <- Journal.open_market(%{modules: length(pending), lots: length(lots)}) do
        market = begin(lots, facts, crew, event, options)
        {elapsed, market} = :timer.tc(fn -> rounds(market) end)
        Console.finish(market.progress)
        with {:ok, result} <- conclude(market, elapsed), do: Journal.close_market(event, result)
      end
    after
      Stage.close()
    end
  end

  defp begin(lots, facts, crew, event, options) do
    modules = lots |> Enum.map(&length(&1.units)) |> Enum.sum()
    kill? = Keyword.fetch!(options, :nodes) >= 3 and Keyword.get(options, :kill, true)

    %{
      event: event,
      crew: crew,
      since: Keyword.get(options, :since, 0),
      labels: Crew.labels(crew),
      places: Stage.places(),
      first_places: Stage.places(),
      budgets: Books.balances(Stage.ids()),
      pool: lots,
      lots: length(lots),
      paths: Map.new(facts, &{&1.module, &1.path}),
      total: modules,
      done: 0,
      kill_at: if(kill?, do: div(modules, 2)),
      lost: nil,
      round: 0,
      fruitless: 0,
      auctions: [],
      trace: nil,
      trials: [],
      speeds: %{},
      modules: %{},
      delivered: %{},
      by_node: %{},
      attempts: %{},
      again: 0,
      again_lots: 0,
      failed: [],
      progress: Console.start(modules, Keyword.get(options, :quiet, false))
    }
  end

  # -- rounds ---------------------------------------------------------------------------------------------------------

  defp rounds(%{pool: []} = market), do: market
  defp rounds(%{fruitless: fruitless} = market) when fruitless >= @fruitless, do: market

  defp rounds(market) do
    {offered, _later} = Enum.split(market.pool, @lots)
    auction = Round.auction(offered, market.round + 1)
    market = moved(%{market | round: auction.round})
    trace = market.trace || (auction.wins != [] && Hops.draw(auction.trace_id, market.labels)) || nil
    market = unsold(%{market | auctions: [auction | market.auctions], trace: trace}, offered, auction.wins)
    auction |> sold(market) |> rounds()
  end

  # Who does not win today may tomorrow, for more; or is on its way to another node.
  defp sold(%{wins: []}, market) do
    receive do
    after
      @pause_ms -> %{market | fruitless: market.fruitless + 1}
    end
  end

  defp sold(%{wins: wins} = auction, market) do
    data = auction |> Map.take([:round, :lots, :bidders, :offers]) |> Map.put(:wins, wins)
    {:ok, event} = Journal.open_auction(data, market.event)
    Round.work(%{market | fruitless: 0}, wins, event)
  end

  # To the end of the pool.
  defp unsold(market, offered, wins) do
    won = Enum.flat_map(wins, & &1.items)
    {sold, unsold} = Enum.split_with(offered, &(&1.id in won))
    %{market | pool: sold ++ Enum.drop(market.pool, length(offered)) ++ Enum.map(unsold, &Lots.dearer/1)}
  end

  # Agents of the lost node that have begun elsewhere.
  defp moved(%{lost: nil} = market), do: %{market | places: Stage.places()}

  defp moved(market) do
    places = Stage.places()

    for agent <- market.lost.agents,
        node = places[agent],
        node not in [market.lost.node, market.places[agent]],
        do: Crew.remark(market.crew, node, :placed, "agent #{agent} begins its next life here")

    %{market | places: places}
  end

  # -- the end --------------------------------------------------------------------------------------------------------

  defp conclude(market, elapsed) do
    if market.lost, do: Stage.await_agents(@back_ms)
    market = moved(market)

    with {:ok, studies} <- Journal.studies() do
      own = for {_path, %{data: %{complex: _} = study}} <- studies, do: study
      vote = Vote.hold(Stage.ids(), own)

      stored =
        Enum.count(studies, fn {_path, event} -> event.correlation_id == market.event.correlation_id end)

      {:ok,
       %{
         elapsed_us: elapsed,
         modules: market.total,
         studied: stored,
         lots: market.lots,
         left: market.pool |> Enum.map(&length(&1.units)) |> Enum.sum(),
         again: %{modules: market.again, lots: market.again_lots},
         lost: market.lost && %{market.lost | node: market.labels[market.lost.node]},
         failed: Enum.take(market.failed, 20),
         agents: Enum.map(Stage.agents(), &agent(&1, market)),
         audit: Books.audit(),
         auctions: market.auctions |> Enum.reverse() |> Enum.map(&Map.delete(&1, :trace_id)),
         trace: market.trace,
         batch: batch(market),
         vote: vote,
         cluster: story(market, stored)
       }}
    end
  end

  defp agent({id, profile, budget}, market) do
    wins = for auction <- market.auctions, win <- auction.wins, win.agent == id, do: win
    {first, last} = Map.get(market.speeds, id, {nil, nil})
    [{^id, balance}] = Map.to_list(Books.balances([id]))

    Map.merge(Books.turnover(id), %{
      id: id,
      skills: profile.skills,
      hands: profile.hands,
      wage: profile.wage,
      began_on: market.labels[market.first_places[id]],
      ended_on: market.labels[market.places[id]],
      speed: %{first: first, last: last},
      wins: length(wins),
      lots: Map.get(market.delivered, id, 0),
      modules: Map.get(market.modules, id, 0),
      budget: budget,
      balance: balance
    })
  end

  defp batch(market) do
    alive = [node() | Node.list()]
    path = market.trials |> Enum.sort_by(& &1.at_ms)
    start = path |> Enum.map(& &1.at_ms) |> Enum.min(fn -> 0 end)

    agreed =
      for {node, value} <- Stage.values(Crew.nodes(market.crew)),
          node in alive,
          do: {market.labels[node], value}

    %{path: Enum.map(path, &%{&1 | at_ms: &1.at_ms - start}), arms: Batch.arms(), agreed: agreed}
  end

  defp story(market, stored) do
    remarks =
      for {true, what, says} <- [
            {market.again > 0, :again,
             "#{market.again} modules in #{market.again_lots} lots of the lost agents were auctioned again"},
            {stored == market.total, :finished, "all #{stored} modules studied, each counted once"}
          ],
          do: {what, says}

    Crew.story(market.crew, market.by_node, remarks, market.since)
  end
end
