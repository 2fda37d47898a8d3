defmodule LlmEvaluation.Program do
  @moduledoc "Something that makes a prediction of inputs: the behaviour of programs, and the way to run one."

  @type prediction :: %{
          outputs: %{String.t() => String.t()},
          completion: LlmEvaluation.Provider.completion()
        }

  @callback forward(program :: struct, inputs :: %{String.t() => String.t()}) ::
              {:ok, prediction} | {:error, term}

  @doc "Runs a program."
  @spec forward(struct, %{String.t() => String.t()}) :: {:ok, prediction} | {:error, term}
  def forward(%module{} = program, inputs), do: module.forward(program, inputs)
end
