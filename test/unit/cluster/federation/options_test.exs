defmodule Foundation.Cluster.Federation.OptionsTest do
  use ExUnit.Case, async: true

  alias Foundation.Cluster.Federation.{Options, Pem}

  @secret "a secret of 16 bytes or more"
  @pem Pem.encode(["certificate"])

  defp problem(clusters) do
    assert {:error, {:invalid_config, %{key: key} = problem}} = Options.read(clusters)
    refute inspect(problem) =~ "secret of 16"
    key
  end

  test "members, others, and what they may do" do
    clusters = %{
      app: [secret: @secret, gateway: [port: 4500, bind: "127.0.0.1"]],
      ai: [
        authority: @pem,
        gateways: ["10.0.0.5:4500", "[::1]:4501", "localhost:1"],
        allow: [{Enum, :sum, 1}],
        quota: [at_a_time: 3]
      ]
    }

    assert {:ok, options} = Options.read(clusters)
    assert options.clusters == [:ai, :app]

    assert [{"ai", {:foreign, "app", ["certificate"]}, [one, two, _three], {1_000, 16_777_216, 3}}, app] =
             options.native

    assert {one, two} == {"10.0.0.5:4500", "[::1]:4501"}
    assert {"app", {:member, [@secret], "127.0.0.1:4500"}, [], {1_000, 16_777_216, 64}} = app
    assert options.allow["ai"] == %{{"Elixir.Enum", "sum", 1} => {Enum, :sum}}
    assert options.allow["app"] == %{}
  end

  test "secrets that are accepted besides, and what is for joining" do
    other = "another secret of 16 bytes"
    options = [secret: @secret, accept: [other], topology: :hyparview, partitions: []]
    assert {:ok, %{native: [{"app", {:member, [@secret, ^other], nil}, _, _}]}} = Options.read(app: options)

    assert {:error, {:invalid_config, %{key: "clusters: app: accept"}}} =
             Options.read(app: [secret: @secret, accept: other])

    assert {:error, {:invalid_config, %{key: "clusters: app: accept"}}} =
             Options.read(app: [secret: @secret, accept: ["no"]])

    assert {:error, {:invalid_config, %{key: "clusters: ai: topology"}}} =
             Options.read(ai: [topology: :hyparview])

    assert Options.joins?(options)
    refute Options.joins?(secret: @secret, gateway: true)
  end

  test "the secret may come from the environment, the authority from a file" do
    variable = "FOUNDATION_TEST_SECRET_#{System.unique_integer([:positive])}"
    path = Path.join(System.tmp_dir!(), variable)
    File.write!(path, @pem)
    System.put_env(variable, @secret)

    on_exit(fn ->
      File.rm(path)
      System.delete_env(variable)
    end)

    assert {:ok, %{native: [{"ai", {:foreign, "app", _}, _, _}, {"app", {:member, [@secret], nil}, _, _}]}} =
             Options.read(app: [secret: {:system, variable}], ai: [authority: path])
  end

  test "every mistake is named" do
    assert problem(:nonsense) == "clusters"
    assert problem(app: :nonsense) == "clusters"
    assert problem(app: [secrets: @secret]) == "clusters: app: secrets"
    assert problem(app: [secret: "short"]) == "clusters: app: secret"
    assert problem(app: [secret: {:system, "FOUNDATION_TEST_UNSET"}]) == "clusters: app: secret"
    assert problem(app: []) == "clusters: app: secret"
    assert problem(app: [secret: @secret, authority: @pem]) == "clusters: app: secret"
    assert problem(app: [secret: @secret, gateway: [port: 70_000]]) == "clusters: app: gateway"
    assert problem(app: [secret: @secret, gateways: ["nowhere"]]) == "clusters: app: gateways"
    assert problem(app: [secret: @secret, gateways: ["10.0.0.1:0"]]) == "clusters: app: gateways"
    assert problem(app: [secret: @secret, allow: [Enum]]) == "clusters: app: allow"
    assert problem(app: [secret: @secret, allow: [{Enum, :sum, 1} | :x]]) == "clusters: app: allow"
    assert problem(app: [secret: @secret, quota: [calls: 1]]) == "clusters: app: quota"
    assert problem(app: [secret: @secret, quota: [at_a_time: 0]]) == "clusters: app: quota"
    assert problem(ai: [authority: @pem]) == "clusters: ai: as"
    assert problem(app: [secret: @secret], ai: [authority: "/nowhere.pem"]) == "clusters: ai: authority"
    assert problem(app: [secret: @secret], ai: [authority: @pem, as: :bank]) == "clusters: ai: as"
    assert problem(app: [secret: @secret], ai: [authority: @pem, gateway: true]) == "clusters: ai: gateway"
    assert problem(a: [secret: @secret], b: [secret: @secret], c: [authority: @pem]) == "clusters: c: as"
  end
end
