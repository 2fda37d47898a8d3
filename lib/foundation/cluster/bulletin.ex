defmodule Foundation.Cluster.Bulletin do
  @moduledoc false
  # Numbers the cluster's events and tells them: to subscribers, telemetry and the log. Called by membership alone, so that
  # there is one order.

  alias Foundation.Cluster.{Membership, Table}
  alias Foundation.Telemetry

  require Logger

  @spec tell(Foundation.Cluster.event(), node, term) :: :ok
  def tell(event, node, reason) do
    Logger.info("[cluster] #{node} #{event}: #{inspect(reason)}")
    message = message(Table.next_seq(), event, node, reason)
    for {pid, events} <- Table.all(:subscriber), wanted?(events, event), do: send(pid, message)

    Telemetry.execute([:foundation, :cluster, event], %{size: length(Membership.nodes())}, %{
      node: node,
      reason: reason
    })
  end

  @doc "Tells a new subscriber what is so already."
  @spec tell_present(pid, :all | [Foundation.Cluster.event()]) :: :ok
  def tell_present(pid, events) do
    seq = Table.get(:seq, 0)
    up = for {node, %{state: :up}} <- Table.all(:member), do: {:joined, node, :present}
    draining = for {node, info} <- Table.all(:draining), do: {:draining, node, info.reason}

    for {event, node, reason} <- up ++ draining,
        wanted?(events, event),
        do: send(pid, message(seq, event, node, reason))

    :ok
  end

  defp message(seq, event, node, reason) do
    {:foundation_cluster,
     %{seq: seq, event: event, node: node, reason: reason, at: System.system_time(:millisecond)}}
  end

  defp wanted?(:all, _event), do: true
  defp wanted?(events, event), do: event in events
end
