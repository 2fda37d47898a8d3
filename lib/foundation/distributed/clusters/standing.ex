defmodule Foundation.Distributed.Clusters.Standing do
  @moduledoc false
  # How a joined cluster stands, as `Foundation.Cluster.info/1` says it of the main one, and whether it is large enough to
  # begin.

  alias Foundation.Cluster.{Drain, Table}
  alias Foundation.Distributed.Clusters.{Options, Roll, Seeds}
  alias Foundation.Distributed.Fabric

  # How often is looked, while somebody waits.
  @look_ms 25
  # A strategy written for libcluster does not report; so long it is waited for.
  @silent_ms 1_000

  @spec info(atom) :: map | {:error, :not_joined}
  def info(cluster) do
    if Fabric.handle(cluster) do
      now = System.monotonic_time(:millisecond)
      strategies = strategies(cluster)
      nodes = nodes(cluster)

      %{
        running: true,
        node: node(),
        alive: Node.alive?(),
        nodes: nodes,
        size: length(nodes),
        draining: Drain.noted(cluster, node()) != nil,
        members: Map.new(Roll.members(cluster), &member(&1, cluster, strategies, now)),
        strategies: strategies
      }
    else
      {:error, :not_joined}
    end
  end

  defp nodes(cluster), do: Enum.sort([node() | Fabric.nodes(cluster)])

  defp member({node, member}, cluster, strategies, now) do
    found_by = for {topology, %{nodes: nodes}} <- strategies, node in nodes, do: topology
    draining = Drain.noted(cluster, node) != nil
    {node, Map.merge(member, %{since: now - member.since, draining: draining, found_by: found_by})}
  end

  defp strategies(cluster) do
    for topology <- Options.topology_names(cluster),
        %{module: module, status: status} <- [Table.get({:strategy, topology})],
        into: %{} do
      report = Table.get({:report, topology}, %{nodes: [], error: nil, failures: 0, rounds: 0, at: nil})
      {topology, Map.merge(report, %{module: module, status: status})}
    end
  end

  @doc "Waits in the caller until the cluster is large enough."
  @spec await(atom, pos_integer | :majority, timeout) :: :ok | {:error, :not_joined | {:timeout, map}}
  def await(cluster, quorum, :infinity), do: look(cluster, quorum, :infinity)

  def await(cluster, quorum, timeout),
    do: look(cluster, quorum, System.monotonic_time(:millisecond) + timeout)

  defp look(cluster, quorum, deadline) do
    if Fabric.handle(cluster),
      do: cluster |> standing(quorum) |> decide(cluster, quorum, deadline),
      else: {:error, :not_joined}
  end

  defp decide(%{waiting_for: [], size: size, wanted: wanted}, _cluster, _quorum, _deadline)
       when size >= wanted,
       do: :ok

  defp decide(standing, cluster, quorum, deadline) do
    # An atom is greater than any number.
    if System.monotonic_time(:millisecond) >= deadline do
      {:error, {:timeout, standing}}
    else
      receive do
      after
        @look_ms -> look(cluster, quorum, deadline)
      end
    end
  end

  defp standing(cluster, quorum) when is_integer(quorum),
    do: %{size: length(nodes(cluster)), wanted: quorum, waiting_for: []}

  defp standing(cluster, :majority) do
    nodes = nodes(cluster)
    strategies = strategies(cluster)
    found = for {_, %{nodes: found}} <- strategies, node <- found, do: node
    {missing, unknown} = missing(cluster)
    expected = length(Enum.uniq(nodes ++ found)) + missing
    %{size: length(nodes), wanted: div(expected, 2) + 1, waiting_for: unknown ++ silent(strategies)}
  end

  # Of how many a majority is cannot be said without them.
  defp missing(cluster) do
    case Seeds.missing(cluster) do
      {:ok, missing} -> {length(missing), []}
      :unknown -> {0, [:seeds]}
    end
  end

  defp silent(strategies) do
    now = System.monotonic_time(:millisecond)

    for {topology, %{rounds: 0, status: status}} <- strategies,
        status == :starting or now - Table.get({:strategy, topology}, %{since: 0}).since < @silent_ms,
        do: topology
  end
end
