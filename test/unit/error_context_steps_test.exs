defmodule Foundation.ErrorContextStepsTest do
  # Steps: nesting, times, data, failures, bounds, secrets, other processes.
  use ExUnit.Case, async: false

  alias Foundation.{Error, ErrorContext}
  alias Foundation.ErrorContext.{Bound, Redact, Store}

  setup do
    Process.delete(:error_context)
    {:ok, context: ErrorContext.new(__MODULE__, :work)}
  end

  defp names(steps), do: Enum.map(steps, &{&1.name, &1.status, names(&1.children)})

  describe "step" do
    test "gives the function's value, and records input, output, times and process", %{context: context} do
      assert ErrorContext.step(context, {:double, 4}, fn n -> n * 2 end) == 8
      assert ErrorContext.step(context, {:plain, 4}, fn -> :done end) == :done
      assert ErrorContext.step(context, :bare, fn -> nil end) == nil

      assert %{steps: [double, plain, bare], dropped: 0} = trace = ErrorContext.trace(context)
      assert %{name: :double, input: 4, output: 8, status: :ok, error: nil, children: []} = double
      assert double.pid == self()
      assert is_integer(double.duration_ns) and double.duration_ns >= 0
      assert plain.offset_ns >= double.offset_ns + double.duration_ns
      assert %{input: nil, output: nil} = bare
      assert trace.operation == {__MODULE__, :work}
      assert trace.correlation_id == context.correlation_id
      assert %DateTime{} = trace.started_at
    end

    test "times are what they are", %{context: context} do
      ErrorContext.step(context, :waits, fn ->
        receive do
        after
          20 -> :ok
        end
      end)

      assert [%{duration_ns: ns}] = ErrorContext.trace(context).steps
      assert ns >= 20_000_000
    end

    test "nests by the process's step, whichever context is at hand", %{context: context} do
      ErrorContext.step(context, :a, fn ->
        ErrorContext.step(context, :b, fn ->
          ErrorContext.step(ErrorContext.child_context(context, X, :y), :c, fn -> 1 end)
        end)

        ErrorContext.step(:d, nil, fn -> 2 end)
      end)

      ErrorContext.step(context, :e, fn -> 3 end)

      assert names(ErrorContext.trace(context).steps) == [
               {:a, :ok, [{:b, :ok, [{:c, :ok, []}]}, {:d, :ok, []}]},
               {:e, :ok, []}
             ]
    end

    test "another operation within has a trace of its own", %{context: context} do
      other = ErrorContext.new(Other, :work)
      ErrorContext.step(context, :outer, fn -> ErrorContext.step(other, :elsewhere, fn -> 1 end) end)
      assert names(ErrorContext.trace(context).steps) == [{:outer, :ok, []}]
      assert names(ErrorContext.trace(other).steps) == [{:elsewhere, :ok, []}]
    end

    test "leaves the process as it was", %{context: context} do
      before = Process.get()
      ErrorContext.step(context, :a, fn -> ErrorContext.step(context, :b, fn -> 1 end) end)
      catch_error(ErrorContext.step(context, :c, fn -> raise "x" end))
      catch_throw(ErrorContext.step(context, :d, fn -> throw(:x) end))
      assert Enum.sort(Process.get()) == Enum.sort(before)
    end

    test "without a context makes one, which is current meanwhile" do
      inside = ErrorContext.step(:alone, 1, fn _ -> ErrorContext.get_current_context() end)
      assert [%{name: :alone, input: 1}] = ErrorContext.trace(inside).steps
      assert ErrorContext.get_current_context() == nil
    end
  end

  describe "failures" do
    test "a raise is recorded where it happened, with what was given, and goes on", %{context: context} do
      assert_raise ArgumentError, "bad", fn ->
        ErrorContext.step(context, :outer, fn ->
          ErrorContext.step(context, {:inner, [1, 2]}, fn _ -> raise ArgumentError, "bad" end)
        end)
      end

      assert [%{status: :raised, error: :passed_through, children: [inner]}] =
               ErrorContext.trace(context).steps

      assert %{status: :raised, input: [1, 2], error: error} = inner
      assert %{kind: :raised, exception: ArgumentError, message: "bad", at: [at | _]} = error
      assert at =~ "error_context_steps_test.exs"
    end

    test "throws, exits, erlang errors and returned errors", %{context: context} do
      assert catch_throw(ErrorContext.step(context, :throws, fn -> throw({:ball, 1}) end)) == {:ball, 1}
      assert catch_exit(ErrorContext.step(context, :exits, fn -> exit(:bye) end)) == :bye
      assert_raise ArithmeticError, fn -> ErrorContext.step(context, {:erlang, 0}, fn n -> 1 / n end) end
      assert ErrorContext.step(context, :returns, fn -> {:error, :nope} end) == {:error, :nope}
      assert ErrorContext.step(context, :atom, fn -> :error end) == :error

      assert [
               %{status: :thrown, error: %{kind: :thrown, value: {:ball, 1}}},
               %{status: :exited, error: %{kind: :exited, reason: :bye}},
               %{status: :raised, error: %{exception: ArithmeticError}},
               %{status: :error, error: %{kind: :error, reason: :nope}, output: {:error, :nope}},
               %{status: :error}
             ] = ErrorContext.trace(context).steps
    end

    test "the same error raised again by a retry is recorded again", %{context: context} do
      try_once = fn n -> ErrorContext.step(context, {:try, n}, fn _ -> raise "same" end) end

      catch_error(
        ErrorContext.step(context, :retry, fn ->
          catch_error(try_once.(1))
          try_once.(2)
        end)
      )

      assert [
               %{
                 error: :passed_through,
                 children: [%{error: %{message: "same"}}, %{error: %{message: "same"}}]
               }
             ] = ErrorContext.trace(context).steps
    end

    test "with_context tells of the failing step", %{context: context} do
      assert {:error, %Error{context: %{operation_context: %{failed_step: failed}}}} =
               ErrorContext.with_context(context, fn ->
                 ErrorContext.step(context, :load, fn ->
                   ErrorContext.step(context, {:parse, "x"}, fn _ ->
                     ErrorContext.capture(context, :line, 3)
                     raise "broken"
                   end)
                 end)
               end)

      assert %{path: [:load, :parse], input: "x", data: [line: 3], error: %{message: "broken"}} = failed
    end

    test "a step whose process was killed has died", %{context: context} do
      test = self()

      {pid, ref} =
        spawn_monitor(fn ->
          ErrorContext.step(context, {:long, 7}, fn _ ->
            send(test, :running)
            receive(do: (:never -> :ok))
          end)
        end)

      assert_receive :running
      assert [%{status: :running, duration_ns: nil}] = ErrorContext.trace(context).steps
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^ref, :process, ^pid, :killed}
      assert [%{status: :died, input: 7, pid: ^pid}] = ErrorContext.trace(context).steps
    end
  end

  describe "capture" do
    test "adds to the step, or to the operation", %{context: context} do
      assert ErrorContext.capture(context, :before, 1) == :ok

      ErrorContext.step(context, :a, fn ->
        ErrorContext.capture(context, :rows, 3)
        ErrorContext.capture(context, "text", :x)
      end)

      trace = ErrorContext.trace(context)
      assert trace.data == [before: 1]
      assert hd(trace.steps).data == [{:rows, 3}, {"text", :x}]
      assert ErrorContext.capture(nil, :a, 1) == :ok
    end
  end

  describe "other processes" do
    test "bound functions, tasks and attached processes record into the same tree", %{context: context} do
      ErrorContext.step(context, :outer, fn ->
        Task.await(ErrorContext.async(fn -> ErrorContext.step(context, :async, fn -> 1 end) end))
        Task.await(Task.async(ErrorContext.bind(fn -> ErrorContext.step(:bound, 1, fn n -> n end) end)))
        # Found through the task's caller.
        Task.await(Task.async(fn -> ErrorContext.step(:callers, 1, fn n -> n end) end))

        [1, 2]
        |> Task.async_stream(ErrorContext.bind(fn n -> ErrorContext.step(:stream, n, fn n -> n end) end),
          ordered: true
        )
        |> Enum.to_list()

        carried = ErrorContext.carry()
        test = self()

        spawn_link(fn ->
          :ok = ErrorContext.attach(carried)
          ErrorContext.step(:spawned, 1, fn n -> n end)
          send(test, :done)
        end)

        assert_receive :done
      end)

      assert [%{name: :outer, children: children}] = ErrorContext.trace(context).steps

      assert children |> Enum.map(& &1.name) |> Enum.sort() ==
               [:async, :bound, :callers, :spawned, :stream, :stream]

      assert Enum.all?(children, &(&1.pid != self()))
    end

    test "bind restores what the other process was under", %{context: context} do
      bound =
        ErrorContext.with_context(context, fn ->
          ErrorContext.bind(fn a, b -> {a, b, ErrorContext.get_current_context()} end)
        end)

      mine = ErrorContext.new(Mine, :own)

      Task.await(
        Task.async(fn ->
          ErrorContext.with_context(mine, fn ->
            assert bound.(1, 2) == {1, 2, context}
            assert ErrorContext.get_current_context() == mine
          end)
        end)
      )

      three = ErrorContext.bind(fn a, b, c -> a + b + c end)
      assert three.(1, 2, 3) == 6
    end

    test "the trace outlives the process that made it" do
      test = self()

      {pid, ref} =
        spawn_monitor(fn ->
          context = ErrorContext.new(Gone, :work)
          ErrorContext.step(context, :a, fn -> 1 end)
          send(test, {:context, context})
        end)

      assert_receive {:context, context}
      assert_receive {:DOWN, ^ref, :process, ^pid, _}
      assert [%{name: :a, output: 1}] = ErrorContext.trace(context).steps
    end

    test "many processes at once lose nothing", %{context: context} do
      1..8
      |> Enum.map(fn p ->
        Task.async(
          ErrorContext.bind(fn ->
            for n <- 1..50, do: ErrorContext.step(context, {:n, {p, n}}, fn x -> x end)
          end)
        )
      end)
      |> Task.await_many(30_000)

      inputs = ErrorContext.trace(context).steps |> Enum.map(& &1.input) |> Enum.sort()
      assert inputs == Enum.sort(for(p <- 1..8, n <- 1..50, do: {p, n}))
    end
  end

  describe "bounds" do
    test "steps beyond the bound run, are counted and not kept", %{context: context} do
      limit = Store.limit(:max_entries)
      for n <- 1..(limit + 7), do: assert(ErrorContext.step(context, {:n, n}, fn n -> n end) == n)
      trace = ErrorContext.trace(context)
      assert length(trace.steps) == limit
      assert trace.dropped == 7
      assert ErrorContext.render(context) =~ "7 more entries"
    end

    test "the oldest traces go first" do
      first = ErrorContext.new(First, :work)
      ErrorContext.step(first, :a, fn -> 1 end)

      last =
        for _ <- 1..(Store.limit(:max_traces) + 200) do
          context = ErrorContext.new(Many, :work)
          ErrorContext.step(context, :a, fn -> 1 end)
          context
        end
        |> List.last()

      assert %{steps: [], started_at: nil} = ErrorContext.trace(first)
      assert [%{name: :a}] = ErrorContext.trace(last).steps
      assert :ets.lookup_element(Store, :traces, 2) <= Store.limit(:max_traces)
    end

    test "by bytes as well: what is kept stays within the bound, binaries included" do
      Application.put_env(:foundation, :error_context, max_bytes: 2_000_000)

      for _ <- 1..300 do
        context = ErrorContext.new(Bytes, :work)

        for n <- 1..5 do
          ErrorContext.step(context, {:big, :binary.copy(<<n>>, 4_000)}, fn input -> input end)
        end
      end

      assert [{:traces, traces, bytes, nil}] = :ets.lookup(Store, :traces)
      # 42 KB a trace: without the bound, 12 MB.
      assert traces < 60
      assert bytes <= 2_100_000
    after
      Application.delete_env(:foundation, :error_context)
    end

    test "what is dropped is no longer counted" do
      context = ErrorContext.new(Count, :work)
      ErrorContext.step(context, {:big, :binary.copy("x", 4_000)}, fn _ -> 1 end)
      rows = :ets.tab2list(Store)
      counted = for {_, _, _, _, bytes} <- rows, do: bytes
      assert [{:traces, length(counted), Enum.sum(counted), nil}] == :ets.lookup(Store, :traces)
    end

    test "values are cut, whatever their size or shape" do
      limit = Store.limit(:max_value_bytes)
      deep = Enum.reduce(1..10_000, 1, fn _, inner -> [inner] end)
      deep_map = Enum.reduce(1..10_000, 1, fn _, inner -> %{a: inner} end)

      for term <- [
            deep,
            deep_map,
            Enum.to_list(1..1_000_000),
            Map.new(1..100_000, &{&1, &1}),
            List.to_tuple(Enum.to_list(1..100_000)),
            :binary.copy("é", 1_000_000),
            <<0::size(8_000_001)>>,
            Bitwise.bsl(1, 1_000_000),
            [1, 2 | :tail],
            for(_ <- 1..1000, do: :binary.copy("x", 1000)),
            %RuntimeError{message: "m"},
            fn -> deep end
          ] do
        kept = Bound.term(term)
        assert :erlang.external_size(kept) < 8 * limit
      end
    end

    test "any term is cut to a copy of bounded size, and never raises" do
      property =
        :proper.forall(:proper_types.any(), fn term ->
          {kept, bytes} = Bound.sized(term)
          :erlang.external_size(kept) < 40_000 and bytes >= 0 and bytes < 10_000
        end)

      assert :proper.quickcheck(property, [:quiet, numtests: 500, max_size: 60])
    end

    test "what is small stays as it is" do
      for term <- [
            1,
            1.5,
            :a,
            "text",
            <<255>>,
            [1, [2]],
            %{a: {1, "b"}},
            [a: 1],
            self(),
            ~U[2020-01-01 00:00:00Z],
            [1 | 2]
          ] do
        assert Bound.term(term) == term
      end

      assert Bound.term(%RuntimeError{message: "m"}) ==
               {:struct, RuntimeError, %{message: "m", __exception__: true}}
    end

    test "a part of a large binary does not keep it" do
      large = :binary.copy("x", 1_000_000)
      kept = Bound.term(binary_part(large, 10, 100))
      assert :binary.referenced_byte_size(kept) == 100
    end

    test "cut text is whole characters" do
      kept = Bound.term(:binary.copy("é", 5_000) <> "x")
      assert String.valid?(kept)
      assert kept =~ "… (10001 bytes)"
    end
  end

  describe "secrets" do
    test "are hidden under their keys, wherever these are" do
      kept =
        Bound.term(%{
          "Authorization" => "Bearer abc",
          :password => "hunter2",
          :nested => [%{api_key: "k", deeper: {:x, [access_token: "t", max_tokens: 5]}}],
          "X-Api-Key" => ["k"],
          :secret => nil,
          :ok => 1
        })

      assert kept["Authorization"] == "[REDACTED]"
      assert kept.password == "[REDACTED]"
      assert kept["X-Api-Key"] == "[REDACTED]"
      assert kept.secret == nil

      assert [%{api_key: "[REDACTED]", deeper: {:x, [access_token: "[REDACTED]", max_tokens: 5]}}] =
               kept.nested
    end

    test "and in text" do
      assert Redact.text("curl -H 'Authorization: Bearer abcdef123456'") =~ "Bearer [REDACTED]"
      assert Redact.text("https://user:pw@host/x") == "https://user:[REDACTED]@host/x"

      assert Redact.text("http://h/?api_key=abc&x=1&token=def") ==
               "http://h/?api_key=[REDACTED]&x=1&token=[REDACTED]"

      assert Redact.text("password: \"abc\"") =~ "[REDACTED]"
      assert Redact.text("a plain text, a=1: yes") == "a plain text, a=1: yes"
    end

    test "do not reach a trace", %{context: context} do
      catch_error(
        ErrorContext.step(context, {:login, %{user: "u", password: "hunter2"}}, fn input ->
          ErrorContext.capture(context, :session_token, "hunter2")
          ErrorContext.capture(context, :request, [{"cookie", "hunter2"}])
          raise "could not log in with password=#{input.password}"
        end)
      )

      for text <- [inspect(ErrorContext.trace(context), limit: :infinity), ErrorContext.render(context)] do
        refute text =~ "hunter2"
        assert text =~ "[REDACTED]"
      end
    end

    test "more names may be given" do
      refute Redact.key?(:pin_code)
      Application.put_env(:foundation, :error_context, redact: ["Pin-Code", ""])
      assert Redact.key?(:pin_code)
      assert Redact.key?(:password)
      refute Redact.key?(:name)
    after
      Application.delete_env(:foundation, :error_context)
    end
  end

  describe "render" do
    test "is an indented tree with times, data and errors", %{context: context} do
      catch_error(
        ErrorContext.step(context, {:import, "a.csv"}, fn _ ->
          ErrorContext.capture(context, :rows, 2)
          ErrorContext.step(context, "read the file", fn -> [1, 2] end)
          ErrorContext.step(context, {:store, [1, 2]}, fn _ -> raise "disk\nfull" end)
        end)
      )

      lines = context |> ErrorContext.render() |> String.split("\n")

      patterns = [
        ~r/^Foundation\.ErrorContextStepsTest\.work \(#{context.correlation_id}\)$/,
        ~r/^  import RAISED  [\d.]+(ns|μs|ms|s)  \(at [\d.]+(ns|μs|ms|s)\)$/,
        ~r/^    given: "a.csv"$/,
        ~r/^    rows = 2$/,
        ~r/^    read the file  [\d.]+\S+  \(at \S+\)$/,
        ~r/^      gave: \[1, 2\]$/,
        ~r/^    store RAISED  /,
        ~r/^      given: \[1, 2\]$/,
        ~r/^      failed: \*\* \(RuntimeError\) disk full$/,
        ~r/^        .*error_context_steps_test\.exs:\d+/
      ]

      for {line, pattern} <- Enum.zip(lines, patterns), do: assert(line =~ pattern)
      assert ErrorContext.render(ErrorContext.trace(context)) == Enum.join(lines, "\n")
    end

    test "of nothing is the head alone", %{context: context} do
      assert ErrorContext.render(context) ==
               "Foundation.ErrorContextStepsTest.work (#{context.correlation_id})"
    end
  end

  test "what runs goes on without the store, and is recorded again when it is back", %{context: context} do
    ErrorContext.step(context, :outer, fn ->
      Foundation.ServiceDown.without(Store, fn ->
        assert ErrorContext.step(context, :untraced, fn -> 4 end) == 4
        assert ErrorContext.capture(context, :a, 1) == :ok
        assert ErrorContext.trace(context).steps == []
      end)

      assert ErrorContext.step(context, :inner, fn -> 5 end) == 5
    end)

    assert ErrorContext.step(context, :after, fn -> 6 end) == 6
    assert :after in Enum.map(ErrorContext.trace(context).steps, & &1.name)
  end
end
