defmodule Foundation.MABEAM.Types.Fields do
  @moduledoc false
  # Builds the structs of Foundation.MABEAM.Types from what a user gives, by one rule for each field:
  # {field, default or :required, check, what is expected}.

  @type rule :: {atom, term, (term -> boolean), String.t()}

  @doc "The struct, or what is wrong with the first field that is."
  @spec build(module, map | keyword, [rule]) :: {:ok, struct} | {:error, {:invalid, map}}
  def build(module, attributes, rules) do
    with {:ok, given} <- map(attributes), :ok <- known(given, rules), {:ok, fields} <- fields(given, rules) do
      {:ok, struct(module, fields)}
    end
  end

  @doc "The struct; raises ArgumentError where `build/3` has an error."
  @spec build!(module, map | keyword, [rule]) :: struct
  def build!(module, attributes, rules), do: module |> build(attributes, rules) |> unwrap!()

  @doc "The value of an `{:ok, value}`; raises ArgumentError that says which field is wrong."
  @spec unwrap!({:ok, value} | {:error, {:invalid, map}}) :: value when value: term
  def unwrap!({:ok, value}), do: value

  def unwrap!({:error, {:invalid, %{field: field, value: value, expected: expected}}}),
    do: raise(ArgumentError, "#{field} must be #{expected}, got: #{inspect(value, limit: 20)}")

  @doc "An error of a field."
  @spec invalid(atom, term, String.t()) :: {:error, {:invalid, map}}
  def invalid(field, value, expected),
    do: {:error, {:invalid, %{field: field, value: value, expected: expected}}}

  defp map(%{} = attributes) when not is_struct(attributes), do: {:ok, attributes}

  defp map(attributes) do
    if Keyword.keyword?(attributes),
      do: {:ok, Map.new(attributes)},
      else: invalid(:attributes, attributes, "a map or a keyword list")
  end

  defp known(given, rules) do
    case Map.keys(given) -- Enum.map(rules, &elem(&1, 0)) do
      [] ->
        :ok

      [unknown | _] ->
        invalid(:attributes, unknown, "one of #{Enum.map_join(rules, ", ", &inspect(elem(&1, 0)))}")
    end
  end

  defp fields(given, rules) do
    Enum.reduce_while(rules, {:ok, []}, fn {field, default, check, expected}, {:ok, fields} ->
      case given do
        %{^field => value} ->
          if check.(value),
            do: {:cont, {:ok, [{field, value} | fields]}},
            else: {:halt, invalid(field, value, expected)}

        _ when default == :required ->
          {:halt, invalid(field, nil, expected)}

        _ ->
          {:cont, {:ok, [{field, default} | fields]}}
      end
    end)
  end
end
