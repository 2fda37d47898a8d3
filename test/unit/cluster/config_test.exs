defmodule Foundation.Cluster.ConfigTest do
  # Every form a cluster can be asked for in, and how each mistake is named.
  use ExUnit.Case, async: false

  alias Foundation.Cluster.{Config, Strategy}

  @mfa {:net_kernel, :connect_node, []}

  defp modules(spec) do
    {:ok, %{topologies: topologies}} = Config.read(spec, [])
    Enum.map(topologies, &{&1.name, &1.module})
  end

  defp problem(spec, options \\ []) do
    assert {:error, {:invalid_config, problem}} = Config.read(spec, options)
    problem
  end

  setup do
    saved = for key <- [:topologies], do: {key, Application.get_env(:libcluster, key)}
    names = [:cluster, :cluster_options, :libcluster_topologies]
    ours = for key <- names, do: {key, Application.get_env(:foundation, key)}

    on_exit(fn ->
      for {key, value} <- saved, do: restore(:libcluster, key, value)
      for {key, value} <- ours, do: restore(:foundation, key, value)
    end)
  end

  defp restore(app, key, nil), do: Application.delete_env(app, key)
  defp restore(app, key, value), do: Application.put_env(app, key, value)

  test "the short forms" do
    assert modules(true) == [auto: Strategy.Auto]
    assert modules(:gossip) == [gossip: Strategy.Gossip]
    assert modules({:static, nodes: [:a@b]}) == [static: Strategy.Static]
    assert modules({:epmd, []}) == [epmd: Strategy.Epmd]
    assert modules(Strategy.LocalEpmd) == [{Strategy.LocalEpmd, Strategy.LocalEpmd}]
    assert modules([:gossip, :local_epmd]) == [gossip: Strategy.Gossip, local_epmd: Strategy.LocalEpmd]
    assert modules([:gossip, {:static, nodes: []}]) == [gossip: Strategy.Gossip, static: Strategy.Static]
    # A keyword list of strategies is a list of {strategy, options}.
    assert modules(gossip: [port: 1], static: []) == [gossip: Strategy.Gossip, static: Strategy.Static]
    assert {:ok, %{topologies: [%{config: [port: 1]}]}} = Config.read({:gossip, port: 1}, [])
  end

  test "each strategy has its short name" do
    for name <- [
          :auto,
          :mdns,
          :gossip,
          :epmd,
          :local_epmd,
          :erlang_hosts,
          :static,
          :dns,
          :kubernetes,
          :kubernetes_dns,
          :kubernetes_dns_srv,
          :consul,
          :ecs,
          :rancher
        ] do
      assert [{^name, module}] = modules(name)
      assert function_exported?(module, :start_link, 1)
    end
  end

  test "topologies as libcluster has them" do
    topologies = [
      one: [strategy: Cluster.Strategy.Gossip, config: [secret: "s"], connect: @mfa],
      two: [strategy: LibclusterStyle.Once, config: [hosts: []]]
    ]

    assert modules(topologies) == [one: Strategy.Gossip, two: LibclusterStyle.Once]
    assert {:ok, %{topologies: [%{connect: @mfa, disconnect: nil}, _]}} = Config.read(topologies, [])
  end

  test "libcluster's names mean ours where it is absent" do
    for name <-
          ~w(Gossip Epmd LocalEpmd ErlangHosts DNSPoll Kubernetes Kubernetes.DNS Kubernetes.DNSSRV Rancher) do
      assert {:ok, module} = Config.strategy(Module.concat(Cluster.Strategy, name))
      assert module == Module.concat(Strategy, name)
    end

    assert Config.strategy(Cluster.Strategy.Unheard) == :error
  end

  test "what the environment asks for" do
    assert Config.from_environment() == :none
    Application.put_env(:foundation, :cluster, false)
    Application.put_env(:foundation, :libcluster_topologies, a: [strategy: Cluster.Strategy.LocalEpmd])
    assert Config.from_environment() == :none
    Application.delete_env(:foundation, :cluster)
    assert {:ok, %{topologies: [%{name: :a}]}} = Config.from_environment()
    Application.put_env(:foundation, :cluster, true)
    Application.put_env(:libcluster, :topologies, b: [strategy: Cluster.Strategy.Gossip])
    assert {:ok, %{topologies: [%{name: :a}, %{name: :b}]}} = Config.from_environment()
    Application.put_env(:foundation, :cluster, :libcluster)
    assert {:ok, %{topologies: [%{name: :b}]}} = Config.from_environment()
    Application.put_env(:foundation, :cluster_options, leave_after: 7)
    assert {:ok, %{options: %{leave_after: 7, down_after: 5_000}}} = Config.from_environment()
  end

  test "what is wrong is named" do
    for spec <- [
          nil,
          7,
          "gossip",
          %{},
          :carrier_pigeon,
          NoSuchModule,
          String,
          {:gossip},
          [:gossip | :epmd],
          [3]
        ] do
      problem = problem(spec)
      assert problem.key =~ "cluster:"
      assert problem.expected =~ "a strategy"
    end

    assert %{key: "cluster: :gossip", value: 45_892, expected: "a keyword list"} = problem({:gossip, 45_892})
    assert %{key: "cluster: :a, strategy:", value: Nothing} = problem(a: [strategy: Nothing])
    assert %{key: "cluster: :a, config:", value: 1} = problem(a: [strategy: Strategy.Static, config: 1])
    assert %{key: "cluster: :a, connect:", value: 1} = problem(a: [strategy: Strategy.Static, connect: 1])
    assert %{value: :gossip, expected: "each strategy once" <> _} = problem([:gossip, {:gossip, port: 1}])
    assert problem([]).key == "cluster:"
    assert %{key: "config :libcluster, topologies:"} = problem(:libcluster)
  end

  test "options that are wrong are named" do
    assert %{key: "cluster_options: leave_after", value: 0} = problem(:gossip, leave_after: 0)
    assert %{key: "cluster_options: down_after", value: "5"} = problem(:gossip, down_after: "5")
    assert %{key: "cluster_options: name", value: "a b"} = problem(:gossip, name: "a b")
    assert %{key: "cluster_options: drain_on_sigterm", value: :yes} = problem(:gossip, drain_on_sigterm: :yes)
    assert %{key: "cluster_options: expected_size"} = problem(:gossip, expected_size: 0)
    assert %{key: "cluster_options: ", value: :leave, expected: "one of" <> _} = problem(:gossip, leave: 1)
    assert %{value: 5, expected: "a keyword list"} = problem(:gossip, 5)

    assert Config.message({:invalid_config, problem(:gossip, leave_after: 0)}) =~
             "leave_after is 0, and a number"
  end

  test "no secret is told in a problem" do
    for spec <- [
          {:gossip, [{:secret, "hush"} | 3]},
          [{:gossip, secret: "hush"}, :carrier_pigeon, 5],
          [a: [strategy: Nothing, config: [secret: "hush"]], b: 3]
        ] do
      assert {:error, problem} = Config.read(spec, [])
      refute inspect(problem) =~ "hush"
    end

    refute inspect(Config.read(:gossip, cookie: "hush")) =~ "hush"
  end

  test "the application does not start with a configuration that is wrong, and says why" do
    Application.stop(:foundation)
    Application.put_env(:foundation, :cluster, {:gossip, 1})

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        assert {:error, {:foundation, {{:invalid_config, %{key: "cluster: :gossip", value: 1}}, _}}} =
                 Application.ensure_all_started(:foundation)
      end)

    assert log =~ "the configuration cluster: :gossip is 1, and a keyword list was expected"
    Application.delete_env(:foundation, :cluster)
    assert {:ok, _} = Application.ensure_all_started(:foundation)
  end
end
