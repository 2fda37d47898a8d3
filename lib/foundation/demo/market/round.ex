defmodule Foundation.Demo.Market.Round do
  @moduledoc false
  # One round of the market: lots are auctioned, and each winner is given its modules, so many at once as
  # the shared variable says. What an agent has studied is on the disk before it is given more. An agent
  # that is lost with its node gives back what it had not done, and is given back what it had paid for that.

  alias Foundation.Demo.{Console, Crew, Journal}
  alias Foundation.Demo.Market.{Batch, Books, Lots, Stage}
  alias Foundation.Distributed.Context
  alias Foundation.MABEAM.{Comms, Coordination.Auction}

  require Context

  @auction_ms 8_000
  @search_ms 500
  @task_ms 120_000
  @attempts 3

  @doc "Auctions the lots among the agents: who has won what, and how it went."
  @spec auction([Lots.t()], pos_integer) :: map
  def auction(lots, number) do
    agents = Stage.ids()

    fields = [
      items: Enum.map(lots, & &1.id),
      item: "round #{number}",
      data: %{lots: Map.new(lots, &{&1.id, Lots.shown(&1)}), balances: Books.balances(agents)},
      bidding: :xor,
      pricing: :vcg,
      search_ms: @search_ms,
      accounts: true,
      to: Books.house(),
      timeout: @auction_ms
    ]

    result =
      Context.with_global_context %{market: "round #{number}"} do
        Auction.run_auction(:combinatorial, agents, fields)
      end

    result |> told() |> Map.merge(%{round: number, lots: length(lots)})
  end

  defp told({:ok, %{decision: decision} = outcome}),
    do: %{of(outcome) | wins: decision.wins, exact: decision.exact}

  defp told({:error, {reason, %{answers: _} = outcome}}), do: %{of(outcome) | failed: inspect(reason)}
  defp told({:error, reason}), do: %{of(nil) | failed: inspect(reason)}

  defp of(nil), do: of(%{answers: %{}, failures: %{}, duration_us: 0, trace_id: nil})

  defp of(outcome) do
    %{
      wins: [],
      exact: nil,
      failed: nil,
      bidders: map_size(outcome.answers),
      offers: outcome.answers |> Enum.map(fn {_id, {:bid, offers}} -> length(offers) end) |> Enum.sum(),
      missing: Map.keys(outcome.failures),
      duration_us: outcome.duration_us,
      trace_id: outcome.trace_id
    }
  end

  # -- the work -------------------------------------------------------------------------------------------------------

  @doc "Has the winners do their work; the market after it, with what was lost in its pool again."
  @spec work(map, [map], Foundation.Types.Event.t()) :: map
  def work(market, wins, event) do
    lots = Map.new(market.pool, &{&1.id, &1})
    sold = for win <- wins, id <- win.items, into: %{}, do: {id, true}
    env = %{tag: make_ref(), to: self(), paths: market.paths, event: event}

    running =
      for win <- wins, into: %{} do
        work = for id <- win.items, unit <- lots[id].units, do: {id, unit}
        task = Task.async(fn -> deliver(work, win.agent, env) end)
        {task.ref, %{agent: win.agent, win: win, left: work, lots: Map.take(lots, win.items)}}
      end

    %{market | pool: Enum.reject(market.pool, &is_map_key(sold, &1.id))}
    |> kill_in_the_middle(running)
    |> collect(running, env.tag)
  end

  # What is left when the agent does not answer any more.
  defp deliver([], _agent, _env), do: :delivered

  defp deliver(work, agent, env) do
    {trial, size} = Batch.next(agent)
    {batch, rest} = Enum.split(work, size)
    units = for {_lot, unit} <- batch, do: unit
    bytes = units |> Enum.map(& &1.bytes) |> Enum.sum()

    case :timer.tc(fn -> study(agent, units, env) end) do
      {took, {:ok, answer}} ->
        told = Batch.told(trial, agent, size, bytes, took)
        done = %{units: batch, node: answer.node, speed: answer.speed, trial: told, failed: answer.failed}
        send(env.to, {env.tag, agent, done})
        deliver(rest, agent, env)

      {took, {:error, reason}} ->
        {:lost, reason, Batch.told(trial, agent, size, 0, took)}
    end
  end

  defp study(agent, units, env) do
    called = units |> Enum.flat_map(& &1.calls) |> Enum.uniq()
    paths = Map.take(env.paths, called)

    with {:ok, {:done, answer}} <- Comms.request(agent, {:task, {:study, units, paths}}, timeout: @task_ms),
         of = Map.new(units, &{&1.path, &1}),
         events = for({path, study} <- answer.studies, do: event(of[path], study, agent, answer.node, env)),
         :ok <- Journal.keep(events) do
      failed = for {path, {:error, reason}} <- answer.studies, do: %{path: path, reason: reason}
      {:ok, answer |> Map.delete(:studies) |> Map.put(:failed, failed)}
    else
      {:ok, other} -> {:error, other}
      {:error, reason} -> {:error, reason}
    end
  end

  defp event(unit, study, agent, node, env) do
    data = unit |> Map.take([:path, :module, :application, :md5]) |> Map.put(:agent, agent)

    case study do
      {:ok, study} -> data |> Map.merge(study) |> Journal.study_event(env.event, node)
      {:error, reason} -> data |> Map.put(:reason, reason) |> Journal.study_event(env.event, node)
    end
  end

  # -- what comes back ------------------------------------------------------------------------------------------------

  defp collect(market, running, _tag) when map_size(running) == 0, do: market

  defp collect(market, running, tag) do
    receive do
      {^tag, agent, done} ->
        {market, running} = took(market, running, agent, done)
        collect(market, running, tag)

      {ref, result} when is_map_key(running, ref) ->
        Process.demonitor(ref, [:flush])
        {own, running} = Map.pop(running, ref)
        market |> ended(own, result) |> collect(running, tag)

      {:DOWN, ref, :process, _pid, reason} when is_map_key(running, ref) ->
        exit(reason)
    end
  end

  defp took(market, running, agent, done) do
    {ref, own} = Enum.find(running, fn {_ref, own} -> own.agent == agent end)
    own = %{own | left: Enum.drop(own.left, length(done.units))}

    market =
      done.units |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> Enum.reduce(market, &paid_if_done(&1, own, &2))

    count = length(done.units)
    all = market.done + count

    market = %{
      market
      | done: all,
        by_node: Map.update(market.by_node, done.node, count, &(&1 + count)),
        trials: if(done.trial, do: [done.trial | market.trials], else: market.trials),
        failed: done.failed ++ market.failed,
        speeds: Map.update(market.speeds, agent, {done.speed, done.speed}, &put_elem(&1, 1, done.speed)),
        modules: Map.update(market.modules, agent, count, &(&1 + count)),
        progress: Console.advance(market.progress, all, "#{agent} on #{market.labels[done.node]}")
    }

    {market, %{running | ref => own}}
  end

  defp paid_if_done(id, own, market) do
    if Enum.any?(own.left, fn {lot, _unit} -> lot == id end) do
      market
    else
      :ok = Books.fee(own.agent, own.lots[id].fee, id)
      %{market | delivered: Map.update(market.delivered, own.agent, 1, &(&1 + 1))}
    end
  end

  defp ended(market, _own, :delivered), do: market

  # What is left goes back; what was done of a lot is paid.
  defp ended(market, %{agent: agent, win: win, lots: lots, left: left}, {:lost, reason, trial}) do
    rests = for {id, units} <- Enum.group_by(left, &elem(&1, 0), &elem(&1, 1)), do: Lots.rest(lots[id], units)

    for rest <- rests,
        lots[rest.id].fee > rest.fee,
        do: :ok = Books.fee(agent, lots[rest.id].fee - rest.fee, rest.id)

    undone = rests |> Enum.map(& &1.fee) |> Enum.sum()
    fees = lots |> Map.values() |> Enum.map(& &1.fee) |> Enum.sum()
    :ok = Books.return(agent, div(win.price * undone, fees), win.items)

    {again, given_up} =
      Enum.split_with(rests, fn rest -> Map.get(market.attempts, rest.id, 1) < @attempts end)

    failed = for rest <- given_up, unit <- rest.units, do: %{path: unit.path, reason: inspect(reason)}

    %{
      market
      | pool: again ++ market.pool,
        again: market.again + (again |> Enum.map(&length(&1.units)) |> Enum.sum()),
        again_lots: market.again_lots + length(again),
        attempts: Enum.reduce(rests, market.attempts, &Map.update(&2, &1.id, 2, fn n -> n + 1 end)),
        failed: failed ++ market.failed,
        trials: if(trial, do: [trial | market.trials], else: market.trials)
    }
  end

  # In the round that would bring it over the middle: the node whose agents have the most to do ends while
  # they do it.
  defp kill_in_the_middle(%{kill_at: at} = market, running) when is_integer(at) do
    work = for {_ref, %{agent: agent, left: left}} <- running, do: {market.places[agent], length(left)}
    there = for {node, count} <- work, node not in [nil, node()], do: {node, count}

    if market.done + (work |> Enum.map(&elem(&1, 1)) |> Enum.sum()) < at or there == [],
      do: market,
      else:
        there
        |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
        |> Enum.max_by(&Enum.sum(elem(&1, 1)))
        |> kill(market)
  end

  defp kill_in_the_middle(market, _running), do: market

  defp kill({node, _counts}, market) do
    :ok = Crew.kill(market.crew, node)
    agents = for {agent, ^node} <- market.places, do: agent
    %{market | kill_at: nil, lost: %{node: node, agents: Enum.sort(agents), at: market.done}}
  end
end
