defmodule Foundation.Demo.Summary do
  @moduledoc false
  # What the facts of all modules say together. Pure.

  @slowest 10
  @called 15
  @built_ins 8
  @largest 10

  @type t :: map

  @doc "Totals and rankings of the facts, each a map as the journal keeps it."
  @spec of([map]) :: t
  def of(facts) do
    called = called(facts)

    %{
      modules: length(facts),
      functions: sum(facts, :functions),
      exports: sum(facts, :exports),
      local_calls: sum(facts, :local_calls),
      remote_calls: sum(facts, :remote_calls),
      dynamic_calls: sum(facts, :dynamic_calls),
      bytes: sum(facts, :file_bytes),
      parse_us: sum(facts, :parse_us),
      sources: facts |> Enum.frequencies_by(& &1.source) |> Enum.sort_by(&(-elem(&1, 1))),
      behaviours: behaviours(facts),
      slowest: top(facts, :parse_us, @slowest),
      largest: top(facts, :code_bytes, @largest),
      most_called: called |> Enum.reject(&built_in?/1) |> Enum.take(@called),
      built_ins: called |> Enum.filter(&built_in?/1) |> Enum.take(@built_ins),
      applications: applications(facts),
      points: Enum.map(facts, &{&1.file_bytes, &1.parse_us, &1.module})
    }
  end

  defp sum(facts, field), do: facts |> Enum.map(&Map.fetch!(&1, field)) |> Enum.sum()

  defp top(facts, field, count) do
    facts |> Enum.sort_by(&{-Map.fetch!(&1, field), &1.module}) |> Enum.take(count)
  end

  # Type tests and the like would hide everything else.
  defp built_in?({name, _calls, _callers}), do: String.starts_with?(name, ":erlang.")

  # {function, calls, modules that call it}, the most called first
  defp called(facts) do
    facts
    |> Enum.reduce(%{}, fn fact, counts ->
      Enum.reduce(fact.callees, counts, fn {callee, calls}, counts ->
        Map.update(counts, callee, {calls, 1}, fn {n, callers} -> {n + calls, callers + 1} end)
      end)
    end)
    |> Enum.map(fn {callee, {calls, callers}} -> {callee, calls, callers} end)
    |> Enum.sort_by(fn {callee, calls, _callers} -> {-calls, callee} end)
  end

  defp behaviours(facts) do
    facts
    |> Enum.flat_map(& &1.attributes)
    |> Enum.frequencies()
    |> Enum.sort_by(fn {name, count} -> {-count, name} end)
    |> Enum.take(@called)
  end

  defp applications(facts) do
    facts
    |> Enum.group_by(& &1.application)
    |> Enum.map(fn {name, own} ->
      %{
        name: name,
        modules: length(own),
        functions: sum(own, :functions),
        remote_calls: sum(own, :remote_calls),
        bytes: sum(own, :file_bytes),
        parse_us: sum(own, :parse_us)
      }
    end)
    |> Enum.sort_by(&{-&1.parse_us, &1.name})
  end
end
