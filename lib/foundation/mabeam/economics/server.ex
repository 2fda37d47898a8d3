defmodule Foundation.MABEAM.Economics.Server do
  @moduledoc false
  # Holds the books of this node, and ends what was on hold for too long; and brings commands and questions to where the
  # books are: here, or at the replicas (Foundation.MABEAM.Replicas) when there are some.

  use GenServer

  alias Foundation.MABEAM.{Answers, Replicas}
  alias Foundation.MABEAM.Economics.Books
  alias Foundation.Telemetry

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Has the books changed, once for an id that is not nil."
  @spec change(Books.command(), term) :: term
  def change(command, id \\ nil) do
    if Replicas.nodes(),
      do: Replicas.command(:books, command, id),
      else: call({:change, id, command}, :unknown)
  end

  @doc "Asks the books."
  @spec read(Books.question()) :: term
  def read(question) do
    if Replicas.nodes(),
      do: Replicas.query(:books, {question, now()}),
      else: call({:read, question}, :timeout)
  end

  defp call(request, late) do
    GenServer.call(__MODULE__, request)
  catch
    :exit, {:timeout, _} -> {:error, late}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :not_running}
  end

  @impl true
  def init(nil), do: {:ok, %{books: Books.new(), answers: Answers.new(), timer: nil}}

  @impl true
  def handle_call({:change, id, command}, _from, state) do
    at = now()
    before = expire(state.books, at)
    run = fn -> Books.apply(before, command, at) end
    {answer, answers, books} = Answers.once(state.answers, id, command, before, run)
    {:reply, answer, timed(%{state | books: books, answers: answers}, state.books.due)}
  end

  def handle_call({:read, question}, _from, state),
    do: {:reply, Books.read(state.books, question, now()), state}

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info(:expire, state) do
    before = state.books.due
    {:noreply, timed(%{state | books: expire(state.books, now()), timer: nil}, before)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp expire(books, at) do
    {books, over} = Books.expire(books, at)

    for id <- over,
        do: Telemetry.execute([:foundation, :mabeam, :economics, :hold_expired], %{counter: 1}, %{hold: id})

    books
  end

  # One timer, for the first that is over.
  defp timed(%{timer: timer, books: %{due: due}} = state, due) when timer != nil or due == nil, do: state

  defp timed(%{timer: timer, books: %{due: due}} = state, _before) do
    if timer, do: Process.cancel_timer(timer)
    ms = due && min(max(due - now(), 0), 0xFFFFFFFF)
    %{state | timer: ms && Process.send_after(self(), :expire, ms)}
  end

  defp now, do: System.system_time(:millisecond)
end
