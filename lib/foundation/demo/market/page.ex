defmodule Foundation.Demo.Market.Page do
  @moduledoc false
  # The market in the report: what was found, in the order that the agents voted for, and how the market
  # went. Pure.

  alias Foundation.Demo.{Chart, Format}
  alias Foundation.Demo.Market.{Findings, Text}

  import Foundation.Demo.Html

  @doc "What was found; the ranking that won the vote first."
  @spec findings(map | nil) :: iodata
  def findings(nil), do: []

  def findings(market) do
    [first | others] =
      for ranking <- Text.rankings(market), rows = market.findings[ranking], do: {ranking, rows}

    {ranking, rows} = first

    section(Findings.title(ranking), [
      paragraph(
        "This heads the report because #{map_size(market.vote.ballots)} agents voted for it, by what stood out in their work."
      ),
      Chart.bars(rows, Findings.title(ranking)),
      for {ranking, [_ | _] = rows} <- others do
        [subheading(Findings.title(ranking)), found(ranking, rows)]
      end
    ])
  end

  # These are names only.
  defp found(:unreached, rows), do: verbatim(Enum.map_join(rows, "\n", &elem(&1, 0)))
  defp found(ranking, rows), do: Chart.bars(rows, Findings.title(ranking))

  @doc "How the market went."
  @spec sections(map | nil) :: [iodata]
  def sections(nil), do: []

  def sections(market) do
    [
      section("The market", [
        table(
          ["", {:text, ""}],
          for({name, value} <- Text.totals(market), do: row([text(name), text(value)]))
        ),
        subheading("Wins and budgets"),
        agents(market.agents),
        subheading("Prices"),
        prices(market.auctions)
      ]),
      section("The batch size, while a bandit looks for it", batch(market.batch)),
      section("The vote", vote(market.vote)),
      section("The cluster during the market", [
        Chart.bars(nodes(market.cluster), "Modules studied on each node"),
        moments(market.cluster.moments)
      ]),
      trace(market.trace)
    ]
  end

  defp agents(agents) do
    head = ["Agent", {:text, "skills"}, {:text, "node"}, "hands", "wage", "speed", "wins", "modules"]
    head = head ++ ["budget", "paid", "returned", "earned", "in the end"]

    rows =
      for agent <- agents do
        amounts = [agent.budget, agent.paid, agent.returned, agent.earned, agent.balance]

        row([
          text(agent.id),
          text(Text.skills(agent)),
          text(Text.nodes(agent)),
          cell(agent.hands),
          cell(Text.money(agent.wage)),
          cell(Text.speed(agent.speed.last)),
          cell(agent.wins),
          cell(Format.count(agent.modules)),
          Enum.map(amounts, &cell(Text.money(&1)))
        ])
      end

    table(head, rows)
  end

  defp prices(auctions) do
    rows =
      for auction <- auctions, win <- auction.wins do
        row([
          text("#{auction.round}"),
          text(win.agent),
          text(Enum.join(win.items, ", ")),
          cell(Text.money(win.offered)),
          cell(Text.money(win.price))
        ])
      end

    details(
      "#{length(rows)} bundles sold in #{length(auctions)} auctions; the winners pay what their presence costs the others",
      table(["Round", {:text, "winner"}, {:text, "lots"}, "offered", "price"], rows)
    )
  end

  defp batch(batch) do
    points =
      for trial <- batch.path, do: {trial.at_ms, trial.size, "#{trial.agent}, #{Format.bytes(trial.rate)}/s"}

    best = for trial <- batch.path, do: {trial.at_ms, trial.best}
    arms = for arm <- batch.arms, do: {"#{arm.size} at once", arm.tried, "#{arm.tried} times"}

    [
      Chart.path(points, best, &"#{&1} ms", "Batch sizes that were tried, and the best known, over time"),
      paragraph(
        "Dots are trials, the line is the best value known. In the end: #{Text.agreed(batch.agreed)}."
      ),
      Chart.bars(arms, "How often each size was tried")
    ]
  end

  defp vote(vote) do
    rows =
      for {agent, ballot} <- Enum.sort(vote.ballots), do: row([text(agent), text(Enum.join(ballot, " › "))])

    pairs =
      for {one, other, votes} <- vote.preferences, do: row([text("#{one} before #{other}"), cell(votes)])

    [
      paragraph(
        if(vote.winner,
          do:
            "Decided by the method of Schulze: #{Enum.map_join(vote.ranking, " › ", &Enum.join(&1, " = "))}.",
          else: "No decision: #{vote.failed}."
        )
      ),
      table(["Agent", {:text, "ballot, best first"}], rows),
      details("Pair by pair", table(["Preference", "votes"], pairs))
    ]
  end

  defp nodes(story),
    do: for(node <- story.nodes, do: {node.label, node.files, "#{Format.count(node.files)} modules"})

  defp trace(nil), do: []

  defp trace(trace) do
    section("One session across the nodes", [
      paragraph(
        "The first auction: #{trace.hops} hops on #{trace.nodes} nodes, each recorded where it arrived."
      ),
      verbatim(trace.text)
    ])
  end
end
