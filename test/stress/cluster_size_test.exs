defmodule Foundation.Stress.ClusterSizeTest do
  # Twenty real nodes of one host that were told nothing.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ClusterNodes, as: Nodes

  @moduletag :slow
  @moduletag timeout: 180_000
  @count 20

  test "twenty nodes form one cluster, lose four at once, drain two, and take four new ones in" do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    env = [cluster: true, cluster_options: [down_after: 2_000]]
    # Little of each runtime is needed here.
    options = [env: env, args: ~w(+S 1:1 +SDcpu 1 +SDio 1 +A 1)]
    peers = Nodes.boot_all(group, @count, options)
    on_exit(fn -> Enum.each(peers, &Nodes.stop/1) end)
    assert_eventually(Nodes.all_see_all?(peers), 60_000)

    for peer <- peers,
        do: assert(:ok = Nodes.call(peer, Foundation.Cluster, :await_ready, [[timeout: 10_000]]))

    {killed, rest} = Enum.split(peers, 4)
    Enum.each(killed, &Nodes.kill/1)
    assert_eventually(Nodes.all_see_all?(rest), 60_000)

    {drained, rest} = Enum.split(rest, 2)
    for peer <- drained, do: assert(:ok = Nodes.call(peer, Foundation.Cluster, :drain, [[]]))
    assert_eventually(Nodes.all_see_all?(rest), 60_000)

    new = Nodes.boot_all(group, 4, options)
    on_exit(fn -> Enum.each(new, &Nodes.stop/1) end)
    assert_eventually(Nodes.all_see_all?(new ++ rest), 60_000)
  end
end
