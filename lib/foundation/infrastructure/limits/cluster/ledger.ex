defmodule Foundation.Infrastructure.Limits.Cluster.Ledger do
  @moduledoc false
  # The budgets of all keys, replicated by a group: what nodes lease, they lease here.

  use Foundation.Distributed.Machine

  alias Foundation.Infrastructure.Limits.Cluster.Budget

  @impl true
  def init(_argument), do: %{}

  @impl true
  def apply({:define, key, dimensions}, _meta, budgets) do
    budgets =
      Enum.reduce(dimensions, budgets, fn {name, settings}, budgets ->
        Map.put(budgets, {key, name}, Budget.define(budgets[{key, name}], settings))
      end)

    {:ok, budgets}
  end

  def apply({:forget, key}, _meta, budgets), do: {:ok, Map.reject(budgets, fn {{of, _}, _} -> of === key end)}

  def apply({:lease, requests}, meta, budgets) do
    Enum.map_reduce(requests, budgets, fn {place, holder, told, demand}, budgets ->
      case budgets do
        %{^place => budget} ->
          {answer, budget} = Budget.lease(budget, holder, told, demand, meta.time_ms)
          {answer, Map.put(budgets, place, budget)}

        _ ->
          {:unknown, budgets}
      end
    end)
  end

  def apply({:spent, amounts}, meta, budgets) do
    budgets =
      Enum.reduce(amounts, budgets, fn {place, amount}, budgets ->
        case budgets do
          %{^place => budget} -> Map.put(budgets, place, Budget.spent(budget, amount, meta.time_ms))
          _ -> budgets
        end
      end)

    {:ok, budgets}
  end

  @impl true
  def query({:view, key}, budgets),
    do: for({{of, name}, budget} <- budgets, of === key, into: %{}, do: {name, Budget.view(budget)})
end
