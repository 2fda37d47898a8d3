defmodule Foundation.Eventually do
  @moduledoc false
  # Waiting for a condition instead of for a time.

  @doc "Evaluates `condition` until it is truthy; fails after `timeout` ms (15,000)."
  defmacro assert_eventually(condition, timeout \\ 15_000) do
    text = Macro.to_string(condition)

    quote do
      Foundation.Eventually.wait(fn -> unquote(condition) end, unquote(timeout), unquote(text))
    end
  end

  @doc false
  def wait(fun, timeout, text) do
    retry(fun, System.monotonic_time(:millisecond) + timeout, text, timeout)
  end

  defp retry(fun, deadline, text, timeout) do
    case fun.() do
      value when value not in [nil, false] ->
        value

      _ ->
        if System.monotonic_time(:millisecond) > deadline do
          ExUnit.Assertions.flunk("not true within #{timeout} ms: #{text}")
        else
          receive do
          after
            5 -> :ok
          end

          retry(fun, deadline, text, timeout)
        end
    end
  end
end
