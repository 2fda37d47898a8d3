defmodule Foundation.MABEAM.Coordination.MultiIssue do
  @moduledoc """
  Improves a deal over several issues until nobody can gain without somebody losing: the protocol `:multi_issue`.

      problem = %{issues: %{price: [90, 100], delivery: [:today, :next_week]}, from: %{price: 100, delivery: :next_week}}
      Coordination.coordinate(:multi_issue, [:buyer, :seller], problem)

  The problem is a map: `issues:`, a map from an issue to a list of its different options; `from:`, the deal as it stands, a map from each issue to
  one of its options (the first of each); `subject:`, `data:`. In the first round `handle_bid_request/2` of all gets `%{issues: issues, from: deal, subject: _, data: _}`; a bid
  is a map from each issue to a map from each option to what it is worth to the agent, a whole number within ±2^40. The deal is
  changed, one issue or two at a time, as long as that makes somebody better off and nobody worse off. Then `handle_proposal/2` of all gets
  `%{deal: deal, from: deal, worth: what it is worth to it, subject: _, data: _}`, and all have to accept.

  Decision: the deal, a map. `confidence` 1.0. `detail`: `:worths` of each agent before and after, as `%{agent => {before, after}}`, `:steps`, and `:complete`: no change of one issue or
  two helps anyone without hurting someone (false when the 5 s for it were over). Fails with `:rejected` (`detail.by`) and `:broken_off` (an agent did
  not answer).

  Properties: 4n messages. Nobody who tells its worths is worse off than before. Not truthful. Sources: Raiffa, The Art and
  Science of Negotiation, 1982; Ehtamo, Kettunen and Hämäläinen, Searching for Joint Gains in Multi-Party Negotiations, 2001.

  **Scheduling**: dirty CPU, one call a session, at most 5 s.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Consent
  alias Foundation.MABEAM.Types.Fields
  alias Foundation.Native

  @most 2 ** 40
  @limits {0xFFFFFFFFFFFFFFFF, 5_000}

  @impl true
  def defaults, do: [rounds: 2, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: :pareto_for_two_issues_at_once,
      budget_balanced: true,
      messages: "4n",
      source: "Raiffa 1982"
    }
  end

  @impl true
  def init(%{issues: issues} = problem, participants) when is_map(issues) and not is_struct(issues) do
    with :ok <- issues(issues),
         from =
           Map.get_lazy(problem, :from, fn ->
             Map.new(issues, fn {issue, [first | _]} -> {issue, first} end)
           end),
         :ok <- from(from, issues) do
      {:ok,
       %{
         shown: Map.take(problem, [:subject, :data]),
         issues: issues,
         from: from,
         order: participants,
         phase: :worths,
         bids: %{},
         deal: nil,
         detail: %{},
         accepted: %{}
       }}
    end
  end

  def init(problem, _participants), do: Fields.invalid(:problem, problem, "a map with :issues, a map")

  defp issues(issues) do
    fits? = fn {_issue, options} ->
      is_list(options) and options != [] and not List.improper?(options) and Enum.uniq(options) == options
    end

    if map_size(issues) in 1..1_000 and Enum.all?(issues, fits?),
      do: :ok,
      else: Fields.invalid(:issues, issues, "a map from 1 to 1,000 issues to lists of different options")
  end

  defp from(%{} = from, issues) when map_size(from) == map_size(issues) do
    if Enum.all?(issues, fn {issue, options} -> is_map_key(from, issue) and from[issue] in options end),
      do: :ok,
      else: from(nil, from)
  end

  defp from(_other, from), do: Fields.invalid(:from, from, "a map from each issue to one of its options")

  @impl true
  def ask(%{phase: :worths} = state, _round),
    do: {[{:all, :bid, Map.merge(state.shown, %{issues: state.issues, from: state.from})}], state}

  def ask(%{phase: :consent} = state, _round) do
    asks =
      for id <- state.order do
        {_before, worth} = state.detail.worths[id]
        {id, :proposal, Map.merge(state.shown, %{deal: state.deal, from: state.from, worth: worth})}
      end

    {asks, state}
  end

  @impl true
  def answer(id, {:bid, bid}, %{phase: :worths} = state) do
    if is_map(bid) and Enum.all?(state.issues, &worths?(&1, bid)),
      do: {:ok, %{state | bids: Map.put(state.bids, id, bid)}},
      else: {:invalid, :not_worths, state}
  end

  def answer(id, answer, %{phase: :consent} = state), do: Consent.answer(id, answer, state)
  def answer(_id, _other, state), do: {:invalid, :not_an_answer, state}

  defp worths?({issue, options}, bid) do
    case bid do
      %{^issue => %{} = worths} -> Enum.all?(options, &(is_integer(worths[&1]) and abs(worths[&1]) <= @most))
      _ -> false
    end
  end

  @impl true
  def decide(report, %{phase: :worths} = state) do
    case Enum.find(state.order, &(not is_map_key(state.bids, &1))) do
      nil -> improve(state)
      id -> Consent.failed(:broken_off, id, report, state)
    end
  end

  def decide(report, %{phase: :consent} = state), do: Consent.decide(report, state.order, state)

  defp improve(state) do
    issues = Enum.sort(state.issues)

    points =
      for id <- state.order do
        for {issue, options} <- issues, do: for(option <- options, do: state.bids[id][issue][option])
      end

    start = for {issue, options} <- issues, do: Enum.find_index(options, &(&1 == state.from[issue]))

    case Native.market_negotiate({:improve, points, start}, @limits) do
      {:ok, found} -> {:again, improved(found, issues, points, start, state)}
      {:error, reason} -> {:failed, reason, %{}, state}
    end
  end

  defp improved(found, issues, points, start, state) do
    deal =
      for {{issue, options}, at} <- Enum.zip(issues, found.deal), into: %{}, do: {issue, Enum.at(options, at)}

    worths =
      for {id, own, now} <- Enum.zip([state.order, points, found.worth]), into: %{} do
        before =
          own |> Enum.zip(start) |> Enum.map(fn {options, at} -> Enum.at(options, at) end) |> Enum.sum()

        {id, {before, now}}
      end

    detail = %{worths: worths, steps: found.steps, complete: found.complete}
    %{state | phase: :consent, deal: deal, detail: detail}
  end
end
