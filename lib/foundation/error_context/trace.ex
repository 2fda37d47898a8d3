defmodule Foundation.ErrorContext.Trace do
  @moduledoc false
  # Reads what steps recorded and builds the tree.

  alias Foundation.ErrorContext
  alias Foundation.ErrorContext.Store

  @type step :: %{
          name: ErrorContext.step_name(),
          status: :running | :ok | :error | :raised | :thrown | :exited | :died,
          offset_ns: non_neg_integer,
          duration_ns: non_neg_integer | nil,
          pid: pid,
          input: term,
          output: term,
          error: map | :passed_through | nil,
          data: [{atom | String.t(), term}],
          children: [step]
        }

  @type t :: %{
          operation: {module, atom},
          correlation_id: String.t(),
          started_at: DateTime.t() | nil,
          data: [{atom | String.t(), term}],
          dropped: non_neg_integer,
          steps: [step]
        }

  @doc "The trace of a context."
  @spec read(ErrorContext.t()) :: t
  def read(context) do
    case Store.rows(context.trace_id || context.operation_id) do
      [{_, _, dropped, root, _bytes} | rows] ->
        {steps, data} = split(rows)
        children = Enum.group_by(steps, fn {_id, record} -> record.parent end)

        %{
          operation: {context.module, context.function},
          correlation_id: context.correlation_id,
          started_at: root.started_at,
          data: Map.get(data, 0, []),
          dropped: dropped,
          steps: tree(children, data, 0, root.started_ns)
        }

      [] ->
        %{
          operation: {context.module, context.function},
          correlation_id: context.correlation_id,
          started_at: nil,
          data: [],
          dropped: 0,
          steps: []
        }
    end
  end

  @doc "The last step that failed by itself: its path of names, its input and its error; nil when none did."
  @spec failed_step(ErrorContext.t()) :: map | nil
  def failed_step(context) do
    case Store.rows(context.trace_id || context.operation_id) do
      [_root | rows] -> rows |> split() |> last_failure()
      [] -> nil
    end
  end

  defp last_failure({steps, data}) do
    by_id = Map.new(steps)

    steps
    |> Enum.filter(fn {_id, step} -> is_map(step.error) end)
    |> Enum.max_by(fn {_id, step} -> step.started_ns + (step.duration_ns || 0) end, fn -> nil end)
    |> case do
      nil ->
        nil

      {id, step} ->
        %{
          path: path(by_id, id, []),
          input: step.input,
          error: step.error,
          data: Map.get(data, id, []),
          duration_ns: step.duration_ns
        }
    end
  end

  defp path(by_id, id, names) do
    case by_id do
      %{^id => step} -> path(by_id, step.parent, [step.name | names])
      _ -> names
    end
  end

  # {[{id, record}] in order, %{id => [{name, value}] in order}}
  defp split(rows) do
    {steps, data} =
      Enum.reduce(rows, {[], %{}}, fn
        {{_, id, 0}, record}, {steps, data} -> {[{id, record} | steps], data}
        {{_, id, _}, pair}, {steps, data} -> {steps, Map.update(data, id, [pair], &[pair | &1])}
      end)

    {Enum.reverse(steps), Map.new(data, fn {id, pairs} -> {id, Enum.reverse(pairs)} end)}
  end

  # A parent has a smaller number than its children, so this ends; what was dropped has no row and no
  # children.
  defp tree(children, data, parent, started_ns) do
    for {id, record} <- Map.get(children, parent, []) do
      %{
        name: record.name,
        status: status(record),
        offset_ns: max(record.started_ns - started_ns, 0),
        duration_ns: record.duration_ns,
        pid: record.pid,
        input: record.input,
        output: record.output,
        error: record.error,
        data: Map.get(data, id, []),
        children: tree(children, data, id, started_ns)
      }
    end
  end

  defp status(%{status: :running, pid: pid}), do: if(Process.alive?(pid), do: :running, else: :died)
  defp status(%{status: status}), do: status
end
