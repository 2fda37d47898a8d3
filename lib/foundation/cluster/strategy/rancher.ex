defmodule Foundation.Cluster.Strategy.Rancher do
  @moduledoc """
  Connects to the containers of this node's service that Rancher's metadata service lists.

      config :foundation, cluster: {Foundation.Cluster.Strategy.Rancher, node_basename: "my_app"}

  Every node is called `node_basename@address`, with the first address of its container.

  Options, as in libcluster: `node_basename` (that of this node unless given), `polling_interval` (5,000 ms). And our own:
  `base_url` (`"http://rancher-metadata"`), `timeout` (15,000 ms).

  All of these are errors, which keep the nodes: `{:rancher, status}` for an answer other than 200, `:not_json`, `:no_list`,
  `:timeout`, `:closed`, `{:connect, reason}`.
  """

  use Foundation.Cluster.Strategy.Poll

  alias Foundation.Cluster.Strategy.{Http, Json, Names, Options}

  @base_url "http://rancher-metadata"

  @impl true
  def discover(%{config: config}) do
    url = (config |> Keyword.get(:base_url, @base_url) |> String.trim_trailing("/")) <> "/latest/self/service"

    with {:ok, base} <- Options.basename(config, :node_basename),
         {:ok, 200, body} <-
           Http.get(url, [{"accept", "application/json"}], Keyword.take(config, [:timeout])),
         {:ok, %{"containers" => containers}} when is_list(containers) <- Json.decode(body) do
      Names.nodes(base, for(%{"ips" => [ip | _]} when is_binary(ip) <- containers, do: ip))
    else
      {:ok, status, _body} -> {:error, {:rancher, status}}
      {:ok, _other} -> {:error, :no_list}
      {:error, _} = error -> error
    end
  end
end
