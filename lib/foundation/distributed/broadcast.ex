defmodule Foundation.Distributed.Broadcast do
  @moduledoc """
  Publishes messages by topic to every node that subscribed, once each, over trees that repair themselves.

      :ok = Foundation.Distributed.Broadcast.subscribe(:prices)
      :ok = Foundation.Distributed.Broadcast.publish(:prices, {:tin, 21_350})
      # on every other node that subscribed, as {:foundation_broadcast, :prices, node, {:tin, 21_350}}

  Small meshes are told directly, larger ones by a tree (Plumtree): payloads go along its branches and are announced on
  the other links, so that what is lost on a broken branch is asked for. In the `:pub_sub` topology each topic has a tree
  of its subscribers only. Nothing is kept for nodes that are away for longer than a minute, and there is no order
  between publishers.

  **Scheduling**: publishing runs on a dirty CPU scheduler, O(bytes × links); deliveries pass one process of the node.
  """

  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Distributed.Overlay
  alias Foundation.Native

  @urgencies [:urgent, :normal, :background]

  @doc """
  Publishes a message under a topic, which may be any term. It is not delivered on this node.

  Options: `:urgency`: `:normal`, `:urgent` (to all links at once: fewest hops, most copies) or `:background` (to a few
  random links at each hop; nothing is repaired). `:cluster`: over which of this node's clusters (the main one).

  Errors: `{:error, :not_running}`, `{:error, {:too_large, max_bytes}}`; ArgumentError for another urgency.
  """
  @spec publish(term, term, keyword) :: :ok | {:error, :not_running | {:too_large, pos_integer}}
  def publish(topic, message, options \\ []) do
    urgency = Keyword.get(options, :urgency, :normal)

    unless urgency in @urgencies,
      do: raise(ArgumentError, "urgency is one of #{inspect(@urgencies)}, got: #{inspect(urgency)}")

    Overlay.with_handle(Scope.of(options[:cluster]), fn handle ->
      payload = :erlang.term_to_binary({topic, message})
      Native.topology_broadcast(handle, Overlay.number(topic), payload, urgency)
    end)
  end

  @doc """
  Delivers what is published under a topic to a process of this node until it ends, as
  `{:foundation_broadcast, topic, node, message}`. Doing so twice is once. Options: `:cluster`.

  Errors: `{:error, :not_running}`, `{:error, {:too_many_topics, max}}`. O(log topics).
  """
  @spec subscribe(term, pid, keyword) :: :ok | {:error, :not_running | {:too_many_topics, pos_integer}}
  def subscribe(topic, pid \\ self(), options \\ []) when is_pid(pid) and node(pid) == node(),
    do: Overlay.subscribe(Scope.of(options[:cluster]), topic, pid)

  @doc "Ends that. Options: `:cluster`. O(log topics)."
  @spec unsubscribe(term, pid, keyword) :: :ok | {:error, :not_running}
  def unsubscribe(topic, pid \\ self(), options \\ []) when is_pid(pid),
    do: Overlay.unsubscribe(Scope.of(options[:cluster]), topic, pid)
end
