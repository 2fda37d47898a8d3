defmodule Foundation.ApiServer do
  @moduledoc false
  # An HTTP server on a free port of the loopback interface, plain or with TLS, whose answers come from a function of the
  # request: what an API does, and what it should not do.
  #
  #   {status, body}         that answer            {:truncated, body}  half of what the length promises
  #   {:drip, body}          a byte each 20 ms      :slow               nothing, until the client leaves
  #   :garbage               no HTTP                {:endless, chunk}   chunks for ever

  @type request :: %{
          method: String.t(),
          body: binary,
          path: String.t(),
          query: %{String.t() => String.t()},
          headers: %{String.t() => String.t()}
        }

  @doc "Starts it, linked to the caller. Options: `ssl:` options of `:ssl.listen/2`."
  def start(answer, opts \\ []) do
    ssl = opts[:ssl]
    options = [:binary, active: false, reuseaddr: true, ip: {127, 0, 0, 1}, backlog: 64]
    transport = if ssl, do: :ssl, else: :gen_tcp
    {:ok, answers} = Agent.start_link(fn -> {answer, []} end)
    {:ok, listener} = transport.listen(opts[:port] || 0, options ++ (ssl || []))
    {:ok, {_, port}} = if ssl, do: :ssl.sockname(listener), else: :inet.sockname(listener)
    pid = spawn_link(fn -> accept(transport, listener, answers) end)
    transport.controlling_process(listener, pid)
    %{url: "#{if ssl, do: "https", else: "http"}://localhost:#{port}", port: port, answers: answers, pid: pid}
  end

  @doc "From now on it answers with another function."
  def answer_with(server, answer), do: Agent.update(server.answers, fn {_, seen} -> {answer, seen} end)

  @doc "The requests since the last call of this."
  def requests(server),
    do: Agent.get_and_update(server.answers, fn {answer, seen} -> {Enum.reverse(seen), {answer, []}} end)

  @doc "Stops to listen: further connections are refused."
  def stop(server) do
    Process.unlink(server.pid)
    Process.exit(server.pid, :kill)
  end

  @doc "A directory with what a service account is given: token, namespace and the CA's certificate."
  def service_account(cacerts, token \\ "the-token") do
    path = Path.join(System.tmp_dir!(), "account_#{System.pid()}_#{System.unique_integer([:positive])}")
    File.mkdir_p!(path)
    File.write!(Path.join(path, "token"), token <> "\n")
    File.write!(Path.join(path, "namespace"), "here")
    pem = :public_key.pem_encode(for der <- cacerts, do: {:Certificate, der, :not_encrypted})
    File.write!(Path.join(path, "ca.crt"), pem)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(path) end)
    path
  end

  defp accept(transport, listener, answers) do
    {:ok, socket} = if transport == :ssl, do: :ssl.transport_accept(listener), else: :gen_tcp.accept(listener)
    pid = spawn(fn -> receive do: (:go -> serve(transport, socket, answers)) end)
    transport.controlling_process(socket, pid)
    send(pid, :go)
    accept(transport, listener, answers)
  end

  defp serve(:ssl, socket, answers) do
    with {:ok, socket} <- :ssl.handshake(socket, 5_000), do: one(:ssl, socket, answers)
  end

  defp serve(:gen_tcp, socket, answers), do: one(:gen_tcp, socket, answers)

  defp one(transport, socket, answers) do
    with {:ok, request} <- request(transport, socket, "") do
      answer = Agent.get_and_update(answers, fn {answer, seen} -> {answer, {answer, [request | seen]}} end)
      reply(transport, socket, answer.(request))
    end

    transport.close(socket)
  end

  defp request(transport, socket, data) do
    case String.split(data, "\r\n\r\n", parts: 2) do
      [head, body] ->
        [line | headers] = String.split(head, "\r\n")
        [method, target, _version] = String.split(line, " ")
        uri = URI.parse(target)

        headers =
          for header <- headers,
              [name, value] = String.split(header, ": ", parts: 2),
              into: %{},
              do: {String.downcase(name), value}

        with {:ok, body} <- body(transport, socket, body, headers) do
          query = URI.decode_query(uri.query || "")
          {:ok, %{method: method, path: uri.path, query: query, headers: headers, body: body}}
        end

      [_] ->
        with {:ok, more} <- transport.recv(socket, 0, 5_000), do: request(transport, socket, data <> more)
    end
  end

  defp body(transport, socket, body, headers) do
    case String.to_integer(headers["content-length"] || "0") - byte_size(body) do
      0 -> {:ok, body}
      left -> with {:ok, more} <- transport.recv(socket, left, 5_000), do: {:ok, body <> more}
    end
  end

  defp reply(transport, socket, {status, body}) when is_integer(status),
    do: transport.send(socket, [head(status, byte_size(body)), body])

  defp reply(transport, socket, {:truncated, body}),
    do: transport.send(socket, [head(200, 2 * byte_size(body)), body])

  defp reply(transport, socket, {:drip, body}) do
    transport.send(socket, head(200, byte_size(body)))

    for <<byte <- body>> do
      transport.send(socket, <<byte>>)
      Process.sleep(20)
    end
  end

  defp reply(transport, socket, {:endless, chunk}) do
    transport.send(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    framed = [Integer.to_string(byte_size(chunk), 16), "\r\n", chunk, "\r\n"]
    Enum.find(Stream.repeatedly(fn -> transport.send(socket, framed) end), &(&1 != :ok))
  end

  defp reply(transport, socket, :slow), do: transport.recv(socket, 0)
  defp reply(transport, socket, :garbage), do: transport.send(socket, "what do you mean\r\n\r\n")

  defp head(status, length),
    do:
      "HTTP/1.1 #{status} Whatever\r\nContent-Type: application/json\r\nContent-Length: #{length}\r\nConnection: close\r\n\r\n"
end
