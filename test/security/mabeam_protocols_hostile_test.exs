defmodule Foundation.MABEAM.ProtocolsHostileTest do
  # Every built-in protocol with agents that answer whatever they like: the session ends in time, the protocol does not
  # crash, and what is no answer is nobody's but the agent's who gave it.
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination
  alias Foundation.MABEAM.Coordination.{Byzantine, Hierarchical}
  alias Foundation.MABEAM.Types.Outcome

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  def deep(_input), do: Enum.reduce(1..10_000, [], fn _, deep -> [deep] end)
  def pair(_input), do: {:x, self()}
  def large(_input), do: :binary.copy("x", 1_000_000)

  defp rubbish do
    [
      nil,
      :nan,
      -1,
      1.0e308,
      2 ** 200,
      [],
      [1 | 2],
      [:a, :a, :a],
      "text",
      <<1::3>>,
      %{},
      %{worths: [1 | 2], conflict: :x},
      %{worths: [2 ** 2_000], conflict: 0},
      %{a: %{x: 2 ** 70}},
      %{price: :much},
      %{a: -(2 ** 80)},
      MapSet.new([1]),
      {__MODULE__, :deep, []},
      {__MODULE__, :pair, []},
      {__MODULE__, :large, []}
    ]
  end

  # A problem for each, of agents of which two or more take part.
  defp problems(agents) do
    {public, _private} = Byzantine.generate_key()
    ballot = %{options: [:a, :b, :c]}

    [
      condorcet: ballot,
      instant_runoff: ballot,
      hierarchical: ballot,
      sampled: ballot,
      byzantine: Map.merge(ballot, %{faulty: 1, keys: Map.new(agents, &{&1, public})}),
      assignment: %{tasks: %{a: 1, b: 2}, execute: true},
      multi_issue: %{issues: %{a: [:x, :y], b: [1, 2]}}
    ]
  end

  test "agents that answer rubbish to everything" do
    for {what, n} <- Enum.with_index(rubbish()) do
      script = Map.new([:vote, :bid, :proposal, :task, :utility], &{&1, {:say, what}})
      start("odd#{n}", script, max_failures: 1_000)
    end

    agents = for n <- 0..(length(rubbish()) - 1), do: "odd#{n}"

    for {protocol, problem} <- problems(agents) do
      assert {:error, {reason, %Outcome{} = outcome}} =
               Coordination.coordinate(protocol, agents, problem, timeout: 10_000)

      assert reason in [:no_quorum, :no_votes, :no_bids, :none_done, :no_agreement, :broken_off],
             inspect({protocol, reason})

      assert map_size(outcome.failures) >= div(length(agents), 2)
    end

    for pair <- Enum.chunk_every(agents, 2) do
      assert {:error, {:broken_off, _}} =
               Coordination.coordinate(:monotonic_concession, pair, %{deals: [1, 2]}, timeout: 5_000)
    end

    assert {:error, {:no_quorum, %{votes: 0}}} = Hierarchical.vote(agents, %{options: [:a, :b]}, group: 7)
  end

  test "agents that raise, exit, throw, stall, or die" do
    deeds = [{:raise, "no"}, {:exit, :no}, {:throw, :no}, {:return, :no}, {:stall, 60_000}, :die]

    for {deed, n} <- Enum.with_index(deeds) do
      script = Map.new([:vote, :bid, :proposal, :task, :utility], &{&1, deed})

      start("bad#{n}", script,
        callback_timeout: 500,
        max_failures: 1_000,
        max_restarts: 1_000,
        backoff: {1, 1}
      )
    end

    good = for n <- 1..14, do: start("good#{n}", %{vote: {:say, [:a]}})
    agents = good ++ for n <- 0..(length(deeds) - 1), do: "bad#{n}"

    for protocol <- [:condorcet, :instant_runoff] do
      assert {:ok, %{decision: :a, failures: failures}} =
               Coordination.coordinate(protocol, agents, %{options: [:a, :b]}, timeout: 15_000)

      assert map_size(failures) == length(deeds)
    end

    for {protocol, problem} <- problems(agents), protocol not in [:condorcet, :instant_runoff] do
      {us, result} = :timer.tc(fn -> Coordination.coordinate(protocol, agents, problem, timeout: 2_000) end)
      assert {:error, {reason, %Outcome{}}} = result
      refute match?({:protocol_crashed, _}, reason)
      assert us < 4_000_000
    end
  end

  test "problems that are none are refused, whatever they are" do
    agents = [start(:one), start(:other)]

    for %{name: protocol, module: module} <- Coordination.list_protocols(),
        String.starts_with?(inspect(module), "Foundation.MABEAM.Coordination."),
        problem <- [
          nil,
          1,
          [],
          %{},
          %{options: :a},
          %{options: [:a | :b]},
          %{tasks: 1},
          %{deals: 1},
          %{issues: 1},
          %{issues: %{a: 1}}
        ] do
      case Coordination.coordinate(protocol, agents, problem, timeout: 1_000) do
        {:error, {reason, %Outcome{}}} ->
          refute match?({:protocol_crashed, _}, reason), inspect({protocol, problem, reason})

        {:error, _other} ->
          :ok

        {:ok, %Outcome{}} ->
          :ok
      end
    end
  end
end
