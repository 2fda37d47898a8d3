defmodule AstAnalysis.Report do
  @moduledoc "Says in text what a run found."

  @doc "The report of what `AstAnalysis.run/1` returned."
  @spec render(map) :: iodata
  def render(result) do
    Enum.map(
      [
        groups(result),
        work(result),
        found(result),
        answers("Before the change", result.answers),
        changes(result),
        answers("After the change", result.answers_after)
      ],
      &[&1, "\n"]
    )
  end

  defp groups(%{groups: groups} = result) do
    quality = if groups.optimal, do: "the best there are", else: "at most #{groups.gap} below the best"

    [
      "#{length(result.sources)} modules in #{length(result.blocks)} blocks\n",
      "  the auction sold #{length(result.blocks) - groups.left_over} blocks in #{length(groups.bundles)} bundles, ",
      "#{quality}; #{groups.left_over} went by contract net\n",
      for {analyst, modules} <- Enum.sort(result.sizes) do
        "  #{analyst}: #{modules} modules, #{bundle(groups.bundles, analyst)}\n"
      end
    ]
  end

  defp bundle(bundles, analyst) do
    case Enum.find(bundles, &(&1.agent == analyst)) do
      nil -> "without a bundle"
      win -> "with a bundle of #{length(win.items)} blocks for #{win.price}"
    end
  end

  defp work(%{audit: audit} = result) do
    [
      "#{audit.modules} modules analysed in #{div(result.elapsed_us, 1_000)} ms\n",
      lost(result.lost),
      for(
        {node, analysts} <- Enum.sort(result.nodes),
        do: "  #{node}: #{analysts |> Enum.sort() |> Enum.join(", ")}\n"
      ),
      "  lost: #{length(audit.lost)}, doubled: #{length(audit.doubled)}\n"
    ]
  end

  defp lost(nil), do: []

  defp lost(%{node: node, analysts: analysts, done: done}) do
    "  #{node} was killed after #{done} modules, with #{analysts |> Enum.sort() |> Enum.join(" and ")} on it\n"
  end

  defp found(%{totals: totals, run: run}) do
    [
      "#{totals.functions} functions, #{totals.points} points to instrument, #{totals.calls} calls, ",
      "complexity #{totals.complexity}; #{totals.without_debug_info} modules without debug info\n",
      "  all events of it have the correlation id #{run.correlation_id}\n"
    ]
  end

  defp changes(%{changes: changes, audit_after: audit}) do
    [
      "Analysed again: #{list(changes.changed, &inspect/1)}; added: #{list(changes.added, &inspect/1)}; ",
      "removed: #{list(changes.removed, &inspect/1)}\n",
      "  lost: #{length(audit.lost)}, doubled: #{length(audit.doubled)}\n"
    ]
  end

  defp answers(title, answers) do
    {:ok, points} = answers.points

    [
      "#{title}\n",
      "  who calls Till.total/1: #{list(answers.who_calls, fn {mfa, line} -> "#{mfa(mfa)} (line #{line})" end)}\n",
      "  what it calls, three deep: #{map_size(answers.call_graph)} functions, among them ",
      "#{answers.call_graph |> Map.keys() |> Enum.sort() |> Enum.take(4) |> list(&mfa/1)}\n",
      for {{_, name, _} = mfa, points} <- points, name != :__info__ do
        "  instrument #{mfa(mfa)} at #{list(points, &point/1)}\n"
      end,
      "  most complex: #{list(answers.most_complex, fn {mfa, complexity} -> "#{mfa(mfa)} #{complexity}" end)}\n"
    ]
  end

  defp point({{:branch, kind}, line}), do: "#{kind} line #{line}"
  defp point({kind, line}), do: "#{kind} line #{line}"

  defp mfa({module, name, arity}), do: Exception.format_mfa(module, name, arity)

  defp list([], _show), do: "none"
  defp list(items, show), do: Enum.map_join(items, ", ", show)
end
