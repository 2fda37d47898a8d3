defmodule Foundation.Distributed.RegistryKillTest do
  # Names of nodes that die with kill -9, and come back.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.ProcessRegistry.Global
  alias Foundation.RegistryProbe

  @moduletag timeout: 180_000

  test "the names of a node that dies are free for others; those of the others stay; it comes back with none" do
    cluster = Nodes.start(3, coordination: [expect: 3, session_ms: 1_000])
    on_exit(fn -> Nodes.stop(cluster) end)
    [a, b, c] = Nodes.formed(cluster)

    name = fn cluster, node, name, options ->
      Nodes.rpc(cluster, node, RegistryProbe, :name, [name, options])
    end

    whereis = fn cluster, node, name -> Nodes.rpc(cluster, node, Global, :whereis, [name]) end

    {_, :ok} = name.(cluster, c, :available, [])
    {leased, :ok} = name.(cluster, c, :leased, consistency: :consensus)
    {others, :ok} = name.(cluster, a, :others, consistency: :consensus)
    assert_eventually(whereis.(cluster, b, :leased) == leased)
    {:ok, %{fencing_token: token}} = Nodes.rpc(cluster, a, Global, :lookup, [:leased])
    Nodes.kill(cluster, c)

    for node <- [a, b], do: assert_eventually(whereis.(cluster, node, :available) == nil)
    {second, :ok} = name.(cluster, b, :available, [])

    {leased, :ok} =
      assert_eventually(
        with(
          {_, {:error, _}} <- name.(cluster, b, :leased, consistency: :consensus, timeout: 1_000),
          do: nil
        ),
        15_000
      )

    {:ok, %{fencing_token: later}} = Nodes.rpc(cluster, b, Global, :lookup, [:leased])
    assert later > token

    cluster = Nodes.restart(cluster, c)
    on_exit(fn -> Nodes.stop(cluster) end)

    for {name, pid} <- [available: second, leased: leased, others: others],
        do: assert_eventually(whereis.(cluster, c, name) == pid, 20_000)

    assert {_, {:error, {:already_registered, ^others}}} = name.(cluster, c, :others, [])

    # Who stops in good order leaves nothing behind that others would wait for.
    # It knows names before it knows the group again.
    assert_eventually(match?({_, :ok}, name.(cluster, c, :left, consistency: :consensus)), 15_000)
    :ok = Nodes.rpc(cluster, c, Application, :stop, [:foundation])
    assert {_, :ok} = name.(cluster, b, :left, consistency: :consensus)
  end
end
