defmodule Foundation.Distributed.Channels.Settings do
  @moduledoc false
  # The settings of channels: the four that every fabric opens, and the checks of those that a user gives.

  @defaults %{
    reliability: :at_least_once,
    priority: 128,
    lanes: 1,
    max_messages: 100_000,
    max_bytes: 32 * 1024 * 1024,
    max_message: 64 * 1024 * 1024,
    window_bytes: 8 * 1024 * 1024,
    window_messages: 16_384,
    compress_above: nil
  }

  @built_in %{
    coordination: [priority: 255],
    data: [priority: 64, lanes: 4, max_bytes: 64 * 1024 * 1024],
    gossip: [priority: 32, reliability: :best_effort],
    events: [priority: 128]
  }

  @ranges %{
    priority: 0..255,
    lanes: 1..64,
    max_messages: 1..100_000_000,
    max_bytes: (64 * 1024)..(1024 * 1024 * 1024 * 1024),
    max_message: 1024..(16 * 1024 * 1024 * 1024),
    window_bytes: (256 * 1024)..(16 * 1024 * 1024 * 1024),
    window_messages: 16..100_000_000,
    compress_above: 64..(1024 * 1024 * 1024)
  }

  @doc "The names of the channels that every fabric opens."
  @spec built_in() :: [atom]
  def built_in, do: Map.keys(@built_in)

  @doc "The settings of every channel of a fabric, by `channels: [name: options]` over what is built in."
  @spec all(keyword) :: %{atom => map}
  def all(given) do
    for name <- Enum.uniq(built_in() ++ Keyword.keys(given)), into: %{} do
      {name, new(name, Keyword.merge(Map.get(@built_in, name, []), Keyword.get(given, name, [])))}
    end
  end

  @doc "The settings of a channel; raises ArgumentError for what is none."
  @spec new(atom, keyword) :: map
  def new(name, options) do
    unless is_atom(name) and name not in [nil, true, false],
      do: raise(ArgumentError, "a channel is named by an atom, got: #{inspect(name)}")

    unless Keyword.keyword?(options),
      do:
        raise(
          ArgumentError,
          "the options of channel #{inspect(name)} are a keyword list, got: #{inspect(options)}"
        )

    settings =
      Enum.reduce(options, @defaults, fn {key, value}, settings -> put(settings, name, key, value) end)

    if settings.reliability == :ordered and settings.lanes != 1,
      do:
        raise(
          ArgumentError,
          "channel #{inspect(name)}: an ordered channel has one lane, got lanes: #{settings.lanes}"
        )

    settings
  end

  defp put(settings, _name, :reliability, value) when value in [:best_effort, :at_least_once, :ordered],
    do: %{settings | reliability: value}

  defp put(_settings, name, :reliability, value),
    do: bad(name, :reliability, value, ":best_effort, :at_least_once or :ordered")

  defp put(settings, _name, :compress_above, nil), do: %{settings | compress_above: nil}

  defp put(settings, name, key, value) do
    case @ranges do
      %{^key => %Range{first: first, last: last}} ->
        if is_integer(value) and value in first..last,
          do: Map.put(settings, key, value),
          else: bad(name, key, value, "an integer from #{first} to #{last}")

      _ ->
        known = Enum.map_join([:reliability | Map.keys(@ranges)], ", ", &inspect/1)
        raise ArgumentError, "channel #{inspect(name)} has no option #{inspect(key)}; it has #{known}"
    end
  end

  defp bad(name, key, value, expected),
    do: raise(ArgumentError, "channel #{inspect(name)}: #{key} is #{expected}, got: #{inspect(value)}")
end
