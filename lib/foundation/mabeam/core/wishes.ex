defmodule Foundation.MABEAM.Core.Wishes do
  @moduledoc false
  # The protocol that asks agents what a variable should be, and gathers what they wish in the order in which it came.

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Types.Variable

  @impl true
  def properties, do: %{truthful: false, messages: "2n"}

  @impl true
  def init(%{variable: %Variable{}, value: _} = problem, _participants),
    do: {:ok, Map.merge(problem, %{wishes: [], count: 0})}

  def init(problem, _participants),
    do: {:error, {:invalid, %{field: :problem, value: problem, expected: "a map with :variable and :value"}}}

  @impl true
  def ask(state, _round), do: {[{:all, :variable, {state.variable.name, state.value}}], state}

  @impl true
  def answer(id, :ok, state), do: wish(id, state.value, state)

  def answer(id, {:propose, value}, state) do
    case Variable.check(state.variable, value) do
      :ok -> wish(id, value, state)
      {:error, _} -> {:invalid, :not_a_value, state}
    end
  end

  def answer(_id, _other, state), do: {:invalid, :not_a_wish, state}

  defp wish(id, value, state) do
    count = state.count + 1
    {:ok, %{state | wishes: [%{agent: id, value: value, at: count} | state.wishes], count: count}}
  end

  @impl true
  def decide(_report, %{wishes: []} = state), do: {:failed, :no_wishes, %{}, state}
  def decide(_report, state), do: {:decided, Enum.reverse(state.wishes), %{}, state}
end
