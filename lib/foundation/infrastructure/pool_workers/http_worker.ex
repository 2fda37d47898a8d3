defmodule Foundation.Infrastructure.PoolWorkers.HttpWorker do
  @moduledoc """
  Makes HTTP requests to one base URL, over OTP's `httpc`: a worker for a pool.

      {:ok, _} =
        ConnectionManager.start_pool(:api,
          size: 4,
          worker_module: HttpWorker,
          worker_args: [base_url: "https://api.example.com", timeout: 10_000]
        )

      ConnectionManager.with_connection(:api, fn worker -> HttpWorker.get(worker, "/users", params: [page: 2]) end)

  Whatever status the server answers with is `{:ok, %{status_code: integer, headers: [{name, value}], body: binary}}`,
  with header names in lower case. Errors are those of the transport:

    * `:timeout`: no complete answer within `timeout` ms, redirects included
    * `:econnrefused`, `:nxdomain`, `:ehostunreach` …: no connection
    * `:closed`: the server closed the connection before its answer was complete
    * `{:tls, alert}`: the TLS handshake failed, `:unknown_ca` or `:handshake_failure` for example
    * `{:tls, :no_system_certificates}`: the system has no certificate store and none was given
    * `:too_many_redirects`, `{:invalid_redirect, location}` (no HTTP URL, or from HTTPS to HTTP)
    * `{:invalid_request, what}`: a path or header with control characters, headers or params of the wrong shape
    * `{:no_json, term}`: a body that has no JSON form

  Each worker has an `httpc` profile of its own: connections and their certificates are shared with nobody. Certificates
  are verified against the system's store, or `cacerts:` or `cacertfile:`, and so is the host's name.
  """

  use GenServer
  alias Foundation.Infrastructure.PoolWorkers.HttpWorker.{Profile, Request}

  @type worker_config :: [
          base_url: String.t(),
          timeout: timeout,
          headers: [{String.t(), String.t()}],
          max_redirects: non_neg_integer
        ]

  @defaults [timeout: 30_000, headers: [{"User-Agent", "Foundation/1.0"}], max_redirects: 5]

  @doc """
  Starts a worker. `base_url` is needed; `timeout` (30,000 ms) is for a whole request, `headers`
  (`[{"User-Agent", "Foundation/1.0"}]`) go with each one, `max_redirects` (5) are followed. For TLS: `cacerts` (DER
  binaries) or `cacertfile`, and `certfile` and `keyfile` where the server wants to know its client.

  Stops with `{:invalid_config, :missing_base_url | :empty_base_url | :invalid_base_url_type | :invalid_scheme}`.
  """
  @spec start_link(worker_config) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config)

  @doc "Makes a GET request. Options: `params` (a keyword list, for the query) and `headers`, which replace equal ones."
  @spec get(pid, String.t(), keyword) :: {:ok, map} | {:error, term}
  def get(worker, path, options \\ []),
    do: GenServer.call(worker, {:request, :get, path, nil, options}, :infinity)

  @doc """
  Makes a POST request. A binary body is sent as it is, `{:form, pairs}` as a form, `{:iodata, data}` as bytes, and
  anything else as JSON. A `content-type` header among `headers` replaces that of the body's kind.
  """
  @spec post(pid, String.t(), term, keyword) :: {:ok, map} | {:error, term}
  def post(worker, path, body, options \\ []),
    do: GenServer.call(worker, {:request, :post, path, body, options}, :infinity)

  @doc """
  `base_url`, `timeout`, `headers`, `stats` (`requests_made`, `last_request_at`, `errors`) and `uptime`, the worker's
  age in native time units.
  """
  @spec get_status(pid) :: {:ok, map}
  def get_status(worker), do: GenServer.call(worker, :get_status, :infinity)

  @impl true
  def init(config) do
    config = Keyword.merge(@defaults, config)

    case base_url(config[:base_url]) do
      :ok -> {:ok, new_state(config)}
      {:error, reason} -> {:stop, {:invalid_config, reason}}
    end
  end

  defp base_url(nil), do: {:error, :missing_base_url}
  defp base_url(""), do: {:error, :empty_base_url}
  defp base_url("http://" <> _), do: :ok
  defp base_url("https://" <> _), do: :ok
  defp base_url(url) when is_binary(url), do: {:error, :invalid_scheme}
  defp base_url(_), do: {:error, :invalid_base_url_type}

  defp new_state(config) do
    %{
      base_url: config[:base_url],
      timeout: config[:timeout],
      headers: config[:headers],
      max_redirects: config[:max_redirects],
      tls: Keyword.take(config, [:cacerts, :cacertfile, :certfile, :keyfile]),
      profile: Profile.start(),
      started: System.monotonic_time(),
      stats: %{requests_made: 0, last_request_at: nil, errors: 0}
    }
  end

  @impl true
  def handle_call({:request, method, path, body, options}, _from, state) do
    result = Request.run(state, method, path, body, options)
    {:reply, result, %{state | stats: counted(state.stats, result)}}
  end

  def handle_call(:get_status, _from, state) do
    status =
      state
      |> Map.take([:base_url, :timeout, :headers, :stats])
      |> Map.put(:uptime, System.monotonic_time() - state.started)

    {:reply, {:ok, status}, state}
  end

  # httpc answers that came after their deadline.
  @impl true
  def handle_info(_late, state), do: {:noreply, state}

  defp counted(stats, result) do
    %{
      stats
      | requests_made: stats.requests_made + 1,
        last_request_at: DateTime.utc_now(),
        errors: stats.errors + if(match?({:error, _}, result), do: 1, else: 0)
    }
  end
end
