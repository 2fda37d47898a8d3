defmodule Foundation.Config.Schema.Check do
  @moduledoc false
  # Holds values against a schema: every violation, each with its path. Fills in defaults on the way.

  alias Foundation.Config.Schema
  alias Foundation.Config.Schema.{Field, Type}
  alias Foundation.ErrorContext.Bound

  @type violation :: Schema.violation()

  @doc "The values with defaults filled in, and what is wrong with them."
  @spec values(module, term, [term]) :: {map | term, [violation]}
  def values(schema, values, path) when is_list(values) do
    if Keyword.keyword?(values),
      do: values(schema, Map.new(values), path),
      else: {values, [violation(path, :type, "is a list and not a map or keyword list", values)]}
  end

  def values(schema, %{} = values, path) when not is_struct(values) do
    fields = schema.__config_schema__()
    {known, unknown} = Map.split(values, Enum.map(fields, & &1.name))

    {checked, violations} =
      Enum.map_reduce(fields, [], fn field, violations ->
        {value, found} = present(field, known, fields, path)
        {{field.name, value}, violations ++ found}
      end)

    {extra, strange} = unknown(schema.__config_unknown__(), unknown, fields, path)
    {Map.merge(extra, Map.new(checked)), violations ++ strange}
  end

  def values(_schema, other, path), do: {other, [violation(path, :type, "is no map or keyword list", other)]}

  @doc "One value against its field, without the other fields."
  @spec field(Field.t(), term, [term]) :: {term, [violation]}
  def field(field, value, path) do
    case typed(field.type, value, path) do
      {value, []} -> {value, Enum.map(constraints(field, value, path), &hide(&1, field))}
      {value, violations} -> {value, Enum.map(violations, &hide(&1, field))}
    end
  end

  @doc "A violation."
  @spec violation([term], atom, String.t(), term) :: violation
  def violation(path, code, message, value),
    do: %{path: path, code: code, message: message, value: Bound.term(value)}

  # -- one field among the others ----------------------------------------------------------------------------

  defp present(field, values, fields, path) do
    here = path ++ [field.name]
    unmet = Enum.reject(field.depends_on, &met?(&1, values, fields))

    case Map.fetch(values, field.name) do
      {:ok, nil} -> absent(field, unmet, here, nil)
      :error -> absent(field, unmet, here, start(field))
      {:ok, value} when unmet == [] -> field(field, value, here)
      {:ok, value} -> dependent(field, value, unmet, here)
    end
  end

  # A field whose conditions do not hold is not required.
  defp absent(%{required: true}, [], here, _value),
    do: {nil, [violation(here, :required, "is required", nil)]}

  defp absent(field, _unmet, here, nil) do
    if Field.optional?(field) or field.required,
      do: {nil, []},
      else: {nil, [violation(here, :type, "is nil and not a #{Type.describe(field.type)}", nil)]}
  end

  defp absent(field, _unmet, here, value), do: field(field, value, here)

  defp dependent(field, value, unmet, here) do
    {value, violations} = field(field, value, here)

    if value == field.default do
      {value, violations}
    else
      needs = Enum.map_join(unmet, " and ", &condition/1)

      {value,
       [hide(violation(here, :depends_on, "may be set only when #{needs}", value), field) | violations]}
    end
  end

  defp met?({name, condition}, values, fields) do
    default = fields |> Enum.find(&(&1.name == name)) |> start()
    value = Map.get(values, name, default)

    case condition do
      :set -> not is_nil(value) and value != false
      {:in, allowed} -> value in allowed
    end
  end

  defp condition({name, :set}), do: "#{name} is set"
  defp condition({name, {:in, [value]}}), do: "#{name} is #{inspect(value)}"
  defp condition({name, {:in, values}}), do: "#{name} is one of #{Enum.map_join(values, ", ", &inspect/1)}"

  # A nested schema is there with its own defaults unless it is left out on purpose.
  defp start(%Field{default: nil, type: type, required: false} = field) do
    if Schema.schema?(type) and field.depends_on == [], do: %{}, else: nil
  end

  defp start(%Field{default: default}), do: default

  # -- types -------------------------------------------------------------------------------------------------

  defp typed({:list, type}, values, path) when is_list(values) do
    if List.improper?(values),
      do: mismatch({:list, type}, values, path),
      else: elements(Enum.with_index(values), path, fn value, at -> typed(type, value, at) end)
  end

  defp typed({:map, key, value}, %{} = map, path) when not is_struct(map) do
    {pairs, violations} =
      Enum.map_reduce(map, [], fn {k, v}, found ->
        {k2, wrong_key} = typed(key, k, path)
        {v2, wrong_value} = typed(value, v, path ++ [k])
        {{k2, v2}, found ++ wrong_key ++ wrong_value}
      end)

    {Map.new(pairs), violations}
  end

  defp typed({:tuple, types}, tuple, path) when is_tuple(tuple) and tuple_size(tuple) == length(types) do
    {values, violations} =
      types
      |> Enum.zip(Tuple.to_list(tuple))
      |> Enum.with_index()
      |> elements(path, fn {type, value}, at -> typed(type, value, at) end)

    {List.to_tuple(values), violations}
  end

  defp typed({:or, types} = type, value, path) do
    Enum.find_value(types, mismatch(type, value, path), fn one ->
      with {_, []} = fits <- typed(one, value, path), do: fits, else: (_ -> nil)
    end)
  end

  defp typed({kind, _} = type, value, path) when kind in [:list, :tuple], do: mismatch(type, value, path)
  defp typed({:map, _, _} = type, value, path), do: mismatch(type, value, path)

  defp typed(type, value, path) do
    cond do
      Schema.schema?(type) -> values(type, value, path)
      Type.member?(type, value) -> {value, []}
      true -> mismatch(type, value, path)
    end
  end

  defp elements(indexed, path, check) do
    Enum.map_reduce(indexed, [], fn {value, index}, found ->
      {value, wrong} = check.(value, path ++ [index])
      {value, found ++ wrong}
    end)
  end

  defp mismatch({:enum, _} = type, value, path),
    do: {value, [violation(path, :type, "is not #{Type.describe(type)}", value)]}

  defp mismatch(type, value, path),
    do: {value, [violation(path, :type, "is no #{Type.describe(type)}", value)]}

  # -- constraints -------------------------------------------------------------------------------------------

  defp constraints(field, value, path) do
    size = if field.min || field.max, do: Type.size(value)

    [
      if(field.min && size && size < field.min,
        do: violation(path, :min, "is #{below(value)} #{field.min}", value)
      ),
      if(field.max && size && size > field.max,
        do: violation(path, :max, "is #{above(value)} #{field.max}", value)
      ),
      if(field.format && is_binary(value) && not matches?(field.format, value),
        do: violation(path, :format, "does not match #{source(field.format)}", value)
      ),
      if(field.one_of && value not in field.one_of,
        do: violation(path, :one_of, "is not one of #{Enum.map_join(field.one_of, ", ", &inspect/1)}", value)
      ),
      custom(field.validate, value, path)
    ]
    |> Enum.reject(&is_nil/1)
  end

  defp below(value), do: if(is_number(value), do: "below", else: "shorter than")
  defp above(value), do: if(is_number(value), do: "above", else: "longer than")

  defp matches?(format, value) when is_binary(format), do: Regex.match?(Regex.compile!(format, "u"), value)
  defp matches?(format, value), do: Regex.match?(format, value)

  defp source(format) when is_binary(format), do: "/#{format}/"
  defp source(format), do: "/#{Regex.source(format)}/"

  defp custom(nil, _value, _path), do: nil

  defp custom(validate, value, path) do
    case validate.(value) do
      result when result in [:ok, true] -> nil
      {:error, message} when is_binary(message) -> violation(path, :validate, message, value)
      {:error, reason} -> violation(path, :validate, "is not valid: #{inspect(reason)}", value)
      _ -> violation(path, :validate, "is not valid", value)
    end
  end

  # -- unknown keys ------------------------------------------------------------------------------------------

  defp unknown(:keep, unknown, _fields, _path), do: {unknown, []}
  defp unknown(:drop, _unknown, _fields, _path), do: {%{}, []}

  defp unknown(:error, unknown, fields, path) do
    names = Enum.map(fields, & &1.name)

    {%{},
     for {key, _value} <- unknown do
       violation(path ++ [key], :unknown, "is no field#{suggestion(key, names)}", nil)
     end}
  end

  defp suggestion(key, names) when is_atom(key) or is_binary(key) do
    key = to_string(key)
    nearest = Enum.max_by(names, &String.jaro_distance(Atom.to_string(&1), key), fn -> nil end)

    if nearest && String.jaro_distance(Atom.to_string(nearest), key) > 0.8,
      do: "; did you mean #{inspect(nearest)}?",
      else: ""
  end

  defp suggestion(_key, _names), do: ""

  defp hide(violation, %{sensitive: true}), do: %{violation | value: Schema.redacted()}
  defp hide(violation, _field), do: violation
end
