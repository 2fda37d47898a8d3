defmodule Foundation.Cluster.Strategy.Kubernetes do
  @moduledoc """
  Connects to the pods that Kubernetes' API lists under a label.

      config :foundation,
        cluster: {:kubernetes, kubernetes_selector: "app=my-app", kubernetes_node_basename: "my_app"}

  The pod's service account needs the right to `list` endpoints, or pods, of its namespace. Token, certificate and
  namespace are read anew each round from `kubernetes_service_account_path`: they are rotated. Where that is not wanted,
  `Foundation.Cluster.Strategy.Kubernetes.DNS` and `…DNSSRV` need no account.

  Options, all as in libcluster:

    * `kubernetes_selector`: the label selector; needed
    * `kubernetes_node_basename`: the nodes' name before the `@`; that of this node unless given
    * `kubernetes_namespace`: that of the service account unless given
    * `kubernetes_ip_lookup_mode`: `:endpoints` (ready pods behind a service, the default) or `:pods` (all that run)
    * `mode`: what stands behind the `@`: `:ip` (the default), `:dns` (`1-2-3-4.namespace.pod.cluster.local`) or `:hostname`
      (`pod.service.namespace.svc.cluster.local`, for which `kubernetes_service_name` is needed)
    * `kubernetes_service_name`, `kubernetes_cluster_name` (`"cluster"`)
    * `kubernetes_master`: the API's host (`"kubernetes.default.svc"`, completed by the cluster's domain unless it ends in
      a dot), or a whole URL
    * `kubernetes_service_account_path` (`"/var/run/secrets/kubernetes.io/serviceaccount"`)
    * `kubernetes_use_cached_resources`: whether the API may answer from its cache (`false`)
    * `polling_interval`: ms between two rounds (5,000)

  And our own: `timeout` (ms for a round, 15,000), `page_size` (500), `cacertfile` (the service account's `ca.crt` unless
  given, and the system's store where there is none).

  The API's certificate is always verified. All of these are errors, which keep the nodes: `{:kubernetes, status, message}`
  for an answer other than 200, `:not_json`, `:timeout`, `:closed` for one cut short, `{:tls, alert}`, `{:connect, reason}`,
  `{:invalid_option, {key, value}}`. A list that changed while its pages were read (410) is read once more from its start,
  and a token that is refused (401) but has been rotated meanwhile is tried anew, once a round.
  """

  use Foundation.Cluster.Strategy.Poll

  alias Foundation.Cluster.Strategy.{Http, Json, Names, Options}

  @master "kubernetes.default.svc"
  @account "/var/run/secrets/kubernetes.io/serviceaccount"
  @timeout_ms 15_000
  @page_size 500
  @max_pages 100
  @max_message 300

  @impl true
  def discover(%{config: config}) do
    with {:ok, base} <- Options.basename(config, :kubernetes_node_basename),
         {:ok, target} <- target(config),
         {:ok, items} <- list(target),
         {:ok, hosts} <- hosts(items, target.kind, config) do
      Names.nodes(base, hosts)
    end
  end

  @doc false
  # Where and how to ask: also what the doctor asks with.
  @spec target(keyword) :: {:ok, map} | {:error, term}
  def target(config) do
    account = Keyword.get(config, :kubernetes_service_account_path, @account)

    with {:ok, selector} <- Options.text(config, :kubernetes_selector),
         {:ok, kind} <- kind(config),
         {:ok, namespace} <- namespace(config, account) do
      query = [labelSelector: selector, limit: Keyword.get(config, :page_size, @page_size)]
      query = if config[:kubernetes_use_cached_resources], do: query ++ [resourceVersion: 0], else: query

      {:ok,
       %{
         kind: kind,
         url: "#{master(config)}/api/v1/namespaces/#{encode(namespace)}/#{kind}",
         query: query,
         account: account,
         deadline: System.monotonic_time(:millisecond) + Keyword.get(config, :timeout, @timeout_ms),
         tls: tls(config, account)
       }}
    end
  end

  @doc false
  # All items of the list, page for page.
  @spec list(map) :: {:ok, [map]} | {:error, term}
  def list(target) do
    case pages(target, token(target), nil, [], @max_pages) do
      {:error, {:kubernetes, 410, _}} -> pages(target, token(target), nil, [], @max_pages)
      answer -> answer
    end
  end

  defp pages(_target, _token, _continue, _items, 0), do: {:error, :too_many_pages}

  defp pages(target, token, continue, items, left) do
    case page(target, token, continue) do
      {:ok, %{"items" => more} = list} when is_list(more) or is_nil(more) ->
        items = [items, more || []]

        case get_in(list, ["metadata", "continue"]) do
          next when is_binary(next) and next != "" -> pages(target, token, next, items, left - 1)
          _ -> {:ok, List.flatten(items)}
        end

      {:ok, _other} ->
        {:error, :no_list}

      {:error, {:kubernetes, 401, _}} = refused ->
        case token(target) do
          ^token ->
            refused

          rotated ->
            pages(%{target | account: nil} |> Map.put(:token, rotated), rotated, continue, items, left)
        end

      {:error, _} = error ->
        error
    end
  end

  defp page(target, token, continue) do
    query = if continue, do: target.query ++ [continue: continue], else: target.query

    headers = [
      {"accept", "application/json"} | if(token == "", do: [], else: [{"authorization", "Bearer #{token}"}])
    ]

    timeout = target.deadline - System.monotonic_time(:millisecond)

    if timeout <= 0,
      do: {:error, :timeout},
      else:
        "#{target.url}?#{URI.encode_query(query)}"
        |> Http.get(headers, [{:timeout, timeout} | target.tls])
        |> answer()
  end

  defp answer({:ok, 200, body}), do: Json.decode(body)
  defp answer({:ok, status, body}), do: {:error, {:kubernetes, status, message(body)}}
  defp answer({:error, reason}), do: {:error, reason}

  defp message(body) do
    case Json.decode(body) do
      {:ok, %{"message" => text}} when is_binary(text) -> String.slice(text, 0, @max_message)
      _ -> ""
    end
  end

  # -- addresses ---------------------------------------------------------------------------------------------------

  defp hosts(items, kind, config) do
    mode = Keyword.get(config, :mode, :ip)
    domain = "#{Keyword.get(config, :kubernetes_cluster_name, "cluster")}.local"
    addresses = Enum.flat_map(items, &addresses(kind, &1))

    case {mode, config[:kubernetes_service_name]} do
      {:ip, _} ->
        {:ok, for(%{ip: ip} <- addresses, do: ip)}

      {:dns, _} ->
        {:ok, for(%{ip: ip, namespace: ns} <- addresses, do: "#{dashed(ip)}.#{ns}.pod.#{domain}")}

      {:hostname, service} when is_binary(service) and service != "" ->
        {:ok,
         for(
           %{hostname: name, namespace: ns} when is_binary(name) <- addresses,
           do: "#{name}.#{service}.#{ns}.svc.#{domain}"
         )}

      {:hostname, service} ->
        {:error, {:invalid_option, {:kubernetes_service_name, service}}}

      {mode, _} ->
        {:error, {:invalid_option, {:mode, mode}}}
    end
  end

  defp dashed(ip), do: String.replace(ip, [".", ":"], "-")

  defp addresses(:endpoints, %{"subsets" => subsets} = item) when is_list(subsets) do
    for %{"addresses" => addresses} when is_list(addresses) <- subsets,
        %{"ip" => ip} = address when is_binary(ip) <- addresses do
      namespace = get_in(address, ["targetRef", "namespace"]) || get_in(item, ["metadata", "namespace"])
      %{ip: ip, namespace: namespace, hostname: address["hostname"]}
    end
  end

  # A pod that is being stopped still runs, and may have work to hand over. One that has ended keeps its address for a while.
  defp addresses(:pods, %{"status" => %{"podIP" => ip} = status} = item) when is_binary(ip) do
    if status["phase"] in ["Succeeded", "Failed"],
      do: [],
      else: [
        %{
          ip: ip,
          namespace: get_in(item, ["metadata", "namespace"]),
          hostname: get_in(item, ["spec", "hostname"])
        }
      ]
  end

  defp addresses(_kind, _item), do: []

  # -- what the configuration and the service account say ------------------------------------------------------------

  defp kind(config) do
    case Keyword.get(config, :kubernetes_ip_lookup_mode, :endpoints) do
      kind when kind in [:endpoints, :pods] -> {:ok, kind}
      other -> {:error, {:invalid_option, {:kubernetes_ip_lookup_mode, other}}}
    end
  end

  defp namespace(config, account) do
    case {config[:kubernetes_namespace], File.read(Path.join(account, "namespace"))} do
      {nil, {:ok, text}} -> {:ok, String.trim(text)}
      {nil, {:error, reason}} -> {:error, {:service_account, "namespace", reason}}
      {_, _} -> Options.text(config, :kubernetes_namespace)
    end
  end

  defp master(config) do
    name = Keyword.get(config, :kubernetes_master, @master)
    default = "#{Keyword.get(config, :kubernetes_cluster_name, "cluster")}.local"
    domain = System.get_env("CLUSTER_DOMAIN", default)

    cond do
      String.contains?(name, "://") -> String.trim_trailing(name, "/")
      String.ends_with?(name, ".") -> "https://#{String.trim_trailing(name, ".")}"
      String.ends_with?(name, domain) -> "https://#{name}"
      true -> "https://#{name}.#{domain}"
    end
  end

  defp token(%{token: token}), do: token

  defp token(%{account: account}) do
    case File.read(Path.join(account, "token")) do
      {:ok, text} -> String.trim(text)
      {:error, _} -> ""
    end
  end

  defp tls(config, account) do
    own = Path.join(account, "ca.crt")

    cond do
      config[:cacertfile] -> [cacertfile: config[:cacertfile]]
      File.regular?(own) -> [cacertfile: own]
      true -> []
    end
  end

  defp encode(text), do: URI.encode(text, &URI.char_unreserved?/1)
end
