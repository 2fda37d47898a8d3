defmodule Foundation.HttpServer do
  @moduledoc false
  # A small HTTP server on a free port of the loopback interface, plain or with TLS, for what an HTTP client must cope
  # with. Paths:
  #
  #   /echo        the request as text: method, path, each header, an empty line, the body
  #   /status/N    that status       /redirect/S/N  a chain of N redirects of status S that ends in /echo
  #   /loop        redirects to itself              /to?URL  redirects there
  #   /slow        answers nothing   /truncated     promises 100 bytes, sends 3 and closes
  #   /chunked     a chunked body    /garbage       no HTTP

  @doc "Starts it, linked to the caller. `ssl:` takes options of `:ssl.listen/2`. `%{port: n, url: base}`."
  def start(opts \\ []) do
    ssl = opts[:ssl]
    options = [:binary, active: false, reuseaddr: true, ip: {127, 0, 0, 1}, backlog: 64]
    {transport, {:ok, listener}} = listen(ssl, options)
    {:ok, {_, port}} = if ssl, do: :ssl.sockname(listener), else: :inet.sockname(listener)
    spawn_link(fn -> accept(transport, listener) end)
    %{port: port, url: "#{if ssl, do: "https", else: "http"}://localhost:#{port}"}
  end

  defp listen(nil, options), do: {:gen_tcp, :gen_tcp.listen(0, options)}
  defp listen(ssl, options), do: {:ssl, :ssl.listen(0, options ++ ssl)}

  @doc "A certificate authority and a server certificate for localhost: options for the server, and the CA's DER."
  def certificates do
    san = {:Extension, {2, 5, 29, 17}, false, [dNSName: ~c"localhost"]}
    # SHA-1, the default, is not accepted from OTP 27 on.
    signed = [key: {:namedCurve, :secp256r1}, digest: :sha256]

    %{server_config: server, client_config: client} =
      :public_key.pkix_test_data(%{
        server_chain: %{root: signed, intermediates: [], peer: [{:extensions, [san]} | signed]},
        client_chain: %{root: signed, intermediates: [], peer: signed}
      })

    {Keyword.take(server, [:cert, :key]), client[:cacerts]}
  end

  defp accept(transport, listener) do
    case accepted(transport, listener) do
      {:ok, socket} ->
        serve_apart(transport, socket)
        accept(transport, listener)

      {:error, :closed} ->
        :ok
    end
  end

  defp serve_apart(transport, socket) do
    {pid, _} =
      spawn_monitor(fn ->
        receive do: (:go -> if(socket = handshake(transport, socket), do: serve(transport, socket)))
      end)

    transport.controlling_process(socket, pid)
    send(pid, :go)
  end

  defp accepted(:gen_tcp, listener), do: :gen_tcp.accept(listener)
  defp accepted(:ssl, listener), do: :ssl.transport_accept(listener)

  defp handshake(:gen_tcp, socket), do: socket

  defp handshake(:ssl, socket) do
    case :ssl.handshake(socket, 5_000) do
      {:ok, socket} -> socket
      {:error, _} -> nil
    end
  end

  defp serve(transport, socket, rest \\ "") do
    case request(transport, socket, rest) do
      {:ok, method, path, headers, body, rest} ->
        if answer(transport, socket, method, path, headers, body) == :close,
          do: transport.close(socket),
          else: serve(transport, socket, rest)

      :closed ->
        :ok
    end
  end

  defp request(transport, socket, data) do
    case String.split(data, "\r\n\r\n", parts: 2) do
      [head, rest] ->
        [line | headers] = String.split(head, "\r\n")
        [method, path, _version] = String.split(line, " ")
        with_body(transport, socket, method, path, headers, rest)

      [_] ->
        case transport.recv(socket, 0) do
          {:ok, more} -> request(transport, socket, data <> more)
          {:error, _} -> :closed
        end
    end
  end

  defp with_body(transport, socket, method, path, headers, rest) do
    length =
      Enum.find_value(headers, 0, fn header ->
        case String.split(String.downcase(header), ": ", parts: 2) do
          ["content-length", n] -> String.to_integer(n)
          _ -> nil
        end
      end)

    if byte_size(rest) >= length do
      {body, rest} = :erlang.split_binary(rest, length)
      {:ok, method, path, headers, body, rest}
    else
      {:ok, more} = transport.recv(socket, 0)
      with_body(transport, socket, method, path, headers, rest <> more)
    end
  end

  defp answer(transport, socket, method, path, headers, body) do
    case String.split(path, "/", trim: true) do
      ["status", n] ->
        reply(transport, socket, n, [], "status #{n}")

      ["redirect", status, "0"] ->
        redirect(transport, socket, status, "/echo")

      ["redirect", status, n] ->
        redirect(transport, socket, status, "/redirect/#{status}/#{String.to_integer(n) - 1}")

      ["loop"] ->
        redirect(transport, socket, "302", "/loop")

      ["to?" <> _ | _] ->
        redirect(transport, socket, "302", path |> String.split("?", parts: 2) |> Enum.at(1))

      ["slow"] ->
        transport.recv(socket, 0) && :close

      ["truncated"] ->
        transport.send(socket, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc") && :close

      ["garbage"] ->
        transport.send(socket, "what do you mean\r\n\r\n") && :close

      ["chunked"] ->
        transport.send(socket, chunked())

      _ ->
        reply(
          transport,
          socket,
          "200",
          [],
          Enum.join(["#{method} #{path}" | headers], "\n") <> "\n\n" <> body
        )
    end
  end

  defp chunked, do: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

  defp redirect(transport, socket, status, to),
    do: reply(transport, socket, status, ["Location: #{to}\r\n"], "")

  defp reply(transport, socket, status, headers, body) do
    transport.send(socket, [
      "HTTP/1.1 #{status} Whatever\r\nContent-Type: text/plain\r\nContent-Length: #{byte_size(body)}\r\n",
      headers,
      "\r\n",
      body
    ])
  end
end
