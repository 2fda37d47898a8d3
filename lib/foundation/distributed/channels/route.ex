defmodule Foundation.Distributed.Channels.Route do
  @moduledoc false
  # Finds the node and the process that a destination means, and the channel that a kind of message takes.

  alias Foundation.Distributed.Discovery

  @key :foundation_channel_rules

  @doc "`{:ok, {node, target}}`: where messages for the destination go."
  def resolve(channel, destination, scope \\ nil)
  def resolve(_channel, pid, _scope) when is_pid(pid), do: {:ok, {node(pid), pid}}

  def resolve(_channel, {kind, name}, scope) when kind in [:service, :capability],
    do: provider(Discovery.discover_services([{kind, name}, status: :up, cluster: scope]))

  def resolve(_channel, {name, node}, _scope)
      when is_atom(name) and is_atom(node) and name != nil and node != nil,
      do: {:ok, {node, name}}

  def resolve(_channel, node, _scope) when is_atom(node) and node not in [nil, true, false, :all],
    do: {:ok, {node, []}}

  def resolve(_channel, other, _scope) do
    raise ArgumentError,
          "a destination is a node, {name, node}, a pid, {:service, s}, {:capability, c} or :all, got: #{inspect(other)}"
  end

  # Those of this node first, then any.
  defp provider([]), do: {:error, :no_provider}

  defp provider(services) do
    case Enum.filter(services, &(&1.node == node())) do
      [] -> {:ok, target(Enum.random(services))}
      here -> {:ok, target(Enum.random(here))}
    end
  end

  defp target(%{node: node, pid: pid}), do: {node, pid}

  @doc "Replaces the rules."
  def configure(rules) when is_list(rules) or is_map(rules) do
    for rule <- rules do
      case rule do
        {tag, channel} when is_atom(tag) and is_atom(channel) and channel not in [nil, true, false] -> :ok
        other -> raise ArgumentError, "a routing rule is {tag, channel}, two atoms, got: #{inspect(other)}"
      end
    end

    :persistent_term.put(@key, Map.new(rules))
  end

  def configure(other),
    do: raise(ArgumentError, "routing rules are a keyword list or a map, got: #{inspect(other)}")

  @doc "The channel that a message sent on `:auto` takes."
  def channel(message) do
    Map.get(:persistent_term.get(@key, %{}), tag(message), :data)
  end

  defp tag(message) when is_atom(message), do: message
  defp tag(message) when is_tuple(message) and tuple_size(message) > 0, do: elem(message, 0)
  defp tag(_message), do: nil
end
