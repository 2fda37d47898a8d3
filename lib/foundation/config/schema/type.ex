defmodule Foundation.Config.Schema.Type do
  @moduledoc false
  # The types a field may have: which there are, which values they hold, what they are called in text.

  alias Foundation.Config.Schema

  @plain [
    :any,
    :atom,
    :binary,
    :boolean,
    :duration,
    :float,
    :integer,
    :keyword,
    :map,
    :module,
    :non_neg_integer,
    :number,
    :pos_integer,
    :string,
    :url
  ]
  @sized [
    :binary,
    :duration,
    :float,
    :integer,
    :keyword,
    :map,
    :non_neg_integer,
    :number,
    :pos_integer,
    :string,
    :url
  ]

  @type t :: atom | {:enum, [term]} | {:list, t} | {:map, t, t} | {:tuple, [t]} | {:or, [t]}

  @spec known?(term) :: boolean
  def known?(type) when type in @plain, do: true
  def known?({:enum, values}), do: is_list(values) and values != []
  def known?({:list, type}), do: known?(type)
  def known?({:map, key, value}), do: known?(key) and known?(value)
  def known?({:tuple, types}), do: is_list(types) and Enum.all?(types, &known?/1)
  def known?({:or, [_ | _] = types}), do: Enum.all?(types, &known?/1)
  def known?(type), do: Schema.schema?(type)

  @doc "Waits, when modules are being compiled, for the schemas that a type names."
  @spec compiled(term) :: :ok
  def compiled({:list, type}), do: compiled(type)
  def compiled({:map, key, value}), do: compiled({:or, [key, value]})
  def compiled({kind, types}) when kind in [:tuple, :or] and is_list(types), do: Enum.each(types, &compiled/1)

  def compiled(type) when is_atom(type) and type not in @plain do
    _ = Code.ensure_compiled(type)
    :ok
  end

  def compiled(_type), do: :ok

  @doc """
  Whether `min` and `max` mean something: the value of a number, the length of text, the size of the rest.
  """
  @spec sized?(t) :: boolean
  def sized?({kind, _}) when kind in [:list, :or], do: true
  def sized?({:map, _, _}), do: true
  def sized?(type), do: type in @sized

  @doc "Whether a plain type holds the value."
  @spec member?(t, term) :: boolean
  def member?(:any, _value), do: true
  def member?(:atom, value), do: is_atom(value) and not is_nil(value) and not is_boolean(value)
  def member?(:binary, value), do: is_binary(value)
  def member?(:boolean, value), do: is_boolean(value)
  def member?(:duration, value), do: value == :infinity or (is_integer(value) and value >= 0)
  def member?(:float, value), do: is_float(value)
  def member?(:integer, value), do: is_integer(value)
  def member?(:keyword, value), do: Keyword.keyword?(value)
  def member?(:map, value), do: is_map(value) and not is_struct(value)
  def member?(:module, value), do: is_atom(value) and Code.ensure_loaded?(value)
  def member?(:non_neg_integer, value), do: is_integer(value) and value >= 0
  def member?(:number, value), do: is_number(value)
  def member?(:pos_integer, value), do: is_integer(value) and value > 0
  def member?(:string, value), do: is_binary(value) and String.valid?(value)
  def member?(:url, value), do: is_binary(value) and String.valid?(value) and url?(value)
  def member?({:enum, values}, value), do: value in values

  @doc "What `min` and `max` compare: a number, or nil when the value has none."
  @spec size(term) :: number | nil
  def size(value) when is_number(value), do: value

  def size(value) when is_binary(value),
    do: if(String.valid?(value), do: String.length(value), else: byte_size(value))

  def size(value) when is_list(value), do: length(value)
  def size(value) when is_map(value), do: map_size(value)
  def size(_value), do: nil

  @doc "The type in words."
  @spec describe(t) :: String.t()
  def describe(:duration), do: "duration (ms or :infinity)"
  def describe(:module), do: "module"
  def describe(:pos_integer), do: "positive integer"
  def describe(:non_neg_integer), do: "integer of at least 0"
  def describe(:url), do: "URL"
  def describe({:enum, values}), do: "one of " <> Enum.map_join(values, ", ", &inspect/1)
  def describe({:list, type}), do: "list of " <> describe(type)
  def describe({:map, key, value}), do: "map of #{describe(key)} to #{describe(value)}"
  def describe({:tuple, types}), do: "tuple of " <> Enum.map_join(types, ", ", &describe/1)
  def describe({:or, types}), do: Enum.map_join(types, " or ", &describe/1)
  def describe(type) when type in @plain, do: Atom.to_string(type)
  def describe(schema), do: inspect(schema)

  defp url?(text) do
    case URI.parse(text) do
      %URI{scheme: scheme, host: host} when is_binary(scheme) and is_binary(host) and host != "" ->
        not String.contains?(text, [" ", "\n", "\t"])

      _ ->
        false
    end
  end
end
