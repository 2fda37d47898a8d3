defmodule Foundation.Cluster.Drain do
  @moduledoc false
  # Empties this node: says so to all, lets what is registered finish until the deadline, says goodbye, leaves.

  alias Foundation.Cluster.{Connector, Membership, Peering}
  alias Foundation.HealthCheck

  require Logger

  @farewell_ms 1_000

  @type result :: :ok | {:error, {:deadline, [term]} | {:failed, [term]} | :resumed}

  # What a drain waits for outlives the cluster: who registers before it is started must not be missed by it.
  @hooks :foundation_drain_hooks

  @doc "Makes the table of what a drain waits for; the caller owns it."
  @spec create() :: :ok
  def create do
    @hooks = :ets.new(@hooks, [:named_table, :public])
    :ok
  end

  @doc "Keeps a function to be run when this node is drained; the last one of a name counts."
  @spec register(term, (() -> term)) :: boolean
  def register(name, fun), do: :ets.whereis(@hooks) != :undefined and :ets.insert(@hooks, {name, fun})

  @spec unregister(term) :: boolean
  def unregister(name), do: :ets.whereis(@hooks) != :undefined and :ets.delete(@hooks, name)

  @spec run(term, pos_integer) :: result
  def run(reason, timeout) do
    info = info(reason, timeout)

    case begin(info) do
      :ok -> finish_and_leave(info)
      {:error, %{phase: :left}} -> :ok
      {:error, _draining} -> wait_for_other(System.monotonic_time(:millisecond) + timeout)
    end
  end

  @doc "The same for a caller on another node, who hears of the outcome before the connection ends."
  @spec run_for_other(term, pos_integer) :: result
  def run_for_other(reason, timeout) do
    info = info(reason, timeout)

    case begin(info) do
      :ok -> finish_for_other(info)
      {:error, %{phase: :left}} -> :ok
      {:error, _draining} -> wait_for_other(System.monotonic_time(:millisecond) + timeout)
    end
  end

  @doc "Says goodbye, waits until the others have heard it, and closes the connections."
  @spec part(term) :: :ok
  def part(reason) do
    members = Membership.leave(reason)
    farewells(MapSet.new(members), System.monotonic_time(:millisecond) + @farewell_ms)
    Peering.close_all(members)
  end

  defp info(reason, timeout),
    do: %{phase: :draining, reason: reason, since: System.system_time(:millisecond), timeout: timeout}

  # Who asks for this node's health hears of it too.
  defp begin(info) do
    with :ok <- Membership.drain(info), do: HealthCheck.drain(true)
  end

  defp finish_and_leave(%{timeout: timeout} = info) do
    result = finish(:ets.tab2list(@hooks), timeout)
    with :ok <- leave(info), do: result
  end

  defp finish_for_other(%{timeout: timeout} = info) do
    answering = self()
    result = finish(:ets.tab2list(@hooks), timeout)

    spawn(fn ->
      reference = Process.monitor(answering)
      receive do: ({:DOWN, ^reference, _, _, _} -> leave(info))
    end)

    result
  end

  defp leave(info) do
    case Membership.drain(%{info | phase: :left}) do
      :ok -> part(info.reason)
      {:error, _} -> {:error, :resumed}
    end
  end

  # Somebody drains already; what they wait for is waited for.
  defp wait_for_other(deadline) do
    cond do
      Membership.left?() ->
        :ok

      not Membership.draining?(node()) ->
        {:error, :resumed}

      System.monotonic_time(:millisecond) > deadline ->
        {:error, {:deadline, []}}

      true ->
        receive do
        after
          10 -> wait_for_other(deadline)
        end
    end
  end

  defp farewells(members, deadline) do
    if MapSet.size(members) > 0 do
      receive do
        {:farewell, node} -> farewells(MapSet.delete(members, node), deadline)
      after
        max(deadline - System.monotonic_time(:millisecond), 0) -> :ok
      end
    end
  end

  @doc "Takes the drain back."
  @spec resume() :: :ok
  def resume do
    Membership.drain(nil)
    HealthCheck.drain(false)
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
