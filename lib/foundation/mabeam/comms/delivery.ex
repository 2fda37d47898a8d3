defmodule Foundation.MABEAM.Comms.Delivery do
  @moduledoc false
  # Brings a request to an agent's process, or to the inbox of the agent's node, and the answer back to who asked. Between
  # nodes connected by Erlang distribution these are plain messages; between others they go over the fabric's channel
  # :coordination.

  alias Foundation.Distributed.Channels
  alias Foundation.MABEAM.Agent.Gate

  @channel :coordination
  @inbox Foundation.MABEAM.Comms.Inbox

  @typedoc "Until when (ms, monotonic here), by which id, through whom, in which context."
  @type meta :: {integer | :infinity, String.t() | nil, list, term}

  @doc "Asks a process of this node; the answer comes to `from` as that of a GenServer."
  @spec ask(pid, reference, pos_integer, GenServer.from(), atom, term, meta) :: :ok | {:error, :busy}
  def ask(pid, gate, limit, from, kind, payload, meta) do
    with :ok <- Gate.enter(gate, limit) do
      send(pid, {:"$gen_call", from, {:ask, kind, payload, meta}})
      :ok
    end
  end

  @doc "Tells a process of this node."
  @spec tell(pid, reference, pos_integer, term, meta) :: :ok | {:error, :busy}
  def tell(pid, gate, limit, event, meta) do
    with :ok <- Gate.enter(gate, limit) do
      send(pid, {:tell, event, meta})
      :ok
    end
  end

  @doc "Sends to the inbox of another node."
  @spec to_node(node, term) :: :ok | {:error, term}
  def to_node(node, message), do: to_process(@inbox, node, message)

  @doc "Sends to a process of another node, by its name."
  @spec to_process(atom, node, term) :: :ok | {:error, term}
  def to_process(name, node, message) do
    if connected?(node) do
      case :erlang.send({name, node}, message, [:noconnect, :nosuspend]) do
        :ok -> :ok
        :noconnect -> {:error, :unreachable}
        :nosuspend -> {:error, :busy}
      end
    else
      with {:error, :not_running} <- Channels.send_message(@channel, {name, node}, message),
           do: {:error, :unreachable}
    end
  end

  @doc "Gives the answer to who asked."
  @spec reply(GenServer.from(), term) :: :ok
  def reply({pid, tag} = from, answer) do
    if node(pid) == node() or connected?(node(pid)),
      do: GenServer.reply(from, answer),
      else: Channels.send_message(@channel, pid, {tag, answer})

    :ok
  end

  @doc "Whether the Erlang distribution reaches a node."
  @spec connected?(node) :: boolean
  def connected?(node), do: node == node() or node in Node.list()

  @doc "A deadline as what is left of it, to be sent to another clock."
  @spec left(integer | :infinity) :: timeout
  def left(:infinity), do: :infinity
  def left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  @doc "When that is over."
  @spec deadline(timeout) :: integer | :infinity
  def deadline(:infinity), do: :infinity
  def deadline(ms), do: System.monotonic_time(:millisecond) + ms
end
