defmodule LlmEvaluation.JSON do
  @moduledoc """
  Reads and writes JSON (RFC 8259), as far as a chat completion needs it: objects are maps with strings as keys.

  A project of yours has a library for this; this one has no dependency but Foundation.
  """

  @doc "The value of a text. `:error` for what is not JSON."
  @spec decode(binary) :: {:ok, term} | :error
  def decode(text) do
    case text |> skip() |> value() do
      {value, rest} -> if skip(rest) == "", do: {:ok, value}, else: :error
    end
  catch
    :not_json -> :error
  end

  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("\"" <> rest), do: string(rest, [])
  defp value("[" <> rest), do: rest |> skip() |> list([])
  defp value("{" <> rest), do: rest |> skip() |> object([])
  defp value(other), do: number(other)

  defp number(text) do
    case Regex.run(~r/\A-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/, text) do
      nil ->
        throw(:not_json)

      [digits | fraction] ->
        rest = binary_part(text, byte_size(digits), byte_size(text) - byte_size(digits))
        {if(fraction == [], do: String.to_integer(digits), else: float(digits)), rest}
    end
  end

  defp float(digits) do
    {float, ""} = Float.parse(digits)
    float
  end

  defp list("]" <> rest, done), do: {Enum.reverse(done), rest}

  defp list(text, done) do
    {value, rest} = value(text)

    case skip(rest) do
      "," <> rest -> rest |> skip() |> list([value | done])
      "]" <> rest -> {Enum.reverse([value | done]), rest}
      _ -> throw(:not_json)
    end
  end

  defp object("}" <> rest, done), do: {Map.new(done), rest}

  defp object("\"" <> text, done) do
    {key, rest} = string(text, [])

    with ":" <> rest <- skip(rest),
         {value, rest} = rest |> skip() |> value() do
      case skip(rest) do
        "," <> rest -> rest |> skip() |> object([{key, value} | done])
        "}" <> rest -> {Map.new([{key, value} | done]), rest}
        _ -> throw(:not_json)
      end
    else
      _ -> throw(:not_json)
    end
  end

  defp object(_other, _done), do: throw(:not_json)

  @escapes %{?" => "\"", ?\\ => "\\", ?/ => "/", ?b => "\b", ?f => "\f", ?n => "\n", ?r => "\r", ?t => "\t"}

  defp string("\"" <> rest, done), do: {done |> Enum.reverse() |> IO.iodata_to_binary(), rest}
  defp string("\\u" <> rest, done), do: unicode(rest, done)

  defp string(<<?\\, escaped, rest::binary>>, done) when is_map_key(@escapes, escaped),
    do: string(rest, [@escapes[escaped] | done])

  defp string(<<character::utf8, rest::binary>>, done) when character >= 0x20 and character != ?\\,
    do: string(rest, [<<character::utf8>> | done])

  defp string(_other, _done), do: throw(:not_json)

  # A character beyond 16 bits is written as two.
  defp unicode(text, done) do
    case hex(text) do
      {high, "\\u" <> rest} when high in 0xD800..0xDBFF ->
        {low, rest} = low(rest)
        string(rest, [character(0x10000 + (high - 0xD800) * 0x400 + low) | done])

      {code, rest} ->
        string(rest, [character(code) | done])
    end
  end

  defp low(text) do
    case hex(text) do
      {code, rest} when code in 0xDC00..0xDFFF -> {code - 0xDC00, rest}
      _other -> throw(:not_json)
    end
  end

  defp hex(<<digits::binary-size(4), rest::binary>>) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<code::16>>} -> {code, rest}
      :error -> throw(:not_json)
    end
  end

  defp hex(_other), do: throw(:not_json)

  defp character(code) when code in 0..0xD7FF or code in 0xE000..0x10FFFF, do: <<code::utf8>>
  defp character(_code), do: throw(:not_json)

  defp skip(<<space, rest::binary>>) when space in ~c" \t\r\n", do: skip(rest)
  defp skip(text), do: text

  @doc "The text of a value: nil, booleans, numbers, strings, lists, and maps with strings or atoms as keys."
  @spec encode(term) :: iodata
  def encode(nil), do: "null"
  def encode(boolean) when is_boolean(boolean), do: to_string(boolean)
  def encode(number) when is_number(number), do: to_string(number)
  def encode(atom) when is_atom(atom), do: encode(to_string(atom))
  def encode(list) when is_list(list), do: [?[, list |> Enum.map(&encode/1) |> Enum.intersperse(?,), ?]]

  def encode(map) when is_map(map) do
    pairs = for {key, value} <- map, do: [encode(to_string(key)), ?:, encode(value)]
    [?{, Enum.intersperse(pairs, ?,), ?}]
  end

  def encode(text) when is_binary(text), do: [?", for(<<c::utf8 <- text>>, do: escape(c)), ?"]

  defp escape(c) when c in [?", ?\\], do: [?\\, c]
  defp escape(c) when c < 0x20, do: ["\\u", c |> Integer.to_string(16) |> String.pad_leading(4, "0")]
  defp escape(c), do: <<c::utf8>>
end
