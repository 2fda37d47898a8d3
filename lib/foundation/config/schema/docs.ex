defmodule Foundation.Config.Schema.Docs do
  @moduledoc false
  # Writes a schema's fields as a Markdown table.

  alias Foundation.Config.Schema
  alias Foundation.Config.Schema.{Field, Type}

  @doc "The table; nested schemas follow as rows of their own, by path."
  @spec table([Field.t()]) :: String.t()
  def table(fields) do
    rows =
      fields |> rows("") |> Enum.map(fn cells -> "| " <> Enum.map_join(cells, " | ", &escape/1) <> " |" end)

    Enum.join(["| field | type | default | rules | meaning |", "|---|---|---|---|---|"] ++ rows, "\n") <> "\n"
  end

  defp rows(fields, prefix) do
    Enum.flat_map(fields, fn field ->
      name = prefix <> Atom.to_string(field.name)
      row = ["`#{name}`", Type.describe(field.type), default(field), rules(field), meaning(field)]

      if Schema.schema?(field.type),
        do: [row | rows(field.type.__config_schema__(), name <> ".")],
        else: [row]
    end)
  end

  defp default(%{required: true}), do: "required"
  defp default(%{default: nil}), do: ""
  defp default(%{sensitive: true}), do: Schema.redacted()
  defp default(%{default: default}), do: "`#{inspect(default)}`"

  defp rules(field) do
    [
      field.min && "at least #{field.min}",
      field.max && "at most #{field.max}",
      field.format && "matches `#{source(field.format)}`",
      field.one_of && "one of " <> Enum.map_join(field.one_of, ", ", &"`#{inspect(&1)}`"),
      field.validate && "checked further",
      field.depends_on != [] && "only when " <> Enum.map_join(field.depends_on, " and ", &condition/1),
      not field.updatable && "fixed while running"
    ]
    |> Enum.filter(&is_binary/1)
    |> Enum.join("; ")
  end

  defp meaning(%{sensitive: true, doc: doc}), do: String.trim("#{doc} (secret)")
  defp meaning(%{doc: doc}), do: doc || ""

  defp condition({name, :set}), do: "`#{name}` is set"

  defp condition({name, {:in, values}}),
    do: "`#{name}` is " <> Enum.map_join(values, " or ", &"`#{inspect(&1)}`")

  defp source(format) when is_binary(format), do: format
  defp source(format), do: Regex.source(format)

  defp escape(text), do: text |> String.replace("|", "\\|") |> String.replace("\n", " ")
end
