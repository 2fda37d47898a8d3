defmodule Foundation.Cluster.Federation.Pem do
  @moduledoc false
  # Certificates from PEM text and to it (RFC 7468).

  @block ~r/-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+\/=\s]+?)-----END CERTIFICATE-----/

  @spec encode([binary]) :: String.t()
  def encode(certificates), do: Enum.map_join(certificates, &block/1)

  defp block(der) do
    lines =
      for <<line::binary-size(64) <- padded(Base.encode64(der))>>, do: String.trim_trailing(line) <> "\n"

    "-----BEGIN CERTIFICATE-----\n#{lines}-----END CERTIFICATE-----\n"
  end

  defp padded(text), do: String.pad_trailing(text, div(byte_size(text) + 63, 64) * 64)

  @doc "The certificates in a text; an error when there are none."
  @spec decode(String.t()) :: {:ok, [binary]} | :error
  def decode(text) do
    found = for [_, body] <- Regex.scan(@block, text), do: Base.decode64(body, ignore: :whitespace)
    if found != [] and Enum.all?(found, &match?({:ok, _}, &1)), do: {:ok, Keyword.values(found)}, else: :error
  end
end
