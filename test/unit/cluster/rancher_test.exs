defmodule Foundation.Cluster.RancherTest do
  use ExUnit.Case, async: true

  alias Foundation.ApiServer
  alias Foundation.Cluster.Strategy.{Rancher, State}

  # What the metadata service says of a service, shortened.
  @service ~s({"name":"web","stack_name":"s","kind":"service","containers":[
    {"name":"s-web-1","ips":["10.42.0.1","10.42.9.9"],"state":"running"},
    {"name":"s-web-2","ips":["10.42.0.2"],"state":"running"},
    {"name":"s-web-3","ips":[],"state":"starting"}]})

  defp discover(server, more \\ []) do
    config = Keyword.merge([base_url: server.url, node_basename: "it", timeout: 15_000], more)
    Rancher.discover(%State{topology: :rancher, config: config})
  end

  test "containers of this service become nodes, and failures errors" do
    server = ApiServer.start(fn %{path: "/latest/self/service"} -> {200, @service} end)
    assert {:ok, [:"it@10.42.0.1", :"it@10.42.0.2"]} = discover(server)
    assert [%{headers: %{"accept" => "application/json"}}] = ApiServer.requests(server)

    for {answer, error} <- [
          {{404, "Not found"}, {:rancher, 404}},
          {{200, "[]"}, :no_list},
          {{200, "web"}, :not_json},
          {{:truncated, "{}"}, :closed},
          {:slow, :timeout}
        ] do
      ApiServer.answer_with(server, fn _ -> answer end)
      timeout = if error == :timeout, do: 300, else: 15_000
      assert {answer, discover(server, timeout: timeout)} == {answer, {:error, error}}
    end

    assert {:error, {:invalid_option, {:node_basename, ""}}} = discover(server, node_basename: "")
    assert {:error, :invalid_url} = discover(server, base_url: "http://bad host")
  end
end
