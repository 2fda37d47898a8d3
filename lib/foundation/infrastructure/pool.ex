defmodule Foundation.Infrastructure.Pool do
  @moduledoc """
  Shares a number of worker processes among many callers.

  An idle worker is checked out and in by one native call each, in the caller: no process is asked. Only when none is
  idle does a caller wait, first come first served, until a worker is handed to it by message. A process of the
  pool's own starts, checks and stops the workers.

      {:ok, _} = Pool.start_link(name: :parsers, worker: {Parser, []}, min: 2, max: 8, linger_ms: 30_000)
      {:ok, tree} = Pool.with_worker(:parsers, fn parser -> Parser.parse(parser, text) end)

  When a client dies, its place in the queue or its worker comes back at once, without a monitor: the lease is held by
  the client's heap alone and goes with it. When a worker dies, it is replaced.

  Telemetry of `with_worker/3`: `[:foundation, :pool, :checkout]` with `wait`, `[:foundation, :pool, :checkin]` with
  `hold` (both native time units) and `[:foundation, :pool, :refused]` with `counter: 1`; metadata `pool`, `reason`.
  `status/1` has counts, means and maxima of both times.

  ## Scheduling

  `checkout/2` and `checkin/1` make one native call on a normal scheduler (two when it has to wait), O(1) and
  O(log waiting). What concerns the workers is done by the pool's process.
  """

  alias Foundation.{Engine, Native, Telemetry}
  alias Foundation.Infrastructure.Pool.Keeper

  @type name :: term
  @typedoc "The right to a worker; belongs to the process that checked it out."
  @opaque lease :: reference
  @type refusal :: :timeout | :full | :closed | :not_found | :not_running

  @timeout_ms 5_000

  @doc """
  Starts a pool, linked to the caller.

  Options, times in milliseconds:

    * `name` (needed): any term; `register: atom` registers the pool's process locally, too
    * `worker` (needed): `{module, argument}` for `module.start_link(argument)`, or a function of no argument that
      returns `{:ok, pid}` of a linked process
    * `min` (5), `max` (`min`): how many workers are kept, and how many there may be when callers wait
    * `linger_ms` (5_000): how long a worker above `min` stays idle before it is stopped; 0 stops it at once
    * `max_waiting` (10_000): how many callers may wait
    * `strategy` (`:lifo`): hand out the worker that came back last, or (`:fifo`) has been idle longest
    * `health_check`: a function of an idle worker's pid; a worker for which it is not true, or that makes it crash or
      take longer than `health_timeout_ms` (5_000), is replaced. Every idle worker is checked each
      `health_interval_ms` (30_000)
    * `on_client_down` (`:return`): what becomes of a worker whose client died: it is used again, or (`:replace`) it is
      replaced

  Errors: `{:invalid_option, name, value}`, `:name_taken`, `:not_running`, and what starting a worker returns.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  defdelegate start_link(options), to: Keeper

  @doc false
  def child_spec(options) do
    %{
      id: {__MODULE__, options[:name]},
      start: {__MODULE__, :start_link, [options]},
      restart: :transient,
      shutdown: 10_000
    }
  end

  @doc """
  Takes a worker out of the pool, waiting up to `timeout` ms (5,000, or `:infinity`) for one.

  Errors: `:timeout`, `:full` (as many wait as may), `:closed` (the pool is stopping or draining), `:not_found`,
  `:not_running`.
  """
  @spec checkout(name, timeout) :: {:ok, pid, lease} | {:error, refusal}
  def checkout(name, timeout \\ @timeout_ms) do
    case Engine.handle(:pools) do
      nil ->
        {:error, :not_running}

      pools ->
        case Native.pool_checkout(pools, name) do
          {worker, lease} -> {:ok, worker, lease}
          :empty when timeout == 0 -> {:error, :timeout}
          :empty -> wait(pools, name, timeout)
          other -> refused(other)
        end
    end
  end

  defp wait(pools, name, timeout) do
    tag = make_ref()
    deadline = if timeout == :infinity, do: :infinity, else: now() + timeout

    case Native.pool_wait(pools, name, tag) do
      {:queued, lease} ->
        receive do
          {^tag, answer} -> answered(answer, tag, lease, deadline)
        after
          timeout -> give_up(tag, lease)
        end

      {worker, lease} ->
        {:ok, worker, lease}

      other ->
        refused(other)
    end
  end

  # :wake means that a worker is idle; when somebody else was faster, the next one is handed over.
  defp answered(:wake, tag, lease, deadline) do
    case Native.pool_retry(lease) do
      nil ->
        receive do
          {^tag, answer} -> answered(answer, tag, lease, deadline)
        after
          if(deadline == :infinity, do: :infinity, else: max(deadline - now(), 0)) -> give_up(tag, lease)
        end

      worker ->
        {:ok, worker, lease}
    end
  end

  defp answered(:closed, _tag, _lease, _deadline), do: {:error, :closed}
  defp answered(worker, _tag, lease, _deadline), do: {:ok, worker, lease}

  defp give_up(tag, lease) do
    if Native.pool_cancel(lease) do
      {:error, :timeout}
    else
      # An answer has been sent, and nothing of it may stay in the mailbox.
      receive do
        {^tag, answer} -> answered(answer, tag, lease, now())
      end
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp refused(:missing), do: {:error, :not_found}
  defp refused(reason), do: {:error, reason}

  @doc "Gives a worker back. A lease counts once: `{:error, :released}` when it was back already, or its worker is dead."
  @spec checkin(lease) :: :ok | {:error, :released}
  def checkin(lease) do
    if Native.pool_checkin(lease), do: :ok, else: {:error, :released}
  end

  @doc """
  Runs `fun` with a worker, in the caller, and gives the worker back whatever happens: `{:ok, value}`.

  A raise, throw or exit of `fun` goes on. Option `timeout` as in `checkout/2`; errors as there.
  """
  @spec with_worker(name, (pid -> value), keyword) :: {:ok, value} | {:error, refusal} when value: var
  def with_worker(name, fun, options \\ []) when is_function(fun, 1) do
    asked = System.monotonic_time()

    case checkout(name, Keyword.get(options, :timeout, @timeout_ms)) do
      {:ok, worker, lease} ->
        got = System.monotonic_time()
        Telemetry.execute([:foundation, :pool, :checkout], %{wait: got - asked}, %{pool: name})

        try do
          {:ok, fun.(worker)}
        after
          checkin(lease)
          hold = System.monotonic_time() - got
          Telemetry.execute([:foundation, :pool, :checkin], %{hold: hold}, %{pool: name})
        end

      {:error, reason} = error ->
        Telemetry.execute([:foundation, :pool, :refused], %{counter: 1}, %{pool: name, reason: reason})
        error
    end
  end

  @doc """
  Counts (`min`, `max`, `workers`, `idle`, `busy`, `aside` (being checked), `starting`, `waiting`), `draining`, and
  `wait` and `hold`: maps of `count`, `mean_us`, `max_us` since the pool started. O(1).
  """
  @spec status(name) :: {:ok, map} | {:error, :not_found | :not_running}
  def status(name) do
    case Engine.handle(:pools) do
      nil ->
        {:error, :not_running}

      pools ->
        case Native.pool_view(pools, name) do
          :missing -> {:error, :not_found}
          view -> {:ok, view}
        end
    end
  end

  @doc "Changes how many workers are kept and allowed. Idle workers above the new bounds go after `linger_ms`."
  @spec resize(GenServer.server(), non_neg_integer, non_neg_integer) :: :ok | {:error, :invalid_bounds}
  def resize(pool, min, max) do
    if is_integer(min) and is_integer(max) and min >= 0 and max >= max(min, 1) and max < 1_000_000,
      do: GenServer.call(pool, {:resize, min, max}),
      else: {:error, :invalid_bounds}
  end

  @doc """
  Hands out nothing more, serves those who wait, and stops the pool when the last worker is back.

  `pool` is the pool's process. `{:error, {:busy, n}}` when `n` workers are still out after `timeout` ms; the pool
  then stays closed and can be drained again or stopped.
  """
  @spec drain(GenServer.server(), timeout) :: :ok | {:error, {:busy, non_neg_integer}}
  def drain(pool, timeout \\ 30_000), do: GenServer.call(pool, {:drain, timeout}, :infinity)

  @doc "Stops the pool and its workers; who waits is answered `{:error, :closed}`."
  @spec stop(GenServer.server()) :: :ok
  def stop(pool), do: GenServer.stop(pool, :normal, :infinity)
end
