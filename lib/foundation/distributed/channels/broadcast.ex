defmodule Foundation.Distributed.Channels.Broadcast do
  @moduledoc false
  # One message to the subscribers of a channel on every node, by one of five ways:
  #
  #   direct   from here to each node, with the channel's own promise and back-pressure;
  #   staged   √n nodes pass it on to the rest, who confirm; who does not is sent it from here;
  #   tree     over the overlay's broadcast tree, repaired on the way; urgent: to every link at once;
  #   gossip   over the overlay, to a few random neighbours at each hop, never repaired.
  #
  # `choose/4` is the rule.

  alias Foundation.Distributed.Channels.{InContext, Wire}
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Relay
  alias Foundation.Distributed.Overlay
  alias Foundation.Native

  # From so many nodes on the overlay's tree is better than a copy for each: in a topology without links to all, and in
  # any.
  @many 16
  @crowd 64
  # From so many bytes on copies from here are worth saving; the tree takes less than a frame.
  @large 64 * 1024

  @ways [:auto, :direct, :staged, :tree, :gossip]
  @urgencies [:urgent, :normal, :background]

  @doc "Sends by the way that is asked for, or that the rule says."
  def send(channel, message, options) do
    {via, options} = Keyword.pop(options, :via, :auto)
    {urgency, options} = Keyword.pop(options, :urgency, :normal)
    one_of!(:via, via, @ways)
    one_of!(:urgency, urgency, @urgencies)
    by(via, channel, message, urgency, Wire.options(options))
  end

  defp by(:auto, channel, message, urgency, options),
    do: by(way(message, urgency, options), channel, message, urgency, options)

  defp by(:direct, channel, message, _urgency, options), do: direct(channel, message, options)
  defp by(:staged, channel, message, _urgency, options), do: staged(channel, message, options)
  defp by(:tree, channel, message, urgency, options), do: overlay(channel, message, urgency, options)
  defp by(:gossip, channel, message, _urgency, options), do: overlay(channel, message, :background, options)

  # Who waits for deliveries is answered by each node alone.
  defp way(_message, _urgency, %{ack: true}), do: :direct

  defp way(message, urgency, %{cluster: cluster}) do
    count = length(Fabric.nodes(cluster))

    if count < @many,
      do: :direct,
      else: choose(count, :erlang.external_size(message), urgency, topology(cluster, count))
  end

  # The topology, where every node that the fabric knows is a member of the overlay.
  defp topology(cluster, count) do
    case Overlay.with_handle(cluster, &Native.topology_info/1) do
      %{members: members, topology: topology} when members >= count -> topology
      _ -> nil
    end
  end

  @doc """
  The way for a message of so many bytes to so many nodes, in a topology (nil without one that holds them all):

    * few nodes: direct;
    * large: staged;
    * in the background: gossip;
    * a partial topology, or very many nodes: the tree;
    * else direct.
  """
  @spec choose(non_neg_integer, non_neg_integer, :urgent | :normal | :background, atom) ::
          :direct | :staged | :tree | :gossip
  def choose(count, _bytes, _urgency, _topology) when count < @many, do: :direct
  def choose(_count, bytes, _urgency, _topology) when bytes >= @large, do: :staged
  def choose(_count, _bytes, _urgency, nil), do: :direct
  def choose(_count, _bytes, :background, _topology), do: :gossip
  def choose(count, _bytes, _urgency, :full_mesh) when count < @crowd, do: :direct
  def choose(_count, _bytes, _urgency, _topology), do: :tree

  @doc "To each node from here."
  def direct(channel, message, options) do
    deadline = Wire.deadline(options.timeout)

    each([node() | Fabric.nodes(options.cluster)], fn node ->
      Wire.send(channel, {node, []}, message, %{options | timeout: Wire.left(deadline)})
    end)
  end

  # Each of √n nodes gets the message with the names of those that it passes it on to.
  defp staged(channel, message, options) do
    message = InContext.wrap(message)
    groups = options.cluster |> Fabric.nodes() |> Enum.shuffle() |> groups()
    deadline = Wire.deadline(options.timeout)

    with {:ok, _} <- opened(channel, options),
         {:ok, id} <- Relay.begin(options.cluster, channel, message, groups) do
      results =
        for [first | rest] <- groups do
          stage = {:foundation_stage, channel, id, rest, message}
          result(first, Wire.send(channel, {first, Relay}, stage, %{options | timeout: Wire.left(deadline)}))
        end

      # Where even the first could not be sent to, who is told so takes care of the rest.
      failed = for {node, _} <- results, do: node
      Relay.failed(options.cluster, id, failed)
      outcome([result(node(), Wire.send(channel, {node(), []}, message, options)) | results])
    end
  end

  # The origin gets no copy from the overlay.
  defp overlay(channel, message, urgency, %{cluster: cluster} = options) do
    message = InContext.wrap(message)

    with {:ok, _} <- opened(channel, options),
         :ok <- Overlay.publish(cluster, channel, message, urgency),
         do: Wire.send(channel, {node(), []}, message, options)
  end

  defp opened(channel, %{cluster: cluster}) do
    case Fabric.handle(cluster) do
      nil -> {:error, :not_running}
      handle -> with :ok <- Native.fabric_channel(handle, channel), do: {:ok, handle}
    end
  end

  @doc "The nodes in groups of about the square root of their number."
  def groups([]), do: []
  def groups(nodes), do: Enum.chunk_every(nodes, nodes |> length() |> :math.sqrt() |> ceil())

  defp each(nodes, send), do: nodes |> Enum.map(&result(&1, send.(&1))) |> outcome()

  defp result(_node, :ok), do: :ok
  defp result(node, {:error, reason}), do: {node, reason}

  defp outcome(results) do
    case Enum.reject(results, &(&1 == :ok)) do
      [] ->
        :ok

      # What is wrong here is wrong for every node.
      [{_, reason} | _] when reason in [:not_running, :unknown_channel] ->
        {:error, reason}

      failed ->
        {:error, {:partial, failed}}
    end
  end

  defp one_of!(key, value, allowed) do
    unless value in allowed,
      do: raise(ArgumentError, "#{key} is one of #{inspect(allowed)}, got: #{inspect(value)}")
  end
end
