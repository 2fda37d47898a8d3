defmodule Foundation.MABEAM.Coordination.Durable do
  @moduledoc false
  # A session that runs once in the cluster and, when its node dies, again on another; whose outcome is decided once, by the
  # coordination group. Its process is a child of the supervisor that has agents placed.

  use GenServer, restart: :transient

  alias Foundation.Distributed.Consensus
  alias Foundation.DistributedSupervisor
  alias Foundation.MABEAM.{Coordination, Replicas}
  alias Foundation.MABEAM.Coordination.Auction.{Payment, Rules}
  alias Foundation.Utils

  @supervisor Foundation.MABEAM.Placed
  @group :foundation
  @poll_ms 20
  # How long another node may take to go on with it.
  @takeover_ms 30_000

  # -- for those who ask ----------------------------------------------------------------------------------------------

  def coordinate(protocol, agents, problem, opts) do
    {async, opts} = Keyword.pop(opts, :async, false)
    timeout = Keyword.get(opts, :timeout, 5_000)
    id = "durable-" <> Utils.generate_correlation_id()
    due = System.system_time(:millisecond) + timeout

    with {:ok, problem} <- payable(protocol, problem, id),
         what = %{id: id, protocol: protocol, agents: agents, problem: problem, opts: opts, due: due},
         :ok <- begin(what) do
      if async, do: {:ok, id}, else: await(id, timeout + @takeover_ms)
    end
  end

  # What is paid is paid once, whichever life of the session pays it: in a ledger that outlives them all.
  defp payable(protocol, %{accounts: true} = problem, id) when not is_struct(problem) do
    cond do
      protocol not in Rules.kinds() -> {:ok, problem}
      Replicas.nodes() == nil -> {:error, :no_replicas}
      true -> {:ok, Map.put(problem, :once, id)}
    end
  end

  defp payable(_protocol, problem, _id), do: {:ok, problem}

  defp begin(%{id: id} = what) do
    if Process.whereis(@supervisor) do
      case DistributedSupervisor.start_child(@supervisor, {__MODULE__, what}, name: {:session, id}) do
        {:ok, _pid} -> :ok
        {:error, :timeout} -> :ok
        # It was over before the supervisor looked.
        {:error, {:start_failed, :ended}} -> :ok
        {:error, reason} -> {:error, reason}
      end
    else
      {:error, :no_placement}
    end
  catch
    :exit, _ -> {:error, :no_placement}
  end

  def await(id, timeout), do: poll(id, deadline(timeout))

  defp poll(id, deadline) do
    case outcome(id) do
      {:error, :not_found} -> again(id, deadline, :timeout)
      {:error, reason} when reason in [:no_leader, :timeout, :busy] -> again(id, deadline, reason)
      {:error, reason} -> {:error, reason}
      {:ok, result} -> result
    end
  end

  defp again(id, deadline, reason) do
    if deadline != :infinity and now() >= deadline do
      {:error, reason}
    else
      receive do
      after
        @poll_ms -> poll(id, deadline)
      end
    end
  end

  def status(id) do
    case outcome(id) do
      {:ok, _result} -> {:ok, %{status: :ended}}
      {:error, :not_found} -> running(id)
      error -> error
    end
  end

  defp running(id) do
    case DistributedSupervisor.whereis(@supervisor, {:session, id}) do
      nil -> {:error, :not_found}
      pid -> {:ok, %{status: :running, node: node(pid)}}
    end
  catch
    _kind, _reason -> {:error, :not_found}
  end

  # Whoever is first has decided. What was paid for cannot be called off any more.
  def cancel(id) do
    with :ok <- if(Replicas.nodes(), do: Payment.call_off(id), else: :ok), do: called_off(id)
  end

  defp called_off(id) do
    case decide(id, {:error, :cancelled}) do
      {:ok, {:error, :cancelled}} ->
        _ = DistributedSupervisor.terminate_child(@supervisor, {:session, id})
        :ok

      {:ok, _ended} ->
        {:error, :not_found}

      error ->
        error
    end
  end

  def forget(id), do: with({:ok, _} <- Consensus.propose({:delete, key(id)}), do: :ok)

  defp outcome(id), do: Consensus.get_value(@group, key(id), [])

  defp decide(id, result) do
    case Consensus.propose({:put, key(id), result, :absent}) do
      {:ok, _version} -> {:ok, result}
      {:error, {:conflict, _version, decided}} -> {:ok, decided}
      error -> error
    end
  end

  defp key(id), do: {:mabeam_session, id}

  # -- the process ----------------------------------------------------------------------------------------------------

  def start_link(what), do: GenServer.start_link(__MODULE__, what)

  @impl true
  def init(what), do: {:ok, what, {:continue, :live}}

  # The work is a process of its own, so that this one can be ended at any time.
  @impl true
  def handle_continue(:live, what) do
    case outcome(what.id) do
      {:ok, _decided} -> {:stop, :normal, what}
      _ -> {:noreply, Map.put(what, :task, Task.async(fn -> live(what) end))}
    end
  end

  defp live(what) do
    left = max(what.due - System.system_time(:millisecond), 1)
    opts = what.opts |> Keyword.delete(:durable) |> Keyword.put(:timeout, left)
    Coordination.live(what.id, what.protocol, what.agents, what.problem, opts)
  end

  @impl true
  def handle_info({reference, result}, %{task: %{ref: reference}} = what), do: settle(result, what)
  def handle_info({:settle, result}, what), do: settle(result, what)
  def handle_info(_other, what), do: {:noreply, what}

  defp settle(result, what) do
    case decide(what.id, result) do
      {:ok, _decided} ->
        {:stop, :normal, what}

      {:error, _reason} ->
        Process.send_after(self(), {:settle, result}, 200)
        {:noreply, what}
    end
  end

  @impl true
  def handle_call(_other, _from, what), do: {:reply, {:error, :unknown_request}, what}

  @impl true
  def handle_cast(_other, what), do: {:noreply, what}

  defp deadline(:infinity), do: :infinity
  defp deadline(ms), do: now() + ms
  defp now, do: System.monotonic_time(:millisecond)
end
