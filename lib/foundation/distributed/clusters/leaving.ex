defmodule Foundation.Distributed.Clusters.Leaving do
  @moduledoc false
  # Empties this node of what it does in one joined cluster, and takes it out of that one alone: its members hear of it, what
  # is registered finishes, the fabric says goodbye and is stopped. Its supervisor keeps what it is started again with.

  alias Foundation.Cluster.Drain
  alias Foundation.Distributed.Clusters
  alias Foundation.Distributed.Clusters.Roll
  alias Foundation.Distributed.Fabric

  @spec drain(atom, term, pos_integer) :: Drain.result() | {:error, :not_joined}
  def drain(cluster, reason, timeout) do
    info = Drain.info(reason, timeout)

    cond do
      Drain.noted(cluster, node()) != nil -> wait(cluster, timeout)
      Fabric.handle(cluster) == nil -> {:error, :not_joined}
      not Drain.note(cluster, node(), info) -> wait(cluster, timeout)
      true -> empty(cluster, info)
    end
  end

  defp wait(cluster, timeout),
    do: Drain.wait_for_other(fn -> phase(cluster) end, System.monotonic_time(:millisecond) + timeout)

  defp phase(cluster) do
    with %{phase: phase} <- Drain.noted(cluster, node()), do: phase
  end

  defp empty(cluster, info) do
    Roll.tell(cluster, info)
    result = Drain.finish(cluster, info.timeout)

    if Drain.note_left(cluster, node()) do
      Clusters.stop(cluster)
      result
    else
      {:error, :resumed}
    end
  end

  @doc "Makes it a member again."
  @spec resume(atom) :: :ok | {:error, term}
  def resume(cluster) do
    phase = phase(cluster)
    Drain.unnote(cluster, node())

    case phase do
      :left -> Clusters.start_again(cluster)
      :draining -> Roll.tell(cluster, nil)
      nil -> if(Fabric.handle(cluster), do: :ok, else: {:error, :not_joined})
    end
  end
end
