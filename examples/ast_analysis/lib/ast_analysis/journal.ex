defmodule AstAnalysis.Journal do
  @moduledoc """
  What the analysis leaves behind: events, each with the one it followed from.

      analysis → module_group → module_analysed

  All have the correlation id of the run. That of a module has an id made from the run, the module and its digest, so that
  the same result told twice, as it may be when a node is lost, is one event.
  """

  alias Foundation.Events
  alias Foundation.Types.Event

  @doc "Begins a run."
  @spec open(map) :: Event.t()
  def open(data), do: keep(:analysis, data, [])

  @doc "A group that was formed."
  @spec group(Event.t(), map) :: Event.t()
  def group(run, data), do: keep(:module_group, data, follows(run))

  @doc "What an analyst said of modules of its group."
  @spec analysed(Event.t(), String.t(), [map]) :: :ok
  def analysed(group, analyst, summaries) do
    for summary <- summaries do
      id = id({group.correlation_id, summary.module, summary.digest})
      keep(:module_analysed, Map.put(summary, :analyst, analyst), [{:event_id, id} | follows(group)])
    end

    :ok
  end

  @doc "All that was said of modules in a run."
  @spec modules(Event.t()) :: [map]
  def modules(run) do
    [where: [{:==, :correlation_id, run.correlation_id}, {:==, :event_type, :module_analysed}], limit: 1_000]
    |> Events.stream()
    |> Enum.map(& &1.data)
  end

  defp follows(event), do: [parent_id: event.event_id, correlation_id: event.correlation_id]

  defp keep(type, data, options) do
    {:ok, event} = Events.new_event(type, data, options)
    {:ok, _id} = Events.store(event)
    event
  end

  # Far from the small numbers that other events have.
  defp id(term) do
    <<hash::56, _::binary>> = :crypto.hash(:sha256, :erlang.term_to_binary(term))
    Bitwise.bor(Bitwise.bsl(1, 57), hash)
  end
end
