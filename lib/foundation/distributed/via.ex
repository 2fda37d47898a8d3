defmodule Foundation.Distributed.Via do
  @moduledoc """
  Lets unmodified processes be called over a channel, by a name of the form `{:via, Foundation.Distributed.Via, name}`.

      GenServer.call({:via, Foundation.Distributed.Via, {MyApp.Store, :"b@host", channel: :data}}, :size)
      GenServer.cast({:via, Foundation.Distributed.Via, {MyApp.Store, :"b@host"}}, :compact)

  `name` is `{registered name, node}` or `{registered name, node, channel: channel}`, on `:coordination` when no channel
  is named. A call exits as one to a local process does: with `:noproc`, the reason that the called process ended with,
  or `:unreachable` and the other reasons of `Foundation.Distributed.call/4`.

  **Scheduling**: as `Foundation.Distributed.Channels`; a call takes a process of its own here.
  """

  alias Foundation.Distributed
  alias Foundation.Distributed.Channels

  @type name :: {atom, node} | {atom, node, [channel: atom]}

  @doc "A process that makes one call over the channel. For `GenServer` and the like. O(1)."
  @spec whereis_name(name) :: pid | :undefined
  def whereis_name(name) do
    {target, node, channel} = parts(name)

    if node == node() do
      Process.whereis(target) || :undefined
    else
      caller = self()
      spawn(fn -> stand_in({target, node}, channel, caller) end)
    end
  end

  @doc "Sends a message over the channel; errors are not seen, as with a message to a process that is gone. O(bytes)."
  @spec send(name, term) :: term
  def send(name, message) do
    {target, node, channel} = parts(name)
    Channels.send_message(channel, {target, node}, message, timeout: 5_000)
    message
  end

  @doc "Names are registered where their processes live: always `:no`."
  @spec register_name(name, pid) :: :no
  def register_name(_name, _pid), do: :no

  @doc "Names are registered where their processes live: does nothing."
  @spec unregister_name(name) :: :ok
  def unregister_name(_name), do: :ok

  defp parts({target, node}) when is_atom(target) and is_atom(node), do: {target, node, :coordination}

  defp parts({target, node, [channel: channel]}) when is_atom(target) and is_atom(node) and is_atom(channel),
    do: {target, node, channel}

  defp parts(other) do
    raise ArgumentError,
          "a name is {registered name, node} or {registered name, node, channel: channel}, got: #{inspect(other)}"
  end

  # Gets the request that the caller sends to it, and ends as the call ends.
  defp stand_in(destination, channel, caller) do
    monitor = Process.monitor(caller)

    receive do
      {:"$gen_call", {pid, _tag} = from, request} ->
        case Distributed.call(channel, destination, request, timeout: :infinity, from: pid) do
          {:ok, reply} -> GenServer.reply(from, reply)
          {:error, {:exit, reason}} -> exit(reason)
          {:error, reason} -> exit(reason)
        end

      {:DOWN, ^monitor, :process, _pid, _reason} ->
        :ok

      message ->
        Channels.send_message(channel, destination, message, timeout: 5_000, from: caller)
    end
  end
end
