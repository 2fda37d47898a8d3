defmodule Foundation.MABEAM.Coordination.Refinement do
  @moduledoc """
  Comes to a number in rounds, each of which shows the agents what all said in the last: the protocol `:refinement`.

      Coordination.coordinate(:refinement, experts, %{question: "Hours of work?", tolerance: 2}, rounds: 5)

  The problem is a map: `question:` and `data:` for the agents, `tolerance:` the spread at which it is done (0),
  `min:` and `max:` within which answers count. In each round agents get, in `handle_proposal/2`, `%{question: _, data: _, round: n,
  median: m, low: q1, high: q3, spread: q3 - q1}`, the last four nil in round 1, and answer `{:counter, number}`; `:accept`
  repeats their last number, from round 2 on, and `{:reject, _}` withdraws it.

  Stops when the spread between the quartiles is at most `tolerance`, when no number has changed since the last round, or
  with the last round (`rounds:` of the session, 5). Decision: the median, the lower of two. `confidence`: the share of the numbers
  within the tolerance of it. `detail`: `:low`, `:high`, `:spread`, `:path` of medians, `:reason` (`:agreed`, `:settled` or
  `:rounds`). Fails with `:no_answers`.

  Properties: the Delphi method (Dalkey and Helmer, An Experimental Application of the Delphi Method to the Use of
  Experts, 1963). 2n messages a round. Not truthful; by the median, less than half of the agents cannot move the decision beyond what the
  others said.
  """

  use Foundation.MABEAM.Protocol

  @impl true
  def defaults, do: [rounds: 5, quorum: :majority]

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: false,
      budget_balanced: true,
      messages: "2n a round",
      source: "Dalkey and Helmer 1963"
    }
  end

  @impl true
  def init(%{} = problem, _participants) do
    tolerance = Map.get(problem, :tolerance, 0)

    if is_number(tolerance) and tolerance >= 0,
      do: {:ok, new(problem, tolerance)},
      else: invalid(:tolerance, tolerance, "a number from 0")
  end

  def init(problem, _participants), do: invalid(:problem, problem, "a map")

  defp new(problem, tolerance) do
    %{
      shown: problem |> Map.take([:question, :data]) |> Map.put_new(:question, nil),
      min: problem[:min],
      max: problem[:max],
      tolerance: tolerance,
      numbers: %{},
      before: nil,
      path: []
    }
  end

  defp invalid(field, value, expected),
    do: {:error, {:invalid, %{field: field, value: value, expected: expected}}}

  @impl true
  def ask(state, round) do
    summary =
      if round == 1, do: %{median: nil, low: nil, high: nil, spread: nil}, else: summary(state.numbers)

    payload = state.shown |> Map.put(:round, round) |> Map.merge(summary)
    {[{:all, :proposal, payload}], %{state | before: state.numbers}}
  end

  @impl true
  def answer(id, {:counter, number}, state) when is_number(number) do
    if (state.min == nil or number >= state.min) and (state.max == nil or number <= state.max),
      do: {:ok, put_in(state.numbers[id], number)},
      else: {:invalid, :out_of_bounds, state}
  end

  def answer(id, :accept, state) when is_map_key(state.numbers, id), do: {:ok, state}
  def answer(id, {:reject, _reason}, state), do: {:ok, %{state | numbers: Map.delete(state.numbers, id)}}
  def answer(_id, _other, state), do: {:invalid, :not_a_number, state}

  @impl true
  def decide(_report, %{numbers: numbers} = state) when numbers == %{},
    do: {:failed, :no_answers, %{path: Enum.reverse(state.path)}, state}

  def decide(report, state) do
    %{median: median, spread: spread} = summary = summary(state.numbers)
    state = %{state | path: [median | state.path]}

    case reason(report, spread, state) do
      nil -> {:again, state}
      reason -> {:decided, median, detail(summary, reason, state), state}
    end
  end

  defp reason(_report, spread, %{tolerance: tolerance}) when spread <= tolerance, do: :agreed
  defp reason(%{round: round}, _spread, %{numbers: same, before: same}) when round > 1, do: :settled
  defp reason(%{last: true}, _spread, _state), do: :rounds
  defp reason(_report, _spread, _state), do: nil

  defp detail(%{median: median} = summary, reason, state) do
    near = Enum.count(state.numbers, fn {_id, number} -> abs(number - median) <= state.tolerance end)

    summary
    |> Map.delete(:median)
    |> Map.merge(%{
      confidence: near / map_size(state.numbers),
      reason: reason,
      path: Enum.reverse(state.path)
    })
  end

  # Quartiles by the nearest rank: numbers that somebody said.
  defp summary(numbers) when numbers == %{}, do: %{median: nil, low: nil, high: nil, spread: nil}

  defp summary(numbers) do
    sorted = numbers |> Map.values() |> Enum.sort()
    count = length(sorted)
    at = fn part -> Enum.at(sorted, max(ceil(count * part / 4) - 1, 0)) end
    %{median: at.(2), low: at.(1), high: at.(3), spread: at.(3) - at.(1)}
  end
end
