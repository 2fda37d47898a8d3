defmodule Foundation.MABEAM.Machine do
  @moduledoc false
  # What the replicas of MABEAM agree on, in rooms: the books of the ledger and the durable markets. A command is
  # {id, room, command} and counts once for its id.

  use Foundation.Distributed.Machine

  alias Foundation.MABEAM.Answers
  alias Foundation.MABEAM.Coordination.Market.Markets
  alias Foundation.MABEAM.Economics.Books

  @impl true
  def init(_argument), do: %{answers: Answers.new(), books: Books.new(), markets: Markets.new()}

  @impl true
  def apply({id, room, command}, meta, state) when room in [:books, :markets] do
    {answer, answers, state} =
      Answers.once(state.answers, id, {room, command}, state, fn -> run(room, command, meta, state) end)

    {answer, %{state | answers: answers}}
  end

  def apply(_other, _meta, state), do: {{:error, :unknown_request}, state}

  defp run(:books, command, %{time_ms: at}, state) do
    {books, _over} = Books.expire(state.books, at)
    {answer, books} = Books.apply(books, command, at)
    {answer, %{state | books: books}}
  end

  defp run(:markets, command, _meta, state) do
    {answer, markets} = Markets.apply(state.markets, command)
    {answer, %{state | markets: markets}}
  end

  @impl true
  def query({:books, {question, at}}, state), do: Books.read(state.books, question, at)
  def query({:markets, question}, state), do: Markets.read(state.markets, question)
  def query(_other, _state), do: {:error, :unknown_request}
end
