defmodule LlmEvaluation.Progress do
  @moduledoc """
  The results of an evaluation, kept as durable events.

  The id of an event is made from the evaluation's name and the item, so that an item has one result, however often it was
  evaluated.
  """

  alias Foundation.Events

  @type result :: %{
          evaluation: String.t(),
          item: term,
          correct: boolean,
          outputs: map,
          provider: atom,
          instead_of: [{atom, term}],
          cost: non_neg_integer,
          usage: map,
          latency_us: non_neg_integer
        }

  @doc "Keeps a result; it survives the end of the program when this returns."
  @spec keep(result) :: :ok
  def keep(result) do
    {:ok, event} =
      Events.new_event(:evaluation_result, result, event_id: id({result.evaluation, result.item}))

    {:ok, _id} = Events.store(event)
    :ok
  end

  @doc "The results that an evaluation has so far."
  @spec results(String.t()) :: [result]
  def results(evaluation) do
    [
      where: [{:==, :event_type, :evaluation_result}, {:==, [:data, :evaluation], evaluation}],
      limit: 1_000
    ]
    |> Events.stream()
    |> Enum.map(& &1.data)
  end

  # Far from the small numbers that other events have.
  defp id(term) do
    <<hash::56, _::binary>> = :crypto.hash(:sha256, :erlang.term_to_binary(term))
    Bitwise.bor(Bitwise.bsl(1, 57), hash)
  end
end
