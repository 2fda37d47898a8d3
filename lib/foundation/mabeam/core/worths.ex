defmodule Foundation.MABEAM.Core.Worths do
  @moduledoc false
  # The protocol that asks agents what something is worth to them, by their `utility/2`.

  use Foundation.MABEAM.Protocol

  @impl true
  def properties, do: %{truthful: false, messages: "2n"}

  @impl true
  def init(outcome, _participants), do: {:ok, %{outcome: outcome, worths: %{}}}

  @impl true
  def ask(state, _round), do: {[{:all, :utility, state.outcome}], state}

  @impl true
  def answer(id, {:utility, worth}, state) when is_number(worth),
    do: {:ok, %{state | worths: Map.put(state.worths, id, worth)}}

  def answer(_id, _other, state), do: {:invalid, :not_a_number, state}

  @impl true
  def decide(_report, %{worths: worths} = state) when worths == %{}, do: {:failed, :no_answers, %{}, state}
  def decide(_report, state), do: {:decided, state.worths, %{}, state}
end
