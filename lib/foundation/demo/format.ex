defmodule Foundation.Demo.Format do
  @moduledoc false
  # Numbers as a reader wants them.

  @doc "1234567 as 1,234,567."
  def count(n) when is_integer(n) do
    n |> Integer.to_string() |> String.replace(~r/(?<=\d)(?=(\d{3})+$)/, ",")
  end

  @doc "Microseconds with a fitting unit."
  def time(us) when us < 1_000, do: "#{round(us)} µs"
  def time(us) when us < 1_000_000, do: "#{decimal(us / 1_000)} ms"
  def time(us), do: "#{decimal(us / 1_000_000)} s"

  @doc "Bytes with a fitting unit."
  def bytes(n) when n < 1_000, do: "#{round(n)} B"
  def bytes(n) when n < 1_000_000, do: "#{decimal(n / 1_000)} kB"
  def bytes(n), do: "#{decimal(n / 1_000_000)} MB"

  @doc "A text of a time or size without digits that say nothing: \"1.00 ms\" as \"1 ms\"."
  def short(text), do: String.replace(text, ~r/\.0+(?= )/, "")

  @doc "A float with as many digits as it deserves."
  def decimal(x) when x >= 100, do: :erlang.float_to_binary(x / 1, decimals: 0)
  def decimal(x) when x >= 10, do: :erlang.float_to_binary(x / 1, decimals: 1)
  def decimal(x), do: :erlang.float_to_binary(x / 1, decimals: 2)
end
