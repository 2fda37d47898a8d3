defmodule LlmEvaluation.Predict do
  @moduledoc "The program that asks a model once, by a signature."

  @behaviour LlmEvaluation.Program

  alias LlmEvaluation.{Client, Signature}

  @enforce_keys [:signature, :client]
  defstruct [:signature, :client]

  @impl true
  def forward(%__MODULE__{signature: signature, client: client}, inputs) do
    with {:ok, completion} <- Client.chat(client, Signature.messages(signature, inputs)),
         {:ok, outputs} <- read(signature, completion.text),
         do: {:ok, %{outputs: outputs, completion: completion}}
  end

  # An answer without the outputs was paid for, and is a wrong one.
  defp read(signature, text) do
    with {:error, {:missing, _names}} <- Signature.read(signature, text), do: {:ok, %{}}
  end
end
