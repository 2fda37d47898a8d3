defmodule Foundation.Demo.Market.Text do
  @moduledoc false
  # The market on the console: headings, each with rows of a name and a text.

  alias Foundation.Demo.Format
  alias Foundation.Demo.Market.Findings
  alias Foundation.MABEAM.Economics

  @shown 5

  @doc "Headings and their rows; none where there was no market."
  @spec blocks(map | nil) :: [{String.t(), [{String.t(), String.t()}] | String.t()}]
  def blocks(nil), do: []

  def blocks(market) do
    [ranking] = Enum.take(rankings(market), 1)

    [
      {title(market), totals(market)},
      {"The agents: what they won, and their budgets", Enum.map(market.agents, &agent/1)},
      {"Prices: who bought what in the first auctions", prices(market)},
      {"Batch size, found by a bandit", batch(market.batch)},
      {"The vote on what heads the report", vote(market.vote)},
      {Findings.title(ranking),
       for({name, _n, text} <- Enum.take(market.findings[ranking], @shown), do: {name, text})},
      {"The cluster during the market", cluster(market.cluster)},
      {"One session across the nodes", market.trace && market.trace.text}
    ]
  end

  defp title(%{ran: true}), do: "The market"

  defp title(_earlier),
    do: "The market of an earlier run: nothing had changed, and there was nothing to auction"

  @doc "The rankings, that of the vote first; what was not voted on comes last."
  @spec rankings(map) :: [atom]
  def rankings(%{vote: %{ranking: places}}), do: List.flatten(places) ++ [:unused, :unreached]

  @doc "Figures of all of it: `{name, text}`."
  @spec totals(map) :: [{String.t(), String.t()}]
  def totals(market) do
    sold = Enum.count(market.auctions, &(&1.wins != []))
    [first | _] = market.auctions

    [
      {"auctioned", "#{Format.count(market.modules)} modules in #{market.lots} lots"},
      {"studied",
       "#{Format.count(market.studied)} modules, each counted once, in #{Format.time(market.elapsed_us)}#{left(market.left)}"},
      {"auctions",
       "#{length(market.auctions)}, #{sold} with winners; the first took #{Format.time(first.duration_us)} for #{first.offers} offers"},
      {"a node lost", lost(market)},
      {"the ledger adds up to", Economics.text(market.audit)}
    ]
  end

  defp left(0), do: ""
  defp left(left), do: "; #{left} that nobody wanted are left to the next run"

  defp lost(%{lost: nil}), do: "none"

  defp lost(%{lost: lost, again: again}) do
    "#{lost.node} after #{Format.count(lost.at)} modules, with #{Enum.join(lost.agents, " and ")}; " <>
      "#{again.modules} of their modules were auctioned again"
  end

  defp agent(agent) do
    {agent.id,
     "#{skills(agent)}, #{speed(agent.speed.last)}; won #{agent.wins}, studied #{agent.modules} modules; " <>
       "paid #{money(agent.paid)}, earned #{money(agent.earned)}: #{money(agent.budget)} → #{money(agent.balance)}; #{nodes(agent)}"}
  end

  @doc "What an agent can do."
  def skills(agent), do: Enum.map_join(agent.skills, ", ", &(&1 |> to_string() |> String.replace("_", " ")))

  def speed(nil), do: "no work"
  def speed(bytes), do: "#{Format.bytes(bytes)}/s"

  @doc "Where an agent ran."
  def nodes(%{began_on: node, ended_on: node}), do: node
  def nodes(agent), do: "#{agent.began_on}, then #{agent.ended_on || "nowhere"}"

  @doc "An amount with two places."
  @spec money(integer) :: String.t()
  def money(micro), do: :erlang.float_to_binary(micro / 1_000_000, decimals: 2)

  defp prices(market) do
    for auction <- Enum.take(market.auctions, 2), win <- auction.wins do
      {"round #{auction.round}, #{win.agent}",
       "pays #{money(win.price)} of #{money(win.offered)} offered for #{Enum.join(win.items, "; ")}"}
    end
  end

  defp batch(batch) do
    tried =
      for arm <- batch.arms, do: {"#{arm.size} at once", "tried #{arm.tried} times#{reward(arm.reward)}"}

    tried ++ [{"it is", agreed(batch.agreed)}]
  end

  defp reward(nil), do: ""
  defp reward(reward), do: ", mean reward #{:erlang.float_to_binary(reward / 1, decimals: 3)}"

  @doc "What the nodes say that the value is."
  def agreed(agreed), do: Enum.map_join(agreed, ", ", fn {label, value} -> "#{value} on #{label}" end)

  defp vote(%{failed: nil} = vote) do
    for({agent, ballot} <- Enum.sort(vote.ballots), do: {agent, Enum.join(ballot, " > ")}) ++
      [{"decided", Enum.map_join(vote.ranking, " > ", &Enum.join(&1, " = "))}]
  end

  defp vote(vote), do: [{"no decision", vote.failed}]

  defp cluster(story) do
    for(node <- story.nodes, do: {node.label, "#{Format.count(node.files)} modules  #{node.node}"}) ++
      for moment <- story.moments, do: {Format.time(moment.at_us), "#{moment.node} #{moment.says}"}
  end
end
