defmodule Mix.Tasks.ValidateArchitectureTest do
  use ExUnit.Case, async: true
  alias Mix.Tasks.ValidateArchitecture, as: Task

  # Compiles a module of that name without loading it and gives the calls that its beam makes.
  defp calls(module, body) do
    source = {:defmodule, [context: Elixir], [module, [do: body]]}
    [{^module, beam}] = Code.compile_quoted(source)
    :code.purge(module)
    :code.delete(module)
    Task.calls(beam)
  end

  defp problems(graph), do: graph |> Map.new() |> Task.problems()

  test "sees calls, captures and captures deep within literals of compiled code" do
    calls =
      calls(
        Foundation.Utils.ArchitectureProbe,
        quote do
          @table %{a: [{1, &Foundation.Events.stats/0}]}
          def call, do: Foundation.Config.get([:a])
          def capture(list), do: Enum.map(list, &Foundation.Telemetry.execute(&1, %{}, %{}))
          def literal, do: &Foundation.Config.update/2
          def table, do: @table
        end
      )

    for mfa <- [
          {Foundation.Config, :get, 1},
          {Foundation.Telemetry, :execute, 3},
          {Foundation.Config, :update, 2},
          {Foundation.Events, :stats, 0}
        ],
        do: assert(mfa in calls)
  end

  test "a call up is a breach and names both ends" do
    up = calls(Foundation.Utils.Probe, quote(do: def(up, do: Foundation.Events.store(:event))))

    assert problems([{Foundation.Utils.Probe, up}, {Foundation.Events, []}]) == [
             "Foundation.Utils.Probe calls Foundation.Events.store/1, which is above it"
           ]

    assert problems([{Foundation.Config, [{Foundation, :status, 0}]}, {Foundation, []}]) == [
             "Foundation.Config calls Foundation.status/0, which is above it"
           ]
  end

  test "calls down, within a domain, to a neighbour, and out of the project are none" do
    assert problems([
             {Foundation, [{Foundation.Config, :get, 0}]},
             {Foundation.Config, [{Foundation.Config.Schema, :all, 0}, {Foundation.Events, :store, 1}]},
             {Foundation.Config.Schema,
              [{Foundation.Config.Change, :plan, 3}, {Foundation.Utils, :generate_id, 0}]},
             {Foundation.Events, [{Foundation.Native, :events_store, 2}, {Foundation.NoSuchModule, :x, 0}]},
             {Foundation.Utils, [{Enum, :map, 2}]},
             {Foundation.Native, []}
           ]) == []
  end

  test "a call across the floor that is not foreseen is a breach" do
    assert ["Foundation.Telemetry calls Foundation.Config.Change.plan/3, across its floor" | circle] =
             problems([
               {Foundation.Telemetry, [{Foundation.Config.Change, :plan, 3}]},
               {Foundation.Config.Change, []}
             ])

    assert [circle] = circle
    assert circle =~ "config" and circle =~ "telemetry" and circle =~ "circle"
  end

  test "the native library is called by few" do
    assert problems([{Foundation.Config, [{Foundation.Native, :x, 0}]}, {Foundation.Native, []}]) ==
             ["Foundation.Config calls Foundation.Native.x/0, which is not its to call"]
  end

  test "a module whose name fits nowhere is a breach, also one below Foundation itself" do
    assert problems([{Foundation.Elsewhere, []}, {Stranger, []}]) ==
             ["Foundation.Elsewhere stands on no floor", "Stranger stands on no floor"]
  end

  test "neighbours live on one floor and have no circles" do
    floor = for {floor, domains} <- Task.floors(), {domain, _} <- domains, into: %{}, do: {domain, floor}

    for {from, others} <- Task.neighbours(), to <- others do
      assert floor[from] && floor[from] == floor[to], "#{from} and #{to}"
    end

    assert problems(%{}) == []
  end

  test "this project is sound" do
    assert ExUnit.CaptureIO.capture_io(fn -> Mix.Task.rerun("validate_architecture") end) =~
             "every call goes down"
  end
end
