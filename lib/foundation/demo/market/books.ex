defmodule Foundation.Demo.Market.Books do
  @moduledoc false
  # Who has what in the market, in the ledger of this node: the agents' budgets, what they pay for lots, the
  # fees that they get for studies, and what they get back for lots that they lost with their node.

  alias Foundation.MABEAM.Economics

  @house "demo"
  @kinds [paid: :auction, earned: :fee, returned: :return]

  @doc "The account that sells the lots and pays the fees."
  def house, do: @house

  @doc "Opens the accounts, with what they begin with."
  @spec open(%{String.t() => pos_integer}, pos_integer) :: :ok | {:error, term}
  def open(budgets, fees) do
    budgets
    |> Map.put(@house, fees)
    |> Enum.find_value(:ok, fn {id, amount} ->
      with :ok <- Economics.open_account(id), {:ok, _} <- Economics.deposit(id, amount), do: nil
    end)
  end

  @doc "What each agent has."
  @spec balances([String.t()]) :: %{String.t() => non_neg_integer}
  def balances(agents) do
    Map.new(agents, fn id ->
      {:ok, %{available: available}} = Economics.balance(id)
      {id, available}
    end)
  end

  @doc "Pays an agent the fee for a lot. Where fees were raised the house may need more."
  @spec fee(String.t(), pos_integer, String.t()) :: :ok | {:error, term}
  def fee(agent, amount, lot) do
    case Economics.pay(@house, agent, amount, {:fee, lot}) do
      {:ok, _payment} ->
        :ok

      {:error, {:insufficient, %{available: available}}} ->
        with {:ok, _} <- Economics.deposit(@house, amount - available), do: fee(agent, amount, lot)

      error ->
        error
    end
  end

  @doc "Gives an agent its price back, or the part of it that is for what it did not do."
  @spec return(String.t(), non_neg_integer, term) :: :ok | {:error, term}
  def return(_agent, 0, _why), do: :ok

  def return(agent, amount, why) do
    with {:ok, _payment} <- Economics.pay(@house, agent, amount, {:return, why}), do: :ok
  end

  @doc "What an agent has paid, earned and got back: from the journal of the ledger."
  @spec turnover(String.t()) :: %{paid: non_neg_integer, earned: non_neg_integer, returned: non_neg_integer}
  def turnover(agent) do
    {:ok, entries} = Economics.history(agent, limit: 10_000)

    Map.new(@kinds, fn {name, kind} ->
      {name, for(%{memo: {^kind, _}, amount: amount} <- entries, reduce: 0, do: (sum -> sum + amount))}
    end)
  end

  @doc "The sum of all balances: 0."
  @spec audit() :: integer
  def audit do
    {:ok, sum} = Economics.audit()
    sum
  end
end
