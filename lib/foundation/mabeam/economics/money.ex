defmodule Foundation.MABEAM.Economics.Money do
  @moduledoc false
  # Money as text and as whole millionths. No float on the way, in either direction.

  @scale 1_000_000

  @doc "The millionths of a decimal text or a whole number of units; `:error` for what is neither."
  @spec parse(String.t() | integer) :: {:ok, integer} | :error
  def parse(units) when is_integer(units), do: {:ok, units * @scale}

  def parse(text) when is_binary(text) and byte_size(text) <= 64 do
    case Regex.run(~r/\A(-?)(\d+)(?:\.(\d{1,6}))?\z/, text) do
      [_, sign, whole] -> {:ok, signed(sign, String.to_integer(whole) * @scale)}
      [_, sign, whole, part] -> {:ok, signed(sign, String.to_integer(whole) * @scale + fraction(part))}
      nil -> :error
    end
  end

  def parse(_other), do: :error

  @doc "The amount as text, without zeros at its end."
  @spec format(integer) :: String.t()
  def format(micro) when micro < 0, do: "-" <> format(-micro)

  def format(micro) do
    case rem(micro, @scale) do
      0 ->
        Integer.to_string(div(micro, @scale))

      part ->
        digits = part |> Integer.to_string() |> String.pad_leading(6, "0") |> String.trim_trailing("0")
        "#{div(micro, @scale)}.#{digits}"
    end
  end

  defp signed("-", micro), do: -micro
  defp signed("", micro), do: micro

  defp fraction(part), do: part |> String.pad_trailing(6, "0") |> String.to_integer()
end
