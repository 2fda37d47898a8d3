defmodule Foundation.Infrastructure.Limits.Definition do
  @moduledoc false
  # Reads what a user wrote about a key's limits and brings it into the form that the native side takes.

  alias Foundation.Infrastructure.Limits.Profile

  @default_sub_windows 20
  @default_idle_ttl 600_000
  @default_max_waiters 1_000
  @longest 3 * 366 * 86_400_000

  @type native :: {[tuple], [term], {non_neg_integer, non_neg_integer}}

  @spec parse(term, term) :: {:ok, native} | {:error, {atom, term}}
  def parse(%Profile{limits: limits}, opts), do: parse(limits, opts)

  def parse(limits, opts) do
    with {:ok, limits} <- pairs(limits, :limits),
         {:ok, opts} <- pairs(opts, :options),
         {:ok, parent, options} <- options(opts),
         {:ok, dimensions} <- dimensions(limits) do
      {:ok, {dimensions, parent, options}}
    end
  end

  defp pairs(map, what) when is_map(map) and not is_struct(map), do: pairs(Map.to_list(map), what)

  defp pairs(list, what) do
    if Keyword.keyword?(list), do: {:ok, list}, else: {:error, {:"invalid_#{what}", list}}
  end

  defp options(opts) do
    Enum.reduce_while(opts, {:ok, [], {@default_idle_ttl, @default_max_waiters}}, fn
      {:parent, nil}, acc ->
        {:cont, acc}

      {:scope, :node}, acc ->
        {:cont, acc}

      {:parent, parent}, {:ok, _, options} ->
        {:cont, {:ok, [parent], options}}

      {:idle_ttl, ms}, {:ok, parent, {_, waiters}} when is_integer(ms) and ms >= 0 and ms <= @longest ->
        {:cont, {:ok, parent, {ms, waiters}}}

      {:max_waiters, n}, {:ok, parent, {idle, _}} when is_integer(n) and n >= 0 and n <= 1_000_000 ->
        {:cont, {:ok, parent, {idle, n}}}

      {name, value}, _ ->
        {:halt, {:error, {:invalid_option, {name, value}}}}
    end)
  end

  defp dimensions(limits) do
    limits
    |> Enum.reduce_while([], fn {name, spec}, done ->
      case dimension(name, spec) do
        {:ok, dimension} -> {:cont, [dimension | done]}
        {:error, what} -> {:halt, {:error, {:invalid_limit, {name, what}}}}
      end
    end)
    |> case do
      {:error, _} = error -> error
      done -> {:ok, Enum.reverse(done)}
    end
  end

  defp dimension(name, spec) do
    with {:ok, spec} <- pairs(spec, :spec),
         [] <- Keyword.keys(spec) -- [:limit, :per, :burst, :algorithm, :sub_windows],
         {:ok, limit} <- Keyword.fetch(spec, :limit),
         {:ok, kind} <- kind(spec[:algorithm], spec[:per], spec[:sub_windows]) do
      {:ok, {name, kind, limit, spec[:per] || 0, spec[:burst]}}
    else
      :error -> {:error, :limit}
      {:error, {_, _}} -> {:error, :spec}
      {:error, what} -> {:error, what}
      [unknown | _] -> {:error, unknown}
    end
  end

  defp kind(nil, nil, nil), do: {:ok, 1}
  defp kind(_, per, _) when not is_integer(per) or per <= 0 or per > @longest, do: {:error, :per}
  defp kind(algorithm, _, nil) when algorithm in [nil, :token_bucket], do: {:ok, 0}
  defp kind(:sliding_window, _, nil), do: {:ok, @default_sub_windows}
  defp kind(:sliding_window, _, n) when is_integer(n) and n >= 2 and n <= 256, do: {:ok, n}

  defp kind(algorithm, _, _) when algorithm in [nil, :token_bucket, :sliding_window],
    do: {:error, :sub_windows}

  defp kind(_, _, _), do: {:error, :algorithm}
end
