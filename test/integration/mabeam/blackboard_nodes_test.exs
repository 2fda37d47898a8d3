defmodule Foundation.MABEAM.BlackboardNodesTest do
  # One board on three real nodes, of which one dies.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.FabricPeers, as: Peers
  alias Foundation.MABEAM.Blackboard
  alias Foundation.MABEAM.Blackboard.Entry

  @moduletag timeout: 120_000

  test "agents on three nodes see each other's posts, also those of a node that died" do
    peers = for _ <- 1..3, do: Peers.start("board", fabric: false)
    on_exit(fn -> Enum.each(peers, &Peers.stop/1) end)
    for peer <- peers, do: Process.unlink(peer.peer)
    [a, b, c] = peers
    for peer <- peers, do: {:ok, _} = ask(peer, :open, [:shared, [sync_interval: 100]])

    # None knows of the others yet: both posts of one key stay.
    :ok = ask(a, :post, [:shared, :guess, :price, 10, [author: :on_a, confidence: 0.5]])
    :ok = ask(b, :post, [:shared, :guess, :price, 12, [author: :on_b, confidence: 0.9]])
    :ok = ask(c, :post, [:shared, :guess, :date, "May", [author: :on_c]])
    for one <- peers, other <- peers, one.node < other.node, do: true = Peers.connect(one, other)

    for peer <- peers do
      assert_eventually(match?({:ok, [_, _]}, ask(peer, :entries, [:shared, :guess])), 15_000)

      assert_eventually(
        match?(
          {:ok, %Entry{contributions: [%{value: 12}, %{value: 10}]}},
          ask(peer, :get, [:shared, :guess, :price])
        ),
        15_000
      )
    end

    # Who has seen both decides.
    :ok = ask(a, :post, [:shared, :guess, :price, 11, [author: :on_a]])
    :ok = ask(c, :support, [:shared, :guess, :date, :on_c])

    assert_eventually(
      match?({:ok, %Entry{contributions: [%{value: 11}]}}, ask(b, :get, [:shared, :guess, :price])),
      15_000
    )

    assert_eventually(
      match?({:ok, %Entry{support: %{on_c: 1}}}, ask(a, :get, [:shared, :guess, :date])),
      15_000
    )

    Peers.stop(c)
    assert {:ok, [%Entry{key: :date}, %Entry{key: :price}]} = ask(a, :entries, [:shared, :guess])
  end

  defp ask(peer, function, arguments), do: Peers.rpc(peer, Blackboard, function, arguments)
end
