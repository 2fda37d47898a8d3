defmodule Foundation.Demo.Trace do
  @moduledoc false
  # Why a module was read: the run, its application, and what was read with it.

  alias Foundation.Demo.Format
  alias Foundation.Events
  alias Foundation.Types.Event

  @most 12

  @doc "The branch of the application's event in the tree of its run, drawn."
  @spec draw(Event.event_id()) :: {:ok, String.t()} | {:error, term}
  def draw(application) do
    with {:ok, trace} <- Events.causal_trace(application) do
      {:ok, trace.roots |> branch(application) |> lines() |> Enum.join("\n")}
    end
  end

  # The nodes from a root down to the event.
  defp branch(nodes, id) do
    Enum.find_value(nodes, [], fn node ->
      below = if node.event.event_id == id, do: [], else: branch(node.children, id)
      if node.event.event_id == id or below != [], do: [node | below]
    end)
  end

  defp lines([]), do: []

  defp lines([root | _] = branch) do
    start = root.event.timestamp

    above = for {node, depth} <- Enum.with_index(branch), do: indent(depth) <> label(node.event, start)

    %{children: children} = List.last(branch)
    {shown, rest} = Enum.split(children, @most)

    own =
      Enum.map(shown, &label(&1.event, start)) ++ if(rest == [], do: [], else: ["… and #{length(rest)} more"])

    above ++ twigs(own, length(branch))
  end

  defp twigs(labels, depth) do
    last = length(labels) - 1

    for {label, index} <- Enum.with_index(labels),
        do: indent(depth, if(index == last, do: "└─ ", else: "├─ ")) <> label
  end

  defp indent(depth, twig \\ "└─ ")
  defp indent(0, _twig), do: ""
  defp indent(depth, twig), do: String.duplicate("   ", depth - 1) <> twig

  defp label(%Event{} = event, start) do
    "#{event.event_type} #{detail(event.event_type, event.data)}  +#{event.timestamp - start} ms"
  end

  defp detail(:demo_run, data), do: "#{Format.count(data.files)} files"
  defp detail(:demo_application, data), do: "#{data.application}, #{Format.count(data.files)} files"
  defp detail(:demo_module, data), do: "#{data.module}, read in #{Format.time(data.parse_us)}"
  defp detail(_type, data), do: Map.get(data, :path, "")
end
