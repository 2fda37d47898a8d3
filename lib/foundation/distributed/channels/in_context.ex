defmodule Foundation.Distributed.Channels.InContext do
  @moduledoc false
  # A message to subscribers with the context it was sent in. It travels as one term, which the receiving side takes
  # apart: those who asked for the context get it, others get the message as if there were none.

  alias Foundation.Distributed.Context
  alias Foundation.Native

  @tag :"$foundation_in_context"

  @doc "The message with the present context, if there is one."
  @spec wrap(term) :: term
  def wrap({@tag, _carrier, _message} = wrapped), do: wrapped

  def wrap(message) do
    case Context.carry() do
      nil -> message
      carrier -> {@tag, carrier, message}
    end
  end

  @doc "The message alone, and the context or nil."
  @spec unwrap(term) :: {term, Context.carrier() | nil}
  def unwrap({@tag, carrier, message}), do: {message, carrier}
  def unwrap(message), do: {message, nil}

  @doc "Hands a message to the subscribers of this node."
  @spec publish(reference, atom, node, term) :: :ok
  def publish(handle, channel, from, message) do
    {message, carrier} = unwrap(message)

    for {pid, context?} <- Native.fabric_subscribers(handle, channel) do
      if context?,
        do: send(pid, {:foundation_channel, channel, from, message, carrier}),
        else: send(pid, {:foundation_channel, channel, from, message})
    end

    :ok
  end
end
