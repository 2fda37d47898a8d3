defmodule Foundation.Infrastructure.PoolWorkers.HttpWorker.Request do
  @moduledoc false
  # One request of an HttpWorker, with the redirects that follow from it, within one deadline.

  alias Foundation.Infrastructure.PoolWorkers.Json

  @redirects [301, 302, 303, 307, 308]

  def run(worker, method, path, body, options) do
    with {:ok, url} <- url(worker.base_url, path, options[:params]),
         {:ok, type, bytes} <- body(body),
         {:ok, headers} <- headers(worker.headers, Keyword.get(options, :headers, [])) do
      {types, headers} = Enum.split_with(headers, fn {name, _} -> name == "content-type" end)
      type = Enum.find_value(types, type, fn {_, value} -> value end)
      request = %{method: method, url: url, headers: headers, type: type, body: bytes}
      send_request(request, worker, deadline(worker.timeout), worker.max_redirects)
    end
  end

  # -- what the caller gave ----------------------------------------------------------------------------------------

  defp url(base, path, params) when is_binary(path) do
    url = String.trim_trailing(base, "/") <> "/" <> String.trim_leading(path, "/")

    with {:ok, query} <- query(params) do
      joint = if String.contains?(url, "?"), do: "&", else: "?"
      url = if query == "", do: url, else: url <> joint <> query
      if clean?(url) and not String.contains?(url, " "), do: {:ok, url}, else: invalid(:path)
    end
  end

  defp url(_base, _path, _params), do: invalid(:path)

  defp query(nil), do: {:ok, ""}

  defp query(params) do
    {:ok, URI.encode_query(params)}
  rescue
    _ -> invalid(:params)
  end

  defp headers(own, given) when is_list(given) do
    all = own ++ given

    if Enum.all?(all, &header?/1) do
      {:ok, all |> Map.new(fn {name, value} -> {String.downcase(name), value} end) |> Map.to_list()}
    else
      invalid(:headers)
    end
  end

  defp headers(_own, _given), do: invalid(:headers)

  defp header?({name, value}) when is_binary(name) and is_binary(value),
    do: name != "" and clean?(name) and clean?(value) and not String.contains?(name, [" ", ":"])

  defp header?(_), do: false

  # A control character, a line end above all, would end the line that it is written to.
  defp clean?(text), do: not (text =~ ~r/[\x00-\x08\x0a-\x1f\x7f]/)

  defp invalid(what), do: {:error, {:invalid_request, what}}

  defp body(nil), do: {:ok, nil, ""}
  defp body(bytes) when is_binary(bytes), do: {:ok, "application/octet-stream", bytes}

  defp body({:form, pairs}) do
    with {:ok, form} <- query(pairs), do: {:ok, "application/x-www-form-urlencoded", form}
  end

  defp body({:iodata, data}) do
    {:ok, "application/octet-stream", IO.iodata_to_binary(data)}
  rescue
    ArgumentError -> invalid(:body)
  end

  defp body(term) do
    with {:ok, json} <- Json.encode(term), do: {:ok, "application/json", IO.iodata_to_binary(json)}
  end

  # -- on the way --------------------------------------------------------------------------------------------------

  defp send_request(request, worker, deadline, redirects) do
    with {:ok, options} <- http_options(request.url, worker.tls, left(deadline)) do
      options = [{:autoredirect, false} | options]

      case :httpc.request(request.method, encoded(request), options, [body_format: :binary], worker.profile) do
        {:ok, {{_version, status, _text}, headers, body}} ->
          response = %{status_code: status, headers: Enum.map(headers, &strings/1), body: body}
          followed(response, request, worker, deadline, redirects)

        {:error, reason} ->
          {:error, reason(reason)}
      end
    end
  end

  defp encoded(%{method: :get} = request), do: {String.to_charlist(request.url), charlists(request.headers)}

  defp encoded(request) do
    type = String.to_charlist(request.type || "application/octet-stream")
    {String.to_charlist(request.url), charlists(request.headers), type, request.body}
  end

  defp charlists(headers) do
    for {name, value} <- headers, do: {String.to_charlist(name), :binary.bin_to_list(value)}
  end

  defp strings({name, value}), do: {List.to_string(name), :erlang.list_to_binary(value)}

  defp followed(%{status_code: status} = response, request, worker, deadline, redirects)
       when status in @redirects do
    case List.keyfind(response.headers, "location", 0) do
      nil -> {:ok, response}
      {_, _} when redirects == 0 -> {:error, :too_many_redirects}
      {_, location} -> redirect(location, status, request, worker, deadline, redirects)
    end
  end

  defp followed(response, _request, _worker, _deadline, _redirects), do: {:ok, response}

  defp redirect(location, status, request, worker, deadline, redirects) do
    from = URI.parse(request.url)
    to = from |> URI.merge(location) |> Map.put(:fragment, nil)

    cond do
      to.scheme not in ["http", "https"] or to.host in [nil, ""] -> {:error, {:invalid_redirect, location}}
      from.scheme == "https" and to.scheme == "http" -> {:error, {:invalid_redirect, location}}
      not clean?(URI.to_string(to)) -> {:error, {:invalid_redirect, location}}
      true -> request |> moved(status, from, to) |> send_request(worker, deadline, redirects - 1)
    end
  rescue
    ArgumentError -> {:error, {:invalid_redirect, location}}
  end

  # RFC 9110, 15.4: only 307 and 308 keep a POST. What proves who we are does not go to another origin.
  defp moved(request, status, from, to) do
    same = {from.scheme, from.host, from.port} == {to.scheme, to.host, to.port}
    secret = ["authorization", "cookie", "proxy-authorization"]
    headers = if same, do: request.headers, else: Enum.reject(request.headers, &(elem(&1, 0) in secret))
    request = %{request | url: URI.to_string(to), headers: headers}
    if status in [307, 308], do: request, else: %{request | method: :get, type: nil, body: ""}
  end

  # -- deadline, TLS, errors ---------------------------------------------------------------------------------------

  defp deadline(:infinity), do: :infinity
  defp deadline(ms), do: System.monotonic_time(:millisecond) + ms

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 1)

  defp http_options("https" <> _, tls, timeout) do
    with {:ok, trusted} <- trusted(tls) do
      verified = [
        verify: :verify_peer,
        depth: 10,
        customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
      ]

      own = Keyword.take(tls, [:certfile, :keyfile])
      {:ok, [timeout: timeout, connect_timeout: timeout, ssl: verified ++ trusted ++ files(own)]}
    end
  end

  defp http_options(_url, _tls, timeout), do: {:ok, [timeout: timeout, connect_timeout: timeout]}

  defp trusted(tls) do
    cond do
      tls[:cacerts] -> {:ok, [cacerts: tls[:cacerts]]}
      tls[:cacertfile] -> {:ok, files(cacertfile: tls[:cacertfile])}
      true -> {:ok, [cacerts: :public_key.cacerts_get()]}
    end
  rescue
    # cacerts_get/0 raises where the system has no store.
    ErlangError -> {:error, {:tls, :no_system_certificates}}
    MatchError -> {:error, {:tls, :no_system_certificates}}
  end

  defp files(options), do: for({key, path} <- options, do: {key, String.to_charlist(path)})

  defp reason(:timeout), do: :timeout
  defp reason(:socket_closed_remotely), do: :closed
  defp reason({:shutdown, :server_closed}), do: :closed
  defp reason({:shutdown, {:tls_alert, {alert, _}}}), do: {:tls, alert}
  defp reason({:tls_alert, {alert, _}}), do: {:tls, alert}

  defp reason({:failed_connect, details}) when is_list(details) do
    case List.keyfind(details, :inet, 0) do
      {:inet, _, {:tls_alert, {alert, _}}} -> {:tls, alert}
      {:inet, _, {:options, _} = reason} -> {:tls, reason}
      {:inet, _, reason} -> reason
      _ -> {:failed_connect, details}
    end
  end

  defp reason({:shutdown, reason}), do: reason(reason)
  defp reason(other), do: other
end
