defmodule Foundation.ErrorContext.Render do
  @moduledoc false
  # Writes traces as text.

  alias Foundation.Utils

  @width 100

  @doc "A trace as an indented tree."
  @spec tree(map) :: String.t()
  def tree(%{operation: {module, function}} = trace) do
    head = "#{inspect(module)}.#{function} (#{trace.correlation_id})"

    dropped =
      if trace.dropped > 0, do: ["  … #{trace.dropped} more entries beyond the bound were not kept"], else: []

    [head, data(trace.data, "  "), Enum.map(trace.steps, &step(&1, "  ")), dropped]
    |> List.flatten()
    |> Enum.join("\n")
  end

  defp step(step, indent) do
    inner = indent <> "  "

    [
      indent <> title(step),
      line(inner, "given", step.input),
      data(step.data, inner),
      Enum.map(step.children, &step(&1, inner)),
      result(step, inner)
    ]
  end

  defp title(step) do
    time = if step.duration_ns, do: Utils.format_duration(step.duration_ns), else: "not finished"
    mark = if step.status == :ok, do: "", else: " #{step.status |> Atom.to_string() |> String.upcase()}"
    "#{name(step.name)}#{mark}  #{time}  (at #{Utils.format_duration(step.offset_ns)})"
  end

  defp name(name) when is_binary(name), do: name |> String.split() |> Enum.join(" ")
  defp name(name), do: to_string(name)

  defp result(%{status: :ok} = step, indent), do: line(indent, "gave", step.output)
  defp result(%{error: :passed_through}, _indent), do: []
  defp result(%{error: nil}, _indent), do: []

  defp result(%{error: %{kind: :raised} = error}, indent) do
    ["#{indent}failed: ** (#{inspect(error.exception)}) #{one_line(error.message)}"] ++
      Enum.map(error.at, &"#{indent}  #{one_line(&1)}")
  end

  defp result(%{error: %{kind: :thrown} = error}, indent), do: line(indent, "threw", error.value)
  defp result(%{error: %{kind: :exited} = error}, indent), do: line(indent, "exited", error.reason)
  defp result(%{error: %{reason: reason}}, indent), do: line(indent, "failed", reason)

  defp data(pairs, indent),
    do: Enum.map(pairs, fn {key, value} -> "#{indent}#{name(key)} = #{show(value)}" end)

  defp line(_indent, _label, nil), do: []
  defp line(indent, label, value), do: ["#{indent}#{label}: #{show(value)}"]

  defp show(value) do
    value
    |> inspect(limit: 20, printable_limit: 2 * @width, width: :infinity)
    |> one_line()
  end

  defp one_line(text) do
    text = String.replace(text, ~r/\s+/, " ")
    if String.length(text) > 2 * @width, do: String.slice(text, 0, 2 * @width) <> "…", else: text
  end
end
