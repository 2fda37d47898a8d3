defmodule LlmEvaluation.Signature do
  @moduledoc """
  Says what a program gets and gives, as `"question -> answer"`, and turns that into messages and back.

      iex> signature = LlmEvaluation.Signature.new("question -> answer", "Answer with the number alone.")
      iex> signature.outputs
      ["answer"]
      iex> LlmEvaluation.Signature.read(signature, "Answer: 42")
      {:ok, %{"answer" => "42"}}
  """

  @enforce_keys [:inputs, :outputs, :instructions]
  defstruct [:inputs, :outputs, :instructions]

  @type t :: %__MODULE__{inputs: [String.t()], outputs: [String.t()], instructions: String.t()}
  @type message :: %{role: String.t(), content: String.t()}

  @doc "A signature of a text `\"inputs -> outputs\"`, names separated by commas."
  @spec new(String.t(), String.t()) :: t
  def new(text, instructions) do
    [inputs, outputs] = String.split(text, "->")
    %__MODULE__{inputs: names(inputs), outputs: names(outputs), instructions: instructions}
  end

  defp names(text), do: text |> String.split(",") |> Enum.map(&String.trim/1)

  @doc "The messages that ask for the outputs."
  @spec messages(t, %{String.t() => String.t()}) :: [message]
  def messages(signature, inputs) do
    system = "Given #{list(signature.inputs)}, write #{list(signature.outputs)}. #{signature.instructions}"
    user = Enum.map_join(signature.inputs, "\n", &"#{String.capitalize(&1)}: #{Map.fetch!(inputs, &1)}")
    [%{role: "system", content: system}, %{role: "user", content: user}]
  end

  defp list(names), do: Enum.map_join(names, ", ", &"`#{&1}`")

  @doc "The outputs in a completion. Errors: `{:missing, names}`."
  @spec read(t, String.t()) :: {:ok, %{String.t() => String.t()}} | {:error, {:missing, [String.t()]}}
  def read(signature, text) do
    found =
      for line <- String.split(text, "\n"),
          [name, value] <- [String.split(line, ":", parts: 2)],
          name = name |> String.trim() |> String.downcase(),
          name in signature.outputs,
          into: %{},
          do: {name, String.trim(value)}

    case signature.outputs -- Map.keys(found) do
      [] -> {:ok, found}
      missing -> {:error, {:missing, missing}}
    end
  end
end
