defmodule Foundation.Cluster.Doctor.Handshake do
  @moduledoc false
  # Erlang's distribution handshake (version 6, OTP 23 and later), far enough to learn why a node would refuse this one, and
  # no further: the connection is closed as soon as both sides have proven the cookie. The name used is one that
  # nobody has, and hidden.

  alias Foundation.Cluster.Doctor.Net

  @receive_ms 3_000
  @hidden 0xFFFFFFFFFFFFFFFE
  @handshake_23 0x1000000
  @challenge_bytes 4

  @type reason :: {:connect, atom} | :silent | :closed | :cookie | {:refused, String.t()} | :not_erlang | :tls

  @doc "The name that the node there answers with, or how far it came."
  @spec probe(:inet.ip_address(), :inet.port_number(), atom) :: {:ok, String.t()} | {:error, reason}
  def probe(address, port, cookie) do
    case Net.connect(address, port, packet: 2, nodelay: true) do
      {:ok, socket} ->
        answer = greet(socket, cookie)
        :gen_tcp.close(socket)
        answer

      {:error, reason} ->
        {:error, {:connect, reason}}
    end
  end

  defp greet(socket, cookie) do
    name = "doctor-#{Base.encode16(:crypto.strong_rand_bytes(6), case: :lower)}@#{Net.host(node())}"
    hello = <<?N, flags()::64, 1::32, byte_size(name)::16, name::binary>>

    with :ok <- :gen_tcp.send(socket, hello),
         {:ok, <<?s, status::binary>>} <- receive_packet(socket, :silent),
         :ok <- status(status),
         {:ok, challenge, peer} <- challenge(socket) do
      prove(socket, cookie, challenge, peer)
    else
      {:ok, _other} -> {:error, :not_erlang}
      {:error, reason} when is_atom(reason) or is_tuple(reason) -> {:error, reason}
    end
  end

  defp status("ok"), do: :ok
  defp status("ok_simultaneous"), do: :ok
  defp status("named:" <> _), do: :ok
  defp status(other), do: {:error, {:refused, String.slice(other, 0, 40)}}

  defp challenge(socket) do
    case receive_packet(socket, :closed) do
      {:ok,
       <<?N, _flags::64, challenge::32, _creation::32, length::16, peer::binary-size(length), _::binary>>} ->
        {:ok, challenge, peer}

      {:ok, <<?n, _version::16, _flags::32, challenge::32, peer::binary>>} ->
        {:ok, challenge, peer}

      {:ok, _} ->
        {:error, :not_erlang}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp prove(socket, cookie, challenge, peer) do
    <<own::32>> = :crypto.strong_rand_bytes(@challenge_bytes)
    expected = digest(cookie, own)

    with :ok <- :gen_tcp.send(socket, <<?r, own::32, digest(cookie, challenge)::binary>>),
         {:ok, <<?a, ^expected::binary-16>>} <- receive_packet(socket, :cookie) do
      {:ok, peer}
    else
      {:ok, _} -> {:error, :cookie}
      {:error, _} -> {:error, :cookie}
    end
  end

  defp digest(cookie, challenge), do: :erlang.md5("#{cookie}#{challenge}")

  # What a close at this point means.
  defp receive_packet(socket, meaning) do
    case :gen_tcp.recv(socket, 0, @receive_ms) do
      {:ok, packet} -> {:ok, packet}
      {:error, :timeout} when meaning == :silent -> {:error, :silent}
      {:error, :closed} when meaning == :silent -> {:error, :closed}
      {:error, _} -> {:error, meaning}
    end
  end

  # The runtime's own, less the one that says that this node is to be seen by others.
  defp flags do
    default = elem(:erts_internal.get_dflags(), 1)
    Bitwise.band(Bitwise.bor(default, @handshake_23), @hidden)
  end
end
