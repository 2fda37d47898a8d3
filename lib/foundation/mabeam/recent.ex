defmodule Foundation.MABEAM.Recent do
  @moduledoc false
  # A map that keeps the newest so many of its keys. Pure, and the same on every node that has put the same.

  defstruct [:most, values: %{}, order: %{}, first: 0, next: 0]

  @type t :: %__MODULE__{
          most: pos_integer,
          values: %{term => term},
          order: %{non_neg_integer => term},
          first: non_neg_integer,
          next: non_neg_integer
        }

  @spec new(pos_integer) :: t
  def new(most), do: %__MODULE__{most: most}

  @spec fetch(t, term) :: {:ok, term} | :error
  def fetch(recent, key), do: Map.fetch(recent.values, key)

  @doc "With a key that it does not have yet; the oldest goes when there are too many. O(log keys)."
  @spec put_new(t, term, term) :: t
  def put_new(%{values: values} = recent, key, value) when not is_map_key(values, key) do
    %{
      recent
      | values: Map.put(values, key, value),
        order: Map.put(recent.order, recent.next, key),
        next: recent.next + 1
    }
    |> cut()
  end

  defp cut(%{first: first, next: next, most: most} = recent) when next - first <= most, do: recent

  defp cut(recent) do
    {key, order} = Map.pop!(recent.order, recent.first)
    %{recent | values: Map.delete(recent.values, key), order: order, first: recent.first + 1}
  end
end
