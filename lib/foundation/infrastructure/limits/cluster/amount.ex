defmodule Foundation.Infrastructure.Limits.Cluster.Amount do
  @moduledoc false
  # Amounts as whole billionths, and as the native library takes and gives them.

  @unit 1_000_000_000

  @doc "One of the user's."
  @spec unit() :: pos_integer
  def unit, do: @unit

  @doc "Billionths of an integer, a float, a decimal in text or a `Decimal`; nil of anything else."
  @spec parse(term) :: non_neg_integer | nil
  def parse(n) when is_integer(n) and n >= 0, do: n * @unit
  def parse(x) when is_float(x) and x >= 0, do: round(x * @unit)

  def parse(text) when is_binary(text) do
    case Regex.run(~r/\A\+?(\d+)(?:\.(\d{1,9}))?\z/, text) do
      [_, whole] -> String.to_integer(whole) * @unit
      [_, whole, part] -> String.to_integer(whole <> String.pad_trailing(part, 9, "0"))
      nil -> nil
    end
  end

  def parse(%{sign: 1, coef: coef, exp: exp}) when is_integer(coef) and exp >= -9 and exp <= 18,
    do: coef * Integer.pow(10, exp + 9)

  def parse(_other), do: nil

  @doc "For the native library."
  @spec parts(non_neg_integer) :: {non_neg_integer, non_neg_integer}
  def parts(billionths), do: {div(billionths, @unit), rem(billionths, @unit)}

  @doc "From the native library."
  @spec whole({non_neg_integer, non_neg_integer}) :: non_neg_integer
  def whole({units, billionths}), do: units * @unit + billionths
end
