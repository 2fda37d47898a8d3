defmodule Foundation.MABEAM.Coordination.ByzantineTest do
  use ExUnit.Case, async: false

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{AgentRegistry, Coordination}
  alias Foundation.MABEAM.Coordination.Byzantine
  alias Foundation.MABEAM.Coordination.Byzantine.Message

  defmodule Voter do
    # Honest, or faulty in one of the ways that the tests name.
    use Foundation.MABEAM.Agent

    @impl true
    def init({how, id, private}),
      do: {:ok, %{how: how, peer: Byzantine.peer(id, private), private: private, id: id}}

    @impl true
    def handle_vote(ballot, %{how: {:honest, choice}} = state) do
      {answer, peer} = Byzantine.respond(ballot, state.peer, fn _ -> choice end)
      {:vote, answer, %{state | peer: peer}}
    end

    # One thing to some, another to the others, and then as if nothing had been.
    def handle_vote(%{round: 1} = ballot, %{how: :equivocate} = state) do
      {_answer, peer} = Byzantine.respond(ballot, state.peer, fn _ -> :a end)

      each =
        for {to, n} <- Enum.with_index(ballot.voters),
            into: %{},
            do: {to, [own(ballot, state, Enum.at([:a, :b], rem(n, 2)))]}

      {:vote, {:each, each}, %{state | peer: peer}}
    end

    def handle_vote(ballot, %{how: :equivocate} = state) do
      {answer, peer} = Byzantine.respond(ballot, state.peer, fn _ -> :a end)
      {:vote, answer, %{state | peer: peer}}
    end

    # Its second vote comes as late as can be, to one agent only, and with the signature of a friend.
    def handle_vote(%{round: 2} = ballot, %{how: {:late, friend, key, victim}} = state) do
      {voter, option, chain} = own(ballot, state, :b)
      link = Message.sign(ballot, voter, option, chain, friend, key)
      {:vote, {:each, %{victim => [{voter, option, chain ++ [link]}]}}, state}
    end

    def handle_vote(%{round: 1} = ballot, %{how: {:late, _, _, _}} = state),
      do: {:vote, {:all, [own(ballot, state, :a)]}, state}

    # Votes in the name of another, without its key.
    def handle_vote(%{round: 1} = ballot, %{how: {:forge, victim}} = state) do
      forged = {victim, :b, [Message.sign(ballot, victim, :b, [], victim, state.private)]}
      {:vote, {:all, [forged, own(ballot, state, :b)]}, state}
    end

    def handle_vote(_ballot, %{how: :silent} = state), do: {:abstain, state}
    def handle_vote(_ballot, %{how: {:rubbish, term}} = state), do: {:vote, term, state}
    def handle_vote(_ballot, %{how: :crash}), do: raise("no")

    def handle_vote(%{round: round, messages: _} = ballot, state) do
      finding = %{votes: %{state.id => :b}, equivocated: []}
      last? = round == ballot.faulty + 2
      {:vote, if(last?, do: Message.sign_finding(ballot, finding, state.private), else: {:all, []}), state}
    end

    defp own(ballot, state, option),
      do: {state.id, option, [Message.sign(ballot, state.id, option, [], state.id, state.private)]}
  end

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  # `ways`: how each is; a function is given the keys.
  defp vote(ways, faulty, opts \\ []) do
    ids = for n <- 1..length(ways), do: "b#{n}"
    keys = Map.new(ids, &{&1, Byzantine.generate_key()})

    for {id, how} <- Enum.zip(ids, ways) do
      {_public, private} = keys[id]
      how = if is_function(how), do: how.(keys), else: how
      :ok = AgentRegistry.register_agent(id, module: Voter, args: {how, id, private})
      :ok = AgentRegistry.start_agent(id)
    end

    public = Map.new(keys, fn {id, {public, _}} -> {id, public} end)

    result =
      Coordination.coordinate(:byzantine, ids, %{options: [:a, :b], faulty: faulty, keys: public}, opts)

    Enum.each(ids, &AgentRegistry.deregister_agent/1)
    result
  end

  defp honest(choices), do: Enum.map(choices, &{:honest, &1})

  test "with honest agents it is a majority vote" do
    assert {:ok, outcome} = vote(honest([:a, :b, :b, :a, :b]), 1)
    assert outcome.decision == :b
    assert {outcome.confidence, outcome.rounds, outcome.messages} == {1.0, 3, 15}
    assert outcome.detail.votes == %{"b1" => :a, "b2" => :b, "b3" => :b, "b4" => :a, "b5" => :b}
    assert {outcome.detail.equivocated, outcome.detail.silent, outcome.detail.dissent} == {%{}, [], []}
    assert {:ok, %{decision: :a, rounds: 2}} = vote(honest([:a, :a]), 0)
  end

  test "f of 3f + 1 equivocate: the honest agree, and know who did" do
    for f <- 1..3 do
      choices = for n <- 1..(2 * f + 1), do: if(n <= f, do: :b, else: :a)
      assert {:ok, outcome} = vote(honest(choices) ++ List.duplicate(:equivocate, f), f)
      assert outcome.decision == :a
      liars = for n <- (2 * f + 2)..(3 * f + 1), do: "b#{n}"
      assert outcome.detail.equivocated |> Map.keys() |> Enum.sort() == Enum.sort(liars)

      for {_liar, proof} <- outcome.detail.equivocated do
        assert [{:a, <<_::512>>}, {:b, <<_::512>>}] = proof
      end

      assert outcome.detail.votes ==
               Map.new(Enum.with_index(choices, 1), fn {choice, n} -> {"b#{n}", choice} end)

      assert outcome.confidence >= (2 * f + 1) / (3 * f + 1)
      honest = for n <- 1..(2 * f + 1), do: "b#{n}"
      assert Enum.all?(honest, &(&1 not in outcome.detail.dissent))
    end
  end

  # The case for which f + 1 rounds are needed: two rounds would leave one honest agent alone with what it knows.
  test "a second vote that comes late, to one agent only, is known to all" do
    late = fn keys -> {:late, "b7", elem(keys["b7"], 1), "b1"} end
    assert {:ok, outcome} = vote(honest([:a, :a, :a, :b, :b]) ++ [late, :lie], 2)
    assert Map.keys(outcome.detail.equivocated) == ["b6"]
    assert outcome.decision == :a
    assert outcome.detail.silent == ["b7"]
  end

  test "nobody votes for another" do
    assert {:ok, outcome} = vote(honest([:a, :a, :b]) ++ [{:forge, "b1"}], 1)
    assert outcome.decision == :a
    assert outcome.detail.votes == %{"b1" => :a, "b2" => :a, "b3" => :b, "b4" => :b}
    assert outcome.detail.dissent == ["b4"]
  end

  test "who is silent, crashes, or sends rubbish is without a vote" do
    rubbish = [
      :x,
      {:all, :x},
      {:all, [:x | :y]},
      {:all, [{:x, :a, []}]},
      {:all, [{"b4", :a, [{"b4", "short"}]}]},
      {:all, [{"b4", :a, [{"b4", <<0::512>>} | :x]}]},
      {:all, List.duplicate({"b4", :a, [{"b4", <<0::512>>}]}, 1_000)},
      {:each, %{"b1" => :x}},
      {:each, %{nobody: []}},
      {:found, %{votes: %{}, equivocated: []}, <<0::512>>}
    ]

    for how <- [:silent, :crash | Enum.map(rubbish, &{:rubbish, &1})] do
      assert {:ok, outcome} = vote(honest([:a, :a, :b]) ++ [how], 1)
      assert {outcome.decision, outcome.detail.silent} == {:a, ["b4"]}
      assert outcome.confidence == 0.75
    end
  end

  test "with more faulty ones than it can bear it says that it does not know" do
    assert {:error, {:no_agreement, %{detail: %{needed: 3}}}} = vote(honest([:a, :a]) ++ [:silent, :lie], 1)
  end

  test "a signature is good for one ballot only" do
    {public, private} = Byzantine.generate_key()
    ballot = %{nonce: <<1::128>>, options: [:a, :b], keys: %{me: public}, voters: [:me]}
    link = Message.sign(ballot, :me, :a, [], :me, private)
    assert Message.valid?(ballot, {:me, :a, [link]})

    for other <- [%{ballot | nonce: <<2::128>>}, %{ballot | options: [:a, :c]}],
        do: refute(Message.valid?(other, {:me, :a, [link]}))

    refute Message.valid?(ballot, {:me, :b, [link]})
  end

  test "an honest agent bears whatever it is sent" do
    {public, private} = Byzantine.generate_key()
    ballot = %{nonce: <<1::128>>, options: [:a, :b], keys: %{me: public}, voters: [:me], faulty: 1, round: 1}
    me = Byzantine.peer(:me, private)
    nothing = {:all, []}

    for wrong <- [
          %{},
          1,
          %{ballot | options: [:a | :b]},
          %{ballot | keys: 1},
          %{ballot | keys: %{}},
          %{ballot | round: 2}
        ],
        do: assert({^nothing, ^me} = Byzantine.respond(wrong, me, fn _ -> :a end))

    assert {{:all, [{:me, :a, [{:me, _}]} = own]}, begun} = Byzantine.respond(ballot, me, fn _ -> :a end)
    # It signs one vote only, however often it is asked.
    assert {^nothing, ^begun} = Byzantine.respond(ballot, begun, fn _ -> :b end)

    for messages <- [
          [1 | 2],
          [1, :x, {}, {:me, :b, [{:me, <<0::512>>} | :x]}, {:you, :a, [{:you, <<0::512>>}]}],
          [own]
        ] do
      {answer, _} =
        Byzantine.respond(Map.merge(ballot, %{round: 2, messages: messages}), begun, fn _ -> :b end)

      assert answer == nothing
    end

    # Keys that are none, in the ballot.
    odd = %{ballot | keys: %{me: public, you: "short"}}
    {_, begun} = Byzantine.respond(odd, me, fn _ -> :a end)
    forged = {:you, :a, [{:you, <<0::512>>}]}

    assert {^nothing, _} =
             Byzantine.respond(Map.merge(odd, %{round: 2, messages: [forged]}), begun, fn _ -> :b end)
  end

  test "what cannot work is refused" do
    {public, _} = Byzantine.generate_key()
    keys = %{a: public, b: public, c: public, d: public}
    problem = %{options: [1, 2], faulty: 1, keys: keys}

    for {agents, change} <- [
          {[:a, :b, :c], %{}},
          {[:a, :b, :c, :e], %{}},
          {[:a, :b, :c, :d], %{faulty: -1}},
          {[:a, :b, :c, :d], %{faulty: nil}},
          {[:a, :b, :c, :d], %{keys: %{a: "short"}}},
          {[:a, :b, :c, :d], %{nonce: "short"}},
          {[:a, :b, :c, :d], %{options: []}}
        ] do
      assert {:error, {{:invalid, _}, _}} =
               Coordination.coordinate(:byzantine, agents, Map.merge(problem, change))
    end
  end
end
