defmodule Foundation.Distributed do
  @moduledoc """
  Works with the whole cluster from one place: messages and calls over channels, topologies, and work spread over nodes.

      iex> {:ok, run} = Foundation.Distributed.coordinate_work([1, 2, 3], fn x -> x + 1 end)
      iex> run.results
      [ok: 2, ok: 3, ok: 4]

  Messages and calls go over the fabric, beside Distributed Erlang or without it, which is switched on by
  `config :foundation, fabric: true`; see `Foundation.Distributed.Fabric` for its options and
  `Foundation.Distributed.Channels` for everything that channels do. This is the door; the rooms are the modules below
  it, with everything there is to say about each function.

  **Scheduling**: as `Foundation.Distributed.Channels`.
  """

  alias Foundation.Distributed.{Call, Channels, Consensus, Discovery, Fabric, Topology, Work}

  @doc "Whether the fabric runs on this node. O(1)."
  @spec available?() :: boolean
  def available?, do: Fabric.handle() != nil

  @doc "As `Foundation.Distributed.Channels.send_message/4` without options."
  @spec send_message(Channels.channel(), Channels.destination(), term) :: :ok | {:error, Channels.reason()}
  def send_message(channel, destination, message), do: Channels.send_message(channel, destination, message)

  @doc """
  Calls a process as `GenServer.call/3` does, over a channel: `{:ok, reply}`.

  The destination is `{name, node}`, a pid, `{:service, s}` or `{:capability, c}`. Options: `:timeout` in ms (5,000),
  which also bounds the wait for room in the queue; at its end, and when the caller ends, the callee's node is told that
  nobody waits. `:from`, the
  process whose order the request keeps to (the caller).

  Errors: `:timeout`, `:noproc` (no such process), `{:exit, reason}` (it ended before it answered), `:unreachable`,
  `:busy`, `:unknown_channel`, `:too_large`, `:closed`, `:no_provider`, `:not_running`. No answer comes after an
  error. O(bytes).
  """
  @spec call(Channels.channel(), Channels.destination(), term, keyword) ::
          {:ok, term} | {:error, Channels.reason() | :noproc | {:exit, term}}
  def call(channel, destination, request, options \\ []) when is_atom(channel),
    do: Call.call(channel, destination, request, options)

  @doc "Changes the topology of the whole cluster, as `Foundation.Distributed.Topology.switch_topology/1`."
  @spec switch_topology(Topology.topology()) :: :ok | {:error, term}
  defdelegate switch_topology(topology), to: Topology

  @doc "As `Foundation.Distributed.Discovery.discover_services/1`."
  @spec discover_services(keyword) :: [Discovery.service()]
  def discover_services(criteria \\ []), do: Discovery.discover_services(criteria)

  @doc """
  Has the nodes decide on one value for a topic: `{:ok, decided}`. See `Foundation.Distributed.Consensus.reach_consensus/3`.

  `proposal` is a map or a keyword list with `:topic` and `:value`, and the options of that function.
  """
  @spec coordinate_consensus(map | keyword) :: {:ok, term} | {:error, term}
  def coordinate_consensus(proposal) when is_map(proposal) or is_list(proposal) do
    case Map.new(proposal) do
      %{topic: topic, value: value} = proposal ->
        options = proposal |> Map.drop([:topic, :value]) |> Map.to_list()
        Consensus.reach_consensus(topic, value, options)

      other ->
        raise ArgumentError, "a proposal has :topic and :value, got: #{inspect(other)}"
    end
  end

  @doc """
  Runs a function on every item, spread over the nodes with work stealing, and answers each result once, in order; with
  `cluster:` over those of a cluster that this node has joined.

  See `Foundation.Distributed.Work.run/3` for the options, the errors and the cost.
  """
  @spec coordinate_work(Enumerable.t(), Work.worker(), [Work.option()]) :: {:ok, Work.run()} | {:error, term}
  defdelegate coordinate_work(items, worker, options \\ []), to: Work, as: :run

  @doc """
  Maps items to pairs of key and value and reduces the values of each key, both spread over the nodes; with `cluster:` over
  those of a cluster that this node has joined.

  See `Foundation.Distributed.Work.map_reduce/4` for the options, the errors and the cost.

      iex> Foundation.Distributed.map_reduce(1..6, &[{rem(&1, 2), &1}], fn _key, numbers -> Enum.sum(numbers) end)
      {:ok, %{0 => 12, 1 => 9}}
  """
  @spec map_reduce(Enumerable.t(), Work.worker(), Work.reducer(), [
          Work.option() | {:combine, boolean}
        ]) ::
          {:ok, %{term => term}} | {:error, term}
  defdelegate map_reduce(items, mapper, reducer, options \\ []), to: Work
end
