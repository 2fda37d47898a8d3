defmodule Foundation.Infrastructure.ConnectionManager do
  @moduledoc """
  Keeps named pools of connections: the 1.x interface.

  The pools are those of `Foundation.Infrastructure.Pool`; this process starts and stops them, and starts one again
  that crashed. Connections are checked out and used in the caller: neither a slow nor a crashing function concerns
  anybody else.

  Events, under `[:foundation, :foundation, :connection_pool, event]`: `:pool_started`, `:pool_stopped`, `:checkout`
  (`checkout_time`, native time units), `:checkin`, `:timeout` (`timeout`, ms); metadata `pool_name`, and `config` of
  `:pool_started`.

  ## Scheduling

  `with_connection/3` makes two native calls on a normal scheduler, `get_pool_status/1` one.
  """

  use GenServer
  require Logger
  alias Foundation.Infrastructure.Pool
  alias Foundation.Telemetry

  @type pool_name :: atom
  @type pool_config :: [
          size: non_neg_integer,
          max_overflow: non_neg_integer,
          worker_module: module,
          worker_args: term,
          strategy: :lifo | :fifo
        ]
  @type pool_status :: %{
          size: non_neg_integer,
          overflow: non_neg_integer,
          workers: non_neg_integer,
          waiting: non_neg_integer,
          monitors: non_neg_integer
        }

  @defaults [size: 5, max_overflow: 10, strategy: :lifo, worker_args: []]
  @pool_options [
    :linger_ms,
    :max_waiting,
    :health_check,
    :health_interval_ms,
    :health_timeout_ms,
    :on_client_down
  ]
  @start_timeout_ms 60_000

  @doc "Starts the manager, registered under its module name."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\ []), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc """
  Starts a pool, whose process is registered as `pool_name`.

  `size` (5) workers are started with `worker_module.start_link(worker_args)`, and up to `max_overflow` (10) more when
  callers wait; these are stopped as soon as nobody does. `strategy` is `:lifo` or `:fifo`. Options of
  `Foundation.Infrastructure.Pool.start_link/1` from `linger_ms` on are taken, too; `max_waiting` has no bound here
  unless given.

  Errors: `:already_exists`, `{:invalid_worker_module, module}`, `{:invalid_config, :size | :max_overflow, text}`, and
  the reason for which a worker or the pool did not start.
  """
  @spec start_pool(pool_name, pool_config) :: {:ok, pid} | {:error, term}
  def start_pool(pool_name, config),
    do: GenServer.call(__MODULE__, {:start_pool, pool_name, config}, @start_timeout_ms)

  @doc "Stops a pool and its workers."
  @spec stop_pool(pool_name) :: :ok | {:error, :not_found}
  def stop_pool(pool_name), do: GenServer.call(__MODULE__, {:stop_pool, pool_name}, @start_timeout_ms)

  @doc """
  Runs `fun` with a worker, in the caller: `{:ok, value}`. `timeout` (5,000 ms) is for getting the worker.

  Errors: `:pool_not_found`, `:checkout_timeout`, the exception that `fun` raised, the reason of its exit; a throw goes
  on. `:queue_full` where the pool was started with `max_waiting`.
  """
  @spec with_connection(pool_name, (pid -> term), timeout) :: {:ok, term} | {:error, term}
  def with_connection(pool_name, fun, timeout \\ 5_000) do
    asked = System.monotonic_time()

    case Pool.checkout(pool_name, timeout) do
      {:ok, worker, lease} ->
        emit(:checkout, %{checkout_time: System.monotonic_time() - asked}, pool_name)
        use_connection(pool_name, worker, lease, fun)

      {:error, reason} when reason in [:timeout, :closed] ->
        emit(:timeout, %{timeout: timeout}, pool_name)
        {:error, :checkout_timeout}

      {:error, :full} ->
        {:error, :queue_full}

      {:error, _not_found_or_not_running} ->
        {:error, :pool_not_found}
    end
  end

  defp use_connection(pool_name, worker, lease, fun) do
    {:ok, fun.(worker)}
  rescue
    exception -> {:error, exception}
  catch
    :exit, reason -> {:error, reason}
  after
    Pool.checkin(lease)
    emit(:checkin, %{}, pool_name)
  end

  @doc """
  Counts of a pool: `size` as configured, `workers` alive, `overflow` (how many of them are above `size`), `monitors`
  (how many are checked out) and `waiting` callers.
  """
  @spec get_pool_status(pool_name) :: {:ok, pool_status} | {:error, :not_found}
  def get_pool_status(pool_name) do
    case Pool.status(pool_name) do
      {:ok, view} ->
        {:ok,
         %{
           size: view.min,
           overflow: max(view.workers - view.min, 0),
           workers: view.workers,
           waiting: view.waiting,
           monitors: view.busy
         }}

      {:error, _} ->
        {:error, :not_found}
    end
  end

  @doc "The names of the pools."
  @spec list_pools() :: [pool_name]
  def list_pools, do: GenServer.call(__MODULE__, :list_pools)

  # -- the process -------------------------------------------------------------------------------------------------

  @impl true
  def init(_opts) do
    Process.flag(:trap_exit, true)
    {:ok, %{pools: %{}}}
  end

  @impl true
  def handle_call({:start_pool, name, config}, _from, state) do
    case start(name, config, state) do
      {:ok, pid} ->
        emit(:pool_started, %{}, name, %{config: config})
        {:reply, {:ok, pid}, put_in(state.pools[name], {pid, config})}

      {:error, reason} ->
        {:reply, {:error, reason}, state}
    end
  end

  def handle_call({:stop_pool, name}, _from, state) do
    case Map.pop(state.pools, name) do
      {nil, _} ->
        {:reply, {:error, :not_found}, state}

      {{pid, _config}, pools} ->
        stop(pid)
        emit(:pool_stopped, %{}, name)
        {:reply, :ok, %{state | pools: pools}}
    end
  end

  def handle_call(:list_pools, _from, state), do: {:reply, Map.keys(state.pools), state}
  def handle_call(:health_status, _from, state), do: {:reply, {:ok, :healthy}, state}
  def handle_call(:ping, _from, state), do: {:reply, :pong, state}

  @impl true
  def handle_info({:EXIT, pid, reason}, state) do
    case Enum.find(state.pools, fn {_, {pool, _}} -> pool == pid end) do
      {name, {_, config}} -> {:noreply, restart(name, config, reason, state)}
      nil -> {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    for {_, {pid, _}} <- state.pools, do: stop(pid)
    :ok
  end

  defp restart(name, _config, :normal, state), do: %{state | pools: Map.delete(state.pools, name)}

  defp restart(name, config, reason, state) do
    Logger.error("pool #{inspect(name)} crashed and is started again: #{inspect(reason)}")
    state = %{state | pools: Map.delete(state.pools, name)}

    case start(name, config, state) do
      {:ok, pid} ->
        put_in(state.pools[name], {pid, config})

      {:error, reason} ->
        Logger.error("pool #{inspect(name)} could not be started again: #{inspect(reason)}")
        state
    end
  end

  defp start(name, config, state) do
    cond do
      Map.has_key?(state.pools, name) -> {:error, :already_exists}
      not Keyword.keyword?(config) -> {:error, {:invalid_config, :config, "Config must be a keyword list"}}
      true -> @defaults |> Keyword.merge(config) |> checked(name)
    end
  end

  defp checked(config, name) do
    module = config[:worker_module]

    with :ok <- natural(config, :size, "Size must be a non-negative integer"),
         :ok <- natural(config, :max_overflow, "Max overflow must be a non-negative integer"),
         :ok <- worker_module(module) do
      [
        name: name,
        register: name,
        worker: {module, config[:worker_args]},
        min: config[:size],
        max: config[:size] + config[:max_overflow],
        linger_ms: 0,
        max_waiting: 4_294_967_295,
        strategy: config[:strategy]
      ]
      |> Keyword.merge(Keyword.take(config, @pool_options))
      |> Pool.start_link()
    end
  end

  defp natural(config, key, text) do
    if is_integer(config[key]) and config[key] >= 0, do: :ok, else: {:error, {:invalid_config, key, text}}
  end

  defp worker_module(module) do
    if is_atom(module) and module != nil and Code.ensure_loaded?(module),
      do: :ok,
      else: {:error, {:invalid_worker_module, module}}
  end

  defp stop(pid) do
    Pool.stop(pid)
  catch
    :exit, _ -> :ok
  end

  defp emit(event, measurements, name, more \\ %{}) do
    name_of = [:foundation, :foundation, :connection_pool, event]
    Telemetry.execute(name_of, measurements, Map.put(more, :pool_name, name))
  end
end
