defmodule Foundation.Cluster.Strategy.Ecs do
  @moduledoc """
  Connects to the tasks of this task's service that Amazon ECS knows.

      config :foundation, cluster: :ecs

  Where it runs it learns from the task metadata endpoint, version 4, which ECS gives every task on Fargate from platform
  version 1.4.0 on and on EC2 from agent 1.39.0 on. Who else runs it asks of ECS itself: `ListTasks` for the service, or for the
  family of the task definition when the task belongs to none, and `DescribeTasks` for the addresses. For that the task
  definition needs a task role whose policy allows `ecs:ListTasks` and `ecs:DescribeTasks`; its credentials are fetched anew
  each round and are kept nowhere. Tasks need addresses of their own, which is network mode `awsvpc`. Every node is called
  `node_basename@address`, by the private IPv4 address of its task.

  Options:

    * `node_basename`: that of this node unless given
    * `cluster`, `service`, `family`, `region`: as the metadata say unless given; with a `service` the family does not matter
    * `polling_interval`: ms between two rounds (15,000; the API limits how often an account may ask)
    * `timeout`: ms for each request (15,000)
    * `endpoint`: the API's URL; that of the region, or `AWS_ENDPOINT_URL_ECS`, unless given
    * `metadata_uri`, `credentials_uri`: as `ECS_CONTAINER_METADATA_URI_V4` and `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` say
      unless given

  All of these are errors, which keep the nodes: `{:ecs, :no_task}` where there is no metadata endpoint,
  `{:ecs, :metadata, status}`, `{:ecs, :no_role}` when the task has no role, `{:ecs, :credentials, status}`,
  `{:ecs, status, message}` when ECS refuses (`AccessDeniedException`: the role may not ask), `{:ecs, :no_addresses}` when tasks
  run and none has an address of its own, `{:ecs, :metadata, :incomplete}`, `:not_json`, `:no_list`, `:timeout`, `:closed`,
  `{:tls, alert}`, `{:connect, reason}`.
  """

  use Foundation.Cluster.Strategy.Poll, interval: 15_000

  alias Foundation.Cluster.Strategy.{Aws, Http, Json, Names, Options}

  @target "AmazonEC2ContainerServiceV20141113."
  @content_type "application/x-amz-json-1.1"
  # What DescribeTasks takes at once, and what no service has.
  @page 100
  @most 10_000
  @max_message 300

  @impl true
  def discover(%{config: config}) do
    with {:ok, base} <- Options.basename(config, :node_basename),
         {:ok, task} <- task(config),
         {:ok, api} <- api(task, config),
         {:ok, arns} <- list(api, Map.take(task, ["cluster", "serviceName", "family"]), []),
         {:ok, addresses} <- addresses(api, task, arns),
         do: Names.nodes(base, addresses)
  end

  # -- this task ---------------------------------------------------------------------------------------------------

  # What to ask for: cluster and service, or family, as the API names them, and the region.
  defp task(config) do
    given = given(config)

    if complete?(given) do
      enough(given)
    else
      with {:ok, uri} <- metadata_uri(config),
           {:ok, 200, body} <- Http.get(uri <> "/task", [], Keyword.take(config, [:timeout])),
           {:ok, %{} = metadata} <- Json.decode(body) do
        metadata |> described() |> unless_given(given) |> Map.merge(given) |> enough()
      else
        {:ok, status, _body} -> {:error, {:ecs, :metadata, status}}
        {:ok, _other} -> {:error, {:ecs, :metadata, :incomplete}}
        error -> error
      end
    end
  end

  defp given(config) do
    names = %{"cluster" => :cluster, "serviceName" => :service, "family" => :family, "region" => :region}
    for {name, key} <- names, {:ok, value} <- [Options.text(config, key)], into: %{}, do: {name, value}
  end

  defp metadata_uri(config) do
    case config[:metadata_uri] || System.get_env("ECS_CONTAINER_METADATA_URI_V4", "") do
      "" -> {:error, {:ecs, :no_task}}
      uri -> {:ok, String.trim_trailing(uri, "/")}
    end
  end

  defp described(metadata) do
    names = %{"cluster" => "Cluster", "serviceName" => "ServiceName", "family" => "Family"}

    for({name, key} <- names, value = present(metadata[key]), into: %{}, do: {name, value})
    |> Map.merge(region(metadata["TaskARN"]))
  end

  # arn:aws:ecs:us-west-2:111122223333:task/…
  defp region("arn:" <> _ = arn) do
    case String.split(arn, ":") do
      [_arn, _partition, "ecs", region | _] when region != "" -> %{"region" => region}
      _ -> %{}
    end
  end

  defp region(_other), do: %{}

  # Whoever names a family means all services that use it.
  defp unless_given(described, %{"family" => _}), do: Map.delete(described, "serviceName")
  defp unless_given(described, _given), do: described

  # The API takes one of the two; a service says more.
  defp enough(%{"serviceName" => _} = task), do: task |> Map.delete("family") |> checked()
  defp enough(task), do: checked(task)

  defp checked(task),
    do: if(complete?(task), do: {:ok, task}, else: {:error, {:ecs, :metadata, :incomplete}})

  defp complete?(%{"cluster" => _, "region" => _} = task),
    do: is_map_key(task, "serviceName") or is_map_key(task, "family")

  defp complete?(_task), do: false

  # -- the others --------------------------------------------------------------------------------------------------

  defp api(%{"region" => region}, config) do
    with {:ok, credentials} <- Aws.credentials(config) do
      endpoint = config[:endpoint] || System.get_env("AWS_ENDPOINT_URL_ECS") || endpoint(region)

      {:ok,
       %{
         url: String.trim_trailing(endpoint, "/") <> "/",
         region: region,
         credentials: credentials,
         http: Keyword.take(config, [:timeout])
       }}
    end
  end

  defp endpoint("cn-" <> _ = region), do: "https://ecs.#{region}.amazonaws.com.cn"
  defp endpoint(region), do: "https://ecs.#{region}.amazonaws.com"

  # Tasks that are meant to run, those that are being started among them.
  defp list(api, filter, found) when length(found) < @most do
    case call(api, "ListTasks", filter) do
      {:ok, %{"taskArns" => arns} = page} when is_list(arns) ->
        found = found ++ Enum.filter(arns, &is_binary/1)

        case present(page["nextToken"]) do
          nil -> {:ok, found}
          token -> list(api, Map.put(filter, "nextToken", token), found)
        end

      {:ok, _other} ->
        {:error, :no_list}

      error ->
        error
    end
  end

  defp list(_api, _filter, found), do: {:error, {:too_many_nodes, length(found)}}

  defp addresses(api, task, arns) do
    pages = Enum.chunk_every(arns, @page)

    with {:ok, tasks} <- describe(api, task["cluster"], pages, []) do
      case Enum.flat_map(tasks, &address/1) do
        [] when tasks != [] -> {:error, {:ecs, :no_addresses}}
        addresses -> {:ok, addresses}
      end
    end
  end

  defp describe(_api, _cluster, [], tasks), do: {:ok, tasks}

  defp describe(api, cluster, [arns | more], tasks) do
    case call(api, "DescribeTasks", %{"cluster" => cluster, "tasks" => arns}) do
      {:ok, %{"tasks" => found}} when is_list(found) -> describe(api, cluster, more, found ++ tasks)
      {:ok, _other} -> {:error, :no_list}
      error -> error
    end
  end

  # A task has one network interface, which each of its containers shows, and the task as its attachment.
  defp address(%{} = task) do
    shown =
      for %{"networkInterfaces" => [_ | _] = interfaces} <- list_of(task["containers"]),
          %{"privateIpv4Address" => address} <- interfaces,
          present(address),
          do: address

    attached =
      for %{"type" => "ElasticNetworkInterface", "details" => [_ | _] = details} <-
            list_of(task["attachments"]),
          %{"name" => "privateIPv4Address", "value" => address} <- details,
          present(address),
          do: address

    Enum.take(shown ++ attached, 1)
  end

  defp address(_other), do: []

  defp list_of(list) when is_list(list), do: list
  defp list_of(_other), do: []

  defp call(api, action, parameters) do
    body = Aws.json(parameters)
    headers = [{"content-type", @content_type}, {"x-amz-target", @target <> action}]

    headers =
      Aws.sign("POST", api.url, headers, body, {api.credentials, api.region, "ecs"}, DateTime.utc_now())

    case Http.post(api.url, headers, {@content_type, body}, api.http) do
      {:ok, 200, body} -> Json.decode(body)
      {:ok, status, body} -> {:error, {:ecs, status, message(body)}}
      error -> error
    end
  end

  # {"__type":"com.amazonaws.ecs#AccessDeniedException","message":"…"}
  defp message(body) do
    case Json.decode(body) do
      {:ok, %{"__type" => type} = error} when is_binary(type) ->
        said = present(error["message"]) || present(error["Message"])
        String.slice("#{type |> String.split("#") |> List.last()}#{said && ": " <> said}", 0, @max_message)

      _ ->
        ""
    end
  end

  defp present(text) when is_binary(text) and text != "", do: text
  defp present(_), do: nil
end
