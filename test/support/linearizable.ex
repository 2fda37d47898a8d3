defmodule Foundation.Linearizable do
  @moduledoc false
  # Whether a history of a register could have come of one register used by one after the other.
  #
  # The checker is that of Wing and Gong with Lowe's memory of the states that were tried. An operation is
  # `{invoked, returned, command, outcome}`; `returned` is :infinity when the outcome is unknown, which may then have taken
  # effect at any time after it was invoked, or never. Commands: `:read`, `{:write, value}`, `{:cas, from, to}`.

  @doc "`:ok`, or `:error` when no order of the operations explains what they returned."
  def check(history, initial) do
    operations =
      history |> Enum.sort_by(&elem(&1, 0)) |> Enum.with_index() |> Map.new(fn {o, i} -> {i, o} end)

    case search(Map.keys(operations), operations, initial, MapSet.new()) do
      :ok -> :ok
      {:failed, _tried} -> :error
    end
  end

  defp search(left, operations, value, tried) do
    cond do
      Enum.all?(left, &unknown?(operations[&1])) ->
        :ok

      MapSet.member?(tried, {left, value}) ->
        {:failed, tried}

      true ->
        tried = MapSet.put(tried, {left, value})
        # One that was invoked after another had returned cannot come before it.
        first_return = left |> Enum.map(&elem(operations[&1], 1)) |> Enum.min(&before?/2)
        candidates = Enum.filter(left, &before?(elem(operations[&1], 0), first_return))
        attempt(candidates, left, operations, value, tried)
    end
  end

  defp attempt([], _left, _operations, _value, tried), do: {:failed, tried}

  defp attempt([next | others], left, operations, value, tried) do
    {_invoked, _returned, command, outcome} = operations[next]

    with {:ok, after_it} <- step(command, outcome, value),
         {:failed, tried} <- search(List.delete(left, next), operations, after_it, tried) do
      attempt(others, left, operations, value, tried)
    else
      :impossible -> attempt(others, left, operations, value, tried)
      :ok -> :ok
    end
  end

  defp unknown?({_invoked, returned, _command, _outcome}), do: returned == :infinity

  defp before?(a, b), do: b == :infinity or (a != :infinity and a <= b)

  defp step(:read, :unknown, value), do: {:ok, value}
  defp step(:read, {:ok, value}, value), do: {:ok, value}
  defp step(:read, {:ok, _other}, _value), do: :impossible
  defp step({:write, new}, _outcome, _value), do: {:ok, new}
  defp step({:cas, from, to}, {:ok, true}, from), do: {:ok, to}
  defp step({:cas, _from, _to}, {:ok, true}, _value), do: :impossible

  defp step({:cas, from, _to}, {:ok, false}, value),
    do: if(from == value, do: :impossible, else: {:ok, value})

  defp step({:cas, from, to}, :unknown, from), do: {:ok, to}
  defp step({:cas, _from, _to}, :unknown, value), do: {:ok, value}
end
