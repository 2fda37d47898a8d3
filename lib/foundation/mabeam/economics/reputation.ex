defmodule Foundation.MABEAM.Economics.Reputation do
  @moduledoc false
  # What is thought of an agent, of ratings that fade: beta reputation (Jøsang and Ismail, "The Beta Reputation System",
  # 2002), read so that whoever is unknown stands at the bottom. With p the faded sum of good and n that of bad ratings
  # the score is p / (p + n + 2): 0 for a new identity, and never below that for an old one, so that nobody gains by
  # coming back under another name (Friedman and Resnick, "The Social Cost of Cheap Pseudonyms", 2001).

  @half_life_ms 7 * 86_400_000
  @prior 2.0
  @ln_2 0.6931471805599453
  # Of the series of e^x, for x from -ln 2 to 0: the next would be below 1.0e-17.
  @terms 20
  @never 1_000

  defstruct good: 0.0, bad: 0.0, at: nil, ratings: 0

  @type t :: %__MODULE__{good: float, bad: float, at: integer | nil, ratings: non_neg_integer}

  def new, do: %__MODULE__{}

  @doc "With another rating, from 0 (bad) to 1 (good), at a time in ms."
  @spec rate(t, number, integer) :: t
  def rate(reputation, rating, at) do
    faded = fade(reputation, at)
    good = faded.good + rating
    bad = faded.bad + 1 - rating
    %{faded | good: good, bad: bad, ratings: reputation.ratings + 1}
  end

  @doc "From 0, unknown or bad, to nearly 1."
  @spec score(t, integer) :: float
  def score(reputation, at) do
    %{good: good, bad: bad} = fade(reputation, at)
    good / (good + bad + @prior)
  end

  defp fade(%{at: nil} = reputation, at), do: %{reputation | at: at}

  defp fade(reputation, at) do
    by = faded(max(at - reputation.at, 0))
    %{reputation | good: reputation.good * by, bad: reputation.bad * by, at: max(at, reputation.at)}
  end

  # Half for each half-life. Sums and products alone, which are the same on every machine, as powers are not: those who
  # keep the same ratings are to have the same scores to the last digit.
  defp faded(ms) do
    halves = div(ms, @half_life_ms)
    part = rem(ms, @half_life_ms) / @half_life_ms
    if halves > @never, do: 0.0, else: exp(-part * @ln_2) / Integer.pow(2, halves)
  end

  defp exp(x) do
    {sum, _term} =
      Enum.reduce(1..@terms, {1.0, 1.0}, fn n, {sum, term} -> {sum + term * x / n, term * x / n} end)

    sum
  end
end
