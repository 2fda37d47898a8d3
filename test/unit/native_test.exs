defmodule Foundation.NativeTest do
  use ExUnit.Case, async: false
  import ExUnit.CaptureLog
  import Foundation.Eventually

  alias Foundation.{Engine, Native, NifCatalog}

  test "the library is of the application's version" do
    assert Native.engine_version() == to_string(Application.spec(:foundation, :vsn))
  end

  test "every stub has a spec" do
    {:ok, specs} = Code.Typespec.fetch_specs(Native)
    specified = MapSet.new(specs, &elem(&1, 0))
    stubs = Native.__info__(:functions) -- [load: 0]
    assert Enum.reject(stubs, &(&1 in specified)) == []
  end

  test "the catalogue lists every function with the scheduler it really runs on" do
    registered = Map.new(Native.engine_nifs(), fn {name, arity, scheduler} -> {{name, arity}, scheduler} end)
    catalogued = Map.new(NifCatalog.entries(), &{&1.nif, &1.scheduler})
    stubs = MapSet.new(Native.__info__(:functions) -- [load: 0])

    assert MapSet.new(Map.keys(registered)) == stubs
    assert catalogued == registered
  end

  test "the scheduling guide lists every function with its scheduler" do
    guide = File.read!("guides/scheduling.md")

    for %{nif: {name, arity}, scheduler: scheduler} <- NifCatalog.entries() do
      row = Enum.find(String.split(guide, "\n"), &String.starts_with?(&1, "| `#{name}/#{arity}` |"))

      assert row,
             "#{name}/#{arity} is missing in guides/scheduling.md: run bench/scheduling_bench.exs --write"

      assert row =~ " #{scheduler |> to_string() |> String.replace("_", " ")} |"
    end
  end

  test "a panic is an error for its caller, a log line, and nothing else" do
    log =
      capture_log(fn ->
        assert_raise ErlangError, ~r/nif_panicked/, fn -> Native.engine_panic() end

        assert_eventually(
          Process.info(Process.whereis(Engine.Log), :message_queue_len) == {:message_queue_len, 0}
        )

        Engine.Log.sync_level()
      end)

    assert Native.engine_key_roundtrip(:still_here) == :still_here
    assert log == "" or log =~ "panic"
  end

  describe "log lines from the library" do
    setup do
      level = Logger.level()

      on_exit(fn ->
        Logger.configure(level: level)
        Engine.Log.sync_level()
      end)
    end

    test "reach Logger at the level set there, and not below it" do
      Logger.configure(level: :info)
      Engine.Log.sync_level()

      log =
        capture_log(fn ->
          Native.engine_log_write(1, "quiet line")
          Native.engine_log_write(2, "info line")
          Native.engine_log_write(4, "error line")
          # Lines go through one thread in order: once the last is logged, the first would have been.
          marker = "marker #{System.unique_integer()}"
          Native.engine_log_write(3, marker)
          assert_eventually(Foundation.LogProbe.seen?(marker))
        end)

      refute log =~ "quiet line"
      assert log =~ ~r/\[info\].*info line/
      assert log =~ ~r/\[error\].*error line/
    end
  end

  describe "keys" do
    test "come back as the terms they were made of" do
      terms = [
        :atom,
        0,
        -1,
        1.5,
        -0.0,
        "binary",
        "",
        [],
        [1, [2, :three]],
        {},
        {:tenant, "acme", 7},
        %{:a => 1, "b" => [2]},
        123_456_789_012_345_678_901_234_567_890,
        self(),
        make_ref(),
        <<1::3>>,
        Map.new(1..40, &{&1, {&1}})
      ]

      for term <- terms, do: assert(Native.engine_key_roundtrip(term) === term)
    end

    test "are bounded in depth and in size" do
      deep = Enum.reduce(1..33, :x, fn _, acc -> {acc} end)
      assert_raise ArgumentError, fn -> Native.engine_key_roundtrip(deep) end
      assert_raise ArgumentError, fn -> Native.engine_key_roundtrip(String.duplicate("x", 4097)) end
      assert_raise ArgumentError, fn -> Native.engine_key_roundtrip([1 | 2]) end
    end
  end
end
