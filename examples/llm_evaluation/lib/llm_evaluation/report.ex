defmodule LlmEvaluation.Report do
  @moduledoc "Says in text what an evaluation came to."

  alias Foundation.Infrastructure.Limits
  alias Foundation.MABEAM.Economics
  alias Foundation.Telemetry

  @results [
    "answered",
    "status 429",
    "status 500",
    "status 503",
    "timeout",
    "no_quota",
    "breaker_open",
    "other"
  ]

  @doc "The report of what `LlmEvaluation.run/1` returned."
  @spec render(map) :: iodata
  def render(run) do
    [
      progress(run),
      quality("all", run.results),
      for(name <- run.providers, do: quality(to_string(name), of(run, name))),
      fallback(run),
      for(name <- run.providers, do: calls(name)),
      money(run)
    ]
  end

  defp progress(run) do
    seconds = run.elapsed_us / 1_000_000

    [
      "#{length(run.results)} of #{run.items} items have a result, ",
      "#{run.results |> Enum.uniq_by(& &1.item) |> length()} of them different\n",
      "  #{run.before} from earlier runs, #{run.evaluated} in this one, in #{decimal(seconds, 1)} s ",
      "(#{decimal(run.evaluated / max(seconds, 0.001), 0)} a second)\n",
      for({reason, count} <- run.failed, do: "  #{count} without: #{reason(reason)}\n")
    ]
  end

  defp of(run, provider), do: Enum.filter(run.results, &(&1.provider == provider))

  defp quality(name, []), do: "#{name}: no answers\n"

  defp quality(name, results) do
    right = Enum.count(results, & &1.correct)
    times = results |> Enum.map(& &1.latency_us) |> Enum.sort() |> List.to_tuple()
    cost = results |> Enum.map(& &1.cost) |> Enum.sum()

    [
      "#{name}: #{length(results)} answers, #{decimal(100 * right / length(results), 1)} % right, ",
      for(p <- [50, 95, 99], do: "p#{p} #{decimal(percentile(times, p) / 1_000, 0)} ms, "),
      "cost #{Economics.text(cost)}\n"
    ]
  end

  # The value that so many percent do not exceed, by the nearest rank.
  defp percentile(sorted, p), do: elem(sorted, max(ceil(p * tuple_size(sorted) / 100) - 1, 0))

  defp fallback(run) do
    reasons = for result <- run.results, {provider, reason} <- result.instead_of, do: {provider, reason}

    [
      "#{Enum.count(run.results, &(&1.instead_of != []))} answers are of a provider that was not the first\n",
      for {{provider, reason}, count} <-
            reasons |> Enum.frequencies() |> Enum.sort_by(&{-elem(&1, 1), elem(&1, 0)}) do
        "  #{count} because of #{provider}: #{reason(reason)}\n"
      end
    ]
  end

  defp calls(name) do
    counts =
      for result <- @results,
          {:ok, count} <- [Telemetry.value([:llm_evaluation, :attempt], %{provider: name, result: result})],
          do: "#{count} #{result}"

    if counts == [],
      do: "#{name}: not asked in this run\n",
      else: "#{name}: #{learnt(name)}; attempts in this run: #{Enum.join(counts, ", ")}\n"
  end

  defp learnt(name) do
    {:ok, %{dimensions: %{requests: requests, tokens: tokens}}} = Limits.peek(name)
    "limits learnt: #{requests.limit} requests and #{tokens.limit} tokens a second"
  end

  defp money(run) do
    [
      "budget #{Economics.text(run.budget)}, left #{Economics.text(run.left)}",
      if(run.audit == 0, do: "; the ledger balances\n", else: "; the ledger is off by #{run.audit}\n")
    ]
  end

  defp reason({:status, status}), do: "status #{status}"
  defp reason({:no_provider, reasons}), do: "no provider (#{Enum.map_join(reasons, ", ", &tried/1)})"
  defp reason(:budget_spent), do: "the budget is spent"
  defp reason(:no_quota), do: "no room within its limits"
  defp reason(:breaker_open), do: "its breaker was open"
  defp reason(other), do: inspect(other)

  defp tried({provider, reason}), do: "#{provider}: #{reason(reason)}"

  defp decimal(number, digits), do: :erlang.float_to_binary(number / 1, decimals: digits)
end
