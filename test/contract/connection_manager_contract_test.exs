defmodule Foundation.ConnectionManagerContractTest do
  # Section 14 of the 1.x contract, ConnectionManager.
  use ExUnit.Case, async: false

  import Foundation.Eventually
  alias Foundation.Infrastructure.{ConnectionManager, Pool}
  alias Foundation.PoolWorker

  setup do
    name = :"pool_#{System.unique_integer([:positive])}"
    on_exit(fn -> ConnectionManager.stop_pool(name) end)
    %{name: name}
  end

  defp start(name, config \\ []),
    do:
      ConnectionManager.start_pool(
        name,
        Keyword.merge([size: 2, max_overflow: 1, worker_module: PoolWorker], config)
      )

  defp hold(name) do
    test = self()

    pid =
      spawn_link(fn ->
        ConnectionManager.with_connection(name, fn worker ->
          send(test, {:held, self(), worker})
          receive do: (:done -> :ok)
        end)

        send(test, {:returned, self()})
      end)

    assert_receive {:held, ^pid, worker}, 5_000
    {pid, worker}
  end

  defp give_back(pid) do
    send(pid, :done)
    assert_receive {:returned, ^pid}, 5_000
  end

  test "it is the fifth child, registered under its name" do
    assert is_pid(Process.whereis(ConnectionManager))
    ids = Foundation.Supervisor |> Supervisor.which_children() |> Enum.reverse() |> Enum.map(&elem(&1, 0))
    assert Enum.at(ids, 4) == ConnectionManager
  end

  test "a pool is registered locally, linked to the manager, listed and stopped", %{name: name} do
    assert {:ok, pid} = start(name)
    assert Process.whereis(name) == pid
    assert {:links, links} = Process.info(pid, :links)
    assert Process.whereis(ConnectionManager) in links
    assert name in ConnectionManager.list_pools()
    assert start(name) == {:error, :already_exists}
    assert ConnectionManager.stop_pool(name) == :ok
    refute Process.alive?(pid)
    refute name in ConnectionManager.list_pools()
    assert ConnectionManager.stop_pool(name) == {:error, :not_found}
    assert ConnectionManager.get_pool_status(name) == {:error, :not_found}
  end

  test "errors of start_pool/2", %{name: name} do
    assert start(name, worker_module: nil) == {:error, {:invalid_worker_module, nil}}
    assert start(name, worker_module: NoSuch) == {:error, {:invalid_worker_module, NoSuch}}
    assert {:error, {:invalid_worker_module, nil}} = ConnectionManager.start_pool(name, size: 1)
    assert {:error, {:invalid_config, :size, text}} = start(name, size: -1)
    assert text == "Size must be a non-negative integer"
    assert {:error, {:invalid_config, :max_overflow, text}} = start(name, max_overflow: :many)
    assert text == "Max overflow must be a non-negative integer"
    assert start(name, worker_args: {:fail, :no_luck}) == {:error, :no_luck}
    assert ConnectionManager.list_pools() |> Enum.member?(name) == false
  end

  test "size 5 and max_overflow 10 by default", %{name: name} do
    {:ok, _} = ConnectionManager.start_pool(name, worker_module: PoolWorker)
    assert {:ok, %{min: 5, max: 15}} = Pool.status(name)
  end

  test "the function runs in the caller, with a worker", %{name: name} do
    {:ok, _} = start(name)
    me = self()
    assert {:ok, {^me, worker}} = ConnectionManager.with_connection(name, fn worker -> {self(), worker} end)
    assert PoolWorker.ping(worker) == :pong
  end

  test "what the function does ends there", %{name: name} do
    {:ok, pool} = start(name)
    manager = Process.whereis(ConnectionManager)

    assert ConnectionManager.with_connection(name, fn _ -> raise "boom" end) ==
             {:error, %RuntimeError{message: "boom"}}

    assert ConnectionManager.with_connection(name, fn _ -> exit(:gone) end) == {:error, :gone}
    assert catch_throw(ConnectionManager.with_connection(name, fn _ -> throw(:ball) end)) == :ball
    assert {:error, {:boom, _}} = ConnectionManager.with_connection(name, &PoolWorker.crash(&1, :boom))
    assert Process.whereis(ConnectionManager) == manager
    assert Process.whereis(name) == pool
    assert_eventually(match?({:ok, %{workers: 2, monitors: 0}}, ConnectionManager.get_pool_status(name)))
  end

  test "other pools can be used from inside the function", %{name: name} do
    {:ok, _} = start(name)

    assert {:ok, {:ok, [^name | _]}} =
             ConnectionManager.with_connection(name, fn _ ->
               ConnectionManager.with_connection(name, fn _ -> [name | ConnectionManager.list_pools()] end)
             end)
  end

  test "errors of with_connection/3", %{name: name} do
    assert ConnectionManager.with_connection(:no_such_pool, & &1) == {:error, :pool_not_found}
    {:ok, _} = start(name, size: 1, max_overflow: 0)
    {holder, _} = hold(name)
    assert ConnectionManager.with_connection(name, & &1, 20) == {:error, :checkout_timeout}
    give_back(holder)
    assert {:ok, _} = ConnectionManager.with_connection(name, & &1, 20)
  end

  test "the status counts what it says", %{name: name} do
    {:ok, _} = start(name)

    assert ConnectionManager.get_pool_status(name) ==
             {:ok, %{size: 2, overflow: 0, workers: 2, waiting: 0, monitors: 0}}

    holders = for _ <- 1..3, do: elem(hold(name), 0)

    assert ConnectionManager.get_pool_status(name) ==
             {:ok, %{size: 2, overflow: 1, workers: 3, waiting: 0, monitors: 3}}

    waiter = Task.async(fn -> ConnectionManager.with_connection(name, fn _ -> :served end) end)
    assert_eventually(match?({:ok, %{waiting: 1}}, ConnectionManager.get_pool_status(name)))
    Enum.each(holders, &give_back/1)
    assert Task.await(waiter) == {:ok, :served}

    assert_eventually(
      ConnectionManager.get_pool_status(name) ==
        {:ok, %{size: 2, overflow: 0, workers: 2, waiting: 0, monitors: 0}}
    )
  end

  test "a pool that is killed is started again", %{name: name} do
    {:ok, pool} = start(name)
    Process.exit(pool, :kill)
    assert_eventually(Process.whereis(name) not in [nil, pool])
    assert_eventually(match?({:ok, _}, ConnectionManager.with_connection(name, & &1)))
  end

  test "telemetry has the 1.x names", %{name: name} do
    counted = fn event ->
      {:ok, metrics} = Foundation.Telemetry.get_metrics()
      get_in(metrics, [:foundation, :foundation, :connection_pool, event, :count]) || 0
    end

    before = Map.new([:pool_started, :checkout, :checkin, :timeout, :pool_stopped], &{&1, counted.(&1)})
    {:ok, _} = start(name, size: 1, max_overflow: 0)
    {holder, _} = hold(name)
    ConnectionManager.with_connection(name, & &1, 1)
    give_back(holder)
    ConnectionManager.stop_pool(name)
    for {event, n} <- before, do: assert(counted.(event) == n + 1, inspect(event))
  end
end
