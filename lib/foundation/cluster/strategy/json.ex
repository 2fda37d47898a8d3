defmodule Foundation.Cluster.Strategy.Json do
  @moduledoc false
  # Reads JSON (RFC 8259) from whoever answers: strictly, to 64 levels, numbers of at most 64 characters. Objects become
  # maps with string keys; of equal keys the last one counts.

  @max_depth 64
  @max_number 64

  @spec decode(binary) :: {:ok, term} | {:error, :not_json}
  def decode(text) do
    if String.valid?(text) do
      {value, rest} = text |> space() |> value(0)
      if space(rest) == "", do: {:ok, value}, else: {:error, :not_json}
    else
      {:error, :not_json}
    end
  catch
    :not_json -> {:error, :not_json}
  end

  defp value("null" <> rest, _depth), do: {nil, rest}
  defp value("true" <> rest, _depth), do: {true, rest}
  defp value("false" <> rest, _depth), do: {false, rest}
  defp value("\"" <> rest, _depth), do: string(rest, [])
  defp value(_text, @max_depth), do: throw(:not_json)
  defp value("[" <> rest, depth), do: rest |> space() |> first_item(depth + 1)
  defp value("{" <> rest, depth), do: rest |> space() |> first_pair(depth + 1)
  defp value(text, _depth), do: number(text)

  defp first_item("]" <> rest, _depth), do: {[], rest}
  defp first_item(text, depth), do: items(text, depth, [])

  defp items(text, depth, done) do
    {item, rest} = value(text, depth)

    case space(rest) do
      "," <> rest -> rest |> space() |> items(depth, [item | done])
      "]" <> rest -> {Enum.reverse(done, [item]), rest}
      _ -> throw(:not_json)
    end
  end

  defp first_pair("}" <> rest, _depth), do: {%{}, rest}
  defp first_pair(text, depth), do: pairs(text, depth, [])

  defp pairs("\"" <> rest, depth, done) do
    {key, rest} = string(rest, [])

    {item, rest} =
      case space(rest) do
        ":" <> rest -> rest |> space() |> value(depth)
        _ -> throw(:not_json)
      end

    case space(rest) do
      "," <> rest -> rest |> space() |> pairs(depth, [{key, item} | done])
      "}" <> rest -> {Map.new(Enum.reverse(done, [{key, item}])), rest}
      _ -> throw(:not_json)
    end
  end

  defp pairs(_text, _depth, _done), do: throw(:not_json)

  defp string(text, done) do
    plain = plain(text, 0)
    run = binary_part(text, 0, plain)
    rest = binary_part(text, plain, byte_size(text) - plain)

    case rest do
      "\"" <> rest -> {IO.iodata_to_binary([done, run]), rest}
      "\\" <> rest -> escape(rest, [done, run])
      _ -> throw(:not_json)
    end
  end

  # How many bytes stand for themselves.
  defp plain(text, n) do
    if n < byte_size(text) and stands_for_itself?(:binary.at(text, n)), do: plain(text, n + 1), else: n
  end

  defp stands_for_itself?(byte), do: byte >= 0x20 and byte not in [?", ?\\]

  for {escaped, meant} <- [
        {?", ?"},
        {?\\, ?\\},
        {?/, ?/},
        {?b, ?\b},
        {?f, ?\f},
        {?n, ?\n},
        {?r, ?\r},
        {?t, ?\t}
      ] do
    defp escape(<<unquote(escaped), rest::binary>>, done), do: string(rest, [done, unquote(meant)])
  end

  defp escape(<<?u, high::binary-4, "\\u", low::binary-4, rest::binary>> = text, done) do
    case {unit(high), unit(low)} do
      {h, l} when h in 0xD800..0xDBFF and l in 0xDC00..0xDFFF ->
        string(rest, [done, <<0x10000 + (h - 0xD800) * 0x400 + (l - 0xDC00)::utf8>>])

      _ ->
        unpaired(text, done)
    end
  end

  defp escape(text, done), do: unpaired(text, done)

  defp unpaired(<<?u, digits::binary-4, rest::binary>>, done) do
    case unit(digits) do
      unit when unit in 0xD800..0xDFFF -> throw(:not_json)
      unit -> string(rest, [done, <<unit::utf8>>])
    end
  end

  defp unpaired(_text, _done), do: throw(:not_json)

  defp unit(digits) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<unit::16>>} -> unit
      :error -> throw(:not_json)
    end
  end

  defp number(text) do
    case Regex.run(
           ~r/\A-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/,
           binary_part(text, 0, min(byte_size(text), @max_number + 1))
         ) do
      [digits | _] when byte_size(digits) > @max_number -> throw(:not_json)
      [digits] -> {String.to_integer(digits), rest(text, digits)}
      [digits, fraction] -> {float(digits, fraction, ""), rest(text, digits)}
      [digits, fraction, exponent] -> {float(digits, fraction, exponent), rest(text, digits)}
      nil -> throw(:not_json)
    end
  end

  # 1e3 has no fraction, and Elixir wants one.
  defp float(digits, "", exponent),
    do: (String.trim_trailing(digits, exponent) <> ".0" <> exponent) |> to_float()

  defp float(digits, _fraction, _exponent), do: to_float(digits)

  defp to_float(digits) do
    String.to_float(digits)
  rescue
    ArgumentError -> throw(:not_json)
  end

  defp rest(text, digits), do: binary_part(text, byte_size(digits), byte_size(text) - byte_size(digits))

  defp space(<<c, rest::binary>>) when c in ~c" \t\r\n", do: space(rest)
  defp space(text), do: text
end
