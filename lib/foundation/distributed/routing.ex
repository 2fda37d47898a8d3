defmodule Foundation.Distributed.Routing do
  @moduledoc """
  Tells how a node is reached in the present topology, and which of several nodes is best to ask.

      {:ok, [nearest | _]} = Foundation.Distributed.Routing.rank(Node.list())

  Both take the option `:cluster` (see `Foundation.Distributed.Clusters`).

  **Scheduling**: on a dirty CPU scheduler, O(members); load-aware ranking also reads the channels' queues, O(channels ×
  nodes).
  """

  alias Foundation.Distributed.{Channels, Overlay, Topology}
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Native

  @type route :: :direct | {:via, node} | {:dial, address :: String.t()} | :unknown

  # A message that waits is worth this much waiting, in microseconds: a round trip of its link is amortised over many.
  @queued_us 10.0
  @unmeasured_us 1_000_000.0

  @doc """
  How a node is reached now: `:direct` over an open link of the topology, `{:via, node}` through a neighbour that knows
  the way, `{:dial, address}` by a link to be opened, or `:unknown`.

  Errors: `{:error, :not_running}`. O(log members).
  """
  @spec route(node, keyword) :: {:ok, route} | {:error, :not_running}
  def route(node, options \\ []) when is_atom(node) do
    Overlay.with_handle(Scope.of(options[:cluster]), fn handle ->
      case Native.topology_route(handle, Atom.to_string(node)) do
        {:via, name} -> {:ok, {:via, String.to_atom(name)}}
        route -> {:ok, route}
      end
    end)
  end

  @doc """
  Nodes in the order in which to ask them, best first: by the measured round trip (`by: :latency`), or by that and what
  waits in the queues to them (`by: :load`, the default). This node comes first where it is among them; nodes that are no
  members are left out, those not measured yet come last.

  Errors: `{:error, :not_running}`; ArgumentError for another order. O(members).
  """
  @spec rank([node], keyword) :: {:ok, [node]} | {:error, :not_running}
  def rank(nodes, options \\ []) when is_list(nodes) do
    by = Keyword.get(options, :by, :load)

    unless by in [:latency, :load],
      do: raise(ArgumentError, "by is :latency or :load, got: #{inspect(by)}")

    with {:ok, %{peers: peers}} <- Topology.analyze_performance(Keyword.take(options, [:cluster])) do
      queued = if by == :load, do: queued(options), else: %{}
      known = Enum.filter(nodes, &(&1 == node() or is_map_key(peers, &1)))
      {:ok, Enum.sort_by(known, &cost(&1, peers, queued))}
    end
  end

  defp cost(node, _peers, _queued) when node == node(), do: {0.0, node}

  defp cost(node, peers, queued),
    do: {(peers[node].rtt_us || @unmeasured_us) + @queued_us * Map.get(queued, node, 0), node}

  defp queued(options) do
    case Channels.get_channel_metrics(Keyword.take(options, [:cluster])) do
      {:ok, rows} ->
        Enum.reduce(rows, %{}, fn row, sum -> Map.update(sum, row.node, row.queued, &(&1 + row.queued)) end)

      {:error, :not_running} ->
        %{}
    end
  end
end
