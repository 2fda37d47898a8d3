defmodule Foundation.Distributed.Partitions.Lost do
  @moduledoc false
  # The members that went without a goodbye: since when, whether long enough to count, and when they had started. Each is
  # claimed from the cluster's connector as long as it is here, so that connecting to it is tried on.

  alias Foundation.Cluster
  alias Foundation.Cluster.Connector

  @topology :partition_healing

  @type t :: %{node => %{since: integer, counts: boolean, boot: integer | nil}}

  @spec new() :: t
  def new, do: %{}

  @spec add(t, node) :: {t, integer}
  def add(lost, node) do
    since = System.monotonic_time()
    Connector.keep_trying(@topology, node)

    {Map.put_new(lost, node, %{since: since, counts: false, boot: boot(node)}),
     Map.get(lost, node, %{since: since}).since}
  end

  @spec remove(t, node) :: t
  def remove(lost, node) do
    Connector.give_up_trying(@topology, node)
    Map.delete(lost, node)
  end

  @spec confirm(t, node) :: {t, integer}
  def confirm(lost, node), do: {put_in(lost[node].counts, true), lost[node].since}

  @spec release(t) :: :ok
  def release(lost), do: Enum.each(lost, fn {node, _} -> Connector.give_up_trying(@topology, node) end)

  def member?(lost, node), do: Map.has_key?(lost, node)
  def since?(lost, node, since), do: match?(%{^node => %{since: ^since}}, lost)
  def unconfirmed?(lost, node, since), do: match?(%{^node => %{since: ^since, counts: false}}, lost)

  @doc "Those that count, in order: once one has been away long enough, all that are away."
  @spec counted(t) :: [node]
  def counted(lost) do
    if Enum.any?(lost, fn {_, %{counts: counts}} -> counts end),
      do: lost |> Map.keys() |> Enum.sort(),
      else: []
  end

  @doc "When each started, as far as it said so."
  @spec boots(t, [node]) :: %{node => integer | nil}
  def boots(lost, here) do
    Map.new(here, &{&1, boot(&1)}) |> Map.merge(Map.new(lost, fn {node, %{boot: boot}} -> {node, boot} end))
  end

  defp boot(node), do: Cluster.Membership.boot(node)
end
