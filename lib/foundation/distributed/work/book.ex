defmodule Foundation.Distributed.Work.Book do
  @moduledoc false
  # Who has which item: the coordinator's bookkeeping, without processes.
  #
  # An item is waiting (nobody has it), owned by one node, or done. A node whose share is being stolen from is not asked
  # again before it has answered.

  defstruct [
    :items,
    waiting: [],
    owned: %{},
    owner: %{},
    attempts: %{},
    results: %{},
    done_by: %{},
    stolen: 0,
    reassigned: 0
  ]

  @type index :: non_neg_integer
  @type t :: %__MODULE__{
          items: %{index => term},
          waiting: [index],
          owned: %{node => MapSet.t(index)},
          owner: %{index => node},
          attempts: %{index => pos_integer},
          results: %{index => {:ok, term} | {:error, term}},
          done_by: %{node => non_neg_integer},
          stolen: non_neg_integer,
          reassigned: non_neg_integer
        }

  @doc "Nobody has anything; the items that have results already are done."
  @spec new(%{index => term}, %{index => {:ok, term} | {:error, term}}) :: t
  def new(items, results \\ %{}) do
    results = Map.take(results, Map.keys(items))
    %__MODULE__{items: items, results: results, waiting: Enum.sort(Map.keys(items) -- Map.keys(results))}
  end

  @spec finished?(t) :: boolean
  def finished?(book), do: map_size(book.results) == map_size(book.items)

  @spec add_node(t, node) :: t
  def add_node(book, node), do: %{book | owned: Map.put_new(book.owned, node, MapSet.new())}

  @spec known?(t, node) :: boolean
  def known?(book, node), do: is_map_key(book.owned, node)

  @doc "Hands `count` waiting items to the node."
  @spec assign(t, node, non_neg_integer) :: {[{index, term}], t}
  def assign(book, node, count) do
    {given, waiting} = Enum.split(book.waiting, count)
    book = Enum.reduce(given, %{book | waiting: waiting}, &own(&2, node, &1))
    {Enum.map(given, &{&1, Map.fetch!(book.items, &1)}), book}
  end

  defp own(book, node, index) do
    %{
      book
      | owner: Map.put(book.owner, index, node),
        owned: Map.update!(book.owned, node, &MapSet.put(&1, index)),
        attempts: Map.update(book.attempts, index, 1, &(&1 + 1))
    }
  end

  @doc "The first result of an item counts; `:known` when there is one already."
  @spec result(t, node, index, {:ok, term} | {:error, term}) :: {:new, t} | :known
  def result(book, node, index, result) do
    if is_map_key(book.results, index) or not is_map_key(book.items, index) do
      :known
    else
      {:new,
       %{
         disown(book, index)
         | results: Map.put(book.results, index, result),
           waiting: List.delete(book.waiting, index),
           done_by: Map.update(book.done_by, node, 1, &(&1 + 1))
       }}
    end
  end

  @doc "Items that a node gave back unbegun wait again. They do not count as begun."
  @spec returned(t, node, [index]) :: t
  def returned(book, node, indexes) do
    indexes = indexes |> Enum.uniq() |> Enum.filter(&(Map.get(book.owner, &1) == node))
    book = Enum.reduce(indexes, book, &disown(&2, &1))
    attempts = Enum.reduce(indexes, book.attempts, &Map.update!(&2, &1, fn n -> n - 1 end))
    %{book | waiting: indexes ++ book.waiting, attempts: attempts, stolen: book.stolen + length(indexes)}
  end

  @doc "The node is gone: what it had waits again, or fails when it was begun often enough."
  @spec lost(t, node, pos_integer) :: {[index], t}
  def lost(book, node, attempts) do
    {gone, owned} = Map.pop(book.owned, node, MapSet.new())
    book = %{book | owned: owned, owner: Map.drop(book.owner, MapSet.to_list(gone))}
    {again, given_up} = gone |> Enum.sort() |> Enum.split_with(&(Map.fetch!(book.attempts, &1) < attempts))
    {given_up, %{book | waiting: again ++ book.waiting, reassigned: book.reassigned + length(again)}}
  end

  @doc "The node with the most items, if one has more than it can be at; nil else."
  @spec richest(t, node, (node -> pos_integer), MapSet.t(node)) :: {node, pos_integer} | nil
  def richest(book, thief, concurrency, asked) do
    book.owned
    |> Enum.reject(fn {node, _} -> node == thief or MapSet.member?(asked, node) end)
    |> Enum.map(fn {node, own} -> {node, MapSet.size(own) - concurrency.(node)} end)
    |> Enum.filter(fn {_node, spare} -> spare > 0 end)
    |> Enum.max_by(&elem(&1, 1), fn -> nil end)
  end

  defp disown(book, index) do
    case Map.pop(book.owner, index) do
      {nil, _} -> book
      {node, owner} -> %{book | owner: owner, owned: Map.update!(book.owned, node, &MapSet.delete(&1, index))}
    end
  end
end
