defmodule Foundation.Cluster.Strategy.Http do
  @moduledoc false
  # Requests of strategies, over httpc: one deadline for all of it, a bound on the body, TLS verified always. Each runs
  # in a process of its own with an httpc profile of its own: no connection, certificate or late answer outlives it.

  alias Foundation.Infrastructure.PoolWorkers.HttpWorker.Profile

  @timeout_ms 15_000
  @max_body 16 * 1_048_576

  @type reason ::
          :timeout
          | :closed
          | :body_too_large
          | :invalid_url
          | {:tls, term}
          | {:connect, term}
          | {:transport, term}

  @doc """
  The answer to a GET request, whatever its status. Options: `timeout` (15,000 ms), `max_body` (16 MiB), `cacertfile`,
  `cacerts` (the system's store when neither is given), `certfile`, `keyfile`.
  """
  @spec get(String.t(), [{String.t(), String.t()}], keyword) ::
          {:ok, status :: pos_integer, body :: binary} | {:error, reason}
  def get(url, headers, opts \\ []), do: ask(:get, url, headers, nil, opts)

  @doc "The answer to a POST request with that body, and its type; as `get/3`."
  @spec post(String.t(), [{String.t(), String.t()}], {type :: String.t(), binary}, keyword) ::
          {:ok, status :: pos_integer, body :: binary} | {:error, reason}
  def post(url, headers, {_type, _body} = content, opts \\ []), do: ask(:post, url, headers, content, opts)

  defp ask(method, url, headers, content, opts) do
    timeout = Keyword.get(opts, :timeout, @timeout_ms)
    caller = self()
    tag = make_ref()

    {pid, monitor} =
      spawn_monitor(fn -> send(caller, {tag, request({method, content}, url, headers, opts)}) end)

    receive do
      {^tag, answer} ->
        Process.demonitor(monitor, [:flush])
        answer

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        {:error, {:transport, reason}}
    after
      timeout + 1_000 ->
        Process.exit(pid, :kill)
        Process.demonitor(monitor, [:flush])
        receive do: ({^tag, _late} -> :ok), after: (0 -> :ok)
        {:error, :timeout}
    end
  end

  defp request({method, content}, url, headers, opts) do
    timeout = Keyword.get(opts, :timeout, @timeout_ms)

    with :ok <- usable(url), {:ok, tls} <- tls(url, opts) do
      profile = Profile.start()
      :httpc.set_options([ipfamily: :inet6fb4, max_keep_alive_length: 0], profile)
      request = complete({String.to_charlist(url), Enum.map(headers, &header/1)}, content)
      http_options = [timeout: timeout, connect_timeout: timeout, autoredirect: false] ++ tls
      options = [sync: false, stream: :self, body_format: :binary]

      case :httpc.request(method, request, http_options, options, profile) do
        {:ok, id} -> collect(id, deadline(timeout), Keyword.get(opts, :max_body, @max_body), [], 0)
        {:error, reason} -> {:error, reason(reason)}
      end
    end
  end

  defp header({name, value}), do: {String.to_charlist(name), :binary.bin_to_list(value)}

  # The type of the content goes beside the headers there.
  defp complete(request, nil), do: request

  defp complete({url, headers}, {type, body}),
    do: {url, List.keydelete(headers, ~c"content-type", 0), String.to_charlist(type), body}

  defp collect(id, deadline, max, chunks, size) do
    receive do
      {:http, {^id, :stream_start, _headers}} ->
        collect(id, deadline, max, chunks, size)

      {:http, {^id, :stream, chunk}} when size + byte_size(chunk) > max ->
        {:error, :body_too_large}

      {:http, {^id, :stream, chunk}} ->
        collect(id, deadline, max, [chunks, chunk], size + byte_size(chunk))

      {:http, {^id, :stream_end, _headers}} ->
        {:ok, 200, IO.iodata_to_binary(chunks)}

      {:http, {^id, {:error, reason}}} ->
        {:error, reason(reason)}

      {:http, {^id, {{_version, _status, _phrase}, _headers, body}}} when byte_size(body) > max ->
        {:error, :body_too_large}

      {:http, {^id, {{_version, status, _phrase}, _headers, body}}} ->
        {:ok, status, body}
    after
      left(deadline) -> {:error, :timeout}
    end
  end

  defp usable(url) do
    uri = URI.parse(url)
    clean = not (url =~ ~r/[\x00-\x20\x7f]/)

    if clean and uri.scheme in ["http", "https"] and uri.host not in [nil, ""],
      do: :ok,
      else: {:error, :invalid_url}
  end

  defp tls("https:" <> _, opts) do
    with {:ok, trusted} <- trusted(opts) do
      verified = [
        verify: :verify_peer,
        depth: 10,
        customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
      ]

      {:ok, [ssl: verified ++ trusted ++ files(Keyword.take(opts, [:certfile, :keyfile]))]}
    end
  end

  defp tls(_url, _opts), do: {:ok, []}

  defp trusted(opts) do
    cond do
      opts[:cacerts] -> {:ok, [cacerts: opts[:cacerts]]}
      opts[:cacertfile] -> {:ok, files(cacertfile: opts[:cacertfile])}
      true -> {:ok, [cacerts: :public_key.cacerts_get()]}
    end
  rescue
    # cacerts_get/0 raises where the system has no store.
    _ in [ErlangError, MatchError] -> {:error, {:tls, :no_system_certificates}}
  end

  defp files(options), do: for({key, path} <- options, do: {key, String.to_charlist(path)})

  defp deadline(ms), do: System.monotonic_time(:millisecond) + ms
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  defp reason(:timeout), do: :timeout
  defp reason(:socket_closed_remotely), do: :closed
  defp reason({:shutdown, :server_closed}), do: :closed
  defp reason({:shutdown, {:tls_alert, {alert, _}}}), do: {:tls, alert}
  defp reason({:tls_alert, {alert, _}}), do: {:tls, alert}

  defp reason({:failed_connect, details}) when is_list(details),
    do: details |> connect_errors() |> connect_reason()

  defp reason({:shutdown, reason}), do: reason(reason)
  defp reason(other), do: {:transport, other}

  # Both address families may have been tried, and one of them is often simply not there.
  defp connect_errors(details), do: for({family, _, reason} <- details, family in [:inet, :inet6], do: reason)

  defp connect_reason(reasons) do
    case Enum.sort_by(reasons, &weight/1) do
      [{:tls_alert, {alert, _}} | _] -> {:tls, alert}
      [{:options, _} = reason | _] -> {:tls, reason}
      [:timeout | _] -> :timeout
      [reason | _] -> {:connect, reason}
      [] -> {:connect, :unknown}
    end
  end

  defp weight({_, _}), do: 0
  defp weight(reason) when reason in [:nxdomain, :eafnosupport, :enetunreach], do: 2
  defp weight(_), do: 1
end
