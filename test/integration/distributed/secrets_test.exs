defmodule Foundation.Distributed.SecretsTest do
  # A cluster of real nodes that exchanges its secret for another while it works.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.{Channels, Fabric, Topology}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor

  @moduletag timeout: 120_000

  @old "the old secret of this cluster"
  @new "the new secret of this cluster"

  defp rpc(node, module, function, arguments \\ []), do: Peers.rpc(node, module, function, arguments)

  defp start(name, options) do
    node = Peers.start(name, fabric: [bind: {127, 0, 0, 1}] ++ options)
    on_exit(fn -> Peers.stop(node) end)
    node
  end

  # A channel that nobody has used yet has no link yet.
  defp link_anew(nodes, channel) do
    for node <- nodes, do: :ok = rpc(node, Channels, :open, [channel, []])

    for from <- nodes, to <- nodes, from != to do
      assert :ok = rpc(from, Channels, :send_message, [channel, {:nobody, to.node}, :hello, [ack: true]])
    end
  end

  test "no node is refused or lost meanwhile, and the old secret opens nothing afterwards" do
    nodes = [first | rest] = for n <- 1..3, do: start("rotating#{n}", secret: @old)
    for node <- rest, do: Peers.introduce(node, first)
    assert_eventually(Enum.all?(nodes, &(length(rpc(&1, Topology, :members)) == 2)), 10_000)
    watchers = for node <- nodes, do: {node, rpc(node, Visitor, :start, [nil])}
    for {node, pid} <- watchers, do: :ok = rpc(node, Topology, :subscribe, [pid])

    rounds = [{@old, [accept: [@new]]}, {@new, [accept: [@old]]}, {@new, []}]

    for {{secret, options}, round} <- Enum.with_index(rounds), {node, n} <- Enum.with_index(nodes) do
      assert :ok = rpc(node, Fabric, :set_secret, [secret, options])
      link_anew(nodes, :"round_#{round}_#{n}")
    end

    # Probes go by datagrams that only the new secret seals: a second of them, and everyone is there.
    before = for node <- nodes, do: received(node)

    assert_eventually(
      nodes |> Enum.map(&received/1) |> Enum.zip(before) |> Enum.all?(fn {a, b} -> a > b + 20 end),
      30_000
    )

    assert Enum.all?(nodes, &(length(rpc(&1, Topology, :members)) == 2))

    for {node, pid} <- watchers do
      assert for({:foundation_member, {:down, _}, _} = news <- rpc(node, Visitor, :kept, [pid]), do: news) ==
               []

      {:ok, %{refused: refused}} = rpc(node, Fabric, :info)
      assert Enum.all?(refused, fn {_, count} -> count == 0 end), inspect(refused)
    end

    late = start("late", secret: @old)
    Peers.introduce(late, first)

    assert {:error, _} =
             rpc(late, Channels, :send_message, [
               :data,
               {:nobody, first.node},
               :x,
               [ack: true, timeout: 1_000]
             ])

    # It does not believe us either, and goes before it has shown who it is.
    assert_eventually(Enum.any?(elem(rpc(first, Fabric, :info), 1).refused, fn {_, count} -> count > 0 end))
    assert Enum.all?(nodes, &(length(rpc(&1, Topology, :members)) == 2))

    # One that starts between two rounds: it has the old secret, and takes the new one.
    between = start("between", secret: @old, accept: [@new])
    assert :ok = rpc(between, Fabric, :set_secret, [@new])
    Peers.introduce(between, first)
    assert_eventually(length(rpc(between, Topology, :members)) == 3, 10_000)
  end

  defp received(node), do: elem(rpc(node, Topology, :info), 1).datagrams_received

  test "what is no secret is refused, and certificates from files are not exchanged so" do
    node = start("refusing", secret: @old)
    for bad <- ["", 7, nil], do: assert_raise(ArgumentError, fn -> Fabric.set_secret(bad) end)

    assert_raise ArgumentError, ~r/at most eight/, fn ->
      Fabric.set_secret(@new, accept: List.duplicate(@old, 9))
    end

    assert_raise ArgumentError, ~r/at most eight/, fn -> Fabric.set_secret(@new, accept: @old) end
    assert {:error, :not_running} = Fabric.set_secret(@new, cluster: :no_such_cluster)
    assert {:error, :not_running} = rpc(node, Fabric, :set_secret, [@new, [cluster: :no_such_cluster]])
    assert :ok = rpc(node, Fabric, :set_secret, [@new, [accept: List.duplicate(@old, 8)]])
  end
end
