defmodule Foundation.Cluster.Drain do
  @moduledoc false
  # Empties this node: says so to all, lets what is registered finish until the deadline, says goodbye, leaves.

  alias Foundation.Cluster.{Connector, Membership, Table}

  require Logger

  @type result :: :ok | {:error, {:deadline, [term]}} | {:error, {:failed, [term]}}

  @doc "Keeps a function to be run when this node is drained; the last one of a name counts."
  @spec register(term, (() -> term)) :: boolean
  def register(name, fun), do: Table.put({:on_drain, name}, fun)

  @spec unregister(term) :: boolean
  def unregister(name), do: Table.delete({:on_drain, name})

  @spec run(term, pos_integer) :: result
  def run(reason, timeout) do
    info = %{phase: :draining, reason: reason, since: System.system_time(:millisecond), timeout: timeout}
    Membership.drain(info)
    result = finish(Table.all(:on_drain), timeout)
    Membership.drain(%{info | phase: :left})
    Membership.leave(reason)
    result
  end

  @doc "Takes the drain back."
  @spec resume() :: :ok
  def resume do
    Membership.drain(nil)
    Connector.retry_all()
  end

  # All at once; what is not done at the deadline is ended.
  defp finish([], _timeout), do: :ok

  defp finish(functions, timeout) do
    tasks = Enum.map(functions, fn {name, fun} -> {name, spawn_monitor(fun)} end)
    deadline = System.monotonic_time(:millisecond) + timeout
    outcomes = Enum.map(tasks, fn {name, task} -> {name, wait(task, deadline)} end)

    case {for({name, :late} <- outcomes, do: name), for({name, {:failed, _}} <- outcomes, do: name)} do
      {[], []} ->
        :ok

      {[], failed} ->
        Logger.error("[cluster] while draining failed: #{inspect(failed)}")
        {:error, {:failed, failed}}

      {late, _} ->
        Logger.error("[cluster] not done when the drain's #{timeout} ms were over: #{inspect(late)}")
        {:error, {:deadline, late}}
    end
  end

  defp wait({pid, reference}, deadline) do
    receive do
      {:DOWN, ^reference, _, _, :normal} -> :done
      {:DOWN, ^reference, _, _, reason} -> {:failed, reason}
    after
      max(deadline - System.monotonic_time(:millisecond), 0) ->
        Process.demonitor(reference, [:flush])
        Process.exit(pid, :kill)
        :late
    end
  end
end
