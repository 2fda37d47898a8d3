defmodule Foundation.Distributed.ContextChannelsTest do
  # A context over channels, without any Erlang distribution between the nodes.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.ContextVisitor, as: Visitor
  alias Foundation.Distributed
  alias Foundation.Distributed.{Channels, Context, Fabric}
  alias Foundation.FabricPeers, as: Peers

  @moduletag timeout: 120_000

  setup do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    [a, b] = for name <- [:context_a, :context_b], do: Peers.start(name)
    on_exit(fn -> Enum.each([a, b], &Peers.stop/1) end)
    :ok = Peers.introduce(a, b)
    assert_eventually(b.node in Peers.rpc(a, Fabric, :nodes, []))
    {:ok, a: a, b: b}
  end

  test "subscribers that ask get it, others get the message as ever", %{a: a, b: b} do
    collector = Peers.rpc(b, Visitor, :collect, [:told, 4])
    Peers.rpc(b, Visitor, :handle, [:events, :told])
    :ok = Peers.rpc(b, Channels, :subscribe, [:events, [pid: collector]])

    {trace, :ok} = Peers.rpc(a, Visitor, :within, [%{user: 7}, Channels, :broadcast, [:events, {:paid, 12}]])
    :ok = Peers.rpc(a, Channels, :broadcast, [:events, :plain])

    got = Peers.rpc(b, Visitor, :told, [:told])
    assert {{:paid, 12}, a.node, %{user: 7}} in got
    assert {:foundation_channel, :events, a.node, {:paid, 12}} in got
    assert {:plain, a.node, %{}} in got
    assert {:foundation_channel, :events, a.node, :plain} in got

    assert {:ok, %{hops: [%{kind: :message, name: :events}]}} =
             Peers.rpc(b, Context, :hops, [trace, [b.node]])
  end

  test "a message whose map the VM must build carries it too", %{a: a, b: b} do
    big = Map.new(1..100, &{&1, &1})
    Peers.rpc(b, Visitor, :collect, [:told, 1])
    Peers.rpc(b, Visitor, :handle, [:events, :told])
    {_, :ok} = Peers.rpc(a, Visitor, :within, [big, Channels, :broadcast, [:events, big]])
    assert [{^big, _, ^big}] = Peers.rpc(b, Visitor, :told, [:told])
  end

  test "the callee of a call finds it", %{a: a, b: b} do
    {:ok, _} = Peers.rpc(b, Visitor, :start, [:visited])
    call = [:coordination, {:visited, b.node}, :context]
    {trace, {:ok, %{user: 7}}} = Peers.rpc(a, Visitor, :within, [%{user: 7}, Distributed, :call, call])
    assert Peers.rpc(a, Distributed, :call, call) == {:ok, %{}}

    assert {:ok, %{hops: [%{kind: :call, name: :coordination}]}} =
             Peers.rpc(b, Context, :hops, [trace, [b.node]])
  end
end
