defmodule Foundation.Events.Query do
  @moduledoc false
  # Makes the bytes of a query of what the caller wrote: ranges, regular expressions and calendar times become what the
  # native engine knows; everything else is judged there.

  @options [:where, :order, :limit, :cursor, :max_scanned]
  @limit 100
  @max_scanned 1_000_000
  @comparisons [:==, :!=, :<, :<=, :>, :>=]
  # Deeper conditions are refused by the engine; what is below is left as it is.
  @max_depth 70

  @type error :: {:error, {:invalid_query, String.t()}}

  @doc "The bytes of a query."
  @spec encode(keyword | map) :: {:ok, binary} | error
  def encode(query) do
    with {:ok, query} <- options(query) do
      {:ok,
       :erlang.term_to_binary(
         {condition(query[:where], 0), Map.get(query, :order, []), Map.get(query, :limit, @limit),
          query[:cursor], Map.get(query, :max_scanned, @max_scanned)}
       )}
    end
  catch
    {:invalid_query, text} -> {:error, {:invalid_query, text}}
  end

  @doc "The bytes of a condition."
  @spec encode_condition(term) :: {:ok, binary} | error
  def encode_condition(where) do
    {:ok, :erlang.term_to_binary(condition(where, 0))}
  catch
    {:invalid_query, text} -> {:error, {:invalid_query, text}}
  end

  defp options(query) when is_list(query) do
    if Keyword.keyword?(query),
      do: query |> Map.new() |> options(),
      else: {:error, {:invalid_query, "expected options, got: #{inspect(query)}"}}
  end

  defp options(query) when is_map(query) do
    case Map.keys(query) -- @options do
      [] -> {:ok, query}
      [option | _] -> {:error, {:invalid_query, "there is no option #{inspect(option)}"}}
    end
  end

  defp options(query), do: {:error, {:invalid_query, "expected options, got: #{inspect(query)}"}}

  defp condition(where, depth) when depth > @max_depth, do: where
  defp condition({op, conditions}, depth) when op in [:and, :or], do: {op, all(conditions, depth)}
  defp condition({:not, inner}, depth), do: {:not, condition(inner, depth + 1)}
  defp condition({op, path, value}, _depth) when op in @comparisons, do: {op, path, value(path, value)}

  defp condition({:in, path, %Range{first: first, last: last, step: step}}, _depth) do
    if step not in [1, -1], do: throw({:invalid_query, "a range goes in steps of 1"})
    {:between, path, min(first, last), max(first, last)}
  end

  defp condition({:in, path, values}, _depth) when is_list(values),
    do: {:in, path, map_proper(values, &value(path, &1))}

  defp condition({:between, path, low, high}, _depth),
    do: {:between, path, value(path, low), value(path, high)}

  defp condition({:regex, path, regex}, _depth), do: {:regex, path, regex(regex)}
  defp condition(list, depth) when is_list(list), do: all(list, depth)
  defp condition(other, _depth), do: other

  defp all(list, depth) when is_list(list), do: map_proper(list, &condition(&1, depth + 1))
  defp all(other, _depth), do: other

  defp map_proper([head | tail], fun), do: [fun.(head) | map_proper(tail, fun)]
  defp map_proper(tail, _fun), do: tail

  defp value(path, %DateTime{} = time) when path == :wall_time or path == [:wall_time],
    do: DateTime.to_unix(time, :microsecond)

  defp value(_path, value), do: value

  defp regex(%Regex{} = regex) do
    flags = regex |> Regex.opts() |> flags() |> Enum.uniq() |> Enum.join()
    if flags == "", do: Regex.source(regex), else: "(?#{flags})" <> Regex.source(regex)
  end

  defp regex(other), do: other

  defp flags(options) when is_binary(options), do: options |> String.graphemes() |> Enum.flat_map(&flag/1)
  defp flags(options) when is_list(options), do: Enum.flat_map(options, &flag/1)

  defp flag(f) when f in ["i", :caseless], do: ["i"]
  defp flag(f) when f in ["m", :multiline], do: ["m"]
  defp flag(f) when f in ["s", :dotall], do: ["s"]
  defp flag(f) when f in ["x", :extended], do: ["x"]
  defp flag(f) when f in ["U", :ungreedy], do: ["U"]
  defp flag(f) when f in ["u", :unicode, :ucp], do: []
  defp flag({:newline, _}), do: []
  defp flag(f), do: throw({:invalid_query, "a regular expression cannot have the modifier #{inspect(f)}"})
end
