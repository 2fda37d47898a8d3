defmodule Foundation.Infrastructure.PoolTest do
  use ExUnit.Case, async: true

  import Foundation.Eventually
  alias Foundation.Infrastructure.Pool
  alias Foundation.PoolWorker

  defp pool(options) do
    name = {:pool_test, make_ref()}
    pid = start_supervised!({Pool, Keyword.merge([name: name, worker: {PoolWorker, []}], options)}, id: name)
    {name, pid}
  end

  defp status(name) do
    {:ok, status} = Pool.status(name)
    status
  end

  # A process that holds a worker until it is told otherwise.
  defp holder(name, timeout \\ 5_000) do
    test = self()

    spawn(fn ->
      result = Pool.checkout(name, timeout)
      # The lease stays here: it is given back when no process has it.
      send(test, {:holder, self(), with({:ok, worker, _} <- result, do: {:ok, worker})})
      receive do: (:return -> :ok)
      with {:ok, _, lease} <- result, do: Pool.checkin(lease)
      send(test, {:returned, self()})
    end)
  end

  defp held(pid) do
    assert_receive {:holder, ^pid, {:ok, worker}}, 5_000
    worker
  end

  test "options are checked" do
    for {options, wrong} <- [
          {[worker: {PoolWorker, []}], :name},
          {[name: :x], :worker},
          {[name: :x, worker: :no], :worker},
          {[name: :x, worker: {PoolWorker, []}, min: 3, max: 2], :max},
          {[name: :x, worker: {PoolWorker, []}, strategy: :random], :strategy},
          {[name: :x, worker: {PoolWorker, []}, what: 1], :what}
        ] do
      assert {:error, {:invalid_option, ^wrong, _}} = Pool.start_link(options)
    end
  end

  test "a name is taken once, and free again when its pool is gone" do
    {name, pid} = pool(min: 1)
    Process.flag(:trap_exit, true)
    assert Pool.start_link(name: name, worker: {PoolWorker, []}) == {:error, :name_taken}
    stop_supervised!(name)
    refute Process.alive?(pid)
    assert Pool.checkout(name) == {:error, :not_found}
    assert {:ok, _} = Pool.start_link(name: name, worker: {PoolWorker, []})
  end

  test "a lease counts once" do
    {name, _} = pool(min: 1)
    {:ok, worker, lease} = Pool.checkout(name)
    assert PoolWorker.ping(worker) == :pong
    assert Pool.checkin(lease) == :ok
    assert Pool.checkin(lease) == {:error, :released}
    assert %{idle: 1, busy: 0} = status(name)
  end

  test "it grows by demand up to max and shrinks after lingering" do
    {name, _} = pool(min: 1, max: 3, linger_ms: 50)
    holders = for _ <- 1..3, do: holder(name)
    workers = Enum.map(holders, &held/1)
    assert length(Enum.uniq(workers)) == 3
    assert Pool.checkout(name, 10) == {:error, :timeout}
    assert %{workers: 3, busy: 3} = status(name)
    Enum.each(holders, &send(&1, :return))
    assert_eventually(match?(%{workers: 1, idle: 1}, status(name)))
    assert_eventually(Enum.count(workers, &Process.alive?/1) == 1)
  end

  test "waiters are served, in their order, and the queue is bounded" do
    {name, _} = pool(min: 1, max: 1, max_waiting: 2)
    {:ok, _, lease} = Pool.checkout(name)
    first = holder(name)
    assert_eventually(status(name).waiting == 1)
    second = holder(name)
    assert_eventually(status(name).waiting == 2)
    assert Pool.checkout(name) == {:error, :full}
    Pool.checkin(lease)
    held(first)
    refute_received {:holder, ^second, _}
    send(first, :return)
    held(second)
    send(second, :return)
    assert_eventually(match?(%{idle: 1, waiting: 0}, status(name)))
  end

  test "a client that dies while it holds, waits or was just served leaves nothing behind" do
    {name, _} = pool(min: 1, max: 1)

    for _ <- 1..20 do
      holding = holder(name)
      held(holding)
      waiting = holder(name)
      also_waiting = holder(name)
      assert_eventually(status(name).waiting == 2)
      Process.exit(waiting, :kill)
      assert_eventually(status(name).waiting == 1)
      Process.exit(holding, :kill)
      Process.exit(also_waiting, :kill)
      assert_eventually(match?(%{idle: 1, busy: 0, waiting: 0}, status(name)))
    end
  end

  test "a client's death replaces the worker when told to" do
    {name, _} = pool(min: 1, max: 1, on_client_down: :replace)
    client = holder(name)
    worker = held(client)
    Process.exit(client, :kill)
    assert_eventually(match?(%{idle: 1, workers: 1}, status(name)))
    refute Process.alive?(worker)
  end

  test "a dead worker is replaced, held or idle" do
    {name, _} = pool(min: 1, max: 1)
    {:ok, worker, lease} = Pool.checkout(name)
    Process.exit(worker, :kill)
    assert {:ok, other, _} = Pool.checkout(name)
    assert other != worker
    assert Pool.checkin(lease) == {:error, :released}
    Process.exit(other, :kill)
    assert_eventually(match?(%{idle: 1, workers: 1}, status(name)))
  end

  test "a worker that cannot start again is tried later, and waiters stay" do
    {:ok, fails} = Agent.start_link(fn -> false end)
    start = fn -> if Agent.get(fails, & &1), do: {:error, :down}, else: PoolWorker.start_link([]) end
    {name, _} = pool(min: 1, worker: start)
    Agent.update(fails, fn _ -> true end)
    {:ok, worker, _} = Pool.checkout(name)
    Process.exit(worker, :kill)
    waiter = holder(name, :infinity)
    assert_eventually(status(name).waiting == 1)
    Agent.update(fails, fn _ -> false end)
    held(waiter)
    send(waiter, :return)
  end

  test "health checks replace bad workers, also one that hangs the check" do
    {:ok, bad} = Agent.start_link(fn -> nil end)

    check = fn worker ->
      case Agent.get(bad, & &1) do
        {^worker, :hang} -> receive do: (:never -> true)
        {^worker, :raise} -> raise "sick"
        {^worker, false} -> false
        _ -> true
      end
    end

    {name, _} = pool(min: 2, max: 2, health_check: check, health_interval_ms: 10, health_timeout_ms: 30)

    for how <- [:hang, :raise, false] do
      {:ok, worker, lease} = Pool.checkout(name)
      Agent.update(bad, fn _ -> {worker, how} end)
      Pool.checkin(lease)
      assert_eventually(not Process.alive?(worker))
      assert_eventually(match?(%{workers: 2}, status(name)))
    end
  end

  test "drain serves who waits, refuses who comes and ends the pool" do
    {name, pid} = pool(min: 1, max: 1)
    holding = holder(name)
    held(holding)
    waiting = holder(name)
    assert_eventually(status(name).waiting == 1)
    assert Pool.drain(pid, 10) == {:error, {:busy, 1}}
    drain = Task.async(fn -> Pool.drain(pid) end)
    assert Pool.checkout(name) == {:error, :closed}
    send(holding, :return)
    held(waiting)
    send(waiting, :return)
    assert Task.await(drain) == :ok
    assert_eventually(not Process.alive?(pid))
  end

  test "drain ends when the last holder dies" do
    {name, pid} = pool(min: 1, max: 1)
    holding = holder(name)
    held(holding)
    drain = Task.async(fn -> Pool.drain(pid) end)
    assert_eventually(status(name).draining)
    Process.exit(holding, :kill)
    assert Task.await(drain) == :ok
  end

  test "waiters of a pool that is stopped or killed are told" do
    for how <- [:stop, :kill] do
      name = {:pool_test, make_ref()}
      Process.flag(:trap_exit, true)
      {:ok, pid} = Pool.start_link(name: name, worker: {PoolWorker, []}, min: 1)
      {:ok, worker, _} = Pool.checkout(name)
      waiter = holder(name)
      assert_eventually(status(name).waiting == 1)
      if how == :stop, do: Pool.stop(pid), else: Process.exit(pid, :kill)
      assert_receive {:holder, ^waiter, {:error, :closed}}, 5_000
      assert_eventually(not Process.alive?(worker))
      assert_eventually(Pool.checkout(name) == {:error, :not_found})
    end
  end

  test "resize grows and shrinks" do
    {name, pid} = pool(min: 1, max: 1, linger_ms: 20)
    assert Pool.resize(pid, 3, 4) == :ok
    assert %{workers: 3, min: 3, max: 4} = status(name)
    assert Pool.resize(pid, 1, 1) == :ok
    assert_eventually(status(name).workers == 1)
    assert Pool.resize(pid, 2, 1) == {:error, :invalid_bounds}
  end

  test "strategies" do
    for {strategy, expected} <- [lifo: :last, fifo: :first] do
      {name, _} = pool(min: 2, max: 2, strategy: strategy)
      {:ok, one, lease_one} = Pool.checkout(name)
      {:ok, two, lease_two} = Pool.checkout(name)
      Pool.checkin(lease_one)
      Pool.checkin(lease_two)
      {:ok, next, _} = Pool.checkout(name)
      assert next == if(expected == :last, do: two, else: one)
    end
  end

  test "with_worker gives the worker back whatever happens, and records times" do
    {name, _} = pool(min: 1, max: 1)
    assert Pool.with_worker(name, &PoolWorker.ping/1) == {:ok, :pong}
    assert_raise RuntimeError, fn -> Pool.with_worker(name, fn _ -> raise "x" end) end
    assert catch_throw(Pool.with_worker(name, fn _ -> throw(:x) end)) == :x
    assert catch_exit(Pool.with_worker(name, fn _ -> exit(:x) end)) == :x
    assert %{idle: 1, hold: %{count: 4, mean_us: mean, max_us: max}, wait: %{count: 4}} = status(name)
    assert mean > 0 and max >= mean
  end

  test "nothing is left in the mailbox of a client whose wait ends when a worker comes" do
    {name, _} = pool(min: 1, max: 1)

    clients =
      for n <- 1..8 do
        Task.async(fn ->
          for i <- 1..300 do
            case Pool.checkout(name, rem(i + n, 2)) do
              {:ok, _, lease} -> Pool.checkin(lease)
              {:error, :timeout} -> :ok
            end
          end

          Process.info(self(), :message_queue_len)
        end)
      end

    assert Enum.uniq(Task.await_many(clients, 30_000)) == [{:message_queue_len, 0}]
    assert %{idle: 1, busy: 0, waiting: 0} = status(name)
  end
end
