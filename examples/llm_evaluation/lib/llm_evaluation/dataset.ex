defmodule LlmEvaluation.Dataset do
  @moduledoc "Questions with their answers, made from a seed: the same ones each time."

  @type example :: %{
          id: pos_integer,
          inputs: %{String.t() => String.t()},
          expected: %{String.t() => String.t()}
        }

  @doc "The first `count` examples, made as they are asked for."
  @spec arithmetic(pos_integer, integer) :: Enumerable.t()
  def arithmetic(count, seed), do: Stream.map(1..count, &example(&1, seed))

  defp example(id, seed) do
    a = 10 + draw({seed, id, :a}, 990)
    b = 10 + draw({seed, id, :b}, 90)
    {operation, answer} = Enum.at([{"plus", a + b}, {"minus", a - b}, {"times", a * b}], draw({seed, id}, 3))
    question = "What is #{a} #{operation} #{b}?"
    %{id: id, inputs: %{"question" => question}, expected: %{"answer" => to_string(answer)}}
  end

  defp draw(what, below), do: :erlang.phash2(what, below)
end
