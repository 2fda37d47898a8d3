defmodule Foundation.MABEAM.Coordination.Table do
  @moduledoc false
  # The protocols there are, the sessions that run, and for a minute the results of those that nobody waited for.

  @protocols Foundation.MABEAM.Coordination.Protocols
  @sessions Foundation.MABEAM.Coordination.Running
  @results Foundation.MABEAM.Coordination.Results
  @keep_ms 60_000
  @grace_ms 1_000

  def create do
    :ets.new(@protocols, [:named_table, :public, read_concurrency: true])
    :ets.new(@sessions, [:named_table, :public, write_concurrency: true])
    :ets.new(@results, [:named_table, :public, write_concurrency: true])
    :ok
  end

  @spec there?() :: boolean
  def there?, do: :ets.whereis(@protocols) != :undefined

  @spec add_protocol(atom, module) :: boolean
  def add_protocol(name, module), do: :ets.insert_new(@protocols, {name, module})

  @spec protocol(atom) :: {:ok, module} | {:error, {:unknown_protocol, term}}
  def protocol(name) do
    case :ets.lookup(@protocols, name) do
      [{_name, module}] -> {:ok, module}
      [] -> {:error, {:unknown_protocol, name}}
    end
  end

  @spec protocols() :: [{atom, module}]
  def protocols, do: @protocols |> :ets.tab2list() |> Enum.sort()

  @doc "A session runs, until that time (ms, monotonic) at most."
  def began(id, pid, deadline), do: :ets.insert(@sessions, {id, pid, deadline})

  @doc "It ended; what nobody waits for is kept."
  def ended(id, kept) do
    with {:result, result} <- kept, do: :ets.insert(@results, {id, result, now() + @keep_ms})
    :ets.delete(@sessions, id)
  end

  @spec session(String.t()) :: {:running, pid} | {:ended, term} | {:error, :not_found | :not_running}
  def session(id) do
    case :ets.lookup(@sessions, id) do
      [{_id, pid, _deadline}] -> {:running, pid}
      [] -> result(id)
    end
  rescue
    ArgumentError -> {:error, :not_running}
  end

  @spec result(String.t()) :: {:ended, term} | {:error, :not_found}
  def result(id) do
    case :ets.lookup(@results, id) do
      [{_id, result, _until}] -> {:ended, result}
      [] -> {:error, :not_found}
    end
  end

  @spec running() :: non_neg_integer
  def running, do: :ets.info(@sessions, :size)

  @doc "Ends sessions whose protocol does not come back, and forgets what is old."
  def sweep do
    for {id, pid, deadline} <- :ets.tab2list(@sessions),
        not Process.alive?(pid) or deadline + @grace_ms < now() do
      Process.exit(pid, :kill)
      ended(id, {:result, {:error, :session_died}})
    end

    :ets.select_delete(@results, [{{:_, :_, :"$1"}, [{:<, :"$1", now()}], [true]}])
  end

  defp now, do: System.monotonic_time(:millisecond)
end
