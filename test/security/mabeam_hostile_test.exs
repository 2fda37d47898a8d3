defmodule Foundation.MABEAM.HostileTest do
  # Agents that do what they must not, and callers that ask what they must not: everybody else goes on.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{AgentRegistry, Comms, Coordination, Core, Economics}

  @ab %{options: [:a, :b]}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  def own(_input), do: self()

  defp servers do
    for name <- [AgentRegistry.Server, Comms.Inbox, Core.Server, Economics.Server, MABEAM.Sweeper],
        do: Process.whereis(name)
  end

  @misdeeds [
    raise: {{:raise, "boom"}, {:crashed, {RuntimeError, "boom"}}},
    exit: {{:exit, :normal}, {:crashed, {:exit, :normal}}},
    throw: {{:throw, [1]}, {:crashed, {:throw, "[1]"}}},
    rubbish: {{:return, :rubbish}, {:bad_return, :handle_vote}},
    no_state: {{:return, {:vote, :a}}, {:bad_return, :handle_vote}},
    die: {:die, :down},
    stall: {{:stall, 60_000}, :down},
    unknown_option: {{:say, :z}, {:invalid, :no_option}},
    float_like: {{:say, 1.0}, {:invalid, :no_option}},
    cycle: {{:ask, :cycle, {:vote, 1}}, {:invalid, :no_option}},
    pid: {{:say, {__MODULE__, :own, []}}, {:invalid, :no_option}}
  ]

  test "each misdeed is a failure of its agent, with its reason, and of nobody else" do
    before = servers()

    for {id, {deed, _reason}} <- @misdeeds,
        do:
          start(id, %{vote: deed},
            callback_timeout: 300,
            backoff: {1, 1},
            max_restarts: 100,
            max_failures: 1_000
          )

    for n <- 1..20, do: start("good-#{n}", %{vote: {:say, :a}})
    agents = Keyword.keys(@misdeeds) ++ for n <- 1..20, do: "good-#{n}"

    for _ <- 1..5 do
      assert {:ok, outcome} = Coordination.coordinate(:majority, agents, @ab, timeout: 15_000)
      assert outcome.decision == :a
      assert map_size(outcome.answers) == 20
      assert Map.keys(outcome.failures) |> Enum.sort() == @misdeeds |> Keyword.keys() |> Enum.sort()

      for {id, {_deed, reason}} <- @misdeeds,
          # Who is being started anew could not be asked.
          do: assert(outcome.failures[id] in [reason, :down, :not_started])
    end

    # And the first time every reason is exactly what happened.
    for {id, {_, reason}} <- Keyword.drop(@misdeeds, [:cycle, :unknown_option, :float_like, :pid]) do
      # Of those that end by it, one may be about to be started again from the time before.
      assert_eventually(Comms.request(id, {:vote, @ab}, timeout: 2_000) == {:error, reason})
    end

    assert servers() == before
  end

  test "an agent that fails too often in a row is started anew" do
    start(:a, %{task: {:raise, "x"}}, max_failures: 3, backoff: {1, 1})
    first = pid(:a)
    for _ <- 1..3, do: assert({:error, {:crashed, _}} = Comms.request(:a, {:task, 1}))
    assert_eventually(status(:a) == :running and pid(:a) not in [nil, first])
    assert {:ok, %{failed: 3, restarts: 1}} = AgentRegistry.get_agent_info(:a)
  end

  test "agents that ask each other in a circle do not wait for each other" do
    for {id, next} <- [a: :b, b: :c, c: :a], do: start(id, %{task: {:ask, next, {:task, 1}}})
    {us, results} = :timer.tc(fn -> Enum.map(1..50, fn _ -> Comms.request(:a, {:task, 1}) end) end)

    assert Enum.all?(
             results,
             &match?({:ok, {:done, {:ok, {:done, {:ok, {:done, {:error, {:cycle, _}}}}}}}}, &1)
           )

    assert us < 2_000_000
  end

  test "two agents that each begin a vote of the other end in time" do
    for {id, other} <- [a: :b, b: :a],
        do: start(id, %{task: {:ask, other, {:task, 1}}, vote: {:say, :a}})

    answers =
      [:a, :b]
      |> Enum.map(&Task.async(fn -> Comms.request(&1, {:task, 1}, timeout: 500) end))
      |> Task.await_many()

    # Each may be busy with the other's request; then the time decides.
    assert Enum.all?(answers, &match?({_, _}, &1))
    assert {:ok, %{decision: :a}} = Coordination.coordinate(:majority, [:a, :b], @ab)
  end

  test "a budget that runs out in the middle ends the session with what was answered" do
    for n <- 1..50, do: start("s#{n}", %{vote: {:spend, %{money: 10}, :a}})
    agents = for n <- 1..50, do: "s#{n}"
    assert {:error, {{:guard, :money}, outcome}} = Coordination.coordinate(:majority, agents, @ab, money: 200)
    assert outcome.cost.money == 210
    assert map_size(outcome.answers) == 20
  end

  test "rubbish sent to the processes is dropped" do
    start(:a)
    agent = pid(:a)
    before = servers()
    deep = Enum.reduce(1..10_000, [], fn _, inner -> [inner] end)

    rubbish = [
      :x,
      nil,
      deep,
      [1 | 2],
      2 ** 5_000,
      String.duplicate("x", 1_000_000),
      {:ask},
      {:tell, 1},
      {:DOWN, make_ref(), :process, self(), :x},
      {:EXIT, self(), :normal},
      {:"$gen_cast", :x},
      {:"$gen_call", {self(), make_ref()}, :x},
      {:"$gen_call", {self(), make_ref()}, {:start, deep}},
      {:asks, 1, 2, 3, 4, 5},
      {:asks, self(), 1, [1 | 2], 1, nil, nil},
      {:publish, deep, deep, deep},
      {:agent_ready, :a, self()},
      {:again, :a, 1},
      {:kill, :a, -1},
      {make_ref(), :late}
    ]

    for server <- [agent | before], message <- rubbish, do: send(server, message)
    for server <- [agent | before], do: _ = :sys.get_state(server)
    assert servers() == before
    assert pid(:a) == agent
    assert {:ok, {:done, {1, 1}}} = Comms.request(:a, {:task, 1})
  end

  test "hostile terms as arguments are refused or carried, and nothing falls" do
    start(:a)
    before = servers()
    deep = Enum.reduce(1..10_000, [], fn _, inner -> [inner] end)

    terms = [
      deep,
      [1 | 2],
      2 ** 5_000,
      -1,
      1.5,
      "",
      <<255>>,
      String.duplicate("x", 300),
      %{},
      {},
      self(),
      make_ref(),
      nil
    ]

    calls = [
      &Comms.request(&1, {:task, 1}),
      &Comms.request(:a, {:task, &1}),
      &Comms.request(:a, &1),
      &Comms.request(:a, {:task, 1}, timeout: &1),
      &Comms.notify(:a, &1),
      &Comms.multicast(&1, 1),
      &Comms.publish_event(&1, &1),
      &AgentRegistry.register_agent(&1, module: Foundation.MabeamAgents.Scripted),
      &AgentRegistry.register_agent(:new, &1),
      &AgentRegistry.start_agent/1,
      &AgentRegistry.drain(:none, timeout: &1),
      &AgentRegistry.get_agent_info/1,
      &Coordination.coordinate(&1, [:a], 1),
      &Coordination.coordinate(:majority, &1, @ab),
      &Coordination.coordinate(:majority, [:a], &1),
      &Coordination.coordinate(:contract_net, [:a], %{task: &1, max_price: &1}),
      &Coordination.coordinate(:weighted, [:a], %{options: [:a], weights: &1}),
      &Coordination.resolve_conflict([%{value: 1}], &1),
      &Core.register_variable/1,
      &Core.register_variable(name: &1),
      &Core.update_variable(&1, 1, :a),
      &Core.update_variable(:none, &1, &1),
      &Economics.open_account/1,
      &Economics.deposit(:x, &1),
      &Economics.rate(1, :x, &1)
    ]

    for call <- calls, term <- terms do
      try do
        call.(term)
      rescue
        error in [ArgumentError, FunctionClauseError] -> error
      end
    end

    assert servers() == before
    assert {:ok, {:done, _}} = Comms.request(:a, {:task, 1})
    assert {:ok, 0} = Economics.audit()
  end
end
