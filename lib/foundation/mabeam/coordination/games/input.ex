defmodule Foundation.MABEAM.Coordination.Games.Input do
  @moduledoc false
  # Reads what the functions of games are given; what is not of the right shape raises and says what was expected.

  alias Foundation.MABEAM.Arguments

  @steps 0xFFFFFFFFFFFFFFFF
  @most 1_000_000

  @doc "A game as the native library takes it, and the limits among the options."
  def game!(game, opts, known \\ []) do
    limits = limits!(opts, known)

    with {row, column} <- game,
         {rows, columns, first} <- matrix!(:row_payoffs, row),
         {^rows, ^columns, second} <- matrix!(:column_payoffs, column) do
      {{rows, columns, first, second}, limits}
    else
      _ -> bad!(:game, game, "{row_payoffs, column_payoffs}, two lists of rows of the same shape")
    end
  end

  @doc "A list of rows of the same length as {rows, columns, numbers}."
  def matrix!(what, rows) do
    with true <- list?(rows) and Enum.all?(rows, &list?/1),
         [_ | _] = lengths when lengths != [0] <- rows |> Enum.map(&length/1) |> Enum.uniq(),
         [columns] <- lengths,
         numbers = Enum.concat(rows),
         true <- length(numbers) <= @most and Enum.all?(numbers, &number?/1) do
      {length(rows), columns, numbers}
    else
      _ -> bad!(what, rows, "a list of rows of numbers of the same length, at most #{@most} in all")
    end
  end

  def limits!(opts, known) do
    Arguments.known!(opts, [:timeout | known])
    timeout = Keyword.get(opts, :timeout, 5_000)
    unless timeout in 1..600_000, do: bad!(:timeout, timeout, "from 1 to 600,000 ms")
    {@steps, timeout}
  end

  def pair!(_what, {one, other}) when is_number(one) and is_number(other), do: {one, other}
  def pair!(what, other), do: bad!(what, other, "two numbers")

  def natural!(_what, value) when value in 1..100_000_000, do: value
  def natural!(what, value), do: bad!(what, value, "a whole number from 1 to 100,000,000")

  def number!(what, value),
    do: if(number?(value), do: value, else: bad!(what, value, "a number within ±1.0e100"))

  def seed!(seed) when seed in 0..0xFFFFFFFFFFFFFFFF, do: seed
  def seed!(other), do: bad!(:seed, other, "a whole number below 2^64")

  def mixes!({row, column} = start, {rows, columns, _, _}) do
    if mix?(row, rows) and mix?(column, columns), do: start, else: mixes!(start, nil)
  end

  def mixes!(other, _game), do: bad!(:start, other, "two lists of probabilities that sum up to 1")

  defp mix?(mix, count) do
    list?(mix) and length(mix) == count and Enum.all?(mix, &(number?(&1) and &1 >= 0)) and
      abs(Enum.sum(mix) - 1) < 1.0e-6
  end

  @doc "A list of names, none twice."
  def names!(what, names) do
    if list?(names) and names != [] and Enum.uniq(names) == names,
      do: names,
      else: bad!(what, names, "a list of different names")
  end

  def list?(term), do: is_list(term) and not List.improper?(term)
  def number?(term), do: is_number(term) and abs(term) <= 1.0e100

  def bad!(what, value, expected),
    do: raise(ArgumentError, "#{what} must be #{expected}, got: #{inspect(value, limit: 10)}")
end
