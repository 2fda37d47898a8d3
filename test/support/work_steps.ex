defmodule Foundation.WorkSteps do
  @moduledoc false
  # Functions that tests run on other nodes.

  def square(x), do: x * x
  def where(_item), do: node()

  def slow_square(x, ms) do
    receive do
    after
      ms -> {node(), x * x}
    end
  end

  # Slow on one node only.
  def uneven(x, slow, ms), do: slow_square(x, if(node() == slow, do: ms, else: 1))

  def deadly(x, poison) do
    if x == poison, do: :erlang.halt(1, flush: false)
    x
  end

  def words(line), do: for(word <- String.split(line), do: {word, 1})
  def sum(_key, numbers), do: Enum.sum(numbers)
  def context(_item), do: Foundation.Distributed.Context.current()

  def runners do
    for pid <- Process.list(),
        {:dictionary, dictionary} <- [Process.info(pid, :dictionary)],
        {Foundation.Distributed.Work.Runner, _, _} <- [dictionary[:"$initial_call"]],
        do: pid
  end
end
