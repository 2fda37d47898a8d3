defmodule Foundation.Config.Schema.Field do
  @moduledoc false
  # One field of a schema: what was declared, checked when it is declared.

  alias Foundation.Config.Schema.{Check, Type}

  @options [
    :default,
    :required,
    :min,
    :max,
    :format,
    :one_of,
    :depends_on,
    :validate,
    :doc,
    :sensitive,
    :updatable
  ]

  @enforce_keys [:name, :type]
  defstruct [
    :name,
    :type,
    :default,
    :min,
    :max,
    :format,
    :one_of,
    :validate,
    :doc,
    required: false,
    depends_on: [],
    sensitive: false,
    updatable: true
  ]

  @type t :: %__MODULE__{}

  @doc "The declared field; ArgumentError says what is wrong with the declaration."
  @spec new!(atom, term, keyword) :: t
  def new!(name, type, opts) do
    is_atom(name) || wrong("a field's name is an atom, got: #{inspect(name)}")
    Keyword.keyword?(opts) || wrong("the options of field #{inspect(name)} are a keyword list")

    case Keyword.keys(opts) -- @options do
      [] -> :ok
      [unknown | _] -> wrong("field #{inspect(name)} has an unknown option #{inspect(unknown)}")
    end

    Type.compiled(type)
    Type.known?(type) || wrong("field #{inspect(name)} has an unknown type: #{inspect(type)}")
    field = build(name, type, opts)
    consistent!(field)
    field
  end

  @doc "A field whose declaration has been checked before."
  @spec build(atom, term, keyword) :: t
  def build(name, type, opts), do: struct!(__MODULE__, [name: name, type: type] ++ normal(opts))

  @doc "Whether the field can be left out: nil stands for it then."
  @spec optional?(t) :: boolean
  def optional?(field), do: not field.required and is_nil(field.default)

  defp normal(opts) do
    Keyword.update(opts, :depends_on, [], fn
      conditions when is_list(conditions) -> Enum.map(conditions, &condition/1)
      condition -> [condition(condition)]
    end)
  end

  defp condition(name) when is_atom(name), do: {name, :set}
  defp condition({name, values}) when is_atom(name) and is_list(values), do: {name, {:in, values}}
  defp condition({name, value}) when is_atom(name), do: {name, {:in, [value]}}
  defp condition(other), do: wrong("depends_on is a field or {field, value(s)}, got: #{inspect(other)}")

  defp consistent!(field) do
    for option <- [:min, :max], bound = Map.fetch!(field, option) do
      is_number(bound) ||
        wrong("#{option} of field #{inspect(field.name)} is a number, got: #{inspect(bound)}")

      Type.sized?(field.type) || wrong("field #{inspect(field.name)} has no size that #{option} could bound")
    end

    if field.min && field.max && field.min > field.max,
      do: wrong("field #{inspect(field.name)} has a min above its max")

    is_nil(field.format) || is_binary(field.format) || is_struct(field.format, Regex) ||
      wrong("format of field #{inspect(field.name)} is a regular expression")

    is_nil(field.one_of) || is_list(field.one_of) ||
      wrong("one_of of field #{inspect(field.name)} is a list")

    is_nil(field.validate) || is_function(field.validate, 1) ||
      wrong("validate of field #{inspect(field.name)} is a function of one argument")

    default!(field)
  end

  defp default!(%{default: nil}), do: :ok

  defp default!(%{required: true} = field),
    do: wrong("field #{inspect(field.name)} is required and has a default")

  defp default!(field) do
    case Check.field(field, field.default, []) do
      {_value, []} -> :ok
      {_value, [violation | _]} -> wrong("the default of field #{inspect(field.name)} #{violation.message}")
    end
  end

  @spec wrong(String.t()) :: no_return
  defp wrong(message), do: raise(ArgumentError, message)
end
