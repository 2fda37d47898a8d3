defmodule Foundation.Distributed.ContextNodesTest do
  # A context over real nodes: carried by hand, recorded where it arrives.
  use ExUnit.Case, async: false

  alias Foundation.Distributed.Context
  alias Foundation.{ContextVisitor, PeerNodes}

  @tag timeout: 120_000
  test "a trace over three nodes is gathered from all of them, and a dead one is named" do
    nodes = PeerNodes.start(2)
    on_exit(fn -> PeerNodes.leave(nodes) end)
    [first, second] = Enum.map(nodes, & &1.node)

    trace =
      Context.run(%{user: 1}, fn ->
        assert %{user: 1} = :erpc.call(first, ContextVisitor, :visit, [Context.carry(), [second]])
        Context.trace_id()
      end)

    assert {:ok, %{hops: hops, unreachable: []}} = Context.hops(trace)
    assert Enum.map(hops, & &1.kind) == [:begin, :message, :message]
    assert Enum.map(hops, & &1.node) == [node(), first, second]
    assert [%{span_id: _}, %{span_id: parent}, %{parent_span_id: parent}] = hops

    PeerNodes.stop([List.last(nodes)])
    assert {:ok, %{hops: [_, _], unreachable: [^second]}} = Context.hops(trace, [node(), first, second])
  end
end
