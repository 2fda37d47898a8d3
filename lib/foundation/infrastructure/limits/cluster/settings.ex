defmodule Foundation.Infrastructure.Limits.Cluster.Settings do
  @moduledoc false
  # The limits of a shared key and its options, checked, as the native library and as the budgets take them.

  alias Foundation.Infrastructure.Limits.Cluster.Amount
  alias Foundation.Infrastructure.Limits.Definition

  @own [:scope, :overshoot, :on_partition, :lease_ms, :skew_ms, :timeout]
  # The kind of a dimension that is leased, see the native library.
  @leased 1_000

  @type t :: %{
          native: tuple,
          budgets: %{atom => map},
          on_partition: :fail_open | :fail_closed,
          timeout: pos_integer
        }

  @spec parse(term, term, keyword | map) :: {:ok, t} | {:error, {atom, term}}
  def parse(key, limits, opts) do
    {own, opts} = opts |> Enum.to_list() |> Keyword.split(@own)

    with :ok <- no_pattern(key),
         {:ok, own} <- own(own),
         {:ok, {dimensions, parent, options}} <- Definition.parse(limits, opts),
         {:ok, dimensions, budgets} <- budgets(dimensions, own) do
      {:ok,
       %{
         native: {dimensions, parent, options},
         budgets: budgets,
         on_partition: own.on_partition,
         timeout: own.timeout
       }}
    end
  end

  defp no_pattern(key) do
    if is_tuple(key) and tuple_size(key) > 0 and elem(key, tuple_size(key) - 1) == :_,
      do: {:error, {:invalid_option, {:scope, :cluster}}},
      else: :ok
  end

  defp own(options) do
    defaults = %{overshoot: 0.05, on_partition: :fail_closed, lease_ms: nil, skew_ms: nil, timeout: 5_000}

    Enum.reduce_while(options, {:ok, defaults}, fn {name, value}, {:ok, own} ->
      if good?(name, value),
        do: {:cont, {:ok, Map.put(own, name, value)}},
        else: {:halt, {:error, {:invalid_option, {name, value}}}}
    end)
  end

  defp good?(:scope, scope), do: scope == :cluster
  defp good?(:overshoot, share), do: is_number(share) and share >= 0 and share <= 1
  defp good?(:on_partition, policy), do: policy in [:fail_open, :fail_closed]
  defp good?(:lease_ms, ms), do: is_integer(ms) and ms >= 50 and ms <= 3_600_000
  defp good?(:skew_ms, ms), do: is_integer(ms) and ms >= 0 and ms <= 60_000
  defp good?(:timeout, ms), do: is_integer(ms) and ms > 0 and ms <= 600_000

  defp budgets(dimensions, own) do
    dimensions
    |> Enum.reduce_while({[], %{}}, fn {name, kind, limit, per, burst}, {native, budgets} ->
      amount = Amount.parse(limit)

      cond do
        kind == 1 ->
          {:halt, {:error, {:invalid_limit, {name, :per}}}}

        burst != nil ->
          {:halt, {:error, {:invalid_limit, {name, :burst}}}}

        amount == nil ->
          {:halt, {:error, {:invalid_limit, {name, :limit}}}}

        own.lease_ms != nil and own.lease_ms > per ->
          {:halt, {:error, {:invalid_option, {:lease_ms, own.lease_ms}}}}

        true ->
          {:cont,
           {[{name, @leased, limit, per, nil} | native], Map.put(budgets, name, budget(amount, per, own))}}
      end
    end)
    |> case do
      {:error, _} = error -> error
      {native, budgets} -> {:ok, Enum.reverse(native), budgets}
    end
  end

  defp budget(limit, per, own) do
    %{
      limit: limit,
      per: per,
      lease: own.lease_ms || per |> div(4) |> max(250) |> min(5_000) |> min(max(per, 50)),
      overshoot: trunc(limit * own.overshoot),
      skew: own.skew_ms || per |> div(20) |> min(100)
    }
  end
end
