defmodule Foundation.Distributed do
  @moduledoc """
  Sends to and calls processes of other nodes over the fabric, beside Distributed Erlang or without it.

  Switched on by `config :foundation, fabric: true`; see `Foundation.Distributed.Fabric` for its options and
  `Foundation.Distributed.Channels` for everything that channels do.

  **Scheduling**: as `Foundation.Distributed.Channels`.
  """

  alias Foundation.Distributed.{Call, Channels, Discovery, Fabric}

  @doc "Whether the fabric runs on this node. O(1)."
  @spec available?() :: boolean
  def available?, do: Fabric.handle() != nil

  @doc "As `Foundation.Distributed.Channels.send_message/4` without options."
  @spec send_message(Channels.channel(), Channels.destination(), term) :: :ok | {:error, Channels.reason()}
  def send_message(channel, destination, message), do: Channels.send_message(channel, destination, message)

  @doc """
  Calls a process as `GenServer.call/3` does, over a channel: `{:ok, reply}`.

  The destination is `{name, node}`, a pid, `{:service, s}` or `{:capability, c}`. Options: `:timeout` in ms (5,000),
  which also bounds the wait for room in the queue; at its end the callee's node is told that nobody waits. `:from`, the
  process whose order the request keeps to (the caller).

  Errors: `:timeout`, `:noproc` (no such process), `{:exit, reason}` (it ended before it answered), `:unreachable`,
  `:busy`, `:unknown_channel`, `:too_large`, `:closed`, `:no_provider`, `:not_running`. No answer comes after an
  error. O(bytes).
  """
  @spec call(Channels.channel(), Channels.destination(), term, keyword) ::
          {:ok, term} | {:error, Channels.reason() | :noproc | {:exit, term}}
  def call(channel, destination, request, options \\ []) when is_atom(channel),
    do: Call.call(channel, destination, request, options)

  @doc "As `Foundation.Distributed.Discovery.discover_services/1`."
  @spec discover_services(keyword) :: [Discovery.service()]
  def discover_services(criteria \\ []), do: Discovery.discover_services(criteria)
end
