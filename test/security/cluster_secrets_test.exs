defmodule Foundation.Security.ClusterSecretsTest do
  # What is secret in a cluster's configuration is in no log, no crash report, no table and no answer.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ClusterNodes, as: Nodes

  @secret "hush-hush-4711"

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    log = Path.join(group.directory, "log")
    handler = %{level: :all, config: %{file: String.to_charlist(log), sync_mode_qlen: 0}}

    peer = Nodes.boot(group, start: false)
    :ok = Nodes.call(peer, :logger, :set_primary_config, [:level, :debug])
    :ok = Nodes.call(peer, :logger, :add_handler, [:to_file, :logger_std_h, handler])
    on_exit(fn -> Nodes.stop(peer) end)
    %{peer: peer, log: log}
  end

  defp logged(peer, log) do
    Nodes.call(peer, :logger_std_h, :filesync, [:to_file])
    File.read!(log)
  end

  test "running, crashing, and stopping", %{peer: peer, log: log} do
    spec = [
      {:gossip, secret: @secret, port: 20_000 + :rand.uniform(20_000)},
      {Foundation.ClusterStrategies.Told, token: @secret}
    ]

    for {key, value} <- [cluster: spec, cluster_options: [cookie: String.to_atom(@secret)]],
        do: Nodes.call(peer, Application, :put_env, [:foundation, key, value])

    {:ok, _} = Nodes.call(peer, Application, :ensure_all_started, [:foundation])
    assert Nodes.call(peer, :erlang, :get_cookie, []) == String.to_atom(@secret)
    assert_eventually(map_size(Nodes.call(peer, Foundation.Cluster, :info, []).strategies) == 2)

    refute inspect(Nodes.call(peer, Foundation, :cluster_info, []), limit: :infinity) =~ @secret
    refute inspect(Nodes.call(peer, :ets, :tab2list, [:foundation_cluster]), limit: :infinity) =~ @secret

    # Every process of the cluster ends badly, its strategies too, until the supervisor gives up.
    Nodes.call(peer, Application, :put_env, [:foundation, :test_told, :nonsense])

    assert_eventually(
      Nodes.call(peer, Foundation.Cluster, :info, []).strategies[Foundation.ClusterStrategies.Told].failures >
        0
    )

    children = Nodes.call(peer, Supervisor, :which_children, [Foundation.Cluster.Supervisor])
    assert length(children) >= 4
    for {_id, pid, _, _} <- children, is_pid(pid), do: Nodes.call(peer, :sys, :terminate, [pid, :on_purpose])
    assert_eventually(logged(peer, log) =~ "on_purpose")
    assert_eventually(logged(peer, log) =~ "Foundation.Cluster.Supervisor")
    assert :ok = Nodes.call(peer, Foundation.Cluster, :stop, [])
    text = logged(peer, log)
    assert text =~ "Foundation.Cluster.Membership"
    refute text =~ @secret
  end
end
