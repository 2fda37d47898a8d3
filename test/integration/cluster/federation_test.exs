defmodule Foundation.Cluster.FederationTest do
  # Two clusters of real nodes, with a cookie each, that never connect by the distribution.
  use ExUnit.Case, async: false

  import Foundation.ClusterNodes
  import Foundation.Eventually

  alias Foundation.Cluster
  alias Foundation.Cluster.Federation

  @app "the secret of the cluster app"
  @ai "the secret of the cluster ai"

  setup do
    groups = [app, ai] = [group(), group()]
    gate = boot(app, name: :gate)
    node = boot(ai, name: :thinker)

    on_exit(fn ->
      for peer <- [gate, node], Process.alive?(peer), do: :peer.stop(peer)
      Enum.each(groups, &stop_group/1)
    end)

    %{gate: gate, node: node}
  end

  defp start(peer, clusters), do: call(peer, Federation, :start, [clusters])

  # Public, from the secret alone.
  defp authority(peer, name, secret) do
    :ok = start(peer, %{name => [secret: secret]})
    {:ok, pem} = call(peer, Federation, :authority, [name])
    :ok = call(peer, Federation, :stop, [])
    pem
  end

  defp open_gateway(gate, ai, allow, port \\ 0) do
    :ok =
      start(gate, %{
        app: [secret: @app, gateway: [bind: "127.0.0.1", port: port]],
        ai: [authority: ai, allow: allow]
      })

    {:ok, %{clusters: %{app: %{gateway: address}}}} = call(gate, Federation, :info, [])
    address
  end

  test "they call what the other allows, and know each other by certificates alone", %{gate: gate, node: node} do
    ai = authority(node, :ai, @ai)
    app = authority(gate, :app, @app)
    allow = [{Enum, :sum, 1}, {Federation, :node_names, 0}]
    address = open_gateway(gate, ai, allow)
    :ok = start(node, %{ai: [secret: @ai], app: [authority: app, gateways: [address]]})

    assert call(node, Cluster, :send_to_cluster, [:app, {Enum, :sum, [[1, 2]]}]) == {:ok, 3}
    assert call(node, Cluster, :send_to_cluster, [:app, {:erlang, :halt, []}]) == {:error, :not_allowed}
    assert call(node, Cluster, :nodes, [:app]) == {:ok, [Atom.to_string(name(gate))]}
    assert call(node, Cluster, :clusters, []) == [:ai, :app]
    assert {:ok, %{clusters: %{app: %{linked: linked}}}} = call(node, Federation, :info, [])
    assert linked == Atom.to_string(name(gate))
    assert call(node, :erlang, :nodes, [:connected]) == []
    assert call(gate, :erlang, :nodes, [:connected]) == []
  end

  test "a gateway that comes back is called again", %{gate: gate, node: node} do
    ai = authority(node, :ai, @ai)
    app = authority(gate, :app, @app)
    address = open_gateway(gate, ai, [{Enum, :sum, 1}])
    :ok = start(node, %{ai: [secret: @ai], app: [authority: app, gateways: [address]]})
    sum = fn -> call(node, Cluster, :send_to_cluster, [:app, {Enum, :sum, [[1]]}, [timeout: 5_000]]) end
    assert sum.() == {:ok, 1}

    :ok = call(gate, Federation, :stop, [])
    assert_eventually(match?({:error, _}, sum.()), 10_000)

    [_, port] = String.split(address, ":")
    ^address = open_gateway(gate, ai, [{Enum, :sum, 1}], String.to_integer(port))
    assert_eventually(sum.() == {:ok, 1}, 15_000)
  end

  test "the guide says what happens" do
    assert Foundation.Guide.run("guides/security.md") == 4
  end

  test "the application starts it from its environment, and does not start with a mistake in it", %{
    gate: gate
  } do
    :ok = call(gate, Application, :stop, [:foundation])
    put = fn clusters -> call(gate, Application, :put_env, [:foundation, :clusters, clusters]) end
    put.(%{app: [secret: "short"]})
    assert {:error, _} = call(gate, Application, :ensure_all_started, [:foundation])
    put.(%{app: [secret: :cookie, gateway: true]})
    true = call(gate, :erlang, :set_cookie, [:a_cookie_of_16_bytes_or_more])
    assert {:ok, _} = call(gate, Application, :ensure_all_started, [:foundation])

    assert {:ok, %{clusters: %{app: %{gateway: "0.0.0.0:" <> _, member: true}}}} =
             call(gate, Federation, :info, [])
  end
end
