defmodule Foundation.Demo.Market.Analyst do
  @moduledoc false
  # An agent of the demo's market. It bids for lots what they are worth to it, by the speed that it has
  # measured of itself, studies what it is given, and votes for what stood out in its own work. What it has
  # measured and counted outlives its node; the exports that it has looked up do not.

  use Foundation.MABEAM.Agent

  alias Foundation.Demo.Market.{Bids, Study}
  alias Foundation.MABEAM.Agent

  # How much the last measurement counts.
  @weight 0.3
  @remembered 600
  @rankings [:complexity, :circles, :depth, :undefined]
  @none %{modules: 0, complexity: 0, circles: 0, depth: 0, undefined: 0}

  @type profile :: %{skills: [atom], hands: pos_integer, wage: pos_integer, reference: Path.t()}

  @doc "What there is to vote about."
  def rankings, do: @rankings

  # Its first measurement is of one module that it studies for that.
  @impl true
  def init(profile) do
    with {:ok, %{size: bytes}} <- File.stat(profile.reference),
         {took, {:ok, _study}} <- :timer.tc(fn -> Study.read(profile.reference) end) do
      {lookup_us, _exports} = :timer.tc(fn -> Study.exports(profile.reference) end)
      {:ok, agent(profile, %{speed: bytes * 1.0e6 / max(took, 1), lookup_us: lookup_us, tally: @none})}
    else
      {_took, {:error, reason}} -> {:error, {:reference, profile.reference, reason}}
      {:error, reason} -> {:error, {:reference, profile.reference, reason}}
    end
  end

  @impl true
  def snapshot(agent), do: Map.take(agent, [:speed, :lookup_us, :tally])

  @impl true
  def restore(kept, profile), do: {:ok, agent(profile, kept)}

  defp agent(profile, kept),
    do: profile |> Map.take([:skills, :hands, :wage]) |> Map.merge(kept) |> Map.put(:known, %{})

  # -- bids -----------------------------------------------------------------------------------------------------------

  @impl true
  def handle_bid_request(%{data: %{lots: lots, balances: balances}}, agent) do
    able = %{agent | known: &is_map_key(agent.known, &1)}

    case Bids.offers(lots, able, Map.get(balances, Agent.current(), 0)) do
      [] -> {:no_bid, agent}
      offers -> {:bid, offers, agent}
    end
  end

  # -- work -----------------------------------------------------------------------------------------------------------

  # `paths` has the files of modules that are called, as far as they are part of the demo.
  @impl true
  def handle_task({:study, units, paths}, agent) do
    bytes = units |> Enum.map(& &1.bytes) |> Enum.sum()
    {took, studies} = :timer.tc(fn -> study(units, agent.hands) end)
    agent = agent |> measured(:speed, bytes * 1.0e6 / max(took, 1)) |> look_up(studies, paths)
    studies = Enum.map(studies, &checked(&1, agent.known))
    agent = %{agent | tally: Enum.reduce(studies, agent.tally, &tally/2)}
    {:ok, %{node: node(), speed: agent.speed, studies: studies}, agent}
  end

  # As many at a time as the agent has hands.
  defp study(units, hands) do
    units
    |> Task.async_stream(&{&1.path, Study.read(&1.path)}, max_concurrency: hands, timeout: :infinity)
    |> Enum.map(fn {:ok, study} -> study end)
  end

  defp measured(agent, what, value),
    do: Map.update!(agent, what, &((1 - @weight) * &1 + @weight * value))

  # -- calls of what is not there -------------------------------------------------------------------------------------

  defp look_up(agent, studies, paths) do
    # All at once, before it is asked for more: what this task needs stays.
    known = if map_size(agent.known) > @remembered, do: %{}, else: agent.known
    wanted = for {_path, {:ok, study}} <- studies, {name, _} <- study.calls, uniq: true, do: name
    missing = for name <- wanted, not is_map_key(known, name), path = paths[name], do: {name, path}
    {took, found} = :timer.tc(fn -> Map.new(missing, fn {name, path} -> {name, Study.exports(path)} end) end)
    agent = %{agent | known: Map.merge(known, found)}
    if missing == [], do: agent, else: measured(agent, :lookup_us, took / length(missing))
  end

  defp checked({path, {:ok, study}}, known) do
    undefined =
      for {name, functions} <- study.calls,
          exports = known[name],
          {function, arity} <- functions,
          not is_map_key(exports, {function, arity}),
          do: "#{name}.#{function}/#{arity}"

    {path, {:ok, study |> Map.delete(:calls) |> Map.put(:undefined, Enum.sort(undefined))}}
  end

  defp checked(failed, _known), do: failed

  # -- votes ----------------------------------------------------------------------------------------------------------

  defp tally({_path, {:ok, study}}, tally) do
    Enum.reduce(@rankings, %{tally | modules: tally.modules + 1}, fn ranking, tally ->
      Map.update!(tally, ranking, &(&1 + weight(ranking, study)))
    end)
  end

  defp tally(_failed, tally), do: tally

  @doc "What a study says for a ranking, as a number."
  @spec weight(atom, map) :: non_neg_integer
  def weight(:complexity, %{complex: [{_function, ways} | _]}), do: ways
  def weight(:complexity, _study), do: 0
  def weight(:circles, study), do: study.circle_size
  def weight(:depth, study), do: study.depth
  def weight(:undefined, study), do: length(study.undefined)

  # By how much more of it there was in its own work than on the average.
  @impl true
  def handle_vote(_ballot, %{tally: %{modules: 0}} = agent), do: {:abstain, agent}

  def handle_vote(%{options: options, data: %{means: means}}, %{tally: tally} = agent) do
    ranking = Enum.sort_by(options, &{-excess(tally[&1] / tally.modules, means[&1]), &1})
    {:vote, ranking, agent}
  end

  defp excess(_own, mean) when mean == 0, do: 0.0
  defp excess(own, mean), do: own / mean
end
