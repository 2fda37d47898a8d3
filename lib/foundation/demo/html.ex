defmodule Foundation.Demo.Html do
  @moduledoc false
  # The parts that the report's sections are made of. Pure.

  alias Foundation.Demo.Format

  import Foundation.Demo.Chart, only: [escape: 1]

  @doc "A section with a title."
  def section(title, content), do: ["<section>\n<h2>#{escape(title)}</h2>\n", content, "\n</section>\n"]

  @doc "Something that is shown on demand."
  def details(title, content), do: ["<details><summary>#{escape(title)}</summary>", content, "</details>"]

  @doc "A heading within a section."
  def subheading(text), do: "<h3>#{escape(text)}</h3>"

  def paragraph(text), do: "<p>#{escape(text)}</p>"
  def verbatim(text), do: "<pre>#{escape(text)}</pre>"

  @doc "A table; a name of a column is that of numbers, or of text as `{:text, name}`. The first column is text."
  def table(head, rows) do
    [
      ~s(<div class="scroll"><table><thead><tr>),
      head |> Enum.with_index() |> Enum.map(fn {name, index} -> column(name, index) end),
      "</tr></thead>\n<tbody>\n",
      rows,
      "</tbody></table></div>\n"
    ]
  end

  defp column({:text, name}, _), do: column(name, 0)
  defp column(name, 0), do: "<th>#{escape(name)}</th>"
  defp column(name, _), do: ~s(<th class="n">#{escape(name)}</th>)

  @doc "A row of cells."
  def row(cells), do: ["<tr>", cells, "</tr>\n"]

  @doc "A cell of text."
  def text(value), do: "<td>#{escape(value)}</td>"

  @doc "A cell of a number."
  def cell(value), do: ~s(<td class="n">#{escape(value)}</td>)

  @doc "What happened to the nodes, in order."
  def moments(moments) do
    rows =
      for moment <- moments,
          do: row([text(Format.time(moment.at_us)), text(moment.node), text(moment.says)])

    table(["Time", {:text, "Node"}, {:text, "What happened"}], rows)
  end
end
