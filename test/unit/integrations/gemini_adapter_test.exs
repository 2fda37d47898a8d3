defmodule Foundation.Integrations.GeminiAdapterTest do
  use ExUnit.Case, async: false
  import ExUnit.CaptureLog
  import Foundation.Eventually

  alias Foundation.{Events, FakeModules, Telemetry}
  alias Foundation.Integrations.GeminiAdapter

  test "setup/0 does nothing without gemini_ex, or without telemetry" do
    assert GeminiAdapter.setup() == :noop
    FakeModules.load_telemetry()
    assert GeminiAdapter.setup() == :noop
    refute_received {:attached, _, _, _, _}
  end

  describe "with gemini_ex" do
    setup do
      FakeModules.load_telemetry()
      FakeModules.load(Gemini, quote(do: def(generate(text), do: {:ok, text})))
      assert GeminiAdapter.setup() == :ok
      assert_receive {:attached, id, names, handler, config}
      %{id: id, names: names, fire: &handler.(&1, &2, &3, config)}
    end

    test "attaches one handler, an external function, to seven events", %{id: id, names: names, fire: _} do
      assert id == "foundation-gemini-adapter"

      assert Enum.sort(names) ==
               Enum.sort(
                 for(step <- [:start, :stop, :exception], do: [:gemini, :request, step]) ++
                   for(step <- [:start, :chunk, :stop, :exception], do: [:gemini, :stream, step])
               )

      assert :erlang.fun_info(&GeminiAdapter.handle_event/4, :type) == {:type, :external}
    end

    test "stores each as an event of measurements and metadata", %{names: names, fire: fire} do
      for [:gemini, kind, step] = name <- names do
        tag = make_ref() |> :erlang.ref_to_list() |> List.to_string()
        fire.(name, %{system_time: 1}, %{model: "gemini", tag: tag})
        type = :"gemini_#{kind}_#{step}"
        assert {:ok, events} = Events.query(%{event_type: type})
        assert [event] = Enum.filter(events, &(&1.data[:tag] == tag))
        assert event.data == %{system_time: 1, model: "gemini", tag: tag}
      end
    end

    test "records durations and sizes, and counts errors", %{fire: fire} do
      fire.([:gemini, :request, :stop], %{duration: 7}, %{})
      fire.([:gemini, :stream, :chunk], %{chunk_size: 512}, %{})
      fire.([:gemini, :stream, :stop], %{total_duration: 70, total_chunks: 3}, %{})
      fire.([:gemini, :stream, :stop], %{total_duration: :unknown}, %{})
      fire.([:gemini, :request, :exception], %{}, %{reason: :quota})
      fire.([:gemini, :stream, :exception], %{}, %{reason: :quota})

      metric = fn path ->
        {:ok, metrics} = Telemetry.get_metrics()
        get_in(metrics, [:gemini | path])
      end

      assert_eventually(match?(%{measurements: %{histogram: _}}, metric.([:request, :duration])))
      assert_eventually(match?(%{measurements: %{histogram: _}}, metric.([:stream, :chunk_size])))
      assert_eventually(match?(%{measurements: %{histogram: _}}, metric.([:stream, :duration])))
      assert_eventually(match?(%{measurements: %{histogram: _}}, metric.([:stream, :chunks])))
      assert_eventually(match?(%{measurements: %{counter: _}}, metric.([:request, :errors])))
      assert_eventually(match?(%{measurements: %{counter: _}}, metric.([:stream, :errors])))
    end

    test "never raises into telemetry, which would detach it", %{fire: fire} do
      assert capture_log(fn -> fire.([:gemini, :request, :stop], :no_map, %{}) end) =~ "lost"

      assert capture_log(fn ->
               fire.([:gemini, :request, :start], %{}, %{blob: String.duplicate("x", 2_000_000)})
             end) =~ "not stored"
    end
  end
end
