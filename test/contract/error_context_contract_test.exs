defmodule Foundation.ErrorContextContractTest do
  # The 1.x contract of Foundation.ErrorContext.
  use ExUnit.Case, async: true
  doctest Foundation.ErrorContext

  alias Foundation.{Error, ErrorContext}

  setup do
    Process.delete(:error_context)
    {:ok, context: ErrorContext.new(__MODULE__, :operation, metadata: %{a: 1})}
  end

  test "new", %{context: context} do
    assert %ErrorContext{module: __MODULE__, function: :operation, metadata: %{a: 1}, parent_context: nil} =
             context

    assert is_integer(context.operation_id) and context.operation_id > 0
    assert context.correlation_id =~ ~r/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
    assert_in_delta context.start_time, System.monotonic_time(:millisecond), 1_000

    assert [%{module: __MODULE__, function: :operation, metadata: %{}, timestamp: at}] = context.breadcrumbs
    assert is_integer(at)

    parent = ErrorContext.new(__MODULE__, :parent)
    given = ErrorContext.new(__MODULE__, :f, correlation_id: "c", parent_context: parent)
    assert {given.correlation_id, given.parent_context} == {"c", parent}
  end

  test "child_context", %{context: context} do
    child = ErrorContext.child_context(context, Other, :part, %{b: 2})
    assert child.correlation_id == context.correlation_id
    assert child.operation_id != context.operation_id
    assert child.metadata == %{a: 1, b: 2}
    assert child.parent_context == context
    assert Enum.map(child.breadcrumbs, & &1.function) == [:operation, :part]
    assert List.last(child.breadcrumbs).metadata == %{b: 2}
    assert ErrorContext.child_context(context, Other, :part).metadata == %{a: 1}
  end

  test "add_breadcrumb and add_metadata", %{context: context} do
    added = ErrorContext.add_breadcrumb(context, Other, :then, %{x: 1})
    assert Enum.map(added.breadcrumbs, & &1.function) == [:operation, :then]
    assert ErrorContext.add_metadata(context, %{a: 2, c: 3}).metadata == %{a: 2, c: 3}
  end

  test "with_context gives the value and has the context set meanwhile", %{context: context} do
    assert ErrorContext.get_current_context() == nil
    assert ErrorContext.with_context(context, fn -> ErrorContext.get_current_context() end) == context
    assert ErrorContext.get_current_context() == nil
    assert Process.get(:error_context) == nil
    assert ErrorContext.with_context(context, fn -> {:error, :as_it_is} end) == {:error, :as_it_is}
  end

  test "with_context turns a raise into an error", %{context: context} do
    assert {:error, %Error{} = error} =
             ErrorContext.with_context(context, fn -> raise ArgumentError, "bad" end)

    assert {error.error_type, error.code} == {:internal_error, 2401}
    assert error.message == "Exception in operation: bad"
    assert error.correlation_id == context.correlation_id

    assert %{exception_type: ArgumentError, exception_message: "bad", operation_context: operation} =
             error.context

    assert operation.operation_id == context.operation_id
    assert operation.correlation_id == context.correlation_id
    assert operation.breadcrumbs == context.breadcrumbs
    assert operation.metadata == %{a: 1}
    assert is_integer(operation.duration_ns)
    refute Map.has_key?(operation, :failed_step)
    assert [%{module: _, function: _, arity: _, file: _, line: _} | _] = error.stacktrace
    assert length(error.stacktrace) <= 10
    assert ErrorContext.get_current_context() == nil
  end

  test "a throw and an exit pass and leave the key set", %{context: context} do
    assert catch_throw(ErrorContext.with_context(context, fn -> throw(:ball) end)) == :ball
    assert ErrorContext.get_current_context() == context
    Process.delete(:error_context)
    assert catch_exit(ErrorContext.with_context(context, fn -> exit(:bye) end)) == :bye
    assert Process.get(:error_context) == context
  end

  test "a nested call deletes the outer context", %{context: context} do
    inner = ErrorContext.child_context(context, Other, :inner)

    ErrorContext.with_context(context, fn ->
      ErrorContext.with_context(inner, fn -> :ok end)
      assert ErrorContext.get_current_context() == nil
    end)
  end

  test "duration_ns is nanoseconds", %{context: context} do
    # A context that began two milliseconds earlier.
    earlier = %{context | start_ns: context.start_ns - 2_000_000}
    {:error, error} = ErrorContext.with_context(earlier, fn -> raise "x" end)
    assert error.context.operation_context.duration_ns > 2_000_000

    old_style = %{context | start_ns: nil, start_time: System.monotonic_time(:millisecond) - 50}

    assert %Error{context: %{operation_context: %{duration_ns: ns}}} =
             ErrorContext.enhance_error(Error.new(:timeout), old_style)

    assert ns >= 49_000_000
    assert ErrorContext.get_operation_duration(old_style) in 49..5_000
  end

  test "enhance_error", %{context: context} do
    enhanced = ErrorContext.enhance_error(Error.new(:timeout, nil, context: %{k: 1}), context)
    assert %{k: 1, operation_context: operation} = enhanced.context

    assert operation |> Map.keys() |> Enum.sort() ==
             [:breadcrumbs, :correlation_id, :duration_ns, :metadata, :operation_id]

    assert enhanced.error_type == :timeout

    assert {:error, %Error{error_type: :timeout, context: %{operation_context: _}}} =
             ErrorContext.enhance_error({:error, Error.new(:timeout)}, context)

    assert {:error, %Error{error_type: :external_error, code: 9999, context: raw}} =
             ErrorContext.enhance_error({:error, :boom}, context)

    assert %{original_reason: :boom, operation_context: _} = raw
    for other <- [:ok, {:ok, 1}, 5], do: assert(ErrorContext.enhance_error(other, context) == other)
  end

  test "add_context", %{context: context} do
    assert ErrorContext.add_context(:ok, context) == :ok
    assert ErrorContext.add_context({:ok, 1}, %{}, %{x: 1}) == {:ok, 1}

    assert {:error, %Error{error_type: :timeout, context: %{operation_context: _, x: 1}}} =
             ErrorContext.add_context({:error, Error.new(:timeout)}, context, %{x: 1})

    assert {:error, %Error{error_type: :timeout, context: map}} =
             ErrorContext.add_context({:error, Error.new(:timeout, nil, context: %{k: 1})}, %{m: 2}, %{x: 1})

    assert map == %{k: 1, m: 2, x: 1}

    assert {:error, %Error{error_type: :external_error, code: 9999, context: with_struct}} =
             ErrorContext.add_context({:error, :boom}, context, %{x: 1})

    assert %{original_reason: :boom, operation_context: _, x: 1} = with_struct

    assert {:error, %Error{error_type: :external_error, context: with_map}} =
             ErrorContext.add_context({:error, :boom}, %{m: 2})

    assert with_map == %{m: 2, original_reason: :boom}
  end

  test "format_breadcrumbs", %{context: context} do
    text = context |> ErrorContext.add_breadcrumb(Other, :then) |> ErrorContext.format_breadcrumbs()

    assert text =~
             ~r/^Elixir\.Foundation\.ErrorContextContractTest\.operation \(\S+ ago\) -> Elixir\.Other\.then \(\S+ ago\)$/
  end
end
