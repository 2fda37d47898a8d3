defmodule Foundation.Cluster.Drain do
  @moduledoc false
  # Empties this node: says so to all, lets what is registered finish until the deadline, says goodbye, leaves. Also keeps what
  # a drain waits for, and who drains in the clusters of fabrics, whose rows what stands above writes.

  alias Foundation.Cluster.{Connector, Membership, Peering}
  alias Foundation.HealthCheck

  require Logger

  @farewell_ms 1_000

  @type result :: :ok | {:error, {:deadline, [term]} | {:failed, [term]} | :resumed}

  # What a drain waits for outlives the cluster: who registers before it is started must not be missed by it.
  #
  #   {{:hook, cluster, name}, fun}                is waited for; the cluster is nil for the main one
  #   {{:draining, cluster, node}, phase, info}    in a cluster of fabrics, as the node says
  #   {:follower, pid}                             hears when this node drains in the main cluster, or no more
  @table :foundation_drain

  @type cluster :: atom | nil
  @type info :: %{phase: :draining | :left, reason: term, since: integer, timeout: pos_integer}

  @doc "Makes the table; the caller owns it."
  @spec create() :: :ok
  def create do
    @table = :ets.new(@table, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "Keeps a function to be run when this node is drained; the last one of a name counts."
  @spec register(cluster, term, (() -> term)) :: boolean
  def register(cluster, name, fun), do: there?() and :ets.insert(@table, {{:hook, cluster, name}, fun})

  @spec unregister(cluster, term) :: boolean
  def unregister(cluster, name), do: there?() and :ets.delete(@table, {:hook, cluster, name})

  defp there?, do: :ets.whereis(@table) != :undefined

  defp hooks(cluster), do: :ets.select(@table, [{{{:hook, cluster, :"$1"}, :"$2"}, [], [{{:"$1", :"$2"}}]}])

  @doc "Notes that a node drains in a cluster of fabrics: false when that is known already."
  @spec note(cluster, node, info) :: boolean
  def note(cluster, node, info),
    do: there?() and :ets.insert_new(@table, {{:draining, cluster, node}, info.phase, info})

  @doc "The node has left: false when it no longer drains."
  @spec note_left(cluster, node) :: boolean
  def note_left(cluster, node), do: :ets.update_element(@table, {:draining, cluster, node}, {2, :left})

  @spec unnote(cluster, node) :: boolean
  def unnote(cluster, node), do: there?() and :ets.delete(@table, {:draining, cluster, node})

  @doc "What a node has said of its drain; nil when it does not drain. O(1), no message."
  @spec noted(cluster, node) :: info | nil
  def noted(cluster, node) do
    case there?() && :ets.lookup(@table, {:draining, cluster, node}) do
      [{_key, phase, info}] -> %{info | phase: phase}
      _ -> nil
    end
  end

  @doc "Sends that process `{:foundation_drain, info | nil}` when this node begins to drain in the main cluster, or goes on."
  @spec follow(pid) :: boolean
  def follow(pid), do: there?() and :ets.insert(@table, {:follower, pid})

  defp tell_follower(info) do
    case there?() && :ets.lookup(@table, :follower) do
      [{_, pid}] -> send(pid, {:foundation_drain, info})
      _ -> nil
    end
  end

  @spec run(term, pos_integer) :: result
  def run(reason, timeout) do
    info = info(reason, timeout)

    case begin(info) do
      :ok -> finish_and_leave(info)
      {:error, %{phase: :left}} -> :ok
      {:error, _draining} -> wait_for_other(&main_phase/0, System.monotonic_time(:millisecond) + timeout)
    end
  end

  @doc "The same for a caller on another node, who hears of the outcome before the connection ends."
  @spec run_for_other(term, pos_integer) :: result
  def run_for_other(reason, timeout) do
    info = info(reason, timeout)

    case begin(info) do
      :ok -> finish_for_other(info)
      {:error, %{phase: :left}} -> :ok
      {:error, _draining} -> wait_for_other(&main_phase/0, System.monotonic_time(:millisecond) + timeout)
    end
  end

  @doc "Says goodbye, waits until the others have heard it, and closes the connections."
  @spec part(term) :: :ok
  def part(reason) do
    members = Membership.leave(reason)
    farewells(MapSet.new(members), System.monotonic_time(:millisecond) + @farewell_ms)
    Peering.close_all(members)
  end

  @doc "What is said of a drain that begins now."
  @spec info(term, pos_integer) :: info
  def info(reason, timeout),
    do: %{phase: :draining, reason: reason, since: System.system_time(:millisecond), timeout: timeout}

  # Who asks for this node's health hears of it too.
  defp begin(info) do
    with :ok <- Membership.drain(info) do
      tell_follower(info)
      HealthCheck.drain(true)
    end
  end

  defp finish_and_leave(%{timeout: timeout} = info) do
    result = finish(nil, timeout)
    with :ok <- leave(info), do: result
  end

  defp finish_for_other(%{timeout: timeout} = info) do
    answering = self()
    result = finish(nil, timeout)

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

  defp main_phase do
    cond do
      Membership.left?() -> :left
      Membership.draining?(node()) -> :draining
      true -> nil
    end
  end

  @doc "Somebody drains already; what they wait for is waited for, as long as the function says `:draining`."
  @spec wait_for_other((() -> :draining | :left | nil), integer) :: result
  def wait_for_other(phase, deadline) do
    case phase.() do
      :left ->
        :ok

      nil ->
        {:error, :resumed}

      :draining ->
        if System.monotonic_time(:millisecond) > deadline,
          do: {:error, {:deadline, []}},
          else: look_again(phase, deadline)
    end
  end

  defp look_again(phase, deadline) do
    receive do
    after
      10 -> wait_for_other(phase, deadline)
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
    tell_follower(nil)
    HealthCheck.drain(false)
    Connector.retry_all()
  end

  @doc "Runs what is waited for when this node is drained in that cluster, all at once; what is not done at the deadline is ended."
  @spec finish(cluster, pos_integer) :: :ok | {:error, {:deadline, [term]} | {:failed, [term]}}
  def finish(cluster, timeout), do: cluster |> hooks() |> run_all(timeout)

  defp run_all([], _timeout), do: :ok

  defp run_all(functions, timeout) do
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
