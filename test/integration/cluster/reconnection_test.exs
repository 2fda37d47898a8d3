defmodule Foundation.Cluster.ReconnectionTest do
  # The runtime may tell of a new connection before it tells of the end of the one whose place that took.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ClusterNodes, as: Nodes
  alias Foundation.ClusterProbe

  @moduletag timeout: 120_000

  test "news of a connection that has been replaced leave nobody lost" do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)

    [a, b] =
      for name <- [:reconnect_a, :reconnect_b],
          do: Nodes.boot(group, name: name, env: [cluster: :local_epmd, partitions: [confirm_after: 50]])

    [name_a, name_b] = Enum.map([a, b], &Nodes.name/1)
    both = Enum.sort([name_a, name_b])
    assert_eventually(Nodes.nodes(a) == both and Nodes.nodes(b) == both, 20_000)
    {:ok, _} = Nodes.call(a, ClusterProbe, :start, [])

    late = {:nodedown, name_b, %{nodedown_reason: :connection_closed, node_type: :visible}}
    Nodes.call(a, :erlang, :send, [Foundation.Cluster.Membership, late])

    events = fn -> for {event, ^name_b, _} <- Nodes.call(a, ClusterProbe, :events, []), do: event end
    assert_eventually(List.last(events.()) == :reachable)
    assert Enum.take(events.(), -2) == [:unreachable, :reachable]
    assert Nodes.nodes(a) == both
    assert_eventually(match?({:ok, %{lost: [], state: :active}}, status(a)))
    # Nor does it count later, when the time to confirm a loss is over.
    assert Nodes.call(a, :timer, :sleep, [100]) == :ok
    assert {:ok, %{lost: [], state: :active}} = status(a)
  end

  defp status(node), do: Nodes.call(node, Foundation.Distributed.Partitions, :status, [])
end
