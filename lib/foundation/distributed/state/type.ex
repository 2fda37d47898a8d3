defmodule Foundation.Distributed.State.Type do
  @moduledoc false
  # The types of a state as they are written by its users, and what their values look like.

  @plain [
    :g_counter,
    :pn_counter,
    :g_set,
    :or_set,
    :rw_set,
    :lww_register,
    :mv_register,
    :ew_flag,
    :dw_flag,
    :lww_map
  ]
  @sets [:g_set, :or_set, :rw_set]
  @deepest 8

  @doc "The type as the native library takes it; raises ArgumentError."
  def check!(type), do: check!(type, type, 0)

  defp check!(_type, whole, @deepest),
    do: raise(ArgumentError, "a type nests at most #{@deepest} levels deep, got: #{inspect(whole)}")

  defp check!(type, _whole, _depth) when type in @plain, do: type
  defp check!(:or_map, _whole, _depth), do: {:or_map, :lww_register}
  defp check!({:or_map, inner}, whole, depth), do: {:or_map, check!(inner, whole, depth + 1)}

  defp check!({:record, fields}, whole, depth)
       when (is_map(fields) and map_size(fields) in 1..256) or (is_list(fields) and fields != []) do
    fields = for {name, type} <- fields, do: {name, check!(type, whole, depth + 1)}
    {:record, Enum.sort(fields)}
  end

  defp check!(other, whole, _depth) do
    raise ArgumentError,
          "a type is one of #{Enum.map_join(@plain, ", ", &inspect/1)}, :or_map, {:or_map, type} or " <>
            "{:record, %{field => type}}, got: #{inspect(other)} in #{inspect(whole)}"
  end

  @doc """
  What a path leads to: `{type, :key | :inner}`, `:key` for what is not there unless it was written; `:error`.
  An element of a set is an `:element`.
  """
  def at(type, path), do: at(type, path, :inner)

  defp at(type, [], role), do: {type, role}
  defp at({:or_map, inner}, [_key | rest], _role), do: at(inner, rest, :key)
  defp at(:lww_map, [_key], _role), do: {:lww_register, :key}
  defp at(set, [_element], _role) when set in @sets, do: {:element, :inner}

  defp at({:record, fields}, [name | rest], _role) do
    case List.keyfind(fields, name, 0) do
      {_, type} -> at(type, rest, :inner)
      nil -> :error
    end
  end

  defp at(_type, _path, _role), do: :error

  @doc "Whether what the path leads to is spread over all shards."
  def spread?({:record, _}, []), do: true
  def spread?({:record, fields}, [name | rest]), do: spread?(elem(List.keyfind(fields, name, 0), 1), rest)
  def spread?(type, []), do: type in @sets or type == :lww_map or match?({:or_map, _}, type)
  def spread?(_type, _path), do: false

  @doc "Whether it has no parts."
  def leaf?(type), do: type not in [:lww_map | @sets] and not is_tuple(type)

  @doc "What is read where nothing was written."
  def empty(counter) when counter in [:g_counter, :pn_counter], do: 0
  def empty(set) when set in @sets, do: MapSet.new()
  def empty(flag) when flag in [:ew_flag, :dw_flag, :element], do: false
  def empty(:lww_register), do: nil
  def empty(:mv_register), do: []
  def empty({:record, fields}), do: Map.new(fields, fn {name, type} -> {name, empty(type)} end)
  def empty(_map), do: %{}

  @doc "The value as its users see it, of what the native library gives: sets and maps as lists."
  def value(set, elements) when set in @sets, do: MapSet.new(elements)
  def value(:lww_map, pairs), do: Map.new(pairs)

  def value({:or_map, inner}, pairs) do
    if leaf?(inner),
      do: Map.new(pairs),
      else: Map.new(pairs, fn {key, raw} -> {key, value(inner, raw)} end)
  end

  def value({:record, fields} = record, pairs) do
    for {name, raw} <- pairs, {^name, type} <- fields, into: empty(record), do: {name, value(type, raw)}
  end

  def value(_leaf, raw), do: raw

  @doc "Whether removals leave marks that are to be collected."
  def marks?(type) when type in [:rw_set, :dw_flag, :lww_map], do: true
  def marks?({:or_map, inner}), do: marks?(inner)
  def marks?({:record, fields}), do: Enum.any?(fields, fn {_, type} -> marks?(type) end)
  def marks?(_type), do: false
end
