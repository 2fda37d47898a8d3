defmodule Foundation.Opaque do
  @moduledoc false
  # Values whose type the compiler does not see, for tests that give on purpose what a function does not take.

  @doc "The same term."
  def term(value), do: value |> :erlang.term_to_binary() |> :erlang.binary_to_term()
end
