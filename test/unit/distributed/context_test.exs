defmodule Foundation.Distributed.ContextTest do
  use ExUnit.Case, async: true

  require Foundation.Distributed.Context, as: Context
  doctest Foundation.Distributed.Context

  alias Foundation.Opaque

  @parent "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

  setup do
    on_exit(&Context.disable_debug_mode/0)
  end

  describe "with_global_context/2" do
    test "is seen in the block, nests, and goes away, also after an exception" do
      Context.with_global_context %{user: 1, plan: :free} do
        trace = Context.trace_id()

        Context.with_global_context user: 2 do
          assert Context.current() == %{user: 2, plan: :free}
          assert Context.trace_id() == trace
        end

        assert Context.current() == %{user: 1, plan: :free}

        catch_error(
          Context.with_global_context %{user: 3} do
            raise "no"
          end
        )

        assert Context.current().user == 1
      end

      assert Context.current() == %{}
      assert Context.trace_id() == nil
    end

    test "two requests have two traces" do
      trace = fn -> Context.run(%{}, &Context.trace_id/0) end
      assert trace.() != trace.()
    end

    test "takes maps and keyword lists and names what else it was given" do
      assert_raise ArgumentError, ~r/a map or a keyword list, got: \[1\]/, fn ->
        Context.run([1], fn -> 1 end)
      end

      assert_raise ArgumentError, ~r/got: ~D\[2020-01-01\]/, fn ->
        Context.put(Opaque.term(~D[2020-01-01]))
      end

      assert_raise ArgumentError, ~r/no arguments/, fn -> Context.run(%{}, &Function.identity/1) end
    end
  end

  describe "other processes" do
    test "a bound function runs in the context wherever it is called, and leaves that process as it was" do
      bound = Context.run(%{user: 1}, fn -> Context.bind(fn x -> {x, Context.current()} end) end)
      assert bound.(:a) == {:a, %{user: 1}}
      assert Context.current() == %{}
    end

    test "a plain task, and a task of that task, find the context" do
      Context.run(%{user: 1}, fn ->
        inner = fn -> Task.await(Task.async(fn -> Context.current() end)) end
        assert Task.await(Task.async(inner)) == %{user: 1}
        assert [%{user: 1}] = Enum.map(Task.async_stream([1], fn _ -> Context.current() end), &elem(&1, 1))
      end)
    end

    test "a process that is no task has none" do
      me = self()
      Context.run(%{user: 1}, fn -> spawn(fn -> send(me, {:context, Context.current()}) end) end)
      assert_receive {:context, context} when context == %{}
    end

    test "what is carried can be attached, and what is not a context cannot" do
      carried = Context.run(%{user: 1}, &Context.carry/0)
      carried = :erlang.binary_to_term(:erlang.term_to_binary(carried))

      Task.await(
        Task.async(fn ->
          assert :ok = Context.attach(carried, {:message, :data})
          assert Context.current() == %{user: 1}
          assert :ok = Context.attach(nil)
          assert Context.current() == %{}
        end)
      )

      for bad <- [
            %{},
            :x,
            %{carried | trace_id: <<0::128>>},
            %{carried | values: []},
            %{carried | flags: 256}
          ] do
        assert Context.attach(bad) == {:error, :invalid_context}
      end

      assert Context.current() == %{}
    end
  end

  describe "processes that are started" do
    test "a process of Foundation.start_process is in the context from its first line on" do
      trace =
        Context.run(%{user: 1}, fn ->
          {:ok, pid} = Foundation.start_process(Agent, fn -> Context.current() end, restart: :temporary)
          assert Agent.get(pid, & &1) == %{user: 1}
          {:ok, later} = Foundation.start_process(Agent, fn -> :nothing end, restart: :temporary)
          assert Agent.get(later, fn _ -> Context.current() end) == %{user: 1}
          for pid <- [pid, later], do: Agent.stop(pid)
          Context.trace_id()
        end)

      assert {:ok, %{hops: [%{kind: :begin}, %{kind: :start_process, name: Agent}, %{kind: :start_process}]}} =
               Context.hops(trace, [node()])

      {:ok, outside} = Foundation.start_process(Agent, fn -> Context.current() end, restart: :temporary)
      assert Agent.get(outside, & &1) == %{}
      Agent.stop(outside)
    end

    test "a server takes over the context of its caller when it asks for it" do
      {:ok, server} = GenServer.start_link(Foundation.ContextVisitor, nil)
      assert Context.run(%{user: 1}, fn -> GenServer.call(server, :context) end) == %{user: 1}
      assert GenServer.call(server, :context) == %{}
    end
  end

  describe "hops" do
    test "each arrival is recorded with the span it came from" do
      trace =
        Context.run(%{user: 1}, fn ->
          Task.await(Context.async(fn -> Task.await(Context.async(fn -> :done end)) end))
          Context.trace_id()
        end)

      assert {:ok, %{hops: hops, unreachable: []}} = Context.hops(trace, [node()])
      assert [%{kind: :begin, parent_span_id: nil}, %{kind: :task} = first, %{kind: :task} = second] = hops
      assert first.pid != second.pid
      assert second.parent_span_id == first.span_id
      assert Enum.all?(hops, &(&1.trace_id == trace and &1.node == node() and &1.debug == nil))
    end

    test "debug mode adds the values and the place" do
      Context.enable_debug_mode()

      trace =
        Context.run(%{user: 1}, fn ->
          Task.await(Context.async(fn -> :done end))
          Context.trace_id()
        end)

      assert {:ok, %{hops: hops}} = Context.hops(trace, [node()])
      assert %{debug: %{values: %{user: 1}, from: from, at: [at | _]}} = Enum.find(hops, &(&1.kind == :task))
      assert from == node()
      assert at =~ "context_test.exs"
    end

    test "an id that is none is an error" do
      for bad <- ["", "xyz", nil, String.duplicate("g", 32)] do
        assert Context.hops(bad) == {:error, :invalid_trace_id}
      end
    end

    test "no more are kept than configured" do
      size = :ets.lookup_element(Foundation.Distributed.Context.Hops, :size, 2)
      carried = Context.run(%{}, &Context.carry/0)
      for _ <- 1..(size + 10), do: Context.attach(carried, {:message, :x})
      assert :ets.info(Foundation.Distributed.Context.Hops, :size) <= size + 2
      Context.clear()
    end
  end

  describe "W3C Trace Context" do
    test "continues a trace and its state" do
      headers = %{
        "Traceparent" => @parent,
        "tracestate" => "rojo=00f067aa0ba902b7, bad one, congo=t61rcWkgMzE"
      }

      assert {:ok, carrier} = Context.from_headers(headers, user: 9)

      Task.await(
        Task.async(fn ->
          :ok = Context.attach(carrier)
          assert Context.current() == %{user: 9}
          assert [{"traceparent", parent}, {"tracestate", state}] = Context.to_headers()
          assert "00-0af7651916cd43dd8448eb211c80319c-" <> rest = parent
          refute String.starts_with?(rest, "b7ad6b7169203331")
          assert String.ends_with?(rest, "-01")
          assert state == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        end)
      )
    end

    test "refuses what the standard refuses" do
      for bad <- [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"
          ] do
        assert Context.from_headers([{"traceparent", bad}]) == {:error, :invalid_traceparent}
      end

      assert Context.from_headers([]) == {:error, :no_traceparent}

      assert Context.from_headers([{"traceparent", @parent}, {"traceparent", @parent}]) ==
               {:error, :no_traceparent}
    end

    test "reads a later version by the fields it knows" do
      later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-the-future-has"
      assert {:ok, _} = Context.from_headers([{"traceparent", later}])
    end

    test "keeps a long tracestate within 512 characters, whole members only" do
      state = Enum.map_join(1..60, ",", &"vendor#{&1}=#{String.duplicate("x", 20)}")
      {:ok, carrier} = Context.from_headers([{"traceparent", @parent}, {"tracestate", state}])
      assert byte_size(carrier.tracestate) <= 512
      assert String.starts_with?(state, carrier.tracestate)
    end
  end

  describe "what stands on it" do
    test "events and error contexts of a request belong to its trace" do
      Context.run(%{}, fn ->
        {:ok, event} = Foundation.Events.new_event(:paid, %{})
        assert event.correlation_id == Context.trace_id()
        {:ok, given} = Foundation.Events.new_event(:paid, %{}, correlation_id: "mine")
        assert given.correlation_id == "mine"
        assert Foundation.ErrorContext.new(__MODULE__, :pay).correlation_id == Context.trace_id()
      end)

      {:ok, event} = Foundation.Events.new_event(:paid, %{})
      assert byte_size(event.correlation_id) == 36
    end
  end
end
