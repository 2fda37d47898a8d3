defmodule Foundation.MABEAM.CoordinationTest do
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  require Foundation.Distributed.Context, as: Context

  alias Foundation.{Events, MABEAM}
  alias Foundation.MABEAM.{AgentRegistry, Coordination}
  alias Foundation.MABEAM.Types.Outcome

  doctest Coordination

  defmodule FirstYes do
    use Foundation.MABEAM.Protocol

    @impl true
    def init(:crash, _participants), do: raise("at the start")
    def init(question, _participants), do: {:ok, %{question: question, who: nil}}
    @impl true
    def ask(state, _round), do: {[{:all, :proposal, state.question}], state}
    @impl true
    def answer(_who, {:counter, :crash}, _state), do: raise("answer")
    def answer(_who, {:counter, :stall}, _state), do: :timer.sleep(60_000)
    def answer(_who, {:counter, :rubbish}, _state), do: :rubbish
    def answer(who, :accept, state), do: {:enough, %{state | who: who}}
    def answer(_who, {:reject, _}, state), do: {:ok, state}
    def answer(_who, _other, state), do: {:invalid, :not_an_answer, state}
    @impl true
    def decide(%{last: true}, %{who: nil} = state), do: {:failed, :nobody, %{}, state}
    def decide(_report, %{who: nil} = state), do: {:again, state}
    def decide(_report, state), do: {:decided, state.who, %{}, state}
  end

  @ab %{question: "which?", options: [:a, :b]}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  defp voters(votes) do
    for {vote, n} <- Enum.with_index(votes),
        do: start("voter-#{n}", if(vote == nil, do: %{}, else: %{vote: {:say, vote}}))
  end

  describe "a session" do
    test "tells what each answered" do
      agents = voters([:a, :b, :a, nil, :c])

      assert {:ok, %Outcome{} = outcome} = Coordination.coordinate(:majority, agents, @ab)
      assert outcome.decision == :a
      assert_in_delta outcome.confidence, 2 / 3, 1.0e-9

      assert outcome.answers == %{
               "voter-0" => {:vote, :a},
               "voter-1" => {:vote, :b},
               "voter-2" => {:vote, :a}
             }

      assert outcome.abstentions == ["voter-3"]
      assert outcome.failures == %{"voter-4" => {:invalid, :no_option}}
      assert outcome.participants == agents
      assert outcome.detail == %{tally: %{a: 2, b: 1}}
      assert {outcome.rounds, outcome.messages, outcome.late, outcome.doubled} == {1, 5, 0, 0}
      assert outcome.duration_us > 0
      assert Foundation.MABEAM.Types.serialisable?(outcome)
    end

    test "does not wait for who does not answer, and says so" do
      agents = voters([:a, :a]) ++ [start(:silent, %{vote: {:stall, 60_000}}, callback_timeout: 30_000)]
      agents = agents ++ [:nobody, start(:stopped)]
      :ok = AgentRegistry.stop_agent(:stopped)

      {us, result} =
        :timer.tc(fn -> Coordination.coordinate(:majority, agents, @ab, timeout: 2_000, quorum: 2) end)

      assert {:ok, %{decision: :a, failures: failures}} = result
      assert failures == %{silent: :timeout, nobody: :not_found, stopped: :not_started}
      assert us < 4_000_000
    end

    test "fails without its quorum, with what was answered" do
      agents = voters([:a]) ++ [:nobody, :noone]

      assert {:error, {:no_quorum, %Outcome{decision: nil, answers: %{"voter-0" => {:vote, :a}}} = outcome}} =
               Coordination.coordinate(:majority, agents, @ab)

      assert outcome.detail == %{present: 1, needed: 2}
      assert {:ok, %{decision: :a}} = Coordination.coordinate(:majority, agents, @ab, quorum: 1)
      assert {:error, {:no_quorum, _}} = Coordination.coordinate(:majority, agents, @ab, quorum: :all)
    end

    test "is in the background until it is waited for, and after" do
      agents = [start(:slow, %{vote: {:stall, 100}}) | voters([:a, :a])]
      assert {:ok, id} = Coordination.coordinate(:majority, agents, @ab, async: true)
      assert {:ok, %{status: :running, round: 1} = status} = await_status(id)
      assert :slow in status.waiting_for
      assert {:error, :timeout} = Coordination.await(id, 1)
      assert {:ok, %{decision: :a, session_id: ^id}} = Coordination.await(id)
      assert {:ok, %{decision: :a}} = Coordination.await(id)
      assert {:ok, %{status: :ended}} = Coordination.status(id)
      assert {:error, :not_found} = Coordination.cancel(id)
      assert {:error, :not_found} = Coordination.await("none")
      assert {:error, :not_found} = Coordination.status("none")
    end

    defp await_status(id) do
      assert_eventually(match?({:ok, %{round: 1}}, Coordination.status(id)))
      Coordination.status(id)
    end

    test "can be called off" do
      start(:silent, %{vote: {:stall, 60_000}}, callback_timeout: 1_000)
      {:ok, id} = Coordination.coordinate(:majority, [:silent], @ab, async: true, timeout: 60_000)
      waiting = Task.async(fn -> Coordination.await(id) end)
      await_status(id)
      assert :ok = Coordination.cancel(id)
      assert {:error, {:cancelled, %Outcome{}}} = Task.await(waiting)
      assert Coordination.running_sessions() == 0
    end

    test "ends with who waits for it" do
      start(:silent, %{vote: {:stall, 60_000}}, callback_timeout: 1_000)
      caller = spawn(fn -> Coordination.coordinate(:majority, [:silent], @ab, timeout: 60_000) end)
      assert_eventually(Coordination.running_sessions() == 1)
      Process.exit(caller, :kill)
      assert_eventually(Coordination.running_sessions() == 0)
    end

    test "stops at the answer that costs too much" do
      for n <- 1..5, do: start("spender-#{n}", %{vote: {:spend, %{tokens: 40}, :a}})
      agents = for n <- 1..5, do: "spender-#{n}"

      assert {:error, {{:guard, :tokens}, outcome}} =
               Coordination.coordinate(:majority, agents, @ab, tokens: 100)

      assert outcome.cost.tokens == 120
      assert map_size(outcome.answers) == 2
      assert {:ok, %{cost: %{tokens: 200}}} = Coordination.coordinate(:majority, agents, @ab, tokens: 200)
    end

    test "runs in the caller's context and leaves an event" do
      agents = voters([:a])

      Context.with_global_context %{user: 7} do
        trace = Context.trace_id()
        assert {:ok, %{trace_id: ^trace, session_id: id}} = Coordination.coordinate(:majority, agents, @ab)
        {:ok, events} = Events.get_by_correlation(trace)

        assert [%{data: %{session: ^id, result: :decided, answered: 1}}] =
                 Enum.filter(events, &(&1.event_type == :mabeam_session))
      end
    end

    test "refuses what cannot be right" do
      assert {:error, {:unknown_protocol, :no}} = Coordination.coordinate(:no, [:a], 1)
      assert_raise ArgumentError, ~r/agents/, fn -> Coordination.coordinate(:majority, [], @ab) end
      assert_raise ArgumentError, ~r/agents/, fn -> Coordination.coordinate(:majority, [:a | :b], @ab) end
      assert_raise ArgumentError, ~r/option/, fn -> Coordination.coordinate(:majority, [:a], @ab, now: 1) end

      for bad <- [[timeout: 0], [timeout: :infinity], [quorum: 0], [rounds: 0], [tokens: -1], [async: 1]],
          do:
            assert_raise(ArgumentError, ~r/must be/, fn ->
              Coordination.coordinate(:majority, [:a], @ab, bad)
            end)

      assert {:error, {{:invalid, %{field: :options}}, %Outcome{messages: 0}}} =
               Coordination.coordinate(:majority, [:a], %{options: []})
    end
  end

  describe "protocols of one's own" do
    setup do
      :ok = Coordination.register_protocol(:first_yes, FirstYes)
    end

    test "are registered once, and only when they are whole" do
      assert {:error, :already_registered} = Coordination.register_protocol(:first_yes, FirstYes)
      assert {:error, :already_registered} = Coordination.register_protocol(:majority, FirstYes)
      assert {:error, {:invalid, %{field: :module}}} = Coordination.register_protocol(:enum, Enum)
      names = Enum.map(Coordination.list_protocols(), & &1.name)
      assert :first_yes in names and :majority in names and :contract_net in names
    end

    test "end a round with the answer that is enough, and take no other" do
      start(:yes)
      start(:slow, %{proposal: {:stall, 300}})

      assert {:ok, %{decision: :yes, answers: answers}} =
               Coordination.coordinate(:first_yes, [:slow, :yes], "?")

      assert answers == %{yes: :accept}
    end

    test "may have rounds, and are told of the last" do
      start(:no, %{proposal: {:say, :reject}})

      assert {:error, {:nobody, %{rounds: 4, messages: 4}}} =
               Coordination.coordinate(:first_yes, [:no], "?", rounds: 4)
    end

    test "that crash, stall or answer rubbish end their own session only" do
      for {answer, what} <- [crash: RuntimeError, rubbish: :bad_return] do
        start(answer, %{proposal: {:say, answer}})

        assert {:error, {{:protocol_crashed, reason}, %Outcome{}}} =
                 Coordination.coordinate(:first_yes, [answer], "?")

        assert elem(reason, 0) == what
      end

      assert {:error, {{:protocol_crashed, {RuntimeError, "at the start"}}, _}} =
               Coordination.coordinate(:first_yes, [:crash], :crash)

      start(:stall, %{proposal: {:say, :stall}})
      assert {:error, :session_died} = Coordination.coordinate(:first_yes, [:stall], "?", timeout: 1_000)
      {:ok, id} = Coordination.coordinate(:first_yes, [:stall], "?", timeout: 1_000, async: true)
      assert {:error, :session_died} = Coordination.await(id)
      assert {:ok, _} = Coordination.coordinate(:majority, voters([:a]), @ab)
    end
  end

  describe "what the network may do" do
    test "late and double answers, and those of strangers, do not count" do
      start(:no, %{proposal: {:say, :reject}})
      start(:slow, %{proposal: {:stall, 3_000}})
      :ok = Coordination.register_protocol(:stubborn, FirstYes)

      {:ok, id} =
        Coordination.coordinate(:stubborn, [:no, :slow], "?",
          rounds: 2,
          round_timeout: 2_000,
          timeout: 30_000,
          quorum: 1,
          async: true
        )

      assert_eventually(match?({:ok, %{round: 1, waiting_for: [:slow]}}, Coordination.status(id)))
      [{_, session, _, _}] = DynamicSupervisor.which_children(MABEAM.Sessions)
      %{ref: ref} = :sys.get_state(session)
      for from <- [:no, :stranger], do: send(session, {{ref, from}, {:answer, :accept, nil}})
      send(session, {{make_ref(), :no}, {:answer, :accept, nil}})
      for rubbish <- [:x, {:answer}, {{ref, :slow}, :accept}, {{1, 2}, 3}], do: send(session, rubbish)
      assert {:error, {:nobody, outcome}} = Coordination.await(id, 30_000)
      assert outcome.doubled == 2
      # That of a round which never was, and the answer of :slow to the first.
      assert outcome.late == 2
      assert outcome.answers == %{no: {:reject, :no}}
    end
  end

  describe "resolve_conflict" do
    test "decides as it was told" do
      proposals = [
        %{agent: :a, value: 3, at: 1, weight: 1},
        %{agent: :b, value: 5, at: 3, weight: 5},
        %{agent: :c, value: 9, at: 2, weight: 2}
      ]

      for {how, value} <- [
            {:last_write_wins, 5},
            {:first_write_wins, 3},
            {{:priority, [:c, :a]}, 9},
            {:majority, 5},
            {:median, 5},
            {{:custom, __MODULE__, :sum}, 17}
          ],
          do: assert({:ok, %{value: ^value}} = Coordination.resolve_conflict(Enum.shuffle(proposals), how))

      assert {:error, :no_proposals} = Coordination.resolve_conflict([], :median)
      assert {:error, :not_numbers} = Coordination.resolve_conflict([%{value: :x}], :median)
      assert {:error, {:unknown_strategy, :dice}} = Coordination.resolve_conflict(proposals, :dice)
      assert {:error, {:crashed, _}} = Coordination.resolve_conflict(proposals, {:custom, __MODULE__, :none})
      tie = [%{value: 1}, %{value: 2}]
      assert {:error, :no_majority} = Coordination.resolve_conflict(tie, :majority)
    end
  end

  def sum(proposals), do: {:ok, proposals |> Enum.map(& &1.value) |> Enum.sum()}
end
