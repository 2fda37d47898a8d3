defmodule Foundation.Demo.Market.Findings do
  @moduledoc false
  # What the studies of all modules say together. Pure.

  alias Foundation.Types.Event

  @most 12

  @type row :: {name :: String.t(), number :: pos_integer, text :: String.t()}
  @type t :: %{atom => [row]}

  @titles %{
    complexity: "The most complex functions",
    circles: "Functions that call each other in circles",
    depth: "The deepest calls within a module",
    undefined: "Calls of functions that are not there",
    unused: "Exports that no other module calls by name",
    unreached: "Functions that nothing in their module reaches"
  }

  @doc "What a ranking is called."
  @spec title(atom) :: String.t()
  def title(ranking), do: Map.fetch!(@titles, ranking)

  @doc "The rankings, of the facts of the first half and the studies of the second."
  @spec of([map], %{Path.t() => Event.t()}) :: t
  def of(facts, studies) do
    studies = for fact <- facts, %{data: %{complex: _} = study} <- [studies[fact.path]], do: study

    %{
      complexity: complexity(studies),
      circles: circles(studies),
      depth: depth(studies),
      undefined: undefined(studies),
      unused: unused(studies, facts),
      unreached: unreached(studies)
    }
  end

  defp complexity(studies) do
    rows = for study <- studies, {name, ways} <- study.complex, do: {"#{study.module}.#{name}", ways}
    for {name, ways} <- top(rows), do: {name, ways, "#{ways} ways"}
  end

  defp circles(studies) do
    rows =
      for %{circle: [_ | _] = circle} = study <- studies,
          do: {circle(study.module, circle), study.circle_size}

    for {name, count} <- top(rows), do: {name, count, "#{count} functions"}
  end

  defp circle(module, [one, two | more]), do: "#{module}: #{one}, #{two}#{if more != [], do: ", …"}"

  defp depth(studies) do
    rows = for %{depth: depth} = study <- studies, depth > 1, do: {study.module, depth}
    for {name, depth} <- top(rows), do: {name, depth, "#{depth} calls deep"}
  end

  defp undefined(studies) do
    rows =
      for(study <- studies, callee <- study.undefined, do: callee) |> Enum.frequencies() |> Enum.to_list()

    for {name, count} <- top(rows), do: {name, count, "called in #{count} modules"}
  end

  # What the compiler adds is called by the runtime.
  defp unused(studies, facts) do
    called = for fact <- facts, {callee, _times} <- fact.callees, into: %{}, do: {callee, true}

    rows =
      for study <- studies,
          own = Enum.reject(study.exports, &generated?/1),
          count = Enum.count(own, &(not is_map_key(called, "#{study.module}.#{&1}"))),
          count > 0,
          do: {study.module, {count, length(own)}}

    for {name, {count, all}} <- top(rows), do: {name, count, "#{count} of #{all}"}
  end

  defp generated?(export),
    do:
      String.starts_with?(export, ["module_info/", "__info__/", "__struct__/", "behaviour_info/", "\"MACRO-"])

  defp unreached(studies) do
    rows = for study <- studies, name <- study.unreached, do: {"#{study.module}.#{name}", 1}
    for {name, _one} <- top(rows), do: {name, 1, ""}
  end

  defp top(rows),
    do: rows |> Enum.sort_by(fn {name, number} -> {negative(number), name} end) |> Enum.take(@most)

  defp negative({number, all}), do: {-number, all}
  defp negative(number), do: -number
end
