defmodule Foundation.Tally do
  @moduledoc false
  # A machine for tests: a register with compare-and-set, and a list of what was appended.
  use Foundation.Distributed.Machine

  @impl true
  def init(_argument), do: %{register: nil, list: [], applied: 0}

  @impl true
  def apply(command, meta, state) do
    {reply, state} = step(command, meta, state)
    {reply, %{state | applied: state.applied + 1}}
  end

  defp step({:write, value}, _meta, state), do: {:ok, %{state | register: value}}

  defp step({:cas, from, to}, _meta, %{register: from} = state), do: {true, %{state | register: to}}
  defp step({:cas, _from, _to}, _meta, state), do: {false, state}
  defp step({:append, item}, _meta, state), do: {length(state.list) + 1, %{state | list: [item | state.list]}}
  defp step(:meta, meta, state), do: {meta, state}
  defp step(:raise, _meta, _state), do: raise("no such thing")
  defp step(:exit, _meta, _state), do: exit(:gone)

  @impl true
  def query(:register, state), do: state.register
  def query(:list, state), do: Enum.reverse(state.list)
  def query(:applied, state), do: state.applied
  def query(:raise, _state), do: raise("no answer")

  @impl true
  def snapshot(state), do: {:tally, state}

  @impl true
  def restore({:tally, state}, _argument), do: state
end
