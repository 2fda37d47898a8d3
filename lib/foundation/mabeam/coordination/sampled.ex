defmodule Foundation.MABEAM.Coordination.Sampled do
  @moduledoc """
  Asks some of the agents, by lot, and decides with a stated confidence what the majority of all would: the protocol `:sampled`.

      problem = %{question: "Roll out?", options: [:yes, :no], epsilon: 0.1, delta: 0.01, seed: 7}
      Coordination.coordinate(:sampled, ten_thousand_agents, problem)   # asks 291 of them

  The problem is a map: `options:` (at least two), `question:`, `data:`, as that of `Foundation.MABEAM.Coordination.Majority`; `delta:` 0.05, the probability
  of a wrong decision; `epsilon:` 0.05, how close to the true share the sample's is to be; `threshold:` 0.5, the share that the winner has
  to exceed, as a number from 0 to 1; `seed:` of the lot, a whole number (drawn when it is left out, and told in `detail`: whoever knows it beforehand knows
  who will be asked). Agents vote for one option, or abstain.

  As many agents are asked as Hoeffding's bound for samples without replacement (Serfling) needs for `epsilon` and `delta`. For those who do
  not answer or abstain others are drawn in further rounds (`rounds:` 3 in all), so the decision is about those who would
  answer. Each option's share is bounded with delta over the number of options.

  Decision: the option whose share exceeds the threshold; `confidence` is 1 - delta, 1.0 when all voted. `detail`: `:tally`, `:asked`, `:population`, `:seed`, and
  `:share`, `:low`, `:high` of the best option. Fails with `:too_close` (the sample does not tell), `:no_majority` (no option exceeds the threshold, with
  that confidence), `:no_votes`.

  Properties: two messages an agent that is asked; of n agents the number asked stays below ln(2m/delta) / (2 epsilon²) for m options,
  whatever n is. Truthful as majority is. Sources: Hoeffding 1963; Serfling, Probability Inequalities for the Sum in Sampling
  without Replacement, 1974.

  **Scheduling**: one call on a dirty CPU scheduler a session, O(asked), the others normal.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Ballot
  alias Foundation.MABEAM.Types.Fields
  alias Foundation.Native

  @impl true
  def defaults, do: [rounds: 3, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: :two_options,
      efficient: false,
      budget_balanced: true,
      messages: "2 an agent asked",
      source: "Hoeffding 1963, Serfling 1974"
    }
  end

  @impl true
  def init(problem, participants) do
    with {:ok, ballot} <- Ballot.new(problem),
         {:ok, delta} <- part(ballot, :delta, 0.05),
         {:ok, epsilon} <- part(ballot, :epsilon, 0.05),
         {:ok, threshold} <- threshold(Map.get(ballot, :threshold, 0.5)),
         {:ok, seed} <- seed(Map.get_lazy(ballot, :seed, &drawn/0)),
         population = length(participants),
         each = delta / length(ballot.options),
         {:ok, wanted} <- Native.market_sample_size(population, epsilon, each) do
      {:ok,
       %{
         ballot: ballot,
         delta: delta,
         each: each,
         threshold: threshold,
         seed: seed,
         wanted: wanted,
         population: population,
         waiting: order(participants, seed),
         asked: 0,
         votes: 0,
         tally: %{}
       }}
    end
  end

  defp part(ballot, field, default) do
    case Map.get(ballot, field, default) do
      value when is_float(value) and value > 0 and value < 1 -> {:ok, value}
      other -> Fields.invalid(field, other, "a number between 0 and 1")
    end
  end

  defp threshold(value) when is_number(value) and value >= 0 and value <= 1, do: {:ok, value}
  defp threshold(other), do: Fields.invalid(:threshold, other, "a number from 0 to 1")

  defp seed(seed) when seed in 0..0xFFFFFFFFFFFFFFFF, do: {:ok, seed}
  defp seed(other), do: Fields.invalid(:seed, other, "a whole number below 2^64")

  defp drawn, do: :binary.decode_unsigned(:crypto.strong_rand_bytes(8))

  # All in an order of which each is as likely; the sample is how it begins, so that others can follow.
  defp order(participants, seed) do
    {keyed, _} =
      Enum.map_reduce(participants, :rand.seed_s(:exsss, seed), fn id, random ->
        {key, random} = :rand.uniform_s(random)
        {{key, id}, random}
      end)

    keyed |> Enum.sort() |> Enum.map(&elem(&1, 1))
  end

  @impl true
  def ask(state, _round) do
    {now, waiting} = Enum.split(state.waiting, state.wanted - state.votes)
    payload = Ballot.shown(state.ballot)
    {for(id <- now, do: {id, :vote, payload}), %{state | waiting: waiting, asked: state.asked + length(now)}}
  end

  @impl true
  def answer(_id, answer, state), do: Ballot.take(state, answer)

  @impl true
  def decide(%{last: last}, %{votes: votes, wanted: wanted, waiting: waiting} = state) do
    cond do
      votes < wanted and waiting != [] and not last -> {:again, state}
      votes == 0 -> {:failed, :no_votes, detail(state), state}
      true -> judge(state)
    end
  end

  # Those who would not answer are not in the population that is judged.
  defp judge(state) do
    population = state.votes + length(state.waiting)
    [{best, _count} | _] = Ballot.ranking(state.ballot, state.tally)

    estimates =
      for option <- state.ballot.options, into: %{} do
        count = Map.get(state.tally, option, 0)

        {:ok, found} =
          Native.market_sample_decide({count, state.votes, population}, state.threshold, state.each)

        {option, found}
      end

    detail = state |> detail() |> Map.merge(Map.take(estimates[best], [:share, :low, :high]))

    cond do
      estimates[best].verdict == :passes ->
        confidence = if population == state.votes, do: 1.0, else: 1 - state.delta
        {:decided, best, Map.put(detail, :confidence, confidence), state}

      Enum.all?(estimates, fn {_, found} -> found.verdict == :fails end) ->
        {:failed, :no_majority, detail, state}

      true ->
        {:failed, :too_close, detail, state}
    end
  end

  defp detail(state),
    do: %{tally: state.tally, asked: state.asked, population: state.population, seed: state.seed}
end
