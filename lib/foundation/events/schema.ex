defmodule Foundation.Events.Schema do
  @moduledoc false
  # The schemas of event types: what their data must look like, checked on store.
  #
  # They live in one persistent_term, so that a store of a type without a schema pays for one look-up and no copy.
  # Registering is rare: it makes every process that holds an old schema scan its heap once.

  alias Foundation.Types.{Error, Event}

  @key __MODULE__
  @scalars ~w(any integer non_neg_integer pos_integer float number string binary boolean atom map list tuple pid reference)a
  @field_options [:type, :required, :fields, :unknown]

  @doc "Registers the schema of a type, in place of an earlier one."
  @spec register(atom, keyword | map) :: :ok | {:error, {:invalid_schema, String.t()}}
  def register(type, schema) do
    with {:ok, compiled} <- compile(schema, []) do
      update(&Map.put(&1, type, compiled))
    end
  end

  @spec unregister(atom) :: :ok
  def unregister(type), do: update(&Map.delete(&1, type))

  @spec fetch(atom) :: {:ok, map} | :error
  def fetch(type), do: Map.fetch(all(), type)

  @doc "True when any type has a schema."
  @spec any?() :: boolean
  def any?, do: all() != %{}

  @doc "Forgets all schemas."
  @spec erase() :: :ok
  def erase do
    :persistent_term.erase(@key)
    :ok
  end

  @doc "Checks an event's data against the schema of its type, if there is one."
  @spec check(Event.t()) :: :ok | {:error, Error.t()}
  def check(%Event{event_type: type, data: data}) do
    case all() do
      %{^type => schema} -> check(schema, type, data)
      _ -> :ok
    end
  end

  defp check(schema, type, data) do
    case problems(schema, data, []) do
      [] ->
        :ok

      problems ->
        {:error,
         Error.new(
           code: 2001,
           error_type: :validation_failed,
           message: "Event data does not match the schema of #{inspect(type)}",
           severity: :high,
           context: %{event_type: type, problems: Enum.reverse(problems)},
           category: :data,
           subcategory: :validation
         )}
    end
  end

  defp all, do: :persistent_term.get(@key, %{})

  # One writer at a time, whoever calls.
  defp update(fun) do
    :global.trans({@key, self()}, fn -> :persistent_term.put(@key, fun.(all())) end, [node()])
    :ok
  end

  # -- compiling ---------------------------------------------------------------------------------------------------

  defp compile(schema, path) when is_list(schema) or is_map(schema) do
    with {:ok, schema} <- to_map(schema, path),
         :ok <- known(schema, [:fields, :unknown], path),
         {:ok, unknown} <- unknown(schema, path),
         {:ok, fields} <- fields(Map.get(schema, :fields, []), path) do
      {:ok, %{fields: fields, unknown: unknown}}
    end
  end

  defp compile(other, path), do: bad(path, "expected a keyword list or a map, got: #{inspect(other)}")

  defp to_map(value, path) do
    {:ok, Map.new(value)}
  rescue
    _ -> bad(path, "expected pairs of names and values, got: #{inspect(value)}")
  end

  defp unknown(schema, path) do
    case Map.get(schema, :unknown, :allow) do
      policy when policy in [:allow, :reject] -> {:ok, policy}
      other -> bad(path, "unknown: is :allow or :reject, got: #{inspect(other)}")
    end
  end

  defp fields(fields, path) when is_list(fields) or is_map(fields) do
    with {:ok, fields} <- to_map(fields, path) do
      Enum.reduce_while(fields, {:ok, []}, fn {name, options}, {:ok, done} ->
        case field(name, options, path ++ [name]) do
          {:ok, field} -> {:cont, {:ok, [field | done]}}
          error -> {:halt, error}
        end
      end)
    end
  end

  defp fields(other, path), do: bad(path, "fields: is a keyword list or a map, got: #{inspect(other)}")

  defp field(name, type, path) when is_atom(type) or is_tuple(type), do: field(name, [type: type], path)

  defp field(name, options, path) do
    with {:ok, options} <- to_map(options, path),
         :ok <- known(options, @field_options, path),
         {:ok, type} <- type(Map.get(options, :type, default_type(options)), path),
         {:ok, nested} <- nested(options, path) do
      {:ok, {name, %{type: type, required: Map.get(options, :required, false) == true, nested: nested}}}
    end
  end

  defp default_type(%{fields: _}), do: :map
  defp default_type(_), do: :any

  defp nested(%{fields: _} = options, path), do: compile(Map.take(options, [:fields, :unknown]), path)
  defp nested(_options, _path), do: {:ok, nil}

  defp type(type, _path) when type in @scalars, do: {:ok, type}
  defp type({:in, values}, _path) when is_list(values), do: {:ok, {:in, values}}

  defp type({:list, inner}, path) do
    with {:ok, inner} <- type(inner, path), do: {:ok, {:list, inner}}
  end

  defp type({:struct, module}, _path) when is_atom(module), do: {:ok, {:struct, module}}
  defp type(other, path), do: bad(path, "there is no type #{inspect(other)}")

  defp known(map, names, path) do
    case Map.keys(map) -- names do
      [] -> :ok
      [name | _] -> bad(path, "there is no option #{inspect(name)}")
    end
  end

  defp bad([], text), do: {:error, {:invalid_schema, text}}
  defp bad(path, text), do: {:error, {:invalid_schema, "#{Enum.map_join(path, ".", &to_name/1)}: #{text}"}}

  defp to_name(name) when is_atom(name) or is_binary(name), do: to_string(name)
  defp to_name(name), do: inspect(name)

  # -- checking ----------------------------------------------------------------------------------------------------

  defp problems(%{fields: fields, unknown: unknown}, data, path) when is_map(data) do
    found =
      Enum.flat_map(fields, fn {name, field} ->
        field_problems(field, Map.fetch(data, name), path ++ [name])
      end)

    found ++ unknown_problems(unknown, fields, data, path)
  end

  defp problems(_schema, _data, path), do: [%{path: path, problem: :not_a_map}]

  defp unknown_problems(:allow, _fields, _data, _path), do: []

  defp unknown_problems(:reject, fields, data, path) do
    names = Enum.map(fields, &elem(&1, 0))
    for {key, _} <- Map.drop(data, [:__struct__ | names]), do: %{path: path ++ [key], problem: :unknown_field}
  end

  defp field_problems(%{required: true}, :error, path), do: [%{path: path, problem: :required}]
  defp field_problems(_field, :error, _path), do: []

  defp field_problems(%{type: type, nested: nested}, {:ok, value}, path) do
    cond do
      not type?(type, value) -> [%{path: path, problem: {:expected, type}}]
      nested != nil -> problems(nested, value, path)
      true -> []
    end
  end

  defp type?(:any, _), do: true
  defp type?(:integer, v), do: is_integer(v)
  defp type?(:non_neg_integer, v), do: is_integer(v) and v >= 0
  defp type?(:pos_integer, v), do: is_integer(v) and v > 0
  defp type?(:float, v), do: is_float(v)
  defp type?(:number, v), do: is_number(v)
  defp type?(:string, v), do: is_binary(v) and String.valid?(v)
  defp type?(:binary, v), do: is_binary(v)
  defp type?(:boolean, v), do: is_boolean(v)
  defp type?(:atom, v), do: is_atom(v)
  defp type?(:map, v), do: is_map(v)
  defp type?(:list, v), do: is_list(v)
  defp type?(:tuple, v), do: is_tuple(v)
  defp type?(:pid, v), do: is_pid(v)
  defp type?(:reference, v), do: is_reference(v)
  defp type?({:in, values}, v), do: v in values
  defp type?({:struct, module}, v), do: is_struct(v, module)
  defp type?({:list, inner}, v), do: is_list(v) and proper?(v) and Enum.all?(v, &type?(inner, &1))

  defp proper?(list), do: :erlang.is_list(list) and List.improper?(list) == false
end
