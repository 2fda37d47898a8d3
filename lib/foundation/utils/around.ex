defmodule Foundation.Utils.Around do
  @moduledoc false
  # Wraps functions.

  @doc "A function of as many arguments, 0 to 3, each of whose calls `run` gets as a function without any."
  @spec calls(function, ((() -> result) -> result)) :: function when result: term
  def calls(function, run) when is_function(function, 0), do: fn -> run.(function) end
  def calls(function, run) when is_function(function, 1), do: fn a -> run.(fn -> function.(a) end) end
  def calls(function, run) when is_function(function, 2), do: fn a, b -> run.(fn -> function.(a, b) end) end

  def calls(function, run) when is_function(function, 3),
    do: fn a, b, c -> run.(fn -> function.(a, b, c) end) end
end
