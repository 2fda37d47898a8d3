defmodule Foundation.ErrorContext.Steps do
  @moduledoc false
  # Runs functions as steps and records them.
  #
  # The process dictionary holds the step the process is in, `{trace, step}`, and the failure that was last
  # recorded with the step around it, so that the steps which it passes through on its way out say so instead
  # of repeating it.

  alias Foundation.ErrorContext
  alias Foundation.ErrorContext.{Bound, Carry, Store}

  @step :foundation_error_step
  @failure :foundation_error_failure

  # What an entry takes besides the values in it, about.
  @entry_bytes 300

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
      {pair, bytes} = Bound.named(key, value)
      Store.put({trace, parent(Process.get(@step), trace), number}, pair, @entry_bytes + bytes)
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
      {given, bytes} = given(input)

      record = %{
        name: name,
        parent: parent,
        pid: self(),
        started_ns: System.monotonic_time(:nanosecond),
        duration_ns: nil,
        status: :running,
        input: given,
        output: nil,
        error: nil
      }

      Store.put({trace, step, 0}, record, @entry_bytes + bytes)
      {step, record}
    else
      _ -> nil
    end
  end

  defp close(key, record, {result, bytes}) do
    duration = System.monotonic_time(:nanosecond) - record.started_ns
    Store.put(key, record |> Map.put(:duration_ns, duration) |> Map.merge(result), bytes)
  end

  defp outcome({:error, reason}) do
    {kept, bytes} = Bound.sized(reason)
    {%{status: :error, output: {:error, kept}, error: %{kind: :error, reason: kept}}, bytes}
  end

  defp outcome(:error), do: {%{status: :error, output: :error, error: %{kind: :error, reason: :error}}, 0}

  defp outcome(value) do
    {kept, bytes} = Bound.sized(value)
    {%{status: :ok, output: kept}, bytes}
  end

  defp failure(kind, reason, stacktrace, step, parent) do
    passing? = match?({^kind, ^reason, ^step}, Process.get(@failure))
    Process.put(@failure, {kind, reason, parent})
    {error, bytes} = if passing?, do: {:passed_through, 0}, else: describe(kind, reason, stacktrace)
    {%{status: Map.fetch!(%{error: :raised, throw: :thrown, exit: :exited}, kind), error: error}, bytes}
  end

  defp describe(:error, reason, stacktrace) do
    exception = Exception.normalize(:error, reason, stacktrace)

    message = exception |> message() |> Bound.text()
    at = stacktrace |> Enum.reject(&ours?/1) |> Enum.take(3) |> Enum.map(&frame/1)

    {%{kind: :raised, exception: exception.__struct__, message: message, at: at},
     byte_size(message) + IO.iodata_length(at)}
  end

  defp describe(:throw, value, _stacktrace) do
    {kept, bytes} = Bound.sized(value)
    {%{kind: :thrown, value: kept}, bytes}
  end

  defp describe(:exit, reason, _stacktrace) do
    {kept, bytes} = Bound.sized(reason)
    {%{kind: :exited, reason: kept}, bytes}
  end

  defp ours?({module, _, _, _}), do: module in [__MODULE__, ErrorContext]
  defp ours?(_frame), do: false

  defp frame(frame), do: frame |> Exception.format_stacktrace_entry() |> Bound.text()

  defp message(exception) do
    Exception.message(exception)
  rescue
    _ -> inspect(exception.__struct__)
  end

  defp given({:input, input}), do: Bound.sized(input)
  defp given(:none), do: {nil, 0}

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
