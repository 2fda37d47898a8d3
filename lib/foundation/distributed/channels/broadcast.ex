defmodule Foundation.Distributed.Channels.Broadcast do
  @moduledoc false
  # One message to the subscribers of a channel on every node: from here to each, or in stages.

  alias Foundation.Distributed.Channels.{InContext, Wire}
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Relay

  @many 16
  @large 64 * 1024

  def send(channel, message, :direct, options), do: direct(channel, message, options)
  def send(channel, message, :staged, options), do: staged(channel, message, options)

  def send(channel, message, :auto, options) do
    if length(Fabric.nodes(options.cluster)) >= @many and :erlang.external_size(message) >= @large,
      do: staged(channel, message, options),
      else: direct(channel, message, options)
  end

  def send(_channel, _message, other, _options),
    do: raise(ArgumentError, "via is :auto, :direct or :staged, got: #{inspect(other)}")

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
    nodes = Enum.shuffle(Fabric.nodes(options.cluster))
    deadline = Wire.deadline(options.timeout)

    results =
      for [first | rest] <- groups(nodes) do
        relay = {:foundation_relay, channel, node(), rest, message}
        result(first, Wire.send(channel, {first, Relay}, relay, %{options | timeout: Wire.left(deadline)}))
      end

    outcome([result(node(), Wire.send(channel, {node(), []}, message, options)) | results])
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
end
