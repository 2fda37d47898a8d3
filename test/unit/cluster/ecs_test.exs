defmodule Foundation.Cluster.EcsTest do
  # The environment of the system says where credentials are.
  use ExUnit.Case, async: false

  alias Foundation.{ApiServer, EcsApi}
  alias Foundation.Cluster.Config
  alias Foundation.Cluster.Doctor.{Explain, Sources}
  alias Foundation.Cluster.Strategy.{Aws, Ecs, State}

  @tasks [
    %{id: "t1", service: "web", address: "10.0.0.1"},
    %{id: "t2", service: "web", address: "10.0.0.2"},
    %{id: "t3", service: "web", address: "10.0.0.3", starting: true},
    %{id: "t4", service: "other", address: "10.0.0.4"},
    %{id: "t5", service: "db", family: "db", address: "10.0.0.5"}
  ]
  @variables ~w(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
                AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN AWS_ENDPOINT_URL_ECS
                ECS_CONTAINER_METADATA_URI_V4)

  setup do
    before = System.get_env() |> Map.take(@variables)
    Enum.each(@variables, &System.delete_env/1)
    on_exit(fn -> for name <- @variables, do: put_env(name, before[name]) end)
    %{server: ApiServer.start(EcsApi.api(tasks: @tasks))}
  end

  defp put_env(name, nil), do: System.delete_env(name)
  defp put_env(name, value), do: System.put_env(name, value)

  defp discover(%{server: server}, more \\ []) do
    config = [
      metadata_uri: server.url <> "/v4",
      credentials_uri: server.url <> "/credentials",
      endpoint: server.url,
      node_basename: "it",
      timeout: 15_000
    ]

    config = Keyword.merge(config, more)

    with {:ok, nodes} <- Ecs.discover(%State{topology: :ecs, config: config}),
         do: nodes |> Enum.map(&(&1 |> Atom.to_string() |> String.replace("it@10.0.0.", ""))) |> Enum.sort()
  end

  test "the tasks of this task's service, found without any configuration", context do
    assert discover(context) == ["1", "2", "3"]

    assert [%{path: "/v4/task"}, %{path: "/credentials"}, list, describe] = ApiServer.requests(context.server)
    assert list.headers["x-amz-target"] == "AmazonEC2ContainerServiceV20141113.ListTasks"
    assert list.headers["content-type"] == "application/x-amz-json-1.1"
    assert describe.body =~ "task/default/t1"

    # As it is in a task, where all of it comes from the environment.
    System.put_env("ECS_CONTAINER_METADATA_URI_V4", context.server.url <> "/v4")
    System.put_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", context.server.url <> "/credentials")
    System.put_env("AWS_ENDPOINT_URL_ECS", context.server.url <> "/")
    assert discover(context, metadata_uri: nil, credentials_uri: nil, endpoint: nil) == ["1", "2", "3"]
  end

  test "a task of no service asks for its family, and options replace what the metadata say", context do
    ApiServer.answer_with(context.server, EcsApi.api(tasks: @tasks, service: nil))
    assert discover(context) == ["1", "2", "3", "4"]
    ApiServer.answer_with(context.server, EcsApi.api(tasks: @tasks))
    assert discover(context, service: "other") == ["4"]
    assert discover(context, family: "shop") == ["1", "2", "3", "4"]
    assert discover(context, service: "db", family: "shop") == ["5"]

    ApiServer.requests(context.server)
    cluster = "arn:aws:ecs:eu-central-1:111122223333:cluster/default"
    assert discover(context, cluster: cluster, service: "db", region: "eu-central-1") == ["5"]
    refute Enum.any?(ApiServer.requests(context.server), &(&1.path == "/v4/task"))
  end

  test "lists have pages, and tasks are described a hundred at a time", context do
    many = for n <- 1..250, do: %{id: "t#{n}", service: "web", address: "10.0.0.#{n}"}
    ApiServer.answer_with(context.server, EcsApi.api(tasks: many, page: 70))
    assert length(discover(context)) == 250

    paths =
      for request <- ApiServer.requests(context.server),
          request.method == "POST",
          do: request.headers["x-amz-target"]

    assert Enum.count(paths, &(&1 =~ "ListTasks")) == 4
    assert Enum.count(paths, &(&1 =~ "DescribeTasks")) == 3
  end

  test "a service that has no task stands for no nodes", context do
    assert discover(context, service: "none") == []
  end

  test "failures are errors, and the doctor says what to do", context do
    denied = EcsApi.api(tasks: @tasks, denied: true)
    without = EcsApi.api(tasks: [%{id: "t1", service: "web", address: nil}])
    metadata = fn answer -> fn %{path: "/v4/task"} -> answer end end

    api = fn answer ->
      rest = EcsApi.api(tasks: @tasks)
      fn request -> if request.method == "POST", do: answer, else: rest.(request) end
    end

    for {answer, error, cause} <- [
          {denied,
           {:ecs, 400, "AccessDeniedException: User: shop is not authorized to perform: ecs:ListTasks"},
           :forbidden},
          {without, {:ecs, :no_addresses}, :no_addresses},
          {metadata.({404, ""}), {:ecs, :metadata, 404}, :api_status},
          {metadata.({200, "{}"}), {:ecs, :metadata, :incomplete}, :api_status},
          {metadata.({200, "[]"}), {:ecs, :metadata, :incomplete}, :api_status},
          {metadata.({200, "what"}), :not_json, :api_answer},
          {metadata.(:slow), :timeout, :api_timeout},
          {api.({503, "<html>"}), {:ecs, 503, ""}, :api_status},
          {api.({200, "{}"}), :no_list, :api_answer},
          {api.({:truncated, "{}"}), :closed, :api_cut}
        ] do
      ApiServer.answer_with(context.server, answer)
      timeout = if error == :timeout, do: 300, else: 15_000
      assert discover(context, timeout: timeout) == {:error, error}
      assert {^cause, says, change} = Explain.error(error)
      assert says != "" and change != ""
    end

    ApiServer.answer_with(context.server, EcsApi.api(tasks: @tasks))
    assert {:error, {:ecs, :no_task}} = discover(context, metadata_uri: nil)
    assert {:error, {:ecs, :no_role}} = discover(context, credentials_uri: nil)

    assert {:error, {:ecs, :credentials, 404}} =
             discover(context, credentials_uri: context.server.url <> "/none")

    assert {:error, {:invalid_option, {:node_basename, ""}}} = discover(context, node_basename: "")

    # With another secret than the role's, the API refuses.
    System.put_env("AWS_ACCESS_KEY_ID", "AKID")
    System.put_env("AWS_SECRET_ACCESS_KEY", "another")
    System.put_env("AWS_SESSION_TOKEN", "a session=")
    assert {:error, {:ecs, 400, "InvalidSignature" <> _}} = discover(context, credentials_uri: nil)
  end

  test "the doctor says why a task without a role finds nobody", context do
    found = fn topology -> [topology] |> Sources.ask() |> Sources.findings() end
    topology = Config.topology(:auto_ecs, Ecs, metadata_uri: context.server.url <> "/v4", node_basename: "it")
    assert [%{cause: :no_role, status: :error, says: says, change: change}] = found.(topology)
    assert says =~ "auto_ecs: this task has no role" and says =~ "DNS"
    assert change =~ "ecs:ListTasks" and change =~ "FOUNDATION_DNS_QUERY"

    url = context.server.url

    urls = [
      metadata_uri: url <> "/v4",
      credentials_uri: url <> "/credentials",
      endpoint: url,
      node_basename: "it"
    ]

    assert [%{status: :ok, says: "auto_ecs finds 3 other nodes"}] =
             found.(Config.topology(:auto_ecs, Ecs, urls))

    none = Config.topology(:auto_ecs, Ecs, [service: "none"] ++ urls)
    assert [%{cause: :nobody, change: change}] = found.(none)
    assert change =~ "aws ecs describe-services"
  end

  test "a request is signed as AWS documents it" do
    # The example of the documentation of Signature Version 4.
    credentials = %{id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token: nil}

    headers =
      Aws.sign(
        "GET",
        "https://iam.amazonaws.com/?Version=2010-05-08&Action=ListUsers",
        [{"content-type", "application/x-www-form-urlencoded; charset=utf-8"}],
        "",
        {credentials, "us-east-1", "iam"},
        ~U[2015-08-30 12:36:00Z]
      )

    assert List.last(headers) ==
             {"authorization",
              "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, " <>
                "SignedHeaders=content-type;host;x-amz-date, " <>
                "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"}
  end

  test "what goes into a request reads back, whatever it holds" do
    map = %{"a" => ~s(quo"te, back\\slash, new\nline, ü), "b" => ["x", ~s(")], "c" => []}
    assert Foundation.Cluster.Strategy.Json.decode(Aws.json(map)) == {:ok, map}
  end
end
