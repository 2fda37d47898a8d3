defmodule LlmEvaluation.Budget do
  @moduledoc """
  The money of an evaluation: an account of MABEAM's ledger, from which the providers are paid.

  What a call may cost at most is on hold while it runs, so that calls that run at the same time cannot spend the same money.
  """

  alias Foundation.MABEAM.Economics
  alias Foundation.Utils

  @hold_ms 300_000
  @again_ms 20

  @enforce_keys [:account]
  defstruct [:account]

  @type t :: %__MODULE__{account: String.t()}
  @type hold :: %{id: String.t(), amount: pos_integer}

  @doc """
  Opens the account with `total`, and pays the providers what was spent before: `spent`, of each.

  When more than that was spent, nothing is left.
  """
  @spec open(non_neg_integer, %{atom => non_neg_integer}) :: t
  def open(total, spent) do
    budget = %__MODULE__{account: "evaluation-" <> Utils.generate_correlation_id()}
    :ok = Economics.open_account(budget.account)
    deposit = max(total, spent |> Map.values() |> Enum.sum())
    if deposit > 0, do: {:ok, _} = Economics.deposit(budget.account, deposit, "the budget")
    for {provider, amount} <- spent, amount > 0, do: :ok = pay(budget, provider, amount, "earlier runs")
    budget
  end

  @doc """
  Sets money aside. While others have some on hold, of which a part may come back, this waits for it. Errors: `:budget_spent`.
  """
  @spec hold(t, pos_integer) :: {:ok, hold} | {:error, :budget_spent}
  def hold(budget, amount) do
    case Economics.hold(budget.account, amount, for_ms: @hold_ms) do
      {:ok, id} -> {:ok, %{id: id, amount: amount}}
      {:error, {:insufficient, _details}} -> again(budget, amount)
    end
  end

  defp again(budget, amount) do
    case Economics.balance(budget.account) do
      {:ok, %{held: 0, available: available}} when available < amount ->
        {:error, :budget_spent}

      {:ok, _balance} ->
        Process.sleep(@again_ms)
        hold(budget, amount)
    end
  end

  @doc "Pays a provider out of what is on hold, and gives back the rest."
  @spec settle(t, hold, atom, non_neg_integer) :: :ok
  def settle(_budget, hold, _provider, 0), do: release(hold)

  def settle(_budget, hold, provider, cost) do
    account!(provider)
    {:ok, _payment} = Economics.capture(hold.id, provider, amount: min(cost, hold.amount))
    :ok
  end

  @doc "Gives back what is on hold."
  @spec release(hold) :: :ok
  def release(hold), do: Economics.release(hold.id)

  @doc "What is left, in millionths."
  @spec left(t) :: non_neg_integer
  def left(budget) do
    {:ok, %{available: available}} = Economics.balance(budget.account)
    available
  end

  defp pay(budget, provider, amount, memo) do
    account!(provider)
    {:ok, _payment} = Economics.pay(budget.account, provider, amount, memo)
    :ok
  end

  defp account!(provider) do
    result = Economics.open_account(provider)
    true = result in [:ok, {:error, :already_open}]
  end
end
