defmodule Foundation.MABEAM.AveragingNodesTest do
  # An average by gossip over real nodes, of which one is killed in the middle.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.{MABEAM, MabeamAgents, PeerNodes, RealNode}
  alias Foundation.MABEAM.Coordination.Averaging

  @moduletag timeout: 120_000

  setup do
    {:ok, _} = MABEAM.start()
    peers = PeerNodes.start(3, env: [test_mode: false, mabeam: true])

    on_exit(fn ->
      MabeamAgents.stop()
      PeerNodes.leave(peers)
    end)

    # They exchange with each other too.
    for %{peer: one} <- peers, %{node: other} <- peers, do: :peer.call(one, Node, :connect, [other])
    {:ok, peers: peers}
  end

  defp agents(nil, prefix, numbers),
    do:
      for(
        {number, n} <- Enum.with_index(numbers),
        do: MabeamAgents.start("#{prefix}-#{n}", %{proposal: {:say, number}})
      )

  defp agents(peer, prefix, numbers) do
    for {number, n} <- Enum.with_index(numbers),
        do: RealNode.call(peer, MabeamAgents, :start, ["#{prefix}-#{n}", %{proposal: {:say, number}}, []])
  end

  test "each node knows the average of all; of those who are left when one dies", %{peers: [one, two, three]} do
    here = agents(nil, "here", [1, 2, 3])
    first = agents(one, "one", [10, 20, 30, 40])
    second = agents(two, "two", [100])
    last = agents(three, "three", [1_000, 3_000])
    all = here ++ first ++ second
    mean = (6 + 100 + 100) / 8
    assert {:ok, result} = Averaging.average(all, %{question: "how much?"}, timeout: 10_000)
    assert {result.count, result.nodes, result.missing, result.failed} == {8, 3, [], %{}}
    assert_in_delta result.average, mean, 0.01
    assert result.error < 0.01
    assert abs(result.average - mean) <= result.error + 1.0e-3

    for peer <- [one, two] do
      assert {:ok, %{done: true, average: average}} = RealNode.call(peer, Averaging, :result, [result.id])
      assert_in_delta average, mean, 0.01
    end

    assert {:error, :not_found} = RealNode.call(three, Averaging, :result, [result.id])

    # It dies when its numbers have long gone round.
    averaging =
      Task.async(fn ->
        Averaging.average(all ++ last, %{question: "how much?"}, timeout: 10_000, steps: 300)
      end)

    assert_eventually(gone_round?(three), 10_000)
    RealNode.kill(three)
    assert {:ok, result} = Task.await(averaging, 60_000)
    assert {result.count, result.nodes, result.missing} == {8, 3, [three.node]}
    assert result.failed == %{node_failed: 2}
    assert_in_delta result.average, mean, 0.01
  end

  test "each node knows the shares of all votes", %{peers: [one, two, _three]} do
    here = for n <- 1..3, do: MabeamAgents.start("here-#{n}", %{vote: {:say, :a}})

    there =
      for {peer, prefix, options} <- [{one, "one", [:b, :b, :a]}, {two, "two", [:b, :b, :b, :c]}],
          {option, n} <- Enum.with_index(options),
          do: RealNode.call(peer, MabeamAgents, :start, ["#{prefix}-#{n}", %{vote: {:say, option}}, []])

    ballot = %{question: "which?", options: [:a, :b, :c]}
    assert {:ok, result} = Averaging.vote(here ++ there, ballot, timeout: 10_000)
    assert {result.decision, result.count, result.nodes, result.missing} == {:b, 10, 3, []}
    for {option, share} <- [a: 0.4, b: 0.5, c: 0.1], do: assert_in_delta(result.shares[option], share, 0.01)

    for peer <- [one, two] do
      assert {:ok, %{done: true, shares: shares}} = RealNode.call(peer, Averaging, :result, [result.id])
      assert_in_delta shares.b, 0.5, 0.01
    end
  end

  defp gone_round?(peer) do
    %{runs: runs} = RealNode.call(peer, :sys, :get_state, [Averaging.Server])
    Enum.any?(runs, fn {_id, run} -> not run.done and run.messages > 40 end)
  end
end
