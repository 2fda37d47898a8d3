defmodule LlmEvaluation.Client do
  @moduledoc """
  Asks the first of several providers that answers, within a budget.

  A completion says which provider it is of, and, when that is not the first, why the ones before it did not answer.
  """

  alias Foundation.Telemetry
  alias LlmEvaluation.{Budget, Provider}

  @enforce_keys [:providers, :budget]
  defstruct [:providers, :budget, max_tokens: 16]

  @type t :: %__MODULE__{providers: [Provider.t()], budget: Budget.t(), max_tokens: pos_integer}

  @doc "Asks. Errors: `:budget_spent`, `{:no_provider, reasons}`."
  @spec chat(t, [LlmEvaluation.Signature.message()]) ::
          {:ok, Provider.completion()}
          | {:error, :budget_spent | {:no_provider, [{atom, Provider.reason()}]}}
  def chat(client, messages) do
    request = %{messages: messages, max_tokens: client.max_tokens}
    most = client.providers |> Enum.map(&Provider.most(&1, request)) |> Enum.max()

    with {:ok, hold} <- Budget.hold(client.budget, most) do
      case first(client.providers, request, []) do
        {:ok, completion} ->
          :ok = Budget.settle(client.budget, hold, completion.provider, completion.cost)
          {:ok, completion}

        {:error, reasons} ->
          :ok = Budget.release(hold)
          {:error, {:no_provider, reasons}}
      end
    end
  end

  defp first([], _request, reasons), do: {:error, Enum.reverse(reasons)}

  defp first([provider | rest], request, reasons) do
    case Provider.complete(provider, request) do
      {:ok, completion} ->
        {:ok, %{completion | instead_of: Enum.reverse(reasons)}}

      {:error, reason} ->
        metadata = %{provider: provider.name, reason: reason}
        Telemetry.execute([:llm_evaluation, :fallback], %{counter: 1}, metadata)
        first(rest, request, [{provider.name, reason} | reasons])
    end
  end
end
