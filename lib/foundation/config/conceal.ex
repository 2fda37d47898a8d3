defmodule Foundation.Config.Conceal do
  @moduledoc false
  # Hides secrets in configuration values before they are shown: what a schema calls sensitive, and, anywhere,
  # what stands under a key that names a secret.

  alias Foundation.Config.Schema
  alias Foundation.ErrorContext.Redact

  @doc "The value at a path as it may be shown."
  @spec value([term], term, [module]) :: term
  def value(path, value, schemas)

  def value([section | rest] = path, value, schemas) do
    case Enum.find(schemas, &(&1.__config_name__() == section)) do
      nil -> keyed(List.last(path), value)
      schema -> keyed(List.last(path), by_type(schema, rest, value))
    end
  end

  def value([], value, _schemas), do: value

  defp keyed(key, value) do
    if Redact.key?(key) and Redact.hides?(value) and not is_map(value), do: Redact.mark(), else: inside(value)
  end

  defp inside(%_{} = struct), do: struct
  defp inside(%{} = map), do: Map.new(map, fn {key, value} -> {key, keyed(key, value)} end)

  defp inside(list) when is_list(list) do
    if Keyword.keyword?(list), do: Enum.map(list, fn {key, value} -> {key, keyed(key, value)} end), else: list
  end

  defp inside(value), do: value

  defp by_type({:list, type}, [], values) when is_list(values), do: Enum.map(values, &by_type(type, [], &1))
  defp by_type({:map, _, type}, [_ | rest], value), do: by_type(type, rest, value)

  defp by_type({:map, _, type}, [], %{} = map),
    do: Map.new(map, fn {key, value} -> {key, by_type(type, [], value)} end)

  defp by_type({:or, types}, rest, value) do
    case Enum.find(types, &Schema.schema?/1) do
      nil -> value
      schema -> by_type(schema, rest, value)
    end
  end

  defp by_type(type, rest, value) do
    if Schema.schema?(type), do: by_field(type.__config_schema__(), rest, value), else: value
  end

  defp by_field(fields, [name | rest], value) do
    case Enum.find(fields, &(&1.name == name)) do
      nil -> value
      field -> field(field, rest, value)
    end
  end

  defp by_field(fields, [], %{} = values) do
    Enum.reduce(fields, values, fn field, acc ->
      case Map.fetch(acc, field.name) do
        {:ok, value} -> Map.put(acc, field.name, field(field, [], value))
        :error -> acc
      end
    end)
  end

  defp by_field(_fields, [], value), do: value

  defp field(%{sensitive: true}, _rest, nil), do: nil
  defp field(%{sensitive: true}, _rest, _value), do: Redact.mark()
  defp field(field, rest, value), do: by_type(field.type, rest, value)
end
