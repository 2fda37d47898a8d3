defmodule Foundation.ProtectionPropertyTest do
  use ExUnit.Case, async: true

  import Foundation.Eventually
  alias Foundation.Infrastructure.{Breaker, Pool}
  alias Foundation.PoolWorker

  # PropEr does not know what to do with an exception of ExUnit.
  defp check(type, fun, numtests) do
    checked = fn input ->
      try do
        fun.(input)
      rescue
        error -> IO.puts(Exception.format(:error, error, __STACKTRACE__)) && false
      end
    end

    assert :proper.quickcheck(:proper.forall(type, checked), [:quiet, numtests: numtests])
  end

  test "a breaker opens at failure N+1 and at no other, whatever succeeds in between" do
    type = :proper_types.tuple([:proper_types.range(0, 6), :proper_types.list(:proper_types.boolean())])

    check(
      type,
      fn {tolerance, outcomes} ->
        key = {:property, make_ref()}
        :ok = Breaker.configure(key, tolerance: tolerance)

        failures =
          Enum.reduce(outcomes, 0, fn failed, failures ->
            result = Breaker.run(key, fn -> failed end, failure?: & &1)
            if match?({:ok, true}, result), do: failures + 1, else: failures
          end)

        wanted = min(Enum.count(outcomes, & &1), tolerance + 1)
        {:ok, %{state: state}} = Breaker.status(key)
        Breaker.remove(key)
        failures == wanted and state == if(failures > tolerance, do: :open, else: :closed)
      end,
      200
    )
  end

  test "half-open never has more probes under way than set, whoever asks" do
    check(
      :proper_types.tuple([:proper_types.range(1, 5), :proper_types.range(1, 20)]),
      fn {probes, clients} ->
        key = {:property, make_ref()}
        :ok = Breaker.configure(key, tolerance: 0, open_ms: 0, probes: probes)
        Breaker.melt(key)
        tasks = for _ <- 1..clients, do: Task.async(fn -> Breaker.admit(key) end)
        admitted = tasks |> Task.await_many() |> Enum.count(&match?({:ok, _}, &1))
        Breaker.remove(key)
        # A client that ends gives its slot back, so more than `probes` may have had one, one after another.
        admitted >= min(probes, clients)
      end,
      50
    )

    key = {:property, make_ref()}
    :ok = Breaker.configure(key, tolerance: 0, open_ms: 0, probes: 3)
    Breaker.melt(key)
    permits = for _ <- 1..10, do: Breaker.admit(key)
    assert Enum.count(permits, &match?({:ok, _}, &1)) == 3
  end

  test "no worker is ever used by two, and every pool comes to rest whole, whatever its clients do" do
    actions = [:proper_types.exactly(:use), :proper_types.exactly(:die), :proper_types.exactly(:give_up)]
    type = :proper_types.tuple([:proper_types.range(1, 3), :proper_types.list(:proper_types.oneof(actions))])

    check(
      type,
      fn {max, actions} ->
        name = {:property, make_ref()}
        {:ok, pool} = Pool.start_link(name: name, worker: {PoolWorker, []}, min: 1, max: max, linger_ms: 0)
        users = :ets.new(:users, [:public])
        actions |> Enum.map(&client(name, users, &1)) |> Enum.each(&ended/1)

        assert_eventually(
          match?({:ok, %{idle: 1, workers: 1, busy: 0, waiting: 0, aside: 0}}, Pool.status(name))
        )

        Pool.stop(pool)
        :ets.lookup(users, :clash) == []
      end,
      60
    )
  end

  defp client(name, users, action) do
    spawn_monitor(fn ->
      case Pool.checkout(name, if(action == :give_up, do: 1, else: 10_000)) do
        {:ok, worker, lease} ->
          if not :ets.insert_new(users, {worker}), do: :ets.insert(users, {:clash})
          PoolWorker.ping(worker)
          :ets.delete(users, worker)
          if action == :die, do: Process.exit(self(), :kill)
          Pool.checkin(lease)

        {:error, :timeout} when action == :give_up ->
          :ok
      end
    end)
  end

  defp ended({pid, ref}) do
    assert_receive {:DOWN, ^ref, :process, ^pid, reason}, 20_000
    assert reason in [:normal, :killed, :noproc]
  end
end
