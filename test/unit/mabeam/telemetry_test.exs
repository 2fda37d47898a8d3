defmodule Foundation.MABEAM.TelemetryTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{Comms, Coordination}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  test "tells what agents and sessions took and cost" do
    type = :"type_#{System.unique_integer([:positive])}"
    start(:a, %{vote: {:spend, %{tokens: 7, money: 3}, :x}, proposal: {:stall, 500}}, type: type)
    for _ <- 1..5, do: {:ok, _} = Comms.request(:a, {:task, 1})
    {:ok, :accept} = Comms.request(:a, {:proposal, 1})
    assert {:ok, %{agents: agents, nodes: [_], missing: []}} = MABEAM.Telemetry.agents()
    assert [proposal, task] = Enum.filter(agents, &(&1.type == type))
    assert {proposal.kind, proposal.count, task.kind, task.count} == {:proposal, 1, :task, 5}
    assert proposal.p50_us >= 500_000
    assert task.p50_us < 500_000

    count = fn ->
      {:ok, %{sessions: sessions}} = MABEAM.Telemetry.coordination()

      found =
        Enum.find(
          sessions,
          %{count: 0, tokens: 0, money: 0, messages: 0},
          &(&1[:protocol] == :majority and &1[:result] == :decided)
        )

      Map.take(found, [:count, :tokens, :money, :messages])
    end

    before = count.()
    for _ <- 1..3, do: {:ok, _} = Coordination.coordinate(:majority, [:a], %{options: [:x]})
    later = count.()

    assert Map.new(later, fn {key, n} -> {key, n - before[key]} end) == %{
             count: 3,
             tokens: 21,
             money: 9,
             messages: 3
           }
  end
end
