defmodule Foundation.Cluster.Readiness do
  @moduledoc false
  # When a cluster is large enough to begin.

  alias Foundation.Cluster.{Membership, Table}

  # A strategy written for libcluster does not report; so long it is waited for.
  @silent_ms 1_000

  @type condition :: pos_integer | :majority

  @doc "Whether the condition holds now."
  @spec ready?(condition, map) :: boolean
  def ready?(condition, options) do
    standing = standing(condition, options)
    standing.waiting_for == [] and standing.size >= standing.wanted
  end

  @doc "How far it is: members, members wanted, and the strategies that have not answered yet."
  @spec standing(condition, map) :: %{size: pos_integer, wanted: pos_integer, waiting_for: [atom]}
  def standing(condition, _options) when is_integer(condition),
    do: %{size: length(Membership.nodes()), wanted: condition, waiting_for: []}

  def standing(:majority, options) do
    size = length(Membership.nodes())
    %{size: size, wanted: div(expected(options), 2) + 1, waiting_for: silent()}
  end

  # All that any strategy has found, and all that are here.
  defp expected(%{expected_size: size}) when is_integer(size), do: size

  defp expected(_options) do
    members = for {node, _} <- Table.all(:member), do: node
    found = for {_, report} <- Table.all(:report), node <- report.nodes, do: node
    [node() | members ++ found ++ Table.claimed()] |> Enum.reject(&left?/1) |> Enum.uniq() |> length()
  end

  defp left?(node), do: node != node() and Membership.draining?(node) and Table.get({:member, node}) == nil

  defp silent do
    now = System.monotonic_time(:millisecond)

    for {topology, strategy} <- Table.all(:strategy),
        Table.get({:report, topology}) == nil,
        strategy.status == :starting or now - strategy.since < @silent_ms,
        do: topology
  end
end
