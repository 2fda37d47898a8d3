defmodule Foundation.ConsulApi do
  @moduledoc false
  # The part of Consul's HTTP API that lists the instances of services: catalog, health, agent, datacenters, ACL tokens.

  @doc """
  An answering function for `Foundation.ApiServer`. Options: `instances`
  (`[%{service:, node:, address:, service_address:, tags:, dc:, passing:}]`), `token`, `datacenters`, `no_leader`.
  """
  def api(opts) do
    token = Keyword.get(opts, :token)

    fn request ->
      cond do
        token != nil and request.headers["x-consul-token"] not in [nil, token] ->
          {403, "ACL not found"}

        token != nil and request.headers["x-consul-token"] == nil ->
          {403, "Permission denied: token with AccessorID '00000000' lacks permission"}

        Keyword.get(opts, :no_leader, false) ->
          {500, "No cluster leader"}

        true ->
          list(String.split(request.path, "/", trim: true), request.query, opts)
      end
    end
  end

  defp list(["v1", "catalog", "datacenters"], _query, opts) do
    names = Keyword.get(opts, :datacenters, ["dc1"])
    {200, "[#{Enum.map_join(names, ",", &inspect/1)}]"}
  end

  defp list(["v1", "catalog", "service", service], query, opts) do
    with_datacenter(query, opts, fn ->
      array(
        for i <- chosen(opts, service, query),
            do:
              ~s({"Node":"#{i.node}","Address":"#{i.address}","ServiceName":"#{service}","ServiceAddress":"#{i[:service_address]}","ServicePort":80})
      )
    end)
  end

  defp list(["v1", "health", "service", service], query, opts) do
    with_datacenter(query, opts, fn ->
      passing = query["passing"] not in [nil, "false"]

      array(
        for i <- chosen(opts, service, query), not passing or Map.get(i, :passing, true) do
          ~s({"Node":{"Node":"#{i.node}","Address":"#{i.address}"},"Service":{"Service":"#{service}","Address":"#{i[:service_address]}","Port":80},"Checks":[]})
        end
      )
    end)
  end

  defp list(["v1", "agent", "services"], _query, opts) do
    pairs =
      for {i, n} <- Enum.with_index(opts[:instances]),
          do:
            ~s("#{i.service}-#{n}":{"ID":"#{i.service}-#{n}","Service":"#{i.service}","Tags":[#{Enum.map_join(Map.get(i, :tags, []), ",", &inspect/1)}],"Address":"#{i[:service_address] || i.address}"})

    {200, "{#{Enum.join(pairs, ",")}}"}
  end

  defp list(_path, _query, _opts), do: {404, "Invalid URL path: not a recognized HTTP API endpoint"}

  defp with_datacenter(query, opts, fun) do
    if query["dc"] in [nil | Keyword.get(opts, :datacenters, ["dc1"])],
      do: {200, fun.()},
      else: {500, "No path to datacenter"}
  end

  defp chosen(opts, service, query) do
    dc = Map.get(query, "dc", "dc1")

    for i <- opts[:instances],
        i.service == service,
        Map.get(i, :dc, "dc1") == dc,
        query["tag"] == nil or query["tag"] in Map.get(i, :tags, []),
        do: i
  end

  defp array(items), do: "[#{Enum.join(items, ",")}]"
end
