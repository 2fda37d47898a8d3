defmodule Foundation.MABEAM.Economics.Books do
  @moduledoc false
  # The ledger, what is thought of those in it, and what was settled once for all. Pure: a command with the time at which
  # it comes gives an answer and the books after it, the same on every node that has the same books.

  alias Foundation.MABEAM.Economics.{Ledger, Reputation}
  alias Foundation.MABEAM.Recent

  @rateable 100_000
  @concluded 50_000

  # `paid` are payments of which each of the two may rate the other once: {number, who} => whom. `due` is when the first
  # hold is over.
  defstruct ledger: Ledger.new(), reputations: %{}, paid: %{}, due: nil, concluded: Recent.new(@concluded)

  @type t :: %__MODULE__{}
  @type command ::
          {:open | :close, account :: term}
          | {:deposit | :withdraw, account :: term, amount :: pos_integer, memo :: term}
          | {:transfer, from :: term, to :: term, amount :: pos_integer, memo :: term}
          | {:settle, [{term, term, pos_integer}], memo :: term}
          | {:hold, id :: String.t(), account :: term, amount :: pos_integer, for_ms :: pos_integer,
             memo :: term}
          | {:capture, hold :: String.t(), to :: term, amount :: pos_integer | nil, memo :: term}
          | {:release, hold :: String.t()}
          | {:rate, payment :: pos_integer, by :: term, rating :: number}
          | {:conclude, key :: term, [{term, term, pos_integer}], memo :: term, note :: term}
  @type question :: {:balance | :reputation, term} | {:entries, term, pos_integer} | :sum | {:concluded, term}

  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Gives back what was on hold for too long: the books, and which holds."
  @spec expire(t, integer) :: {t, [String.t()]}
  def expire(%{due: due} = books, at) when due == nil or due > at, do: {books, []}

  def expire(books, at) do
    {ledger, over} = Ledger.expire(books.ledger, at)
    {due(%{books | ledger: ledger}), over}
  end

  @doc "Does what a command says; what it refuses has changed nothing."
  @spec apply(t, command, integer) :: {term, t}
  def apply(books, {:rate, payment, by, rating}, at), do: rate(books, payment, by, rating, at)

  def apply(books, {:conclude, key, payments, memo, note}, at),
    do: conclude(books, key, payments, memo, note, at)

  def apply(books, command, at) do
    case change(books.ledger, command, at) do
      {:ok, ledger} -> {answer(command, ledger), entered(books, ledger)}
      {:error, reason} -> {{:error, reason}, books}
    end
  end

  defp change(ledger, {:open, account}, _at), do: Ledger.open(ledger, account)
  defp change(ledger, {:close, account}, _at), do: Ledger.close(ledger, account)

  defp change(ledger, {:deposit, account, amount, memo}, at),
    do: Ledger.deposit(ledger, account, amount, at, memo)

  defp change(ledger, {:withdraw, account, amount, memo}, at),
    do: Ledger.withdraw(ledger, account, amount, at, memo)

  defp change(ledger, {:transfer, from, to, amount, memo}, at),
    do: Ledger.transfer(ledger, from, to, amount, at, memo)

  defp change(ledger, {:settle, payments, memo}, at), do: Ledger.settle(ledger, payments, at, memo)

  defp change(ledger, {:hold, id, account, amount, for_ms, memo}, at),
    do: Ledger.hold(ledger, id, account, amount, at + for_ms, at, memo)

  defp change(ledger, {:capture, id, to, amount, memo}, at),
    do: Ledger.capture(ledger, id, to, amount, at, memo)

  defp change(ledger, {:release, id}, at), do: Ledger.release(ledger, id, at)
  defp change(_ledger, _other, _at), do: {:error, :unknown_request}

  defp answer({:hold, id, _account, _amount, _for_ms, _memo}, _ledger), do: {:ok, id}
  defp answer(_command, ledger), do: {:ok, ledger.number}

  defp entered(%{ledger: before} = books, ledger) do
    books = %{books | ledger: ledger, paid: rateable(books.paid, before, ledger)}
    if ledger.holds == before.holds, do: books, else: due(books)
  end

  defp due(%{ledger: %{holds: holds}} = books),
    do: %{books | due: holds |> Map.values() |> Enum.map(& &1.until) |> Enum.min(fn -> nil end)}

  # The bound keeps the newest; a payment that nobody rates is forgotten in the end.
  defp rateable(paid, before, ledger) do
    new =
      for entry <- ledger |> Ledger.entries(:all, ledger.number - before.number),
          entry.kind in [:payment, :capture],
          payer = payer(entry, before),
          pair <- [{{entry.number, payer}, entry.to}, {{entry.number, entry.to}, payer}],
          into: paid,
          do: pair

    if map_size(new) > @rateable,
      do: new |> Enum.sort() |> Enum.drop(div(@rateable, 10)) |> Map.new(),
      else: new
  end

  defp payer(%{from: {:hold, id}}, before), do: before.holds[id].from
  defp payer(%{from: from}, _before), do: from

  defp rate(books, payment, by, rating, at) do
    case Map.pop(books.paid, {payment, by}) do
      {nil, _paid} ->
        {{:error, :not_rateable}, books}

      {whom, paid} ->
        reputation = Map.get(books.reputations, whom, Reputation.new())
        reputations = Map.put(books.reputations, whom, Reputation.rate(reputation, rating, at))
        {:ok, %{books | paid: paid, reputations: reputations}}
    end
  end

  # Who comes second gets what the first has settled. A refusal settles nothing.
  defp conclude(books, key, payments, memo, note, at) do
    with :error <- Recent.fetch(books.concluded, key),
         {:ok, ledger} <- Ledger.settle(books.ledger, payments, at, memo) do
      done = %{note: note, payments: payments, last: ledger.number}
      {{:ok, done}, %{entered(books, ledger) | concluded: Recent.put_new(books.concluded, key, done)}}
    else
      {:ok, done} -> {{:ok, done}, books}
      {:error, reason} -> {{:error, reason}, books}
    end
  end

  @doc "Answers a question as of a time, at which holds may be over that nobody has given back yet."
  @spec read(t, question, integer) :: term
  def read(books, question, at) do
    {books, _over} = expire(books, at)
    answer_to(books, question, at)
  end

  defp answer_to(books, {:balance, account}, _at), do: Ledger.balance(books.ledger, account)

  defp answer_to(books, {:entries, account, count}, _at),
    do: {:ok, Ledger.entries(books.ledger, account, count)}

  defp answer_to(books, :sum, _at), do: {:ok, Ledger.sum(books.ledger)}

  defp answer_to(books, {:reputation, id}, at) do
    reputation = Map.get(books.reputations, id, Reputation.new())
    {:ok, %{score: Reputation.score(reputation, at), ratings: reputation.ratings}}
  end

  defp answer_to(books, {:concluded, key}, _at) do
    with :error <- Recent.fetch(books.concluded, key), do: {:error, :not_found}
  end

  defp answer_to(_books, _other, _at), do: {:error, :unknown_request}
end
