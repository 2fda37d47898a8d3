defmodule Foundation.Distributed do
  @moduledoc """
  Works with the whole cluster from one place: messages and calls over channels, topologies, and work spread over nodes.

      iex> {:ok, run} = Foundation.Distributed.coordinate_work([1, 2, 3], fn x -> x + 1 end)
      iex> run.results
      [ok: 2, ok: 3, ok: 4]

  This is the door; the rooms are the modules below it, with everything there is to say about each function.
  """

  alias Foundation.Distributed.Work

  @doc """
  Runs a function on every item, spread over the nodes with work stealing, and answers each result once, in order.

  See `Foundation.Distributed.Work.run/3` for the options, the errors and the cost.
  """
  @spec coordinate_work(Enumerable.t(), Work.worker(), [Work.option()]) :: {:ok, Work.run()} | {:error, term}
  defdelegate coordinate_work(items, worker, options \\ []), to: Work, as: :run

  @doc """
  Maps items to pairs of key and value and reduces the values of each key, both spread over the nodes.

  See `Foundation.Distributed.Work.map_reduce/4` for the options, the errors and the cost.

      iex> Foundation.Distributed.map_reduce(1..6, &[{rem(&1, 2), &1}], fn _key, numbers -> Enum.sum(numbers) end)
      {:ok, %{0 => 12, 1 => 9}}
  """
  @spec map_reduce(Enumerable.t(), Work.worker(), (term, [term] -> term), [
          Work.option() | {:combine, boolean}
        ]) ::
          {:ok, %{term => term}} | {:error, term}
  defdelegate map_reduce(items, mapper, reducer, options \\ []), to: Work
end
