defmodule LlmEvaluation.ProviderServer do
  @moduledoc """
  A local HTTP server that behaves like a provider of language models: `POST /v1/chat/completions`.

  It limits requests and tokens and says so in `x-ratelimit-*` headers, answers 429 with `retry-after` beyond them, sometimes
  500, sometimes late, and for a while not at all. Its model does sums, and gets some of them wrong. All of that follows from
  `seed` and the number of the request, or the question.
  """

  use GenServer

  alias LlmEvaluation.JSON

  @typedoc """
  `requests` and `tokens` a second; `latency_ms` of most answers; shares in 10,000: `errors` (500), `slow` (of `slow_ms`) and
  `wrong` answers; `outage`, the numbers of the requests that are answered 503.
  """
  @type settings :: %{
          name: atom,
          seed: integer,
          requests: pos_integer,
          tokens: pos_integer,
          latency_ms: Range.t(),
          errors: 0..10_000,
          slow: 0..10_000,
          slow_ms: pos_integer,
          wrong: 0..10_000,
          outage: Range.t()
        }

  @receive_ms 60_000
  @most_bytes 65_536

  @spec start_link(settings) :: GenServer.on_start()
  def start_link(settings), do: GenServer.start_link(__MODULE__, settings)

  @doc "Where it answers."
  @spec url(pid) :: String.t()
  def url(server), do: "http://127.0.0.1:#{GenServer.call(server, :port)}"

  @doc "How many requests it answered with which status."
  @spec answered(pid) :: %{pos_integer => pos_integer}
  def answered(server), do: GenServer.call(server, :answered)

  # -- the limits ----------------------------------------------------------------------------------------------------

  @impl true
  def init(settings) do
    {:ok, listener} =
      :gen_tcp.listen(0, [
        :binary,
        ip: {127, 0, 0, 1},
        packet: :http_bin,
        active: false,
        nodelay: true,
        backlog: 256
      ])

    {:ok, port} = :inet.port(listener)
    server = self()
    spawn_link(fn -> accept(listener, server, settings) end)
    full = %{requests: settings.requests * 1.0, tokens: settings.tokens * 1.0}
    {:ok, %{settings: settings, port: port, left: full, at: now(), number: 0, answered: %{}}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:answered, _from, state), do: {:reply, state.answered, state}

  def handle_call({:admit, tokens}, _from, state) do
    state = fill(%{state | number: state.number + 1})
    %{left: left, settings: settings} = state

    wait_ms =
      max((1 - left.requests) * 1_000 / settings.requests, (tokens - left.tokens) * 1_000 / settings.tokens)

    {decision, left} =
      if wait_ms > 0,
        do: {{:limited, ceil(wait_ms)}, left},
        else: {:admitted, %{requests: left.requests - 1, tokens: left.tokens - tokens}}

    {:reply, {decision, state.number, headers(left, settings)}, %{state | left: left}}
  end

  @impl true
  def handle_cast({:answered, status}, state),
    do: {:noreply, update_in(state.answered[status], &((&1 || 0) + 1))}

  defp fill(state) do
    now = now()
    since = (now - state.at) / 1_000

    left =
      for {dimension, left} <- state.left, into: %{} do
        {dimension, min(left + since * state.settings[dimension], state.settings[dimension] * 1.0)}
      end

    %{state | left: left, at: now}
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp headers(left, settings) do
    for dimension <- [:requests, :tokens],
        {what, amount} <- [limit: settings[dimension], remaining: floor(left[dimension])],
        do: {"x-ratelimit-#{what}-#{dimension}", to_string(amount)}
  end

  # -- connections ---------------------------------------------------------------------------------------------------

  defp accept(listener, server, settings) do
    case :gen_tcp.accept(listener) do
      {:ok, socket} ->
        pid = spawn(fn -> serve(socket, server, settings) end)
        _ = :gen_tcp.controlling_process(socket, pid)
        accept(listener, server, settings)

      {:error, :closed} ->
        :ok
    end
  end

  defp serve(socket, server, settings) do
    with {:ok, {:http_request, method, {:abs_path, path}, _version}} <- :gen_tcp.recv(socket, 0, @receive_ms),
         {:ok, length} <- length_of_body(socket, 0),
         {:ok, body} <- body(socket, length),
         {status, headers, answer} = answer(method, path, body, server, settings),
         GenServer.cast(server, {:answered, status}),
         :ok <- :gen_tcp.send(socket, response(status, headers, answer)) do
      serve(socket, server, settings)
    else
      _ -> :gen_tcp.close(socket)
    end
  end

  defp length_of_body(socket, length) do
    case :gen_tcp.recv(socket, 0, @receive_ms) do
      {:ok, {:http_header, _, :"Content-Length", _, value}} ->
        length_of_body(socket, String.to_integer(value))

      {:ok, {:http_header, _, _name, _, _value}} ->
        length_of_body(socket, length)

      {:ok, :http_eoh} when length <= @most_bytes ->
        {:ok, length}

      _ ->
        :error
    end
  end

  defp body(_socket, 0), do: {:ok, ""}

  defp body(socket, length) do
    :ok = :inet.setopts(socket, packet: :raw)

    with {:ok, body} <- :gen_tcp.recv(socket, length, @receive_ms) do
      :ok = :inet.setopts(socket, packet: :http_bin)
      {:ok, body}
    end
  end

  defp response(status, headers, answer) do
    body = answer |> JSON.encode() |> IO.iodata_to_binary()
    headers = [{"content-type", "application/json"}, {"content-length", to_string(byte_size(body))} | headers]

    [
      "HTTP/1.1 #{status} #{reason(status)}\r\n",
      for({name, value} <- headers, do: [name, ": ", value, "\r\n"]),
      "\r\n",
      body
    ]
  end

  defp reason(200), do: "OK"
  defp reason(400), do: "Bad Request"
  defp reason(404), do: "Not Found"
  defp reason(429), do: "Too Many Requests"
  defp reason(500), do: "Internal Server Error"
  defp reason(503), do: "Service Unavailable"

  # -- answers -------------------------------------------------------------------------------------------------------

  defp answer(:POST, "/v1/chat/completions", body, server, settings) do
    case JSON.decode(body) do
      {:ok, %{"messages" => [_ | _] = messages, "max_tokens" => most}} when is_integer(most) ->
        text = Enum.map_join(messages, "\n", & &1["content"])
        input = tokens(text)

        server
        |> GenServer.call({:admit, input + most})
        |> decide(text, input, settings)

      _other ->
        error(400, "invalid_request", [])
    end
  end

  defp answer(_method, _path, _body, _server, _settings), do: error(404, "not_found", [])

  defp decide({{:limited, wait_ms}, _number, headers}, _text, _input, _settings) do
    retry = [{"retry-after", wait_ms |> Kernel./(1_000) |> ceil() |> to_string()}]
    error(429, "rate_limit_exceeded", retry ++ headers)
  end

  defp decide({:admitted, number, headers}, text, input, settings) do
    draw = draw(settings, number)

    cond do
      number in settings.outage ->
        error(503, "overloaded", headers)

      draw < settings.errors ->
        error(500, "internal_error", headers)

      true ->
        slow? = draw < settings.errors + settings.slow
        latency = if slow?, do: settings.slow_ms, else: usual(settings, number)
        Process.sleep(latency)
        {200, headers, completion(text, input, settings)}
    end
  end

  defp usual(%{latency_ms: range} = settings, number),
    do: Enum.at(range, rem(draw(settings, {:latency, number}), Enum.count(range)))

  defp error(status, code, headers), do: {status, headers, %{error: %{code: code}}}

  defp completion(text, input, settings) do
    content = "Answer: #{model(text, settings)}"

    %{
      object: "chat.completion",
      model: settings.name,
      choices: [%{index: 0, finish_reason: "stop", message: %{role: "assistant", content: content}}],
      usage: %{prompt_tokens: input, completion_tokens: tokens(content)}
    }
  end

  # Four bytes a token, as a rule of thumb says of English.
  defp tokens(text), do: div(byte_size(text) + 3, 4)

  defp model(text, settings) do
    case Regex.run(~r/What is (\d+) (plus|minus|times) (\d+)\?/, text) do
      [question, a, operation, b] ->
        right = compute(operation, String.to_integer(a), String.to_integer(b))
        if draw(settings, question) < settings.wrong, do: right + 1, else: right

      nil ->
        "I do not know"
    end
  end

  defp compute("plus", a, b), do: a + b
  defp compute("minus", a, b), do: a - b
  defp compute("times", a, b), do: a * b

  defp draw(settings, what), do: :erlang.phash2({settings.seed, settings.name, what}, 10_000)
end
