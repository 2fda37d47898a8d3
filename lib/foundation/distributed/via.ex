defmodule Foundation.Distributed.Via do
  @moduledoc """
  Lets unmodified processes be called over a channel, by a name of the form `{:via, Foundation.Distributed.Via, name}`.

      GenServer.call({:via, Foundation.Distributed.Via, {MyApp.Store, :"b@host", channel: :data}}, :size)
      GenServer.cast({:via, Foundation.Distributed.Via, {MyApp.Store, :"b@host"}}, :compact)

  `name` is `{registered name, node}` or `{registered name, node, channel: channel, cluster: cluster}`, on `:coordination`
  when no channel is named, and over the main cluster when no cluster is. A call exits as one to a local process does: with `:noproc`, the reason that the called process ended with,
  or `:unreachable` and the other reasons of `Foundation.Distributed.call/4`.

  **Scheduling**: as `Foundation.Distributed.Channels`; a call takes a process of its own here.
  """

  alias Foundation.Distributed
  alias Foundation.Distributed.Channels

  @type name :: {atom, node} | {atom, node, [channel: atom, cluster: atom]}

  @doc "A process that makes one call over the channel. For `GenServer` and the like. O(1)."
  @spec whereis_name(name) :: pid | :undefined
  def whereis_name(name) do
    {target, node, way} = parts(name)

    if node == node() do
      Process.whereis(target) || :undefined
    else
      caller = self()
      spawn(fn -> stand_in({target, node}, way, caller) end)
    end
  end

  @doc "Sends a message over the channel; errors are not seen, as with a message to a process that is gone. O(bytes)."
  @spec send(name, term) :: term
  def send(name, message) do
    {target, node, {channel, options}} = parts(name)
    Channels.send_message(channel, {target, node}, message, [timeout: 5_000] ++ options)
    message
  end

  @doc "Names are registered where their processes live: always `:no`."
  @spec register_name(name, pid) :: :no
  def register_name(_name, _pid), do: :no

  @doc "Names are registered where their processes live: does nothing."
  @spec unregister_name(name) :: :ok
  def unregister_name(_name), do: :ok

  defp parts({target, node}) when is_atom(target) and is_atom(node), do: {target, node, {:coordination, []}}

  defp parts({target, node, [{_, _} | _] = options} = name) when is_atom(target) and is_atom(node) do
    {channel, rest} = Keyword.pop(options, :channel, :coordination)

    case rest do
      [] when is_atom(channel) -> {target, node, {channel, []}}
      [cluster: cluster] when is_atom(channel) and is_atom(cluster) -> {target, node, {channel, rest}}
      _ -> bad(name)
    end
  end

  defp parts(other), do: bad(other)

  defp bad(name) do
    raise ArgumentError,
          "a name is {registered name, node} or {registered name, node, channel: channel, cluster: cluster}, " <>
            "got: #{inspect(name)}"
  end

  # Gets the request that the caller sends to it, and ends as the call ends.
  defp stand_in(destination, {channel, options}, caller) do
    monitor = Process.monitor(caller)

    receive do
      {:"$gen_call", {pid, _tag} = from, request} ->
        case Distributed.call(channel, destination, request, [timeout: :infinity, from: pid] ++ options) do
          {:ok, reply} -> GenServer.reply(from, reply)
          {:error, {:exit, reason}} -> exit(reason)
          {:error, reason} -> exit(reason)
        end

      {:DOWN, ^monitor, :process, _pid, _reason} ->
        :ok

      message ->
        Channels.send_message(channel, destination, message, [timeout: 5_000, from: caller] ++ options)
    end
  end
end
