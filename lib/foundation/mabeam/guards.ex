defmodule Foundation.MABEAM.Guards do
  @moduledoc """
  Stops a run that takes too many rounds, too much time, too many tokens or too much money.

      iex> alias Foundation.MABEAM.Guards
      iex> guards = Guards.new!(rounds: 2, tokens: 100)
      iex> {:ok, guards} = Guards.round(guards)
      iex> {:ok, guards} = Guards.spend(guards, %{tokens: 60})
      iex> {:stop, :tokens, guards} = Guards.spend(guards, %{tokens: 60})
      iex> guards.spent
      %{tokens: 120, money: 0}

  A guard is a value: it holds what it allows and what was used. Sessions (`Foundation.MABEAM.Coordination`) have one
  each; a run of your own can carry one along. What was used is counted also where it is too much, because it was used.

  Every function is O(1).
  """

  alias Foundation.MABEAM.Types.Fields

  @most 2 ** 53

  defstruct rounds: :infinity,
            wall_ms: :infinity,
            tokens: :infinity,
            money: :infinity,
            round: 0,
            since: 0,
            spent: %{tokens: 0, money: 0}

  @type limit :: non_neg_integer | :infinity
  @type what :: :rounds | :wall_ms | :tokens | :money
  @type t :: %__MODULE__{
          rounds: limit,
          wall_ms: limit,
          tokens: limit,
          money: limit,
          round: non_neg_integer,
          since: integer,
          spent: Foundation.MABEAM.Types.cost()
        }

  @doc """
  A guard with these limits, whole numbers or `:infinity` (each unless given): `rounds:`, `wall_ms:` from now on, `tokens:`,
  `money:` (millionths). Errors: `{:invalid, details}`.
  """
  @spec new(keyword | map) :: {:ok, t} | {:error, {:invalid, map}}
  def new(limits) do
    rules = for name <- [:rounds, :wall_ms, :tokens, :money], do: {name, :infinity, &limit?/1, expected()}
    with {:ok, guards} <- Fields.build(__MODULE__, limits, rules), do: {:ok, %{guards | since: now()}}
  end

  @doc "As `new/1`; raises ArgumentError."
  @spec new!(keyword | map) :: t
  def new!(limits), do: limits |> new() |> Fields.unwrap!()

  defp expected, do: "a whole number from 0, or :infinity"
  defp limit?(limit), do: limit == :infinity or (is_integer(limit) and limit in 0..@most)

  @doc "Begins another round: `{:ok, guards}`, or `{:stop, :rounds | :wall_ms, guards}` when there may be none."
  @spec round(t) :: {:ok, t} | {:stop, what, t}
  def round(%__MODULE__{round: round, rounds: rounds} = guards) do
    if round >= rounds,
      do: {:stop, :rounds, guards},
      else: check(%{guards | round: round + 1})
  end

  @doc "Counts a cost, a map of `tokens:` and `money:`, whole numbers from 0: `{:ok, guards}` or `{:stop, what, guards}`."
  @spec spend(t, %{optional(:tokens) => non_neg_integer, optional(:money) => non_neg_integer}) ::
          {:ok, t} | {:stop, what, t}
  def spend(%__MODULE__{spent: spent} = guards, cost) do
    tokens = spent.tokens + amount!(cost, :tokens)
    money = spent.money + amount!(cost, :money)
    check(%{guards | spent: %{tokens: tokens, money: money}})
  end

  defp amount!(cost, name) do
    case Map.get(cost, name, 0) do
      amount when is_integer(amount) and amount >= 0 -> amount
      other -> raise ArgumentError, "#{name} of a cost must be a whole number from 0, got: #{inspect(other)}"
    end
  end

  @doc "Whether the run may go on."
  @spec check(t) :: {:ok, t} | {:stop, what, t}
  def check(%__MODULE__{} = guards) do
    cond do
      guards.spent.tokens > guards.tokens -> {:stop, :tokens, guards}
      guards.spent.money > guards.money -> {:stop, :money, guards}
      left_ms(guards) == 0 -> {:stop, :wall_ms, guards}
      true -> {:ok, guards}
    end
  end

  @doc "How many ms are left, or `:infinity`."
  @spec left_ms(t) :: timeout
  def left_ms(%__MODULE__{wall_ms: :infinity}), do: :infinity
  def left_ms(%__MODULE__{wall_ms: wall, since: since}), do: max(since + wall - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)
end
