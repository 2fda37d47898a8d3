defmodule Foundation.ErrorContext.Steps do
  @moduledoc false
  # Runs functions as steps and records them.
  #
  # The process dictionary holds the step the process is in, `{trace, step}`, and the failure that was last recorded
  # with the step around it, so that the steps which it passes through on its way out say so instead of repeating it.

  alias Foundation.ErrorContext
  alias Foundation.ErrorContext.{Bound, Carry, Store}

  @step :foundation_error_step
  @failure :foundation_error_failure

  @doc "Runs the function as a step of the context's trace."
  def run(context, name, input, fun) do
    trace = context.trace_id || context.operation_id
    outer = Process.get(@step)
    before = Carry.enter(context)

    case open(trace, parent(outer, trace), context, name, input) do
      nil -> untraced(input, fun, before)
      {step, record} -> traced({trace, step}, record, input, fun, {outer, before})
    end
  end

  @doc "Records data in the step the process is in."
  def capture(%ErrorContext{} = context, key, value) do
    trace = context.trace_id || context.operation_id

    with true <- Store.begin(trace, fn -> root(context) end),
         number when is_integer(number) <- Store.next(trace) do
      Store.put({trace, parent(Process.get(@step), trace), number}, Bound.named(key, value))
    end

    :ok
  end

  defp traced({trace, step} = here, record, input, fun, {outer, before}) do
    Process.put(@step, here)

    try do
      call(fun, input)
    catch
      kind, reason ->
        close({trace, step, 0}, record, failure(kind, reason, __STACKTRACE__, step, record.parent))
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      value ->
        close({trace, step, 0}, record, outcome(value))
        value
    after
      if outer == nil, do: Process.delete(@failure)
      restore(@step, outer)
      Carry.leave(before)
    end
  end

  defp untraced(input, fun, before) do
    call(fun, input)
  after
    Carry.leave(before)
  end

  defp call(fun, {:input, input}) when is_function(fun, 1), do: fun.(input)
  defp call(fun, _input), do: fun.()

  defp open(trace, parent, context, name, input) do
    with true <- Store.begin(trace, fn -> root(context) end),
         step when is_integer(step) <- Store.next(trace) do
      record = %{
        name: name,
        parent: parent,
        pid: self(),
        started_ns: System.monotonic_time(:nanosecond),
        duration_ns: nil,
        status: :running,
        input: given(input),
        output: nil,
        error: nil
      }

      Store.put({trace, step, 0}, record)
      {step, record}
    else
      _ -> nil
    end
  end

  defp close(key, record, result) do
    duration = System.monotonic_time(:nanosecond) - record.started_ns
    Store.put(key, record |> Map.put(:duration_ns, duration) |> Map.merge(result))
  end

  defp outcome({:error, reason} = value),
    do: %{status: :error, output: Bound.term(value), error: %{kind: :error, reason: Bound.term(reason)}}

  defp outcome(:error), do: %{status: :error, output: :error, error: %{kind: :error, reason: :error}}
  defp outcome(value), do: %{status: :ok, output: Bound.term(value)}

  defp failure(kind, reason, stacktrace, step, parent) do
    passing? = match?({^kind, ^reason, ^step}, Process.get(@failure))
    Process.put(@failure, {kind, reason, parent})
    error = if passing?, do: :passed_through, else: describe(kind, reason, stacktrace)
    %{status: Map.fetch!(%{error: :raised, throw: :thrown, exit: :exited}, kind), error: error}
  end

  defp describe(:error, reason, stacktrace) do
    exception = Exception.normalize(:error, reason, stacktrace)

    %{
      kind: :raised,
      exception: exception.__struct__,
      message: Bound.text(message(exception)),
      at: stacktrace |> Enum.reject(&ours?/1) |> Enum.take(3) |> Enum.map(&frame/1)
    }
  end

  defp describe(:throw, value, _stacktrace), do: %{kind: :thrown, value: Bound.term(value)}
  defp describe(:exit, reason, _stacktrace), do: %{kind: :exited, reason: Bound.term(reason)}

  defp ours?({module, _, _, _}), do: module in [__MODULE__, ErrorContext]
  defp ours?(_frame), do: false

  defp frame(frame), do: frame |> Exception.format_stacktrace_entry() |> Bound.text()

  defp message(exception) do
    Exception.message(exception)
  rescue
    _ -> inspect(exception.__struct__)
  end

  defp given({:input, input}), do: Bound.term(input)
  defp given(:none), do: nil

  defp parent({trace, step}, trace), do: step
  defp parent(_elsewhere, _trace), do: 0

  defp root(context) do
    %{
      started_ns: System.monotonic_time(:nanosecond),
      started_at: DateTime.utc_now(),
      metadata: Bound.term(context.metadata)
    }
  end

  defp restore(key, nil), do: Process.delete(key)
  defp restore(key, value), do: Process.put(key, value)
end
