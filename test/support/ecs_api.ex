defmodule Foundation.EcsApi do
  @moduledoc false
  # What a task of Amazon ECS can ask: the task metadata endpoint, the credentials of its role, and the part of the API that
  # lists and describes tasks, which refuses what is not signed as Signature Version 4 wants it.

  alias Foundation.Cluster.Strategy.Json

  @secret "the/secret+key"
  @cluster "arn:aws:ecs:eu-central-1:111122223333:cluster/default"

  @doc """
  An answering function for `Foundation.ApiServer`. Options: `tasks` (`[%{id:, service:, family:, address:}]`, of which the
  first asks), `service` (of the metadata, or `nil`), `page` (tasks for each answer), `denied`.
  """
  def api(opts) do
    fn
      %{method: "GET", path: "/v4/task"} -> {200, metadata(opts)}
      %{method: "GET", path: "/credentials"} -> {200, credentials()}
      %{method: "POST", path: "/"} = request -> signed(request, opts)
      _ -> {404, "page not found"}
    end
  end

  defp metadata(opts) do
    service = if name = Keyword.get(opts, :service, "web"), do: ~s("ServiceName":"#{name}",), else: ""

    ~s({"Cluster":"#{@cluster}",#{service}"TaskARN":"#{arn(hd(opts[:tasks]))}","Family":"shop","Revision":"5",
      "DesiredStatus":"RUNNING","KnownStatus":"RUNNING","LaunchType":"FARGATE","Containers":[{"Name":"app","Networks":[
        {"NetworkMode":"awsvpc","IPv4Addresses":["10.0.0.1"],"DomainNameServers":["10.0.0.2"],
         "DomainNameSearchList":["eu-central-1.compute.internal"],
         "PrivateDNSName":"ip-10-0-0-1.eu-central-1.compute.internal"}]}]})
  end

  defp credentials do
    ~s({"RoleArn":"arn:aws:iam::111122223333:role/shop","AccessKeyId":"AKID","SecretAccessKey":"#{@secret}",
      "Token":"a session=","Expiration":"2099-01-01T00:00:00Z"})
  end

  defp signed(request, opts) do
    cond do
      not genuine?(request) ->
        refusal("InvalidSignatureException", "The request signature we calculated does not match")

      opts[:denied] ->
        refusal("AccessDeniedException", "User: shop is not authorized to perform: ecs:ListTasks")

      true ->
        answer(request.headers["x-amz-target"], decoded(request.body), opts)
    end
  end

  defp refusal(type, message), do: {400, ~s({"__type":"com.amazonaws.ecs##{type}","message":"#{message}"})}

  defp decoded(body) do
    {:ok, parameters} = Json.decode(body)
    parameters
  end

  # As the documentation describes it, from what arrived.
  defp genuine?(%{headers: headers} = request) do
    pattern =
      ~r"^AWS4-HMAC-SHA256 Credential=AKID/(\d{8})/([\w-]+)/ecs/aws4_request, SignedHeaders=([\w;-]+), Signature=(\w+)$"

    [_, day, region, names, signature] = Regex.run(pattern, headers["authorization"])
    fields = for name <- String.split(names, ";"), do: "#{name}:#{headers[name]}\n"

    request =
      "#{request.method}\n#{request.path}\n\n#{fields}\n#{names}\n#{hex(:crypto.hash(:sha256, request.body))}"

    scope = "#{day}/#{region}/ecs/aws4_request"
    text = "AWS4-HMAC-SHA256\n#{headers["x-amz-date"]}\n#{scope}\n#{hex(:crypto.hash(:sha256, request))}"
    key = "AWS4#{@secret}" |> hmac(day) |> hmac(region) |> hmac("ecs") |> hmac("aws4_request")

    Enum.all?(~w(host x-amz-date x-amz-security-token), &(&1 in String.split(names, ";"))) and
      headers["x-amz-security-token"] == "a session=" and signature == hex(hmac(key, text))
  end

  defp hmac(key, data), do: :crypto.mac(:hmac, :sha256, key, data)
  defp hex(data), do: Base.encode16(data, case: :lower)

  defp answer("AmazonEC2ContainerServiceV20141113.ListTasks", %{"cluster" => @cluster} = asked, opts) do
    tasks = Enum.filter(opts[:tasks], &chosen?(&1, asked))
    size = Keyword.get(opts, :page, 100)
    from = String.to_integer(Map.get(asked, "nextToken", "0"))
    arns = tasks |> Enum.slice(from, size) |> Enum.map_join(",", &inspect(arn(&1)))
    next = if from + size < length(tasks), do: ~s("#{from + size}"), else: "null"
    {200, ~s({"taskArns":[#{arns}],"nextToken":#{next}})}
  end

  defp answer(
         "AmazonEC2ContainerServiceV20141113.DescribeTasks",
         %{"cluster" => @cluster, "tasks" => arns},
         opts
       )
       when length(arns) <= 100 do
    tasks = for task <- opts[:tasks], arn(task) in arns, do: described(task)
    {200, ~s({"tasks":[#{Enum.join(tasks, ",")}],"failures":[]})}
  end

  defp answer(_target, _asked, _opts), do: refusal("InvalidParameterException", "Invalid parameters")

  defp chosen?(task, %{"serviceName" => service} = asked),
    do: not is_map_key(asked, "family") and task[:service] == service

  defp chosen?(task, %{"family" => family}), do: Map.get(task, :family, "shop") == family

  defp described(%{address: nil} = task),
    do:
      ~s({"taskArn":"#{arn(task)}","lastStatus":"RUNNING","attachments":[],"containers":[{"networkInterfaces":[]}]})

  # Before its containers run, a task has the attachment alone.
  defp described(%{starting: true} = task) do
    ~s({"taskArn":"#{arn(task)}","lastStatus":"PENDING","containers":[{"name":"app","lastStatus":"PENDING"}],
      "attachments":[{"type":"Service Connect","details":[]},{"type":"ElasticNetworkInterface","status":"ATTACHED",
        "details":[{"name":"subnetId","value":"s"},{"name":"privateIPv4Address","value":"#{task.address}"}]}]})
  end

  defp described(task) do
    ~s({"taskArn":"#{arn(task)}","lastStatus":"RUNNING","attachments":[],"containers":[
      {"networkInterfaces":[{"attachmentId":"a","privateIpv4Address":"#{task.address}"}]},
      {"networkInterfaces":[{"attachmentId":"a","privateIpv4Address":"#{task.address}"}]}]})
  end

  defp arn(%{id: id}), do: "arn:aws:ecs:eu-central-1:111122223333:task/default/#{id}"
end
