defmodule Foundation.Telemetry.ForwardTest do
  # The way to the `:telemetry` package, with a stand-in of its module that is loaded for these tests only.
  use ExUnit.Case, async: false

  alias Foundation.Services.TelemetryService
  alias Foundation.Telemetry
  alias Foundation.Telemetry.Forward

  setup do
    if Code.ensure_loaded?(:telemetry) do
      :ok
    else
      Code.compile_string("""
      defmodule :telemetry do
        def list_handlers(prefix) do
          for {name, pid} <- :persistent_term.get({__MODULE__, :handlers}, []),
              List.starts_with?(name, prefix),
              do: %{event_name: name, id: :test, function: pid, config: nil}
        end

        def execute(name, measurements, metadata) do
          for %{event_name: ^name, function: pid} <- list_handlers(name),
              do: send(pid, {:event, name, measurements, metadata, self()})
          :ok
        end
      end
      """)

      on_exit(fn ->
        :code.purge(:telemetry)
        :code.delete(:telemetry)
        :code.purge(:telemetry)
        :persistent_term.erase({:telemetry, :handlers})
        Forward.refresh(MapSet.new())
      end)
    end

    :persistent_term.put({:telemetry, :handlers}, [{[:seen], self()}])
    Forward.refresh(MapSet.new())
  end

  test "an event with handlers is passed on by the service, another sends no message" do
    {:ok, pid} = Foundation.ProcessRegistry.lookup(:production, :telemetry_service)
    Telemetry.execute([:seen], %{counter: 1}, %{a: 1})
    assert_receive {:event, [:seen], %{counter: 1}, %{a: 1}, ^pid}

    :erlang.trace(pid, true, [:receive])
    Telemetry.execute([:seen, :longer], %{counter: 1}, %{})
    Telemetry.execute([:other], %{counter: 1}, %{})
    {:ok, _} = Telemetry.status()
    :erlang.trace(pid, false, [:receive])
    assert_receive {:trace, ^pid, :receive, {:"$gen_call", _, :get_status}}
    refute_received {:trace, ^pid, :receive, {:"$gen_cast", _}}
  end

  test "an isolated instance passes on as well" do
    {:ok, pid} = TelemetryService.start_link(namespace: {:test, make_ref()})
    GenServer.cast(pid, {:execute_event, [:seen], %{gauge: 2}, %{}})
    assert_receive {:event, [:seen], %{gauge: 2}, %{}, ^pid}
  end

  test "a handler of the package that raises does not take the service with it" do
    :persistent_term.put({:telemetry, :handlers}, [{[:seen], :not_registered}])
    {:ok, pid} = Foundation.ProcessRegistry.lookup(:production, :telemetry_service)
    ExUnit.CaptureLog.capture_log(fn -> Telemetry.execute([:seen], %{}, %{}) end)
    assert {:ok, _} = Telemetry.status()
    assert Foundation.ProcessRegistry.lookup(:production, :telemetry_service) == {:ok, pid}
  end
end
