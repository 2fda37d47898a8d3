defmodule Foundation.MABEAM.Economics do
  @moduledoc """
  Keeps what agents own, owe and are thought of: accounts, payments, money on hold, reputation.

      :ok = Economics.open_account(:ann)
      {:ok, _} = Economics.deposit(:ann, Economics.units("10"))
      :ok = Economics.open_account(:bob)
      {:ok, payment} = Economics.pay(:ann, :bob, Economics.units("2.50"), "a report")
      {:ok, %{available: 7_500_000, held: 0}} = Economics.balance(:ann)
      :ok = Economics.rate(payment, :ann, 1)

  Money is a whole number of millionths of the unit, never a float: `units/1` and `text/1` turn decimals into it and back.
  The ledger is double entry: what one account gets another loses, in one step, so that all balances, with that of `:bank`,
  by which money comes and goes, add up to 0 (`audit/0`). No other account goes below zero.

  ## Holds

  `hold/4` sets money of an account aside, `capture/3` pays it, or a part of it, `release/1` gives it back, and so does
  its time when it is over. So an agent cannot promise the same money twice.

  ## Reputation

  A score from 0 to 1 of ratings by those who paid or were paid: each of the two rates a payment once. A rating loses
  half its weight in seven days. With good ratings p and bad ratings n the score is p / (p + n + 2) (after Jøsang and
  Ismail, The Beta Reputation System, 2002): a new name stands at 0, where the worst stand too, so that nobody gains by
  coming back under a new one (Friedman and Resnick, The Social Cost of Cheap Pseudonyms, 2001). It does not keep friends
  from paying each other for good ratings.

  ## Where the ledger is

  It is that of this node, and lives as long as MABEAM does here: nothing leaves the node, and nothing is written. With

      config :foundation, mabeam: [replicas: [:"a@host", :"b@host", :"c@host"]]

  on all nodes it is one for the whole cluster. The replicas agree on each change before it is answered
  (`Foundation.Distributed.Consensus`; on disk with `config :foundation, consensus: [dir: …]`), so that it survives the
  death of less than half of them, and a budget is one budget, whichever nodes spend of it. Any node may ask, a replica
  or not. Errors besides those below: `:unknown` (it may have been done, or may yet be), and where it was not and will not
  be `:no_leader`, `:busy` and `:unreachable` (no replica); questions also `:timeout`.

  A command counts once, however often it has to be sent. With `id:`, any term, that holds for what the caller sends
  too: under the same id the same command does nothing and is answered as it was the first time, refusals included. So
  after `:unknown` ask again with the id; of the last 50,000 commands. `:id_reused` says that another command had it.

      {:ok, payment} = Economics.pay(:ann, :bob, 5, "a report", id: "invoice 7")
      {:ok, ^payment} = Economics.pay(:ann, :bob, 5, "a report", id: "invoice 7")

  The replicas' time is that of their leader, by which a hold goes back with the first change after its end (a question
  counts it as given back by the clock of who asks).

  The journal keeps the last 10,000 entries. Each function asks one process of this node, or with replicas takes a round
  to a majority of them; `{:error, :not_running}` where MABEAM does not run.

  **Scheduling**: no function here calls the native library, but with replicas those of
  `Foundation.Distributed.Consensus`.
  """

  alias Foundation.MABEAM.Economics.{Ledger, Money, Server}
  alias Foundation.MABEAM.Types

  @type account :: Types.agent_id()
  @type money :: Types.money()
  @type payment :: pos_integer
  @type reason ::
          :not_running
          | :unknown
          | :no_leader
          | :busy
          | :unreachable
          | :timeout
          | :id_reused
          | :same_account
          | :too_large
          | {:no_account, term}
          | {:insufficient, %{available: money, needed: money}}

  @hold_ms 60_000
  @most 2 ** 63

  @doc """
  The millionths of a decimal text of at most six places, or of a whole number of units. Raises ArgumentError for anything
  else, floats too.

      iex> Enum.map(["12.5", "0.000001", 3], &Foundation.MABEAM.Economics.units/1)
      [12_500_000, 1, 3_000_000]
  """
  @spec units(String.t() | integer) :: money
  def units(amount) do
    case Money.parse(amount) do
      {:ok, micro} ->
        micro

      :error ->
        raise ArgumentError,
              "an amount is a decimal text of at most six places or a whole number of units, got: #{inspect(amount)}"
    end
  end

  @doc """
  An amount in millionths as decimal text.

      iex> Foundation.MABEAM.Economics.text(12_500_000)
      "12.5"
  """
  @spec text(money) :: String.t()
  def text(micro) when is_integer(micro), do: Money.format(micro)

  @doc "Opens an account, empty. Errors: `:already_open`, of `t:reason/0`. O(1)."
  @spec open_account(account) :: :ok | {:error, :already_open | reason}
  def open_account(account), do: done(Server.change({:open, account!(account)}))

  @doc "Closes an account. Errors: `:not_found`, `:not_empty` (it has money, or some on hold), of `t:reason/0`. O(holds)."
  @spec close_account(account) :: :ok | {:error, :not_found | :not_empty | reason}
  def close_account(account), do: done(Server.change({:close, account!(account)}))

  @doc "Puts money from outside into an account: `{:ok, number}` of the entry. Options: `id:`. Errors: see `t:reason/0`. O(1)."
  @spec deposit(account, money, term, keyword) :: {:ok, payment} | {:error, reason}
  def deposit(account, amount, memo \\ nil, opts \\ []),
    do: Server.change({:deposit, account!(account), amount!(amount), memo!(memo)}, id!(opts))

  @doc "Takes money of an account outside. As `deposit/4`."
  @spec withdraw(account, money, term, keyword) :: {:ok, payment} | {:error, reason}
  def withdraw(account, amount, memo \\ nil, opts \\ []),
    do: Server.change({:withdraw, account!(account), amount!(amount), memo!(memo)}, id!(opts))

  @doc """
  Pays from one account to another: `{:ok, number}`, by which both may rate each other. Options: `id:`. Errors: see
  `t:reason/0`. O(1).
  """
  @spec pay(account, account, money, term, keyword) :: {:ok, payment} | {:error, reason}
  def pay(from, to, amount, memo \\ nil, opts \\ []),
    do: Server.change({:transfer, account!(from), account!(to), amount!(amount), memo!(memo)}, id!(opts))

  @doc """
  Makes several payments `{from, to, amount}`, all or none: `{:ok, number}` of the last. Options: `id:`. Errors: as
  `pay/5`. O(payments).
  """
  @spec settle([{account, account, money}], term, keyword) :: {:ok, payment} | {:error, reason}
  def settle([_ | _] = payments, memo \\ nil, opts \\ []),
    do: Server.change({:settle, payments!(payments), memo!(memo)}, id!(opts))

  @doc """
  Settles an affair once for all who try, with a note on what it was: `{:ok, %{note:, payments:, last:}}`, of whoever
  came first under that key, and the number of the last payment.

  Where several may come to different ends of one affair (two lives of an auction, say), the first that can be paid is
  the end, and the others are told so. A refusal settles nothing: the next may try. No payments are fine: then the note
  alone is kept. Of the last 50,000 keys. Options: `memo:`. Errors: as `pay/5`. O(payments).

      {:ok, %{note: :sold}} = Economics.conclude("lot 7", [{:ann, :house, 5}], :sold)
      {:ok, %{note: :sold}} = Economics.conclude("lot 7", [], :called_off)
  """
  @spec conclude(term, [{account, account, money}], term, keyword) ::
          {:ok, %{note: term, payments: [{account, account, money}], last: payment}} | {:error, reason}
  def conclude(key, payments, note, opts \\ []) when is_list(payments),
    do: Server.change({:conclude, memo!(key), payments!(payments), memo!(opts[:memo]), memo!(note)})

  @doc """
  Sets money aside: `{:ok, hold}`, an id.

  Options: `for_ms:` 60,000, after which it goes back by itself; `memo:`; `id:`. Errors: see `t:reason/0`. O(holds).
  """
  @spec hold(account, money, keyword) :: {:ok, String.t()} | {:error, reason}
  def hold(account, amount, opts \\ []) do
    id = id!(opts)
    for_ms = positive!(Keyword.get(opts, :for_ms, @hold_ms))
    Server.change({:hold, hold_id(id), account!(account), amount!(amount), for_ms, memo!(opts[:memo])}, id)
  end

  defp hold_id(nil), do: Foundation.Utils.generate_correlation_id()

  # The same for the same.
  defp hold_id(id) do
    <<short::binary-size(16), _::binary>> =
      :crypto.hash(:sha256, :erlang.term_to_binary(id, [:deterministic]))

    Base.encode16(short, case: :lower)
  end

  @doc """
  Pays what is on hold to an account, or `amount:` of it, and gives back the rest: `{:ok, number}` of the last entry.

  The payment is rated by its own number, which is one less when there was a rest. Options: `amount:`, `memo:`, `id:`.
  Errors: `:not_found` (also when its time is over), `{:held, text}` when that is less than `amount:`, and of
  `t:reason/0`. O(holds).
  """
  @spec capture(String.t(), account, keyword) ::
          {:ok, payment} | {:error, :not_found | {:held, String.t()} | reason}
  def capture(hold, to, opts \\ []) do
    amount = with amount when amount != nil <- opts[:amount], do: amount!(amount)
    Server.change({:capture, hold, account!(to), amount, memo!(opts[:memo])}, id!(opts))
  end

  @doc "Gives back what is on hold. Errors: `:not_found`, of `t:reason/0`. O(holds)."
  @spec release(String.t()) :: :ok | {:error, :not_found | reason}
  def release(hold), do: done(Server.change({:release, hold}))

  @doc "What an account has: `{:ok, %{available: money, held: money}}`. Errors: `:not_found`, of `t:reason/0`. O(holds)."
  @spec balance(account) :: {:ok, %{available: money, held: money}} | {:error, :not_found | reason}
  def balance(account), do: Server.read({:balance, account!(account)})

  @doc "The last entries of an account, or of `:all`, newest first. Options: `limit:` 100. Errors: of `t:reason/0`. O(journal)."
  @spec history(account | :all, keyword) :: {:ok, [Ledger.entry()]} | {:error, reason}
  def history(account, opts \\ []),
    do: Server.read({:entries, account, positive!(Keyword.get(opts, :limit, 100))})

  @doc "The sum of all balances, `{:ok, 0}`, computed. Errors: of `t:reason/0`. O(accounts)."
  @spec audit() :: {:ok, integer} | {:error, reason}
  def audit, do: Server.read(:sum)

  @doc """
  Rates the other side of a payment, from 0 (bad) to 1 (good). Errors: `:not_rateable`: `by` did not take part in such a
  payment, has rated it, or it is too long ago (100,000 ratings are waited for); of `t:reason/0`. O(1).
  """
  @spec rate(payment, account, number) :: :ok | {:error, :not_rateable | reason}
  def rate(payment, by, rating) when is_integer(payment) do
    unless is_number(rating) and rating >= 0 and rating <= 1,
      do: raise(ArgumentError, "a rating is a number from 0 to 1, got: #{inspect(rating)}")

    Server.change({:rate, payment, account!(by), rating})
  end

  @doc "What is thought of an agent: `{:ok, %{score: 0..1, ratings: n}}`; 0.0 for who is unknown. Errors: of `t:reason/0`. O(1)."
  @spec reputation(account) :: {:ok, %{score: float, ratings: non_neg_integer}} | {:error, reason}
  def reputation(id), do: Server.read({:reputation, account!(id)})

  defp done({:ok, _number}), do: :ok
  defp done(error), do: error

  defp account!(id) do
    if Types.agent_id?(id) and id not in [:bank, :all],
      do: id,
      else: raise(ArgumentError, "an account is an agent id other than :bank and :all, got: #{inspect(id)}")
  end

  defp amount!(amount) when is_integer(amount) and amount > 0 and amount <= @most, do: amount

  defp amount!(amount),
    do:
      raise(
        ArgumentError,
        "an amount is a whole number of millionths from 1 to 2^63, got: #{inspect(amount)}"
      )

  defp positive!(number) when is_integer(number) and number > 0, do: number
  defp positive!(other), do: raise(ArgumentError, "expected a whole number from 1, got: #{inspect(other)}")

  defp memo!(memo) do
    if Types.serialisable?(memo),
      do: memo,
      else: raise(ArgumentError, "a memo must be serialisable, got: #{inspect(memo, limit: 10)}")
  end

  defp payments!(payments),
    do: for({from, to, amount} <- payments, do: {account!(from), account!(to), amount!(amount)})

  defp id!(opts) do
    id = opts[:id]

    if Types.serialisable?(id),
      do: id,
      else: raise(ArgumentError, "id: must be serialisable, got: #{inspect(id, limit: 10)}")
  end
end
