Code.require_file("support.exs", __DIR__)

# What stands between a call and its callee: breakers, adaptive limits and pools.

alias Foundation.Bench
alias Foundation.Infrastructure.{AdaptiveConcurrency, Breaker, CircuitBreaker, ConnectionManager, Pool}

Logger.configure(level: :error)

defmodule ProtectionBench.Asked do
  @moduledoc false
  # What a user would write: a process that holds the breaker's state and is asked.
  use GenServer
  def start_link(state), do: GenServer.start_link(__MODULE__, state)
  def init(state), do: {:ok, state}
  def handle_call(:allow?, _from, %{state: :closed} = state), do: {:reply, :ok, state}
end

defmodule ProtectionBench.Queue do
  @moduledoc false
  # What a user would write: a process that holds idle workers and a queue of callers.
  use GenServer
  def start_link(workers), do: GenServer.start_link(__MODULE__, workers)
  def checkout(queue), do: GenServer.call(queue, :checkout)
  def checkin(queue, worker), do: GenServer.cast(queue, {:checkin, worker})
  def init(workers), do: {:ok, {workers, :queue.new()}}

  def handle_call(:checkout, _from, {[worker | idle], waiting}), do: {:reply, worker, {idle, waiting}}
  def handle_call(:checkout, from, {[], waiting}), do: {:noreply, {[], :queue.in(from, waiting)}}

  def handle_cast({:checkin, worker}, {idle, waiting}) do
    case :queue.out(waiting) do
      {{:value, from}, waiting} ->
        GenServer.reply(from, worker)
        {:noreply, {idle, waiting}}

      {:empty, _} ->
        {:noreply, {[worker | idle], waiting}}
    end
  end
end

defmodule ProtectionBench.Worker do
  @moduledoc false
  use GenServer
  def start_link(_), do: GenServer.start_link(__MODULE__, nil)
  def init(state), do: {:ok, state}
  def handle_call(:work, _from, state), do: {:reply, :done, state}
end

IO.puts("breakers")
:ok = Breaker.configure({:bench, "api"})
:ok = Breaker.configure({:bench, "rate"}, failure_rate: 0.5)
{:ok, asked} = ProtectionBench.Asked.start_link(%{state: :closed})
{:ok, _} = Breaker.admit({:bench, "api"})
:ok = GenServer.call(asked, :allow?)

for processes <- [1, 2] do
  Bench.compare("breaker check, closed, #{processes} process(es), against GenServer.call",
    ours: fn _ -> {:ok, _} = Breaker.admit({:bench, "api"}) end,
    theirs: fn _ -> :ok = GenServer.call(asked, :allow?) end,
    processes: processes,
    iterations: 200_000,
    their_iterations: 40_000,
    at_least: if(processes == 2, do: 20)
  )
end

{:ok, handle} = Breaker.prepare({:bench, "api"})

Bench.compare("breaker check through a prepared handle, 2 processes, against GenServer.call",
  ours: fn _ -> {:ok, _} = Breaker.admit(handle) end,
  theirs: fn _ -> :ok = GenServer.call(asked, :allow?) end,
  processes: 2,
  iterations: 200_000,
  their_iterations: 40_000,
  at_least: 20
)

Bench.compare("breaker check and outcome, failure rate counted, against GenServer.call",
  ours: fn _ ->
    {:ok, permit} = Breaker.admit({:bench, "rate"})
    :ok = Breaker.record({:bench, "rate"}, permit, :success)
  end,
  theirs: fn _ -> :ok = GenServer.call(asked, :allow?) end,
  processes: 2,
  iterations: 50_000
)

:ok = CircuitBreaker.start_fuse_instance(:bench_fuse)

Bench.compare("1.x CircuitBreaker.execute/3, its telemetry included, against GenServer.call",
  ours: fn _ -> {:ok, :fine} = CircuitBreaker.execute(:bench_fuse, fn -> :fine end) end,
  theirs: fn _ -> :ok = GenServer.call(asked, :allow?) end,
  processes: 2,
  iterations: 20_000
)

for keys <- [1_000, 100_000, 1_000_000] do
  for n <- 1..keys, do: :ok = Breaker.configure({:bench, :many, n})
  check = fn i -> {:ok, _} = Breaker.admit({:bench, :many, rem(i * 7_919, keys) + 1}) end
  Bench.figure("breaker check, #{keys} keys", Bench.nanoseconds(Bench.run(check, 200_000, 2)))
end

for n <- 1..1_000_000, do: Breaker.remove({:bench, :many, n})

IO.puts("adaptive concurrency")
:ok = AdaptiveConcurrency.configure(:bench, initial: 100, max: 1_000)

Bench.compare("acquire and release with a sample, 2 processes, against GenServer.call",
  ours: fn _ ->
    {:ok, slot} = AdaptiveConcurrency.acquire(:bench)
    {:ok, _} = AdaptiveConcurrency.release(slot, :success, 1_000)
  end,
  theirs: fn _ -> :ok = GenServer.call(asked, :allow?) end,
  processes: 2,
  iterations: 50_000
)

IO.puts("pools, 50 clients on 10 workers")
{:ok, pool} = Pool.start_link(name: :bench_pool, worker: {ProtectionBench.Worker, []}, min: 10)
workers = for _ <- 1..10, do: elem(ProtectionBench.Worker.start_link([]), 1)
{:ok, queue} = ProtectionBench.Queue.start_link(workers)

Bench.compare("checkout and checkin, against a GenServer queue",
  ours: fn _ ->
    {:ok, _worker, lease} = Pool.checkout(:bench_pool)
    :ok = Pool.checkin(lease)
  end,
  theirs: fn _ ->
    worker = ProtectionBench.Queue.checkout(queue)
    ProtectionBench.Queue.checkin(queue, worker)
  end,
  processes: 50,
  iterations: 4_000,
  at_least: 1.5
)

Bench.compare("checkout, a call to the worker, checkin, against a GenServer queue",
  ours: fn _ ->
    {:ok, worker, lease} = Pool.checkout(:bench_pool)
    :done = GenServer.call(worker, :work)
    :ok = Pool.checkin(lease)
  end,
  theirs: fn _ ->
    worker = ProtectionBench.Queue.checkout(queue)
    :done = GenServer.call(worker, :work)
    ProtectionBench.Queue.checkin(queue, worker)
  end,
  processes: 50,
  iterations: 2_000
)

{:ok, _} =
  ConnectionManager.start_pool(:bench_connections,
    size: 10,
    max_overflow: 0,
    worker_module: ProtectionBench.Worker
  )

Bench.compare("1.x with_connection/3, its telemetry included, against a GenServer queue",
  ours: fn _ -> {:ok, :used} = ConnectionManager.with_connection(:bench_connections, fn _ -> :used end) end,
  theirs: fn _ ->
    worker = ProtectionBench.Queue.checkout(queue)
    ProtectionBench.Queue.checkin(queue, worker)
  end,
  processes: 50,
  iterations: 2_000
)

{:ok, %{busy: 0, idle: 10, waiting: 0}} = Pool.status(:bench_pool)
:ok = ConnectionManager.stop_pool(:bench_connections)
:ok = Pool.stop(pool)
