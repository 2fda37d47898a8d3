defmodule Foundation.MABEAM.Economics.Ledger do
  @moduledoc false
  # Accounts and what moved between them, double entry: a transaction takes from accounts what it gives to others, so that
  # all balances always add up to nothing. Money enters and leaves by `:bank`, the only account below zero. Pure: time
  # comes in, and each function gives the ledger after it or an error, with which nothing has changed.

  alias Foundation.MABEAM.Economics.Money

  @bank :bank
  @journal 10_000
  @most 2 ** 100

  defstruct accounts: %{@bank => 0}, holds: %{}, journal: [], kept: 0, number: 0

  @type account :: term
  @type hold :: %{from: account, amount: pos_integer, until: integer, memo: term}
  @type entry :: %{
          number: pos_integer,
          at: integer,
          kind: atom,
          from: account,
          to: account,
          amount: pos_integer,
          memo: term
        }
  @type t :: %__MODULE__{
          accounts: %{account => integer},
          holds: %{term => hold},
          journal: [entry],
          kept: non_neg_integer,
          number: non_neg_integer
        }

  def new, do: %__MODULE__{}

  @doc "Opens an account with nothing in it."
  def open(ledger, account) do
    if is_map_key(ledger.accounts, account),
      do: {:error, :already_open},
      else: {:ok, %{ledger | accounts: Map.put(ledger.accounts, account, 0)}}
  end

  @doc "Closes an account that is empty and has nothing on hold."
  def close(ledger, account) do
    cond do
      account == @bank -> {:error, :not_found}
      ledger.accounts[account] == nil -> {:error, :not_found}
      ledger.accounts[account] != 0 or holding?(ledger, account) -> {:error, :not_empty}
      true -> {:ok, %{ledger | accounts: Map.delete(ledger.accounts, account)}}
    end
  end

  defp holding?(ledger, account), do: Enum.any?(ledger.holds, fn {_id, hold} -> hold.from == account end)

  @doc "Money from outside."
  def deposit(ledger, account, amount, at, memo),
    do: move(ledger, :deposit, @bank, account, amount, at, memo)

  @doc "Money to outside."
  def withdraw(ledger, account, amount, at, memo),
    do: move(ledger, :withdrawal, account, @bank, amount, at, memo)

  @doc "From one account to another."
  def transfer(ledger, from, to, amount, at, memo), do: move(ledger, :payment, from, to, amount, at, memo)

  @doc "Several payments, all or none."
  def settle(ledger, payments, at, memo) do
    Enum.reduce_while(payments, {:ok, ledger}, fn {from, to, amount}, {:ok, ledger} ->
      case transfer(ledger, from, to, amount, at, memo) do
        {:ok, ledger} -> {:cont, {:ok, ledger}}
        error -> {:halt, error}
      end
    end)
  end

  @doc "Sets money of an account aside until a time."
  def hold(ledger, id, from, amount, until, at, memo) do
    if is_map_key(ledger.holds, id) do
      {:error, :already_held}
    else
      with {:ok, ledger} <- move(opened(ledger, {:hold, id}), :hold, from, {:hold, id}, amount, at, memo) do
        hold = %{from: from, amount: amount, until: until, memo: memo}
        {:ok, %{ledger | holds: Map.put(ledger.holds, id, hold)}}
      end
    end
  end

  @doc "Pays what is on hold, or a part of it, to an account; the rest goes back."
  def capture(ledger, id, to, amount, at, memo) do
    with {:ok, hold} <- held(ledger, id, at),
         :ok <- part(amount, hold.amount),
         {:ok, ledger} <- move(ledger, :capture, {:hold, id}, to, amount || hold.amount, at, memo),
         do: back(ledger, id, hold, hold.amount - (amount || hold.amount), at)
  end

  @doc "Gives what is on hold back."
  def release(ledger, id, at) do
    case ledger.holds do
      %{^id => hold} -> back(ledger, id, hold, hold.amount, at)
      _ -> {:error, :not_found}
    end
  end

  @doc "Gives back all that was on hold for too long: the ledger, and which."
  def expire(ledger, at) do
    over = for {id, hold} <- ledger.holds, hold.until <= at, do: id

    ledger =
      Enum.reduce(over, ledger, fn id, ledger ->
        {:ok, ledger} = release(ledger, id, at)
        ledger
      end)

    {ledger, over}
  end

  @doc "What an account has, and what it has on hold."
  def balance(ledger, account) do
    case ledger.accounts do
      %{^account => balance} ->
        held =
          for {_id, %{from: ^account, amount: amount}} <- ledger.holds, reduce: 0, do: (sum -> sum + amount)

        {:ok, %{available: balance, held: held}}

      _ ->
        {:error, :not_found}
    end
  end

  @doc "The sum of all balances: 0."
  def sum(ledger), do: ledger.accounts |> Map.values() |> Enum.sum()

  @doc "The last entries that concern an account (or `:all`), newest first."
  def entries(ledger, :all, count), do: Enum.take(ledger.journal, min(count, @journal))

  def entries(ledger, account, count) do
    ledger.journal
    |> Stream.take(@journal)
    |> Stream.filter(&(&1.from == account or &1.to == account))
    |> Enum.take(count)
  end

  defp held(ledger, id, at) do
    case ledger.holds do
      %{^id => %{until: until}} when until <= at -> {:error, :expired}
      %{^id => hold} -> {:ok, hold}
      _ -> {:error, :not_found}
    end
  end

  defp part(nil, _whole), do: :ok
  defp part(amount, whole) when is_integer(amount) and amount > 0 and amount <= whole, do: :ok
  defp part(_amount, whole), do: {:error, {:held, Money.format(whole)}}

  defp back(ledger, id, hold, rest, at) do
    {:ok, ledger} =
      if rest == 0,
        do: {:ok, ledger},
        else: move(ledger, :release, {:hold, id}, hold.from, rest, at, hold.memo)

    accounts = Map.delete(ledger.accounts, {:hold, id})
    {:ok, %{ledger | accounts: accounts, holds: Map.delete(ledger.holds, id)}}
  end

  defp opened(ledger, account), do: %{ledger | accounts: Map.put_new(ledger.accounts, account, 0)}

  # All that moves, moves here.
  defp move(ledger, kind, from, to, amount, at, memo) do
    with :ok <- amount(amount), {:ok, has} <- fetch(ledger, from), {:ok, gets} <- fetch(ledger, to) do
      cond do
        from == to -> {:error, :same_account}
        from != @bank and has < amount -> {:error, {:insufficient, %{available: has, needed: amount}}}
        gets + amount > @most -> {:error, :too_large}
        true -> {:ok, entered(ledger, kind, {from, has}, {to, gets}, amount, at, memo)}
      end
    end
  end

  defp entered(ledger, kind, {from, has}, {to, gets}, amount, at, memo) do
    number = ledger.number + 1
    entry = %{number: number, at: at, kind: kind, from: from, to: to, amount: amount, memo: memo}
    accounts = %{ledger.accounts | from => has - amount, to => gets + amount}
    ledger = cut(ledger)
    journal = [entry | ledger.journal]
    %{ledger | accounts: accounts, journal: journal, kept: ledger.kept + 1, number: number}
  end

  # Now and then, so that it costs nothing each time.
  defp cut(%{kept: kept} = ledger) when kept < 2 * @journal, do: ledger
  defp cut(ledger), do: %{ledger | journal: Enum.take(ledger.journal, @journal), kept: @journal}

  defp amount(amount) when is_integer(amount) and amount > 0 and amount <= @most, do: :ok
  defp amount(_amount), do: {:error, :invalid_amount}

  defp fetch(ledger, account) do
    case ledger.accounts do
      %{^account => balance} -> {:ok, balance}
      _ -> {:error, {:no_account, account}}
    end
  end
end
