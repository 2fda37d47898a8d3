defmodule Foundation.MABEAM.SessionsStressTest do
  # A thousand sessions at once, among agents of which some crash, stall and die.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  @tag timeout: 120_000
  test "1,000 sessions at once each end with their own outcome, and leave nothing behind" do
    good =
      for n <- 1..40, do: start("good-#{n}", %{vote: {:say, {__MODULE__, :echo, []}}}, max_mailbox: 100_000)

    start(:crashes, %{vote: {:raise, "x"}}, backoff: {1, 5}, max_restarts: 1_000_000, max_mailbox: 100_000)
    start(:dies, %{vote: :die}, backoff: {1, 5}, max_restarts: 1_000_000, max_mailbox: 100_000)
    before = length(Process.list())

    ids =
      for n <- 1..1_000 do
        agents = [:crashes, :dies, :nobody | good |> Enum.drop(rem(n, 20)) |> Enum.take(10)]
        problem = %{question: n, options: [n, -n]}
        {:ok, id} = Coordination.coordinate(:majority, agents, problem, timeout: 60_000, async: true)
        {n, id}
      end

    for {n, id} <- ids do
      assert {:ok, outcome} = Coordination.await(id, 60_000)
      assert outcome.decision == n
      assert map_size(outcome.answers) == 10
      assert outcome.failures[:nobody] == :not_found
      assert Map.keys(outcome.failures) |> Enum.sort() == [:crashes, :dies, :nobody]
    end

    assert_eventually(Coordination.running_sessions() == 0)
    assert_eventually(length(Process.list()) <= before + 5)
  end

  def echo(%{question: n}), do: n
end
