defmodule Foundation.MABEAM.ProtocolsTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  defp voters(votes) do
    for {vote, n} <- Enum.with_index(votes),
        do: start("v#{n}", if(vote == nil, do: %{}, else: %{vote: {:say, vote}}))
  end

  defp decided(protocol, agents, problem, opts \\ []) do
    assert {:ok, outcome} = Coordination.coordinate(protocol, agents, problem, opts)
    outcome
  end

  defp failed(protocol, agents, problem, opts \\ []) do
    assert {:error, {reason, outcome}} = Coordination.coordinate(protocol, agents, problem, opts)
    {reason, outcome.detail}
  end

  test "majority: more than half of the votes cast, unless told otherwise" do
    agents = voters([:a, :a, :b, :c, nil])
    problem = %{options: [:c, :b, :a]}
    assert {:no_majority, %{tally: %{a: 2, b: 1, c: 1}}} = failed(:majority, agents, problem)
    assert decided(:majority, agents, Map.put(problem, :threshold, {0, 1})).decision == :a
    assert decided(:majority, agents, Map.put(problem, :threshold, {49, 100})).decision == :a
    # A tie goes to the first in the list.
    assert decided(:majority, Enum.take(agents, -3), Map.put(problem, :threshold, {0, 1})).decision == :c
    assert {:no_votes, _} = failed(:majority, Enum.take(agents, -1), problem)

    assert {{:invalid, %{field: :threshold}}, _} =
             failed(:majority, agents, Map.put(problem, :threshold, 0.5))
  end

  test "weighted: the most weight" do
    agents = voters([:a, :a, :b])
    problem = %{options: [:a, :b], weights: %{"v2" => 5}}
    outcome = decided(:weighted, agents, problem)
    assert {outcome.decision, outcome.detail.tally} == {:b, %{a: 2, b: 5}}

    assert {{:invalid, %{field: :weights}}, _} =
             failed(:weighted, agents, %{problem | weights: %{"v2" => 0.5}})
  end

  test "unanimity: all or nothing" do
    agents = voters([:a, :a, :b, nil])
    problem = %{options: [:a, :b]}
    assert decided(:unanimity, Enum.take(agents, 2), problem).decision == :a
    assert {:not_unanimous, %{tally: %{a: 2, b: 1}}} = failed(:unanimity, Enum.take(agents, 3), problem)
    some = ["v0", "v3"]
    assert {:not_unanimous, _} = failed(:unanimity, some, problem)
    assert decided(:unanimity, some, Map.put(problem, :abstaining, :allowed)).decision == :a
    assert {:no_quorum, _} = failed(:unanimity, ["v0", :nobody], problem)
    assert {:not_unanimous, _} = failed(:unanimity, ["v0", :nobody], problem, quorum: 1)
  end

  test "approval: most approvals, ties by the ballot" do
    agents = voters([[:a, :b], [:b], [:b, :a], [], [:a]])
    outcome = decided(:approval, agents, %{options: [:c, :a, :b]})
    assert {outcome.decision, outcome.detail.tally} == {:a, %{a: 3, b: 3}}
    assert_in_delta outcome.confidence, 3 / 5, 1.0e-9
    start(:twice, %{vote: {:say, [:a, :a]}})
    assert {:no_quorum, _} = failed(:approval, [:twice], %{options: [:a]})
    assert {:no_votes, _} = failed(:approval, [start(:none, %{vote: {:say, []}})], %{options: [:a]})
  end

  test "Borda: the textbook's election of a capital" do
    # Tennessee: 42 Memphis, 26 Nashville, 15 Chattanooga, 17 Knoxville; Nashville wins with 194 points.
    orders = [
      {42, [:memphis, :nashville, :chattanooga, :knoxville]},
      {26, [:nashville, :chattanooga, :knoxville, :memphis]},
      {15, [:chattanooga, :knoxville, :nashville, :memphis]},
      {17, [:knoxville, :chattanooga, :nashville, :memphis]}
    ]

    agents = orders |> Enum.flat_map(fn {n, order} -> List.duplicate(order, n) end) |> voters()
    outcome = decided(:borda, agents, %{options: [:memphis, :nashville, :chattanooga, :knoxville]})
    assert outcome.decision == :nashville

    assert outcome.detail.ranking == [
             nashville: 194,
             chattanooga: 173,
             memphis: 126,
             knoxville: 107
           ]
  end

  describe "refinement" do
    def toward(%{round: 1}, first), do: first
    def toward(%{median: median}, first), do: div(first + 3 * median, 4)

    test "comes together in rounds" do
      agents =
        for {n, first} <- Enum.with_index([0, 40, 100, 160, 400]) |> Enum.map(fn {f, n} -> {n, f} end),
            do: start("e#{n}", %{proposal: {:say, {__MODULE__, :toward, [first]}}})

      outcome = decided(:refinement, agents, %{question: "?", tolerance: 40}, rounds: 6)
      assert outcome.decision == 100
      assert outcome.detail.reason == :agreed
      assert outcome.rounds == 2
      assert outcome.detail.path == [100, 100]
      assert outcome.detail.spread <= 40
    end

    test "stops when nobody moves, and with the last round" do
      agents = for {first, n} <- Enum.with_index([1, 5, 9]), do: start("f#{n}", %{proposal: {:say, first}})
      outcome = decided(:refinement, agents, %{tolerance: 1})
      assert {outcome.decision, outcome.detail.reason, outcome.rounds} == {5, :settled, 2}
      assert decided(:refinement, agents, %{tolerance: 1}, rounds: 1).detail.reason == :rounds
    end

    test "one that lies does not move it far, and nonsense does not count" do
      agents =
        for {say, n} <- Enum.with_index([10, 11, 12, 1.0e300, :nan]),
            do: start("g#{n}", %{proposal: {:say, say}})

      outcome = decided(:refinement, agents, %{tolerance: 0, max: 1.0e6}, rounds: 2)
      assert outcome.decision == 11
      assert outcome.failures == %{"g3" => {:invalid, :out_of_bounds}, "g4" => {:invalid, :not_a_number}}
    end
  end

  describe "contract net" do
    defp bidder(id, bid, more \\ %{}), do: start(id, Map.merge(%{bid: {:say, bid}}, more))

    test "the cheapest does it" do
      agents = [bidder(:a, 30), bidder(:b, 20), bidder(:c, %{price: 20}), bidder(:d, 50), start(:e)]
      outcome = decided(:contract_net, agents, %{task: :work, max_price: 40})
      assert outcome.decision == %{agent: :b, price: 20, result: {1, :work}}
      assert outcome.detail.bids == [b: 20, c: 20, a: 30, d: 50]
      assert outcome.detail.passed == %{}
      assert outcome.abstentions == [:e]
      assert {outcome.rounds, outcome.messages} == {3, 7}
    end

    test "who rejects, fails or dies passes it on" do
      agents = [
        bidder(:rejects, 1, %{proposal: {:say, :reject}}),
        bidder(:fails, 2, %{task: {:return, :rubbish}}),
        bidder(:dies, 3, %{task: :die}),
        bidder(:does, 4)
      ]

      outcome = decided(:contract_net, agents, %{task: :work})
      assert %{agent: :does, price: 4} = outcome.decision

      assert %{rejects: {:reject, :no}, fails: {:bad_return, :handle_task}, dies: :down} =
               outcome.detail.passed
    end

    test "what is no price is no bid" do
      bad = [-1, 1.5, :nan, "7", nil, [1], %{price: 1.0}, %{cost: 1}, 2 ** 80]
      agents = for {bid, n} <- Enum.with_index(bad), do: bidder("b#{n}", bid)
      assert {:no_bids, %{bids: []}} = failed(:contract_net, agents, %{task: :work})
      assert {:no_quorum, %{present: 0}} = failed(:contract_net, agents, %{task: :work}, quorum: 1)
      bidder(:dear, 100)

      assert {:no_bids, %{bids: [dear: 100]}} =
               failed(:contract_net, [:dear | agents], %{task: :work, max_price: 99})

      bidder(:lazy, 5, %{task: {:return, {:error, :tired, %{count: 0}}}})

      assert {:nobody_did_it, %{passed: %{lazy: {:failed, :tired}}}} =
               failed(:contract_net, [:lazy], %{task: :work})
    end
  end

  describe "alternating offers" do
    def seller(%{offer: nil}), do: 100
    def seller(%{offer: offer}) when offer >= 70, do: :accept
    def seller(%{history: history}), do: 100 - 10 * length(history)
    def buyer(%{offer: offer}) when offer <= 75, do: :accept
    def buyer(%{history: history}), do: 40 + 5 * length(history)

    test "go back and forth until one is taken" do
      start(:seller, %{proposal: {:say, {__MODULE__, :seller, []}}})
      start(:buyer, %{proposal: {:say, {__MODULE__, :buyer, []}}})
      outcome = decided(:alternating_offers, [:seller, :buyer], %{subject: "a bicycle"})
      assert outcome.decision == 60
      assert outcome.detail.by == :seller
      assert outcome.detail.history == [seller: 100, buyer: 45, seller: 80, buyer: 55, seller: 60]
    end

    test "end without agreement by rejection, at the deadline, or when one is gone" do
      start(:stubborn, %{proposal: {:say, 1}})
      start(:other, %{proposal: {:say, 2}})
      start(:rude, %{proposal: {:say, :reject}})
      start(:mad, %{proposal: {:raise, "x"}})
      problem = %{subject: 1, deadline: 4}

      assert {:no_agreement, %{history: [_, _, _, _]}} =
               failed(:alternating_offers, [:stubborn, :other], problem)

      assert {:rejected, %{why: {:rude, :no}}} = failed(:alternating_offers, [:stubborn, :rude], problem)

      assert {:broken_off, %{why: {:mad, {:crashed, _}}}} =
               failed(:alternating_offers, [:stubborn, :mad], problem)

      assert {{:invalid, _}, _} = failed(:alternating_offers, [:stubborn], problem)
    end

    test "of three, two have to take what the third offers" do
      start(:offers, %{proposal: {:say, 7}})
      start(:yes1)
      start(:yes2)
      outcome = decided(:alternating_offers, [:offers, :yes1, :yes2], %{subject: 1})
      assert {outcome.decision, outcome.detail.by, outcome.rounds} == {7, :offers, 3}
    end
  end
end
