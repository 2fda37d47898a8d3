defmodule Foundation.Cluster.GuideTest do
  # The guide's code runs on a node of its own, which it makes a distributed one.
  use ExUnit.Case, async: false

  alias Foundation.ClusterNodes, as: Nodes

  test "the guide's code does what the guide says" do
    group = Nodes.group()
    peer = Nodes.boot(group)

    on_exit(fn ->
      Nodes.stop(peer)
      Nodes.stop_group(group)
    end)

    assert Nodes.call(peer, Foundation.Guide, :run, [Path.expand("guides/clustering.md")], 60_000) >= 10
  end
end
