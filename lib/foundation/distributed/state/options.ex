defmodule Foundation.Distributed.State.Options do
  @moduledoc false
  # The options of a state, checked.

  @defaults [
    level: :local,
    replicas: 1,
    nodes: :cluster,
    shards: 32,
    max_keys: 10_000_000,
    max_bytes: 4 * 1024 * 1024 * 1024,
    max_drift: 60_000,
    push_after: 5,
    sync_interval: 1_000,
    forget_after: 86_400_000,
    durable: nil
  ]

  @doc "A map of the options; raises ArgumentError."
  def new!(opts) do
    unless Keyword.keyword?(opts),
      do: raise(ArgumentError, "options are a keyword list, got: #{inspect(opts)}")

    for {key, _} <- opts, not Keyword.has_key?(@defaults, key) do
      raise ArgumentError,
            "a state has no option #{inspect(key)}; it has #{Enum.map_join(@defaults, ", ", &inspect(elem(&1, 0)))}"
    end

    @defaults |> Keyword.merge(opts) |> Map.new(fn {key, value} -> {key, check!(key, value)} end)
  end

  @doc "A write level; raises ArgumentError."
  def level!(level) when level in [:local, :majority, :all], do: level

  def level!(other),
    do: raise(ArgumentError, "level is :local, :majority or :all, got: #{inspect(other)}")

  @doc "A timeout in ms; raises ArgumentError."
  def timeout!(ms) when is_integer(ms) and ms in 0..0xFFFFFFFF, do: ms

  def timeout!(other),
    do: raise(ArgumentError, "timeout is a number of milliseconds below 2^32, got: #{inspect(other)}")

  @doc "The name of a state; raises ArgumentError."
  def name!(name) when is_atom(name) and name not in [nil, true, false], do: name
  def name!(other), do: raise(ArgumentError, "a state is named by an atom, got: #{inspect(other)}")

  defp check!(:level, level), do: level!(level)
  defp check!(:nodes, :cluster), do: :cluster

  defp check!(:nodes, nodes) when is_list(nodes) do
    if Enum.all?(nodes, &is_atom/1), do: nodes, else: wrong(:nodes, nodes, ":cluster or a list of nodes")
  end

  defp check!(:shards, n) when n in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024], do: n
  defp check!(:shards, n), do: wrong(:shards, n, "a power of two up to 1,024")
  defp check!(:durable, nil), do: nil

  defp check!(:durable, durable) when is_list(durable) do
    dir = durable[:dir]
    sync = Keyword.get(durable, :sync, :os)

    if is_binary(dir) and dir != "" and sync?(sync) and Keyword.keys(durable) -- [:dir, :sync] == [],
      do: %{dir: dir, sync: sync},
      else: wrong(:durable, durable, "[dir: path, sync: :os | :always | {:interval, ms}]")
  end

  defp check!(:max_drift, ms) when is_integer(ms) and ms >= 0 and ms < 281_474_976_710_656, do: ms

  defp check!(key, n)
       when key not in [:nodes, :durable, :max_drift] and is_integer(n) and n > 0 and
              n < 9_223_372_036_854_775_808,
       do: n

  defp check!(key, value), do: wrong(key, value, "a positive integer")

  defp sync?({:interval, ms}), do: is_integer(ms) and ms in 1..3_600_000
  defp sync?(sync), do: sync in [:os, :always]

  defp wrong(key, value, expected),
    do: raise(ArgumentError, "#{key} is #{expected}, got: #{inspect(value)}")
end
