defmodule LlmEvaluation.Evaluate do
  @moduledoc """
  Runs a program over examples and judges each prediction.

  What has a result is not run again: an evaluation that was stopped, by its budget or by the end of the machine, goes on where
  it was. One that was in the middle of a call is asked for again, and has one result.
  """

  alias LlmEvaluation.{Program, Progress}

  @passes 3

  @type metric :: (example :: map, outputs :: map -> boolean)
  @type summary :: %{
          before: non_neg_integer,
          evaluated: non_neg_integer,
          failed: %{term => non_neg_integer},
          elapsed_us: non_neg_integer
        }

  @doc """
  Evaluates the examples that have no result yet, `concurrency:` at a time, under the `name:` of the evaluation.

  An error in `stop_on:` ends it: what is under way is finished, and nothing more is begun. Items that fail with another are
  tried again at the end, up to three times in all.
  """
  @spec run(struct, Enumerable.t(), metric, keyword) :: summary
  def run(program, examples, metric, options) do
    name = Keyword.fetch!(options, :name)
    known = name |> Progress.results() |> MapSet.new(& &1.item)
    open = Enum.reject(examples, &MapSet.member?(known, &1.id))
    evaluation = %{name: name, program: program, metric: metric, stop_on: options[:stop_on] || []}
    evaluation = Map.put(evaluation, :stop, :atomics.new(1, []))

    {elapsed_us, passes} =
      :timer.tc(fn -> passes(open, evaluation, Keyword.fetch!(options, :concurrency), @passes) end)

    passes |> summary() |> Map.merge(%{before: MapSet.size(known), elapsed_us: elapsed_us})
  end

  # What each pass came to.
  defp passes(open, evaluation, concurrency, left) do
    done =
      open
      |> Stream.take_while(fn _example -> not stopped?(evaluation) end)
      |> Task.async_stream(&{&1, one(&1, evaluation)},
        max_concurrency: concurrency,
        ordered: false,
        timeout: :infinity
      )
      |> Enum.map(fn {:ok, result} -> result end)

    failed = for {example, {:error, _reason}} <- done, do: example

    if failed == [] or left == 1 or stopped?(evaluation),
      do: [done],
      else: [done | passes(failed, evaluation, concurrency, left - 1)]
  end

  defp one(example, evaluation) do
    {latency_us, prediction} = :timer.tc(fn -> Program.forward(evaluation.program, example.inputs) end)

    case prediction do
      {:ok, %{outputs: outputs, completion: completion}} ->
        completion
        |> Map.take([:provider, :instead_of, :cost, :usage])
        |> Map.merge(%{evaluation: evaluation.name, item: example.id, outputs: outputs})
        |> Map.merge(%{correct: evaluation.metric.(example, outputs), latency_us: latency_us})
        |> Progress.keep()

      {:error, reason} ->
        if reason in evaluation.stop_on, do: :atomics.put(evaluation.stop, 1, 1)
        {:error, reason}
    end
  end

  defp stopped?(evaluation), do: :atomics.get(evaluation.stop, 1) == 1

  defp summary(passes) do
    results = Enum.concat(passes)
    last = for {_example, {:error, reason}} <- List.last(passes), do: reason

    %{
      evaluated: Enum.count(results, &match?({_example, :ok}, &1)),
      failed: Enum.frequencies(last)
    }
  end
end
