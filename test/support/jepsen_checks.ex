defmodule Foundation.JepsenChecks do
  @moduledoc false
  # What cannot be in a history of Foundation.Jepsen. Each gives a list of what it has found, empty when all is well.

  alias Foundation.{Jepsen, Linearizable}

  @doc "Registers that no order of their operations explains, and reads of what was said to be refused."
  def registers(history) do
    never = for {:never, value} <- history, into: MapSet.new(), do: value

    refused =
      for {:register, key, _, _, :read, {:ok, value}} <- history,
          value in never,
          do: {:was_refused, key, value}

    torn =
      for {key, operations} <- by_key(history), Linearizable.check(operations, nil) == :error do
        {:not_linearizable, key, Enum.sort(operations)}
      end

    refused ++ torn
  end

  defp by_key(history) do
    for({:register, key, from, to, command, outcome} <- history, do: {key, {from, to, command, outcome}})
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
  end

  @doc "The registers there are, and the values that were to be written to them."
  def keys(history), do: history |> by_key() |> Map.keys()

  @doc "Values that were read and that nobody wrote."
  def invented(history) do
    written =
      for {:register, _, _, _, command, _} <- history, into: MapSet.new(), do: Jepsen.new_value(command)

    for {:register, key, _, _, :read, {:ok, value}} <- history,
        value != nil and value not in written,
        do: {:nobody_wrote, key, value}
  end

  @doc "Versions of the configuration that two changes have."
  def versions(history), do: doubled(for({:agreed, version} <- history, do: version), :version)

  @doc "Holds of one lock, or of one name, at the same time, and tokens that go back. `kind` is `:held` or `:named`."
  def in_turn(history, kind) do
    holds = for entry <- history, elem(entry, 0) == kind, do: entry
    tokens = if kind == :named, do: doubled(Enum.map(holds, &elem(&1, 2)), :token), else: []

    tokens ++
      (holds
       |> Enum.group_by(&elem(&1, 1))
       |> Enum.flat_map(fn {_name, holds} -> holds |> Enum.sort_by(&elem(&1, 3)) |> pairs() end))
  end

  defp pairs(holds) do
    for [one, other] <- Enum.chunk_every(holds, 2, 1, :discard),
        {_, _, token, _, until, _} = one,
        {_, _, later, from, _, _} = other,
        until > from or token >= later,
        do: {if(until > from, do: :at_once, else: :token_goes_back), one, other}
  end

  @doc "What was popped twice, and what was pushed and is neither popped nor in `rest`, which is what the queue has in the end."
  def queue(history, rest) do
    pushed = for {:pushed, value, outcome} <- history, into: %{}, do: {value, outcome}
    popped = for({:popped, value, :ok} <- history, do: value) ++ rest
    there = for {:popped, value, :unknown} <- history, into: MapSet.new(popped), do: value

    doubled(popped, :popped) ++
      for({value, :ok} <- pushed, value not in there, do: {:lost, value}) ++
      for(value <- popped, pushed[value] in [nil, :refused], do: {:was_not_pushed, value, pushed[value]})
  end

  @doc "Whether a counter that is at `value` in the end has counted everything once."
  def counter(history, value) do
    numbers = for {:added, {:ok, number}} <- history, do: number
    perhaps = Enum.count(history, &match?({:added, {:error, :unknown}}, &1))
    added = length(numbers)

    doubled(numbers, :number) ++
      if(value in added..(added + perhaps), do: [], else: [{:counter, value, added, perhaps}])
  end

  @doc """
  Calls that a minority has answered. `cuts` are `{nodes, from, to}`: these could not reach the rest in that time. Of a lock
  that a node has it may say so until its session ends, `session` µs after it was cut off.
  """
  def minority(history, cuts, session) do
    for {:call, kind, _, _, _, :done} = call <- cut_off(history, cuts, session),
        do: {:answered_by_minority, kind, call}
  end

  @doc "The calls of nodes that were cut off all the while."
  def cut_off(history, cuts, session) do
    for {nodes, from, to} <- cuts,
        {:call, kind, node, began, ended, _} = call <- history,
        node in nodes and ended <= to and began >= from + if(kind == :lock, do: session, else: 0),
        do: call
  end

  defp doubled(values, what) do
    for {value, n} <- Enum.frequencies(values), n > 1, do: {:doubled, what, value, n}
  end
end
