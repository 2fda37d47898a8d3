defmodule Foundation.MABEAM.Coordination.Auction.Payment do
  @moduledoc false
  # Whether bidders can pay what they bid, and that winners do: all of them, or none.

  alias Foundation.MABEAM.Coordination.Auction.{Rules, Solve}
  alias Foundation.MABEAM.{Economics, Types}

  @attempts 3

  @type made :: %{payment: pos_integer, from: Types.agent_id(), to: Types.agent_id(), amount: pos_integer}

  @doc "Whether a bidder has what the bid may cost it, now."
  @spec covered(map, Types.agent_id(), non_neg_integer) :: :ok | {:error, atom}
  def covered(%{accounts: false}, _id, _amount), do: :ok

  def covered(%{to: to}, id, amount) do
    with true <- Rules.account?(id) and id != to, {:ok, %{available: available}} <- Economics.balance(id) do
      if available >= amount, do: :ok, else: {:error, :over_balance}
    else
      {:error, reason} when reason != :not_found -> {:error, reason}
      _ -> {:error, :no_account}
    end
  end

  @doc """
  Makes the payments of a decision in one step of the ledger, or says who cannot pay: then nothing was paid.

  Of an auction that has several lives the decision that comes back is that of the life which settled first.
  """
  @spec settle(Rules.t(), map) ::
          {:ok, map, [made]} | {:cannot_pay, [Types.agent_id()]} | {:error, term}
  def settle(%{accounts: false}, decision), do: {:ok, decision, []}

  def settle(%{once: nil} = rules, decision) do
    with {:ok, made} <- rules |> Solve.payments(decision) |> pay(rules, @attempts), do: {:ok, decision, made}
  end

  def settle(rules, decision) do
    payments = Solve.payments(rules, decision)

    case conclude(rules, payments, {:sold, decision}) do
      {:error, {:no_account, id}} when id != rules.to -> {:cannot_pay, [id]}
      {:error, {:insufficient, _}} = error -> payments |> short(rules) |> cannot_pay(rules, error)
      {:error, reason} -> unsold(rules, reason)
      settled -> settled
    end
  end

  defp cannot_pay([], rules, {:error, reason}), do: unsold(rules, reason)
  defp cannot_pay(short, _rules, _error), do: {:cannot_pay, short}

  @doc "That nothing was sold, and why; unless an earlier life has sold it."
  @spec unsold(Rules.t(), term) :: {:ok, map, [made]} | {:error, term}
  def unsold(%{accounts: true, once: once} = rules, reason) when once != nil,
    do: conclude(rules, [], {:failed, reason})

  def unsold(_rules, reason), do: {:error, reason}

  @doc "Ends what may have been an auction before it has settled: `{:error, :not_found}` when it has."
  @spec call_off(String.t()) :: :ok | {:error, term}
  def call_off(once) do
    case Economics.conclude(once, [], {:failed, :cancelled}) do
      {:ok, %{note: {:failed, :cancelled}}} -> :ok
      {:ok, _settled} -> {:error, :not_found}
      error -> error
    end
  end

  defp conclude(rules, payments, note) do
    case Economics.conclude(rules.once, payments, note, memo: {:auction, rules.kind}) do
      {:ok, %{note: {:sold, decision}} = done} -> {:ok, decision, made(done.payments, done.last)}
      {:ok, %{note: {:failed, reason}}} -> {:error, reason}
      error -> error
    end
  end

  defp pay([], _rules, _attempts), do: {:ok, []}

  defp pay(payments, rules, attempts) do
    case Economics.settle(payments, {:auction, rules.kind}) do
      {:ok, last} ->
        {:ok, made(payments, last)}

      {:error, {:no_account, id}} when id != rules.to ->
        {:cannot_pay, [id]}

      {:error, {:insufficient, _}} = error ->
        payments |> short(rules) |> retry(payments, rules, attempts, error)

      error ->
        error
    end
  end

  defp retry([], payments, rules, attempts, _error) when attempts > 1, do: pay(payments, rules, attempts - 1)
  defp retry([], _payments, _rules, _attempts, error), do: error
  defp retry(short, _payments, _rules, _attempts, _error), do: {:cannot_pay, short}

  defp made(payments, last) do
    for {{from, to, amount}, number} <- Enum.with_index(payments, last - length(payments) + 1),
        do: %{payment: number, from: from, to: to, amount: amount}
  end

  # Who it was is asked after it has failed: in between, there may have come money.
  defp short(payments, rules) do
    for {from, _to, amount} <- payments, from != rules.to, covered(rules, from, amount) != :ok, do: from
  end

  @doc "Pays a decision of what the bidders have on hold; what was paid is paid back when one of them cannot."
  @spec capture(Rules.t(), map, %{Types.agent_id() => {hold :: String.t(), held :: pos_integer}}) ::
          {:ok, [made]} | {:error, term}
  def capture(rules, decision, holds) do
    {held, free} =
      rules |> Solve.payments(decision) |> Enum.split_with(fn {from, _, _} -> from != rules.to end)

    with {:ok, paid} <- captured(held, holds, []),
         {:ok, more} <- undone_if_failed(pay(free, rules, @attempts), paid),
         do: {:ok, paid ++ more}
  end

  defp captured([], _holds, paid), do: {:ok, Enum.reverse(paid)}

  defp captured([{from, to, amount} | rest], holds, paid) do
    {hold, held} = Map.get(holds, from, {"", amount})

    case Economics.capture(hold, to, amount: amount) do
      # The last entry gives back what was not used.
      {:ok, last} ->
        number = if amount < held, do: last - 1, else: last
        captured(rest, holds, [%{payment: number, from: from, to: to, amount: amount} | paid])

      {:error, reason} ->
        undone_if_failed({:error, {:payment, from, reason}}, paid)
    end
  end

  defp undone_if_failed({:ok, more}, _paid), do: {:ok, more}

  defp undone_if_failed({:cannot_pay, [id | _]}, paid),
    do: undone_if_failed({:error, {:payment, id, :no_account}}, paid)

  defp undone_if_failed(error, []), do: error

  defp undone_if_failed(error, paid) do
    back = for %{from: from, to: to, amount: amount} <- paid, do: {to, from, amount}

    case Economics.settle(back, :auction_undone) do
      {:ok, _} -> error
      {:error, reason} -> {:error, {:not_paid_back, reason, paid}}
    end
  end
end
