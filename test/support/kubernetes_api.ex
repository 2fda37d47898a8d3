defmodule Foundation.KubernetesApi do
  @moduledoc false
  # The part of Kubernetes' API that lists endpoints and pods: label selectors, pages with `limit` and `continue`, bearer
  # tokens, and answers of kind Status for what goes wrong.

  @doc """
  An answering function for `Foundation.ApiServer`. Options: `pods` (`[%{ip:, name:, ready:, phase:}]`, all labelled `app=it`
  in the namespace `here`), `token`, `expired` (continue tokens that have run out).
  """
  def api(opts) do
    fn request ->
      cond do
        request.headers["authorization"] != "Bearer " <> Keyword.get(opts, :token, "the-token") ->
          status(401, "Unauthorized", "Unauthorized")

        Keyword.get(opts, :forbidden, false) ->
          status(
            403,
            "Forbidden",
            ~s(endpoints is forbidden: User "system:serviceaccount:here:default" cannot list resource)
          )

        true ->
          list(String.split(request.path, "/", trim: true), request.query, opts)
      end
    end
  end

  defp list(["api", "v1", "namespaces", "here", kind], %{"labelSelector" => "app=it"} = query, opts) do
    pods = Keyword.fetch!(opts, :pods)
    limit = query |> Map.get("limit", "500") |> String.to_integer()
    offset = query |> Map.get("continue", "0") |> String.to_integer()

    if offset > 0 and Keyword.get(opts, :expired, false) do
      status(410, "Expired", "The provided continue parameter is too old")
    else
      items = kind |> items(pods) |> Enum.slice(offset, limit)
      next = if offset + limit < length(items(kind, pods)), do: ~s(,"continue":"#{offset + limit}"), else: ""

      {200,
       ~s({"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"7"#{next}},"items":[#{Enum.join(items, ",")}]})}
    end
  end

  defp list(["api", "v1", "namespaces", "here", _kind], _query, _opts),
    do: {200, ~s({"kind":"List","apiVersion":"v1","metadata":{},"items":null})}

  defp list(_path, _query, _opts),
    do: status(404, "NotFound", "the server could not find the requested resource")

  # One service for each two pods, so that lists have several items and these several addresses.
  defp items("endpoints", pods) do
    for {group, n} <- pods |> Enum.chunk_every(2) |> Enum.with_index() do
      {ready, unready} = Enum.split_with(group, &Map.get(&1, :ready, true))

      parts =
        for {key, list} <- [addresses: ready, notReadyAddresses: unready],
            list != [],
            do: ~s("#{key}":[#{Enum.map_join(list, ",", &address/1)}])

      subsets = if parts == [], do: "null", else: "[{#{Enum.join(parts, ",")},\"ports\":[{\"port\":4369}]}]"
      ~s({"metadata":{"name":"service#{n}","namespace":"here","labels":{"app":"it"}},"subsets":#{subsets}})
    end
  end

  defp items("pods", pods) do
    for pod <- pods do
      ip = if pod.ip, do: ~s("podIP":"#{pod.ip}",), else: ""

      ~s({"metadata":{"name":"#{pod.name}","namespace":"here"},"spec":{"hostname":"#{pod.name}"},"status":{#{ip}"phase":"#{Map.get(pod, :phase, "Running")}"}})
    end
  end

  defp address(pod),
    do:
      ~s({"ip":"#{pod.ip}","hostname":"#{pod.name}","targetRef":{"kind":"Pod","namespace":"here","name":"#{pod.name}"}})

  defp status(code, reason, message),
    do:
      {code,
       ~s({"kind":"Status","apiVersion":"v1","status":"Failure","message":#{inspect(message)},"reason":"#{reason}","code":#{code}})}
end
