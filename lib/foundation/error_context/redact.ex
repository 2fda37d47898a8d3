defmodule Foundation.ErrorContext.Redact do
  @moduledoc false
  # Knows which keys name secrets, and what secrets look like in text.
  #
  # A key is compared in small letters without `_`, `-` and blanks. "token" must end it, so that
  # `access_token` is hidden and `max_tokens` is not; the others may stand anywhere in it. More names come
  # from `config :foundation, error_context: [redact: ["pin", ...]]`.

  alias Foundation.ErrorContext.Store

  @mark "[REDACTED]"
  @anywhere ~w(password passwd passphrase secret apikey authorization credential privatekey encryptionkey cookie)
  @at_end ~w(token)

  @doc "What stands in place of a secret."
  @spec mark() :: String.t()
  def mark, do: @mark

  @doc "Whether what stands under this key is a secret."
  @spec key?(term) :: boolean
  def key?(key) when is_atom(key), do: key |> Atom.to_string() |> name?()
  def key?(key) when is_binary(key) and byte_size(key) <= 128, do: String.valid?(key) and name?(key)
  def key?(_key), do: false

  @doc "Whether there is anything to hide: nil and booleans are no secrets."
  @spec hides?(term) :: boolean
  def hides?(value), do: not is_nil(value) and not is_boolean(value)

  @doc "The text without bearer tokens, passwords in URLs and secrets in query strings."
  @spec text(String.t()) :: String.t()
  def text(text) do
    if suspicious?(text) do
      text
      |> replace(~r/\b(bearer|basic)\s+[A-Za-z0-9._~+\/=-]{6,}/i, "\\1 #{@mark}")
      |> replace(~r/(:\/\/[^\/@\s:]*):[^@\s\/]+@/, "\\1:#{@mark}@")
      |> replace(
        ~r/\b([A-Za-z_-]*(?:api_?key|token|password|passwd|secret)["']?\s*[=:]\s*["']?)[^&\s"',;}]+/i,
        "\\1#{@mark}"
      )
    else
      text
    end
  end

  defp replace(text, regex, by), do: Regex.replace(regex, text, by)

  # Most texts hold none of what the expressions look for.
  defp suspicious?(text), do: String.contains?(text, [":", "=", "earer", "EARER", "asic", "ASIC"])

  defp name?(name) do
    plain = plain(name)
    String.ends_with?(plain, @at_end) or String.contains?(plain, needles())
  end

  # Small ASCII letters without separators; other characters are not what the names are made of.
  defp plain(name) do
    for <<char <- name>>, char not in [?_, ?-, ?\s],
      into: <<>>,
      do: <<if(char in ?A..?Z, do: char + 32, else: char)>>
  end

  # Searching for several names needs a machine that takes longer to build than to run, so it is kept.
  defp needles do
    more = Store.configured(:redact, [])

    case :persistent_term.get(__MODULE__, nil) do
      {^more, pattern} ->
        pattern

      _ ->
        names = for name <- more, plain = name |> to_string() |> plain(), plain != "", do: plain
        pattern = :binary.compile_pattern(@anywhere ++ names)
        :persistent_term.put(__MODULE__, {more, pattern})
        pattern
    end
  end
end
