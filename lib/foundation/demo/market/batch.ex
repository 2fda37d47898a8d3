defmodule Foundation.Demo.Market.Batch do
  @moduledoc false
  # How many modules an agent is given at once: a variable that the nodes agree on, and a bandit (UCB1) that
  # finds its value by the bytes that were studied, answered and on the disk a second. Few at once have many
  # messages and writes; many at once keep an agent's hands busy, and more of them are lost with a node.

  alias Foundation.MABEAM.Core
  alias Foundation.MABEAM.Core.Optimizer

  @name :foundation_demo_batch
  @sizes [1, 2, 4, 8, 16, 32]
  @first 4
  # At so many bytes a second the reward is a half; it grows with the rate towards 1.
  @half 500_000

  @type trial :: %{
          at_ms: integer,
          agent: String.t(),
          size: pos_integer,
          rate: non_neg_integer,
          best: pos_integer
        }

  def name, do: @name
  def sizes, do: @sizes

  @doc "Has this node share the variable and its search. Called on each node, on one of them first."
  @spec share() :: :ok | {:error, term}
  def share do
    variable = [
      name: @name,
      type: :numeric,
      min: 1,
      max: List.last(@sizes),
      value: @first,
      conflict: :consensus
    ]

    with :ok <- Core.register_variable(variable),
         do: Optimizer.attach(@name, :ucb1, values: @sizes, seed: 1)
  end

  @doc "How many modules to give an agent now, and the trial that it is; none while the group cannot be asked."
  @spec next(String.t()) :: {pos_integer | nil, pos_integer}
  def next(agent) do
    case Optimizer.suggest(@name, agent) do
      {:ok, %{id: id, value: size}} -> {id, size}
      {:error, _reason} -> {nil, @first}
    end
  end

  @doc "What became of a trial: so many bytes in so many µs."
  @spec told(pos_integer | nil, String.t(), pos_integer, non_neg_integer, pos_integer) :: trial | nil
  def told(nil, _agent, _size, _bytes, _us), do: nil

  def told(id, agent, size, bytes, us) do
    rate = bytes * 1_000_000 / max(us, 1)

    case Optimizer.report(@name, id, rate / (rate + @half), agent) do
      {:ok, entry} -> %{at_ms: entry.at, agent: agent, size: size, rate: round(rate), best: entry.best}
      {:error, _reason} -> nil
    end
  end

  @doc "What was tried, how often, with which mean reward: the arms of the bandit."
  @spec arms() :: [%{size: pos_integer, tried: non_neg_integer, reward: float | nil}]
  def arms do
    case Optimizer.status(@name) do
      {:ok, %{arms: arms}} ->
        for %{value: size, told: tried, mean: mean} <- arms, do: %{size: size, tried: tried, reward: mean}

      {:error, _reason} ->
        []
    end
  end

  @doc "The value as this node reads it."
  @spec value() :: pos_integer | nil
  def value do
    case Core.get_variable(@name) do
      {:ok, value} -> value
      {:error, _reason} -> nil
    end
  end
end
