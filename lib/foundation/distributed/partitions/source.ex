defmodule Foundation.Distributed.Partitions.Source do
  @moduledoc false
  # Whom the watch over splits listens to: the membership of the main cluster, which Distributed Erlang connects, or the
  # overlay of a joined one, whose seeds are tried again by those who found them.

  alias Foundation.Cluster
  alias Foundation.Cluster.Connector
  alias Foundation.Distributed.{Fabric, Overlay, Topology}
  alias Foundation.Distributed.Fabric.Scope

  @topology :partition_healing

  @doc "Subscribes the caller: the monitor of whoever sends, or `:later`."
  @spec watch(Scope.t()) :: {:ok, reference} | :later
  def watch(scope) do
    with pid when is_pid(pid) <- Process.whereis(sender(scope)),
         reference = Process.monitor(pid),
         :ok <- subscribe(scope) do
      {:ok, reference}
    else
      _ -> :later
    end
  end

  defp sender(nil), do: Cluster.Membership
  defp sender(scope), do: Scope.process(scope, Overlay)

  defp subscribe(nil), do: Cluster.subscribe()
  defp subscribe(scope), do: Topology.subscribe(self(), cluster: scope)

  @doc "What an overlay tells, as membership tells it; nil for what is of no concern."
  @spec event(term, node) :: map | nil
  def event(:up, node), do: %{event: :joined, node: node}
  def event({:down, :silent}, node), do: %{event: :unreachable, node: node}
  def event(:left, node), do: %{event: :left, node: node, reason: {:goodbye, :left}}
  def event(_other, _node), do: nil

  @doc "The members that are up, this node among them."
  @spec nodes(Scope.t()) :: [node]
  def nodes(nil), do: Cluster.nodes()
  def nodes(scope), do: Enum.sort([node() | Enum.map(Topology.members(cluster: scope), & &1.node)])

  @doc "When each of them started, as far as it said so; what was known before stays."
  @spec boots(Scope.t(), %{node => integer | nil}) :: %{node => integer | nil}
  def boots(nil, known), do: Map.merge(known, Map.new(nodes(nil), &{&1, Cluster.Membership.boot(&1)}))

  def boots(scope, known) do
    members = Map.new(Topology.members(cluster: scope), &{&1.node, &1.boot})

    case Fabric.info(cluster: scope) do
      {:ok, %{boot: boot}} -> known |> Map.merge(members) |> Map.put(node(), boot)
      {:error, :not_running} -> Map.merge(known, members)
    end
  end

  @doc "When a member started that was here a moment ago, where that can be asked still."
  @spec boot(Scope.t(), node) :: integer | nil
  def boot(nil, node), do: Cluster.Membership.boot(node)
  def boot(_scope, _node), do: nil

  @doc "Sees to it that a lost node is tried again, or no more."
  @spec keep_trying(Scope.t(), node, boolean) :: term
  def keep_trying(nil, node, true), do: Connector.keep_trying(@topology, node)
  def keep_trying(nil, node, false), do: Connector.give_up_trying(@topology, node)
  def keep_trying(_scope, _node, _), do: :ok
end
