defmodule Foundation.Distributed.Work.Crew do
  @moduledoc false
  # Which nodes do a run's work, and how a runner is started for each: in the main cluster on the node itself, by the Erlang
  # distribution; in one that this node has joined, here, where it has the node call what that allows.

  alias Foundation.Cluster
  alias Foundation.Cluster.Drain
  alias Foundation.Distributed.Clusters.{Member, Roll}
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Distributed.Work.{Remote, Runner}

  @start_ms 15_000
  @at_once 64

  @type started :: {:ok, pid, pos_integer} | {:error, term}

  @doc "Sends the caller `{:nodeup, node}` for each that comes up."
  @spec watch(Scope.t()) :: term
  def watch(nil), do: :net_kernel.monitor_nodes(true)
  def watch(scope), do: Roll.watch(scope)

  @doc "Who is there and does not drain."
  @spec nodes(Scope.t()) :: [node]
  def nodes(nil), do: Enum.filter([node() | Node.list()], &works?(nil, &1))
  def nodes(scope), do: Enum.filter([node() | Fabric.nodes(scope)], &works?(scope, &1))

  @spec works?(Scope.t(), node) :: boolean
  def works?(nil, node), do: not Cluster.draining?(node)
  def works?(scope, node), do: Drain.noted(scope, node) == nil

  @doc "Starts a runner for each, which answers the caller."
  @spec start(Scope.t(), [node], reference, map) :: [{node, started}]
  def start(nil, nodes, run, options) do
    answers = :erpc.multicall(nodes, Runner, :start, [self(), run, options], @start_ms)

    Enum.zip_with(nodes, answers, fn
      node, {:ok, started} -> {node, started}
      node, {_class, reason} -> {node, {:error, reason}}
    end)
  end

  def start(scope, nodes, run, options) do
    function = Remote.function(options.worker)
    coordinator = self()

    nodes
    |> Task.async_stream(&start_for(scope, &1, coordinator, run, options, function),
      max_concurrency: @at_once,
      timeout: 2 * @start_ms
    )
    |> Enum.zip_with(nodes, fn {:ok, started}, node -> {node, started} end)
  end

  # What this node does for itself nobody has to allow.
  defp start_for(_scope, node, coordinator, run, options, _function) when node == node(),
    do: Runner.start(coordinator, run, options)

  defp start_for(scope, node, coordinator, run, options, function) do
    with {:ok, count} <- Member.enlist(scope, node, function, @start_ms) do
      options = Map.merge(options, %{place: {scope, node}, concurrency: options[:concurrency] || count})
      Runner.start(coordinator, run, options)
    end
  end
end
