defmodule Foundation.MABEAM.Types.Variable do
  @moduledoc """
  Says what a variable that agents share may hold, who may change it, and how different wishes become one value.

  | field | default | |
  |---|---|---|
  | `name` | required | atom or string |
  | `type` | `:value` | see below |
  | `value` | what the type says | the first value |
  | `options` | `nil` | of a `:choice`: the values there are |
  | `min`, `max` | `nil` | bounds of a `:numeric`, inclusive |
  | `total` | `nil` | of an `:allocation`: what the parts may add up to, a whole number |
  | `conflict` | `:last_write_wins` | or `:consensus`, `:crdt`, `{:priority, [agent]}` (first counts most), `{:custom, module, function}` |
  | `access` | `:public` | or `{:agents, [id]}`, `{:capabilities, [atom]}` (all of them): who may change it |
  | `agents` | `[]` | whom `Foundation.MABEAM.Core.coordinate/2` asks |
  | `history` | 100 | changes that are kept |
  | `metadata` | `%{}` | a map of yours |

  Types: `:value` any serialisable term; `:choice` one of `options`; `:numeric` a number within the bounds; `:allocation` a map
  from agent or name to a whole number from 0, adding up to at most `total`; `:topology` a map from agent to the list of
  the agents it is linked to, all of which are keys too.
  """

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields

  @enforce_keys [:name]
  defstruct [
    :name,
    :value,
    :options,
    :min,
    :max,
    :total,
    type: :value,
    conflict: :last_write_wins,
    access: :public,
    agents: [],
    history: 100,
    metadata: %{}
  ]

  @type name :: atom | String.t()
  @type kind :: :value | :choice | :numeric | :allocation | :topology
  @type conflict ::
          :last_write_wins
          | :consensus
          | :crdt
          | {:priority, [Types.agent_id()]}
          | {:custom, module, atom}
  @type access :: :public | {:agents, [Types.agent_id()]} | {:capabilities, [atom]}
  @type t :: %__MODULE__{
          name: name,
          type: kind,
          value: term,
          options: [term] | nil,
          min: number | nil,
          max: number | nil,
          total: non_neg_integer | nil,
          conflict: conflict,
          access: access,
          agents: [Types.agent_id()],
          history: non_neg_integer,
          metadata: map
        }

  @doc """
  A variable of a map or keyword list.

  Without `value:` a choice begins with its first option, a number with `min` (or 0), an allocation and a topology empty.
  O(size of the value).
  """
  @spec new(map | keyword) :: {:ok, t} | {:error, {:invalid, map}}
  def new(attributes) do
    given? = given?(attributes)

    with {:ok, variable} <- Fields.build(__MODULE__, attributes, rules()),
         :ok <- whole(variable),
         variable = if(given?, do: variable, else: %{variable | value: first(variable)}),
         :ok <- check(variable, variable.value),
         do: {:ok, variable}
  end

  @doc "As `new/1`; raises ArgumentError."
  @spec new!(map | keyword) :: t
  def new!(attributes), do: attributes |> new() |> Fields.unwrap!()

  @doc """
  Whether the variable may hold the value: `:ok`, or `{:error, {:invalid, details}}`. O(size of the value).

      iex> {:ok, speed} = Foundation.MABEAM.Types.Variable.new(name: :speed, type: :numeric, min: 0, max: 10)
      iex> Foundation.MABEAM.Types.Variable.check(speed, 7)
      :ok
      iex> {:error, {:invalid, %{field: :value}}} = Foundation.MABEAM.Types.Variable.check(speed, 11)
  """
  @spec check(t, term) :: :ok | {:error, {:invalid, map}}
  def check(%__MODULE__{} = variable, value) do
    if holds?(variable, value), do: :ok, else: Fields.invalid(:value, value, expected(variable))
  end

  defp given?(%{} = attributes), do: is_map_key(attributes, :value)
  defp given?(attributes), do: Keyword.keyword?(attributes) and Keyword.has_key?(attributes, :value)

  defp first(%{type: :choice, options: [first | _]}), do: first
  defp first(%{type: :numeric, min: min, max: max}), do: min || if(max && max < 0, do: max, else: 0)
  defp first(%{type: type}) when type in [:allocation, :topology], do: %{}
  defp first(_value), do: nil

  # What only some types have and need.
  defp whole(%{type: :choice, options: options}) when options in [nil, []],
    do: Fields.invalid(:options, options, "a list of at least one value for a choice")

  defp whole(%{type: :numeric, min: min, max: max}) when is_number(min) and is_number(max) and min > max,
    do: Fields.invalid(:max, max, "at least min, which is #{min}")

  defp whole(%{type: type} = variable) do
    of = %{options: :choice, min: :numeric, max: :numeric, total: :allocation}

    case Enum.find(of, fn {field, its} -> Map.fetch!(variable, field) != nil and its != type end) do
      nil -> :ok
      {field, its} -> Fields.invalid(field, Map.fetch!(variable, field), "given for #{inspect(its)} only")
    end
  end

  defp holds?(%{type: :value}, value), do: Types.serialisable?(value)
  defp holds?(%{type: :choice, options: options}, value), do: Enum.any?(options, &(&1 === value))

  defp holds?(%{type: :numeric, min: min, max: max}, value),
    do: is_number(value) and (min == nil or value >= min) and (max == nil or value <= max)

  defp holds?(%{type: :allocation, total: total}, %{} = parts) when not is_struct(parts) do
    Enum.all?(parts, fn {who, amount} -> name?(who) and is_integer(amount) and amount >= 0 end) and
      (total == nil or parts |> Map.values() |> Enum.sum() <= total)
  end

  defp holds?(%{type: :topology}, %{} = links) when not is_struct(links) do
    Enum.all?(links, fn {who, others} ->
      name?(who) and is_list(others) and not List.improper?(others) and
        Enum.all?(others, &is_map_key(links, &1))
    end)
  end

  defp holds?(_variable, _value), do: false

  defp expected(%{type: :value}), do: "serialisable"

  defp expected(%{type: :choice, options: options}),
    do: "one of #{inspect(options, limit: 10, printable_limit: 100)}"

  defp expected(%{type: :numeric, min: min, max: max}),
    do: "a number#{if min, do: " from #{min}"}#{if max, do: " to #{max}"}"

  defp expected(%{type: :allocation, total: total}),
    do: "a map to whole numbers from 0#{if total, do: " that add up to at most #{total}"}"

  defp expected(%{type: :topology}), do: "a map from agents to lists of agents that are keys of it"

  defp rules do
    [
      {:name, :required, &name?/1, "an atom or a string of 1 to 255 bytes"},
      {:type, :value, &(&1 in [:value, :choice, :numeric, :allocation, :topology]),
       ":value, :choice, :numeric, :allocation or :topology"},
      {:value, nil, &Types.serialisable?/1, "serialisable"},
      {:options, nil, &(&1 == nil or (list?(&1) and Types.serialisable?(&1))),
       "a list of serialisable values"},
      {:min, nil, &(&1 == nil or is_number(&1)), "a number"},
      {:max, nil, &(&1 == nil or is_number(&1)), "a number"},
      {:total, nil, &(&1 == nil or natural?(&1)), "a whole number from 0"},
      {:conflict, :last_write_wins, &conflict?/1,
       ":last_write_wins, :consensus, :crdt, {:priority, [agent]} or {:custom, module, function}"},
      {:access, :public, &access?/1, ":public, {:agents, [id]} or {:capabilities, [atom]}"},
      {:agents, [], &ids?/1, "a list of agent ids"},
      {:history, 100, &natural?/1, "a whole number from 0"},
      {:metadata, %{}, &(is_map(&1) and Types.serialisable?(&1)), "a serialisable map"}
    ]
  end

  defp name?(term), do: Types.agent_id?(term)
  defp natural?(term), do: is_integer(term) and term >= 0
  defp list?(term), do: is_list(term) and not List.improper?(term)
  defp ids?(term), do: list?(term) and Enum.all?(term, &Types.agent_id?/1)

  defp conflict?(how) when how in [:last_write_wins, :consensus, :crdt], do: true
  defp conflict?({:priority, ids}), do: ids?(ids)
  defp conflict?({:custom, module, function}), do: is_atom(module) and is_atom(function)
  defp conflict?(_other), do: false

  defp access?(:public), do: true
  defp access?({:agents, ids}), do: ids?(ids)
  defp access?({:capabilities, list}), do: list?(list) and Enum.all?(list, &is_atom/1)
  defp access?(_other), do: false
end
