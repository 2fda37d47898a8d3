defmodule Foundation.Cluster.Strategy.Aws do
  @moduledoc false
  # What a request to an API of AWS needs: the credentials of the task's role, and a signature (Signature Version 4). Keys
  # and signatures go into headers, and nowhere else.

  alias Foundation.Cluster.Strategy.{Http, Json}

  @algorithm "AWS4-HMAC-SHA256"
  # Where ECS serves the credentials of task roles.
  @credentials_host "http://169.254.170.2"

  @type credentials :: %{id: String.t(), secret: String.t(), token: String.t() | nil}
  @type headers :: [{String.t(), String.t()}]

  @doc "The credentials that the environment gives, or those of the task's role. Options: `credentials_uri`, `timeout`."
  @spec credentials(keyword) :: {:ok, credentials} | {:error, term}
  def credentials(config) do
    {id, secret} = {given("AWS_ACCESS_KEY_ID"), given("AWS_SECRET_ACCESS_KEY")}

    if id && secret && !config[:credentials_uri],
      do: {:ok, %{id: id, secret: secret, token: given("AWS_SESSION_TOKEN")}},
      else: fetch(config)
  end

  defp fetch(config) do
    with {:ok, uri} <- uri(config),
         {:ok, 200, body} <- Http.get(uri, authorization(), Keyword.take(config, [:timeout])),
         {:ok, %{"AccessKeyId" => id, "SecretAccessKey" => secret} = found}
         when is_binary(id) and is_binary(secret) <- Json.decode(body) do
      {:ok, %{id: id, secret: secret, token: found["Token"]}}
    else
      {:ok, status, _body} -> {:error, {:ecs, :credentials, status}}
      {:ok, _other} -> {:error, {:ecs, :credentials, :incomplete}}
      error -> error
    end
  end

  defp uri(config) do
    relative = given("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")

    case config[:credentials_uri] || (relative && @credentials_host <> relative) ||
           given("AWS_CONTAINER_CREDENTIALS_FULL_URI") do
      nil -> {:error, {:ecs, :no_role}}
      uri -> {:ok, uri}
    end
  end

  defp authorization do
    case given("AWS_CONTAINER_AUTHORIZATION_TOKEN") do
      nil -> []
      token -> [{"authorization", token}]
    end
  end

  defp given(variable) do
    case System.get_env(variable, "") do
      "" -> nil
      value -> value
    end
  end

  @doc "The headers with what proves who asks: host, time, session token and signature."
  @spec sign(
          String.t(),
          String.t(),
          headers,
          binary,
          {credentials, region :: String.t(), service :: String.t()},
          DateTime.t()
        ) :: headers
  def sign(method, url, headers, body, {credentials, region, service}, now) do
    uri = URI.parse(url)
    time = now |> DateTime.truncate(:second) |> DateTime.to_iso8601(:basic)
    day = binary_part(time, 0, 8)
    token = if credentials.token, do: [{"x-amz-security-token", credentials.token}], else: []
    headers = [{"host", host(uri)}, {"x-amz-date", time} | token] ++ headers
    signed = headers |> Enum.map(&elem(&1, 0)) |> Enum.sort() |> Enum.join(";")
    scope = "#{day}/#{region}/#{service}/aws4_request"

    request =
      Enum.join([method, uri.path || "/", query(uri), canonical(headers), signed, hex(hash(body))], "\n")

    text = Enum.join([@algorithm, time, scope, hex(hash(request))], "\n")
    key = Enum.reduce([day, region, service, "aws4_request"], "AWS4" <> credentials.secret, &hmac(&2, &1))

    proof =
      "#{@algorithm} Credential=#{credentials.id}/#{scope}, SignedHeaders=#{signed}, Signature=#{hex(hmac(key, text))}"

    headers ++ [{"authorization", proof}]
  end

  defp host(%{host: host, port: port, scheme: scheme}),
    do: if(port == URI.default_port(scheme), do: host, else: "#{host}:#{port}")

  defp query(%{query: nil}), do: ""

  defp query(%{query: query}) do
    pairs = for {key, value} <- URI.query_decoder(query), do: {encode(key), encode(value)}
    pairs |> Enum.sort() |> Enum.map_join("&", fn {key, value} -> "#{key}=#{value}" end)
  end

  defp encode(text), do: URI.encode(text, &URI.char_unreserved?/1)

  defp canonical(headers),
    do: headers |> Enum.sort() |> Enum.map_join(fn {name, value} -> "#{name}:#{String.trim(value)}\n" end)

  defp hash(data), do: :crypto.hash(:sha256, data)
  defp hmac(key, data), do: :crypto.mac(:hmac, :sha256, key, data)
  defp hex(data), do: Base.encode16(data, case: :lower)

  @doc "A map of texts and lists of texts as JSON."
  @spec json(%{String.t() => String.t() | [String.t()]}) :: String.t()
  def json(map),
    do: "{" <> Enum.map_join(map, ",", fn {key, value} -> json_text(key) <> ":" <> value(value) end) <> "}"

  defp value(list) when is_list(list), do: "[" <> Enum.map_join(list, ",", &json_text/1) <> "]"
  defp value(text), do: json_text(text)

  defp json_text(text), do: "\"" <> for(<<c::utf8 <- text>>, into: "", do: character(c)) <> "\""

  defp character(c) when c in [?", ?\\], do: <<?\\, c>>
  defp character(c) when c < 0x20, do: "\\u" <> String.pad_leading(Integer.to_string(c, 16), 4, "0")
  defp character(c), do: <<c::utf8>>
end
