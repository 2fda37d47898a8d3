defmodule Foundation.Cluster.Strategy.Gossip.Packet do
  @moduledoc false
  # The packets of libcluster's gossip, byte for byte: `heartbeat::` and the external term `%{node: name}`; with a secret,
  # a 16-byte IV and the same under AES-256-CBC, PKCS #7, with the SHA-256 of the secret for a key.
  #
  # Reading makes no term of what came: the few bytes a heartbeat may have are taken apart by hand, and the name is
  # handed on as a binary, so that a stranger's packets create no atoms.

  @prelude "heartbeat::"
  @longest 2_048

  @doc "The packet that says this node is here."
  @spec encode(node, binary | nil) :: binary
  def encode(node, nil), do: @prelude <> :erlang.term_to_binary(%{node: node})

  def encode(node, secret) do
    iv = :crypto.strong_rand_bytes(16)
    plain = node |> encode(nil) |> pad()
    iv <> :crypto.crypto_one_time(:aes_256_cbc, key(secret), iv, plain, true)
  end

  @doc "The node's name in a packet, or `:error`. O(bytes), at most 2 KiB are looked at."
  @spec decode(binary, binary | nil) :: {:ok, String.t()} | :error
  def decode(packet, _secret) when byte_size(packet) > @longest, do: :error
  def decode(<<@prelude, term::binary>>, nil), do: name(term)
  def decode(_packet, nil), do: :error

  def decode(<<iv::binary-size(16), cipher::binary>>, secret)
      when cipher != "" and rem(byte_size(cipher), 16) == 0 do
    plain = :crypto.crypto_one_time(:aes_256_cbc, key(secret), iv, cipher, false)

    case unpad(plain) do
      {:ok, <<@prelude, term::binary>>} -> name(term)
      _ -> :error
    end
  end

  def decode(_packet, _secret), do: :error

  # A map whose keys are atoms; only `node` matters. libcluster writes one pair; others may add small ones.
  defp name(<<131, 116, pairs::32, rest::binary>>) when pairs in 1..8, do: pair(rest, pairs, nil)
  defp name(_term), do: :error

  defp pair("", 0, name) when is_binary(name), do: valid(name)
  defp pair(_rest, 0, _name), do: :error

  defp pair(bytes, left, name) do
    with {:atom, key, rest} <- value(bytes),
         {kind, value, rest} <- value(rest) do
      if key == "node" and kind == :atom,
        do: pair(rest, left - 1, value),
        else: pair(rest, left - 1, name)
    end
  end

  defp value(<<100, size::16, text::binary-size(size), rest::binary>>), do: {:atom, latin1(text), rest}
  defp value(<<115, size, text::binary-size(size), rest::binary>>), do: {:atom, latin1(text), rest}
  defp value(<<118, size::16, text::binary-size(size), rest::binary>>), do: {:atom, text, rest}
  defp value(<<119, size, text::binary-size(size), rest::binary>>), do: {:atom, text, rest}
  defp value(<<109, size::32, text::binary-size(size), rest::binary>>), do: {:binary, text, rest}
  defp value(<<97, number, rest::binary>>), do: {:integer, number, rest}
  defp value(<<98, number::signed-32, rest::binary>>), do: {:integer, number, rest}
  defp value(_bytes), do: :error

  defp latin1(text), do: :unicode.characters_to_binary(text, :latin1)

  defp valid(name) do
    if byte_size(name) <= 255 and String.valid?(name) and
         Regex.match?(~r/\A[^@\s[:cntrl:]]+@[^@\s[:cntrl:]]+\z/u, name),
       do: {:ok, name},
       else: :error
  end

  defp key(secret), do: :crypto.hash(:sha256, secret)

  defp pad(plain) do
    size = 16 - rem(byte_size(plain), 16)
    plain <> :binary.copy(<<size>>, size)
  end

  defp unpad(plain) do
    size = :binary.last(plain)
    kept = byte_size(plain) - size

    if size in 1..16 and kept >= 0 and binary_part(plain, kept, size) == :binary.copy(<<size>>, size),
      do: {:ok, binary_part(plain, 0, kept)},
      else: :error
  end
end
