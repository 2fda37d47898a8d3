defmodule Foundation.ErrorContext.Bound do
  @moduledoc false
  # Makes a copy of a term that is safe to keep: of bounded size whatever the term's, and without secrets.
  #
  # The walk stops when its budget is used up, so a list of a million elements costs what one of a hundred
  # does. What is left out is marked: binaries end in "… (n bytes)", lists and tuples in :"…", maps have a key
  # :"…" with the number of pairs left out. A struct becomes `{:struct, module, fields}`, those of the
  # calendar apart.

  import Bitwise, only: [<<<: 2]

  alias Foundation.ErrorContext.{Redact, Store}

  @depth 8
  @items 64
  @more :"…"
  @calendar [Date, Time, DateTime, NaiveDateTime]

  @doc "The term, cut to about `max_value_bytes` and redacted."
  @spec term(term) :: term
  def term(term), do: term |> sized() |> elem(0)

  @doc "As `term/1`, with the bytes it takes, about."
  @spec sized(term) :: {term, non_neg_integer}
  def sized(term) do
    limit = Store.limit(:max_value_bytes)
    {kept, left} = walk(term, limit, @depth)
    {kept, limit - left}
  end

  @doc "A named value, as `sized/1`: redacted whole when the name says so."
  @spec named(term, term) :: {{term, term}, non_neg_integer}
  def named(name, value) do
    {kept, bytes} = if Redact.key?(name), do: {Redact.mark(), 16}, else: sized(value)
    {{name, kept}, bytes}
  end

  @doc "Text, cut and redacted."
  @spec text(String.t()) :: String.t()
  def text(text), do: text |> binary(Store.limit(:max_value_bytes)) |> elem(0)

  defp walk(_term, left, depth) when left <= 0 or depth == 0, do: {@more, left}
  defp walk(binary, left, _depth) when is_binary(binary), do: binary(binary, left)

  defp walk(bits, left, _depth) when is_bitstring(bits) do
    {"… (#{bit_size(bits)} bits)", left - 24}
  end

  defp walk(integer, left, _depth) when is_integer(integer) do
    if abs(integer) < 1 <<< 256, do: {integer, left - 8}, else: {@more, left - 8}
  end

  defp walk(list, left, depth) when is_list(list), do: list(list, left - 8, depth, @items, [])

  defp walk(tuple, left, depth) when is_tuple(tuple) do
    size = tuple_size(tuple)
    elements = for i <- 0..(min(size, @items) - 1)//1, do: elem(tuple, i)
    elements = if size > @items, do: elements ++ [@more], else: elements
    {kept, left} = elements(elements, left - 8, depth)
    {List.to_tuple(kept), left}
  end

  defp walk(%module{} = struct, left, _depth) when module in @calendar, do: {struct, left - 64}

  defp walk(%{__struct__: module} = struct, left, depth) do
    {fields, left} = struct |> Map.delete(:__struct__) |> walk(left - 16, depth)
    {{:struct, module, fields}, left}
  end

  defp walk(%{} = map, left, depth) do
    {pairs, left} = map |> :maps.iterator() |> :maps.next() |> pairs(left - 16, depth, @items, [])
    kept = Map.new(pairs)
    missing = map_size(map) - length(pairs)
    {if(missing > 0, do: Map.put(kept, @more, missing), else: kept), left}
  end

  # Atoms, floats, pids, ports, references and functions: the last named, as a closure may hold anything.
  defp walk(function, left, _depth) when is_function(function), do: {inspect(function), left - 48}
  defp walk(small, left, _depth), do: {small, left - 8}

  defp list([], left, _depth, _items, kept), do: {Enum.reverse(kept), left}

  defp list(_rest, left, _depth, items, kept) when left <= 0 or items == 0,
    do: {Enum.reverse([@more | kept]), left}

  defp list([{name, value} | rest], left, depth, items, kept) when is_atom(name) or is_binary(name) do
    {pair, left} = pair(name, value, left - 16, depth)
    list(rest, left, depth, items - 1, [pair | kept])
  end

  defp list([head | rest], left, depth, items, kept) do
    {head, left} = walk(head, left - 8, depth - 1)
    list(rest, left, depth, items - 1, [head | kept])
  end

  defp list(improper, left, depth, _items, kept) do
    {tail, left} = walk(improper, left, depth - 1)
    {:lists.reverse(kept, tail), left}
  end

  defp elements(elements, left, depth), do: Enum.map_reduce(elements, left, &walk(&1, &2 - 8, depth - 1))

  defp pairs(:none, left, _depth, _items, kept), do: {kept, left}
  defp pairs(_more, left, _depth, items, kept) when left <= 0 or items == 0, do: {kept, left}

  defp pairs({key, value, iterator}, left, depth, items, kept) do
    {pair, left} = pair(key, value, left - 16, depth)
    pairs(:maps.next(iterator), left, depth, items - 1, [pair | kept])
  end

  defp pair(key, value, left, depth) do
    if Redact.key?(key) and Redact.hides?(value) do
      {{key, Redact.mark()}, left - 16}
    else
      {key, left} = walk(key, left, depth - 1)
      {value, left} = walk(value, left, depth - 1)
      {{key, value}, left}
    end
  end

  # A copy, as a part of a large binary would keep the whole of it alive.
  defp binary(binary, left) do
    size = byte_size(binary)
    wanted = max(min(size, left), 0)
    part = binary |> binary_part(0, wanted) |> whole_characters(wanted < size)
    text = if String.valid?(part), do: Redact.text(part), else: part
    kept = if wanted < size, do: text <> "… (#{size} bytes)", else: :binary.copy(text)
    {kept, left - wanted - 8}
  end

  # Cutting text may have split its last character.
  defp whole_characters(part, false), do: part

  defp whole_characters(part, true) do
    case :unicode.characters_to_binary(part) do
      {:incomplete, whole, _rest} -> whole
      _ -> part
    end
  end
end
