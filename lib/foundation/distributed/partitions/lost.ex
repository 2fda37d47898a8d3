defmodule Foundation.Distributed.Partitions.Lost do
  @moduledoc false
  # The members that went without a goodbye: since when, whether long enough to count, and when they had started.

  @type t :: %{node => %{since: integer, counts: boolean, boot: integer | nil}}

  @spec new() :: t
  def new, do: %{}

  @spec add(t, node, integer | nil) :: {t, integer}
  def add(lost, node, boot) do
    lost = Map.put_new(lost, node, %{since: System.monotonic_time(), counts: false, boot: boot})
    {lost, lost[node].since}
  end

  @spec remove(t, node) :: t
  def remove(lost, node), do: Map.delete(lost, node)

  @spec confirm(t, node) :: {t, integer}
  def confirm(lost, node), do: {put_in(lost[node].counts, true), lost[node].since}

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

  @doc "When each of the lost had started, over what is known of all."
  @spec boots(t, %{node => integer | nil}) :: %{node => integer | nil}
  def boots(lost, known), do: Map.merge(known, Map.new(lost, fn {node, %{boot: boot}} -> {node, boot} end))
end
