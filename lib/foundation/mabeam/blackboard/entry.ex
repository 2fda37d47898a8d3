defmodule Foundation.MABEAM.Blackboard.Entry do
  @moduledoc """
  Is what a board holds under a key of a topic.

  `contributions` are maps of `:value`, `:author`, `:confidence` and `:at` (milliseconds of the author's clock): one, or
  several that were posted without knowledge of each other. `support` has the weight each agent gave.
  """

  defstruct [:topic, :key, contributions: [], support: %{}]

  @type contribution :: %{
          value: term,
          author: atom | String.t(),
          confidence: number,
          at: integer
        }
  @type t :: %__MODULE__{
          topic: term,
          key: term,
          contributions: [contribution],
          support: %{(atom | String.t()) => number}
        }

  @doc false
  @spec new(term, term, map) :: t
  def new(topic, key, parts) do
    said = parts |> Map.get(:said, []) |> Enum.sort_by(&{-&1.confidence, &1.at, &1.author})
    %__MODULE__{topic: topic, key: key, contributions: said, support: Map.get(parts, :support, %{})}
  end

  @doc "The value of the contribution with the highest confidence; of equals the oldest."
  @spec value(t) :: term
  def value(%__MODULE__{contributions: [first | _]}), do: first.value

  @doc "The highest confidence of its contributions."
  @spec confidence(t) :: number
  def confidence(%__MODULE__{contributions: [first | _]}), do: first.confidence

  @doc "The sum of the weights of those who support it."
  @spec weight(t) :: number
  def weight(%__MODULE__{support: support}), do: support |> Map.values() |> Enum.sum()
end
