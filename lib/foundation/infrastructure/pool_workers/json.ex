defmodule Foundation.Infrastructure.PoolWorkers.Json do
  @moduledoc false
  # Writes plain data as JSON (RFC 8259). Maps need keys that are strings, atoms or integers; structs other than dates
  # and times, tuples, pids and the like have no JSON form and are refused.

  @spec encode(term) :: {:ok, iodata} | {:error, {:no_json, term}}
  def encode(term) do
    {:ok, value(term)}
  catch
    {:no_json, _} = reason -> {:error, reason}
  end

  defp value(nil), do: "null"
  defp value(true), do: "true"
  defp value(false), do: "false"
  defp value(atom) when is_atom(atom), do: string(Atom.to_string(atom))
  defp value(text) when is_binary(text), do: string(text)
  defp value(n) when is_integer(n), do: Integer.to_string(n)
  defp value(x) when is_float(x), do: Float.to_string(x)
  defp value([]), do: "[]"

  defp value(list) when is_list(list) do
    if List.improper?(list), do: throw({:no_json, list})
    [?[, list |> Enum.map(&value/1) |> Enum.intersperse(?,), ?]]
  end

  defp value(%module{} = date) when module in [Date, Time, NaiveDateTime, DateTime],
    do: string(module.to_iso8601(date))

  defp value(%_{} = struct), do: throw({:no_json, struct})

  defp value(%{} = map),
    do: [?{, map |> Enum.map(fn {k, v} -> [key(k), ?:, value(v)] end) |> Enum.intersperse(?,), ?}]

  defp value(other), do: throw({:no_json, other})

  defp key(key) when is_binary(key), do: string(key)
  defp key(key) when is_atom(key), do: string(Atom.to_string(key))
  defp key(key) when is_integer(key), do: string(Integer.to_string(key))
  defp key(other), do: throw({:no_json, other})

  defp string(text) do
    if String.valid?(text), do: [?", escape(text, []), ?"], else: throw({:no_json, text})
  end

  defp escape(<<>>, done), do: Enum.reverse(done)
  defp escape(<<?", rest::binary>>, done), do: escape(rest, ["\\\"" | done])
  defp escape(<<?\\, rest::binary>>, done), do: escape(rest, ["\\\\" | done])
  defp escape(<<?\n, rest::binary>>, done), do: escape(rest, ["\\n" | done])
  defp escape(<<?\r, rest::binary>>, done), do: escape(rest, ["\\r" | done])
  defp escape(<<?\t, rest::binary>>, done), do: escape(rest, ["\\t" | done])

  defp escape(<<c, rest::binary>>, done) when c < 0x20,
    do: escape(rest, ["\\u" <> String.pad_leading(Integer.to_string(c, 16), 4, "0") | done])

  defp escape(<<c::utf8, rest::binary>>, done), do: escape(rest, [<<c::utf8>> | done])
end
