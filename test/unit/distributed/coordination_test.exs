defmodule Foundation.Distributed.CoordinationTest do
  # What each primitive does for processes of one node, on a group of one member.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed.{Consensus, Coordination}
  alias Foundation.Distributed.Consensus.Roster
  alias Foundation.Distributed.Coordination.Grant

  # A session that a machine which stands still for seconds does not end.
  setup_all do
    before = Application.get_env(:foundation, :coordination)
    Application.put_env(:foundation, :coordination, session_ms: 12_000)

    on_exit(fn ->
      if before == nil,
        do: Application.delete_env(:foundation, :coordination),
        else: Application.put_env(:foundation, :coordination, before)
    end)

    group = "coordination_#{System.unique_integer([:positive])}"
    {:ok, _} = Consensus.start_group(group)
    on_exit(fn -> Consensus.stop_group(group) end)
    {:ok, group: group}
  end

  setup %{group: group} do
    {:ok, lock} = Coordination.create_distributed_lock({:lock, make_ref()}, group: group)
    {:ok, lock: lock}
  end

  # A process that does as it is told.
  defp agent, do: start_supervised!({Agent, fn -> nil end}, id: make_ref())
  defp in_process(agent, function), do: Agent.get(agent, fn _ -> function.() end, 15_000)

  describe "locks" do
    test "have one holder, and growing tokens", %{lock: lock} do
      {:ok, %Grant{} = grant} = Coordination.acquire(lock)
      assert Coordination.held?(grant)
      other = agent()
      assert in_process(other, fn -> Coordination.acquire(lock, wait: false) end) == {:error, :taken}
      assert in_process(other, fn -> Coordination.acquire(lock, timeout: 50) end) == {:error, :timeout}
      # Who has given up waiting is taken out soon.
      assert_eventually(match?({:ok, %{holders: [{_, _}], waiting: 0}}, Coordination.holders(lock)))
      {:ok, %{holders: [{node, _token}]}} = Coordination.holders(lock)
      assert node == node()
      assert Coordination.release(grant) == :ok
      assert Coordination.release(grant) == {:error, :not_held}
      refute Coordination.held?(grant)
      assert {:ok, later} = in_process(other, fn -> Coordination.acquire(lock) end)
      assert later.token > grant.token
    end

    test "are not had twice by one process", %{lock: lock} do
      {:ok, grant} = Coordination.acquire(lock)
      assert Coordination.acquire(lock) == {:error, :already_held}
      Coordination.release(grant)
    end

    test "go to those who wait in the order they asked", %{lock: lock, group: group} do
      {:ok, grant} = Coordination.acquire(lock)
      me = self()

      for n <- 1..5 do
        spawn_link(fn ->
          {:ok, grant} = Coordination.acquire(lock)
          send(me, {:had, n})
          Coordination.release(grant)
        end)

        assert_eventually(match?({:ok, %{waiting: ^n}}, Coordination.holders(lock)))
      end

      Coordination.release(grant)
      assert for(_ <- 1..5, do: receive(do: ({:had, n} -> n))) == [1, 2, 3, 4, 5]
      assert {:ok, _} = Consensus.status(group)
    end

    test "come back at once when their holder dies", %{lock: lock} do
      holder = spawn(fn -> Coordination.acquire(lock) && Process.sleep(:infinity) end)
      assert_eventually(match?({:ok, %{holders: [_]}}, Coordination.holders(lock)))
      waiter = Task.async(fn -> Coordination.acquire(lock, timeout: 10_000) end)
      assert_eventually(match?({:ok, %{waiting: 1}}, Coordination.holders(lock)))
      Process.exit(holder, :kill)
      assert {:ok, _grant} = Task.await(waiter)
    end

    test "stay with the node for a while when nobody else wants them", %{lock: lock} do
      {:ok, first} = Coordination.acquire(lock)
      :ok = Coordination.release(first)
      {:ok, second} = Coordination.acquire(lock)
      assert second.token == first.token + 1
      :ok = Coordination.release(second)
      assert {:ok, %{holders: [_]}} = Coordination.holders(lock)
      assert_eventually(Coordination.holders(lock) == {:ok, %{holders: [], waiting: 0}})
      {:ok, third} = Coordination.acquire(lock)
      assert third.token > second.token + 1
    end

    test "end with their lease, and their holder is told", %{lock: lock} do
      {:ok, grant} = Coordination.acquire(lock, lease: 300)
      name = lock.name
      assert_receive {:foundation_lost, :lock, ^name, token, :lease}, 15_000
      assert token == grant.token
      refute Coordination.held?(grant)
      assert_eventually(Coordination.renew(grant, 100) == {:error, :not_held})
      assert {:ok, _} = Coordination.acquire(lock, wait: false)
    end

    test "are kept with a lease that the session would not outlast", %{lock: lock} do
      {:ok, first} = Coordination.acquire(lock, lease: 60_000)
      :ok = Coordination.release(first)
      {:ok, second} = Coordination.acquire(lock, lease: 60_000)
      assert second.token == first.token + 1
      :ok = Coordination.release(second)
      # The group has to end the lease of this one, and grants it anew.
      {:ok, third} = Coordination.acquire(lock, lease: 300)
      assert third.token > second.token + 1
      assert_receive {:foundation_lost, :lock, _name, _token, :lease}, 15_000
    end

    test "last longer when they are renewed", %{lock: lock} do
      {:ok, grant} = Coordination.acquire(lock, lease: 1_500)
      assert Coordination.renew(grant, 60_000) == :ok
      refute_receive {:foundation_lost, _, _, _, _}, 2_000
      assert Coordination.held?(grant)
      Coordination.release(grant)
    end

    test "with_lock gives back whatever happens", %{lock: lock} do
      assert Coordination.with_lock(lock, fn -> :done end) == {:ok, :done}
      assert {:ok, %Grant{}} = Coordination.with_lock(lock, [timeout: 1_000], & &1)
      assert_raise RuntimeError, fn -> Coordination.with_lock(lock, fn -> raise "no" end) end
      assert catch_throw(Coordination.with_lock(lock, fn -> throw(:ball) end)) == :ball
      assert catch_exit(Coordination.with_lock(lock, fn -> exit(:bye) end)) == :bye
      assert {:ok, _} = Coordination.acquire(lock, wait: false)
    end

    test "let readers share and keep a writer alone", %{group: group} do
      {:ok, lock} = Coordination.create_rw_lock({:rw, make_ref()}, group: group)
      {:ok, reading} = Coordination.acquire(lock, mode: :read)
      other = agent()
      assert {:ok, also} = in_process(other, fn -> Coordination.acquire(lock, mode: :read) end)
      writer = Task.async(fn -> Coordination.acquire(lock, mode: :write, timeout: 10_000) end)
      assert_eventually(match?({:ok, %{waiting: 1}}, Coordination.holders(lock)))
      third = agent()

      assert in_process(third, fn -> Coordination.acquire(lock, mode: :read, wait: false) end) ==
               {:error, :taken}

      Coordination.release(reading)
      in_process(other, fn -> Coordination.release(also) end)
      assert {:ok, _} = Task.await(writer)
    end

    test "a semaphore gives its permits and no more", %{group: group} do
      name = {:semaphore, make_ref()}
      {:ok, semaphore} = Coordination.create_semaphore(name, permits: 3, group: group)
      assert Coordination.create_semaphore(name, permits: 4, group: group) == {:error, {:mismatch, 3}}
      {:ok, two} = Coordination.acquire(semaphore, permits: 2)
      {:ok, one} = Coordination.acquire(semaphore)
      assert Coordination.acquire(semaphore, wait: false) == {:error, :taken}
      assert Coordination.acquire(semaphore, permits: 4) == {:error, {:mismatch, 3}}
      assert Coordination.delete(semaphore) == {:error, :in_use}
      Coordination.release(two)
      Coordination.release(one)
      assert_eventually(Coordination.delete(semaphore) == :ok)
      assert Coordination.acquire(semaphore) == {:error, :undefined}
    end
  end

  describe "elections" do
    test "have a leader, and another when it goes", %{group: group} do
      name = {:election, make_ref()}
      :ok = Coordination.observe_leader(name, group: group)
      me = self()

      [first, second] =
        for metadata <- [:first, :second] do
          pid =
            spawn(fn ->
              {:ok, _} = Coordination.create_leader_election(name, group: group, metadata: metadata)
              receive do: ({:foundation_election, ^name, news} -> send(me, {metadata, news}))
              Process.sleep(:infinity)
            end)

          assert_eventually(candidates(group, name) >= if(metadata == :first, do: 1, else: 2))
          pid
        end

      assert_receive {:first, {:elected, token}}
      assert_receive {:foundation_leader, ^name, %{metadata: :first, node: node}}
      assert node == node()
      assert {:ok, %{metadata: :first, token: ^token}} = Coordination.leader(name, group: group)
      Process.exit(first, :kill)
      assert_receive {:second, {:elected, later}}
      assert later > token
      Process.exit(second, :kill)
      assert_eventually(Coordination.leader(name, group: group) == {:error, :no_leader})
    end

    test "prefer the higher priority, at once when it is to preempt", %{group: group} do
      name = {:election, make_ref()}
      {:ok, candidacy} = Coordination.create_leader_election(name, group: group)
      assert_receive {:foundation_election, ^name, {:elected, _}}
      other = agent()

      in_process(other, fn ->
        Coordination.create_leader_election(name, group: group, priority: 5, preempt: true)
      end)

      assert_receive {:foundation_election, ^name, {:deposed, :deposed}}
      assert Coordination.resign(candidacy) == :ok
      assert Coordination.resign(candidacy) == {:error, :not_held}
    end
  end

  # How many stand, by what the group says.
  defp candidates(group, name) do
    alias Foundation.Distributed.Consensus.{Ask, Codec}

    case Ask.query(group, {:candidates, Codec.name(name)}, :linearizable, 5_000) do
      {:ok, nil} -> 0
      {:ok, candidates} -> length(candidates)
    end
  end

  describe "barriers" do
    test "open for as many as they were made for", %{group: group} do
      {:ok, barrier} = Coordination.create_barrier({:barrier, make_ref()}, parties: 3, group: group)
      assert Coordination.await_barrier(barrier, 50) == {:error, :timeout}
      tasks = for _ <- 1..3, do: Task.async(fn -> Coordination.await_barrier(barrier, 10_000) end)
      assert for({:ok, grant} <- Task.await_many(tasks), do: grant.token) == [1, 1, 1]
      assert Coordination.await_barrier(barrier, 50) == {:error, :timeout}
    end

    test "a double one is left together", %{group: group} do
      {:ok, barrier} =
        Coordination.create_barrier({:barrier, make_ref()}, parties: 2, double: true, group: group)

      other = agent()
      entered = Task.async(fn -> in_process(other, fn -> Coordination.await_barrier(barrier, 10_000) end) end)
      {:ok, mine} = Coordination.await_barrier(barrier, 10_000)
      {:ok, theirs} = Task.await(entered)
      leaving = Task.async(fn -> in_process(other, fn -> Coordination.leave_barrier(theirs, 10_000) end) end)
      refute Task.yield(leaving, 100)
      assert Coordination.leave_barrier(mine, 10_000) == :ok
      assert Task.await(leaving) == :ok
      assert Coordination.leave_barrier(mine) == {:error, :not_held}
    end
  end

  test "counters", %{group: group} do
    {:ok, counter} =
      Coordination.create_distributed_counter({:counter, make_ref()}, group: group, initial: 10)

    assert Coordination.increment(counter) == {:ok, 11}
    assert Coordination.decrement(counter, 5) == {:ok, 6}
    assert Coordination.compare_and_set(counter, 6, 1) == {:ok, 1}
    assert Coordination.compare_and_set(counter, 6, 2) == {:error, {:unexpected, 1}}
    assert Coordination.add(counter, 0x7FFFFFFFFFFFFFFF) == {:error, :overflow}
    assert Coordination.value(counter) == {:ok, 1}
    tasks = for _ <- 1..20, do: Task.async(fn -> for _ <- 1..10, do: Coordination.increment(counter) end)
    Task.await_many(tasks, 30_000)
    assert Coordination.value(counter) == {:ok, 201}
  end

  test "sequences give each number once", %{group: group} do
    {:ok, sequence} = Coordination.create_sequence({:sequence, make_ref()}, group: group)
    assert Coordination.next(sequence, 10) == {:ok, 1..10}

    numbers =
      1..50
      |> Task.async_stream(fn _ -> Coordination.next(sequence) end, max_concurrency: 25)
      |> Enum.map(fn {:ok, {:ok, first.._//_}} -> first end)

    assert Enum.sort(numbers) == Enum.to_list(11..60)
  end

  test "queues give each value to one, and back when it is not done with", %{group: group} do
    {:ok, queue} = Coordination.create_queue({:queue, make_ref()}, capacity: 2, group: group)
    assert Coordination.take(queue, wait: false) == {:error, :empty}
    assert Coordination.push(queue, :a) == :ok
    assert Coordination.push(queue, {:b, 1}) == :ok
    assert Coordination.push(queue, :c) == {:error, :full}
    other = agent()
    assert {:ok, :a, _grant} = in_process(other, fn -> Coordination.take(queue) end)
    Agent.stop(other, :normal)
    assert_eventually(match?({:ok, %{queued: 2, taken: 0}}, Coordination.queue_status(queue)))
    assert Coordination.pop(queue) == {:ok, :a}
    assert {:ok, {:b, 1}, grant} = Coordination.take(queue)
    assert Coordination.acknowledge(grant) == :ok
    assert Coordination.acknowledge(grant) == {:error, :not_held}
    waiter = Task.async(fn -> Coordination.pop(queue, timeout: 10_000) end)
    assert_eventually(match?({:ok, %{waiting: 1}}, Coordination.queue_status(queue)))
    Coordination.push(queue, :late)
    assert Task.await(waiter) == {:ok, :late}
  end

  test "a task runs once for all who ask", %{group: group} do
    counter = :counters.new(1, [])
    id = make_ref()

    run = fn ->
      :counters.add(counter, 1, 1)
      :counters.get(counter, 1)
    end

    tasks =
      for _ <- 1..10,
          do:
            Task.async(fn ->
              Coordination.coordinate_distributed_task(id, run, group: group, timeout: 20_000)
            end)

    assert Enum.uniq(Task.await_many(tasks, 30_000)) == [{:ok, 1}]
    assert Coordination.coordinate_distributed_task(id, fn -> :other end, group: group) == {:ok, 1}
  end

  test "a session that the group has ended is followed by another one, and holders are told", %{
    group: group,
    lock: lock
  } do
    {:ok, grant} = Coordination.acquire(lock)
    {:ok, _kind, _handle, keeper} = Roster.find(group)
    election = {:election, make_ref()}
    {:ok, _} = Coordination.create_leader_election(election, group: group)
    assert_receive {:foundation_election, ^election, {:elected, token}}
    %{session: %{id: id}} = :sys.get_state(keeper)
    :ok = Foundation.Distributed.Consensus.Ask.command(group, {:close, id}, 5_000)
    name = lock.name
    # Told at the next beat, of which there are three in the time of a session.
    assert_receive {:foundation_lost, :lock, ^name, _token, :session}, 15_000
    assert_receive {:foundation_election, ^election, {:deposed, :session}}, 15_000
    assert_receive {:foundation_election, ^election, {:elected, later}}, 15_000
    assert later > token
    refute Coordination.held?(grant)
    assert {:ok, _} = Coordination.acquire(lock, timeout: 15_000)
  end

  test "the default group is made with the first use, where this node is alone" do
    if Node.list() == [] and not Foundation.Cluster.running?() do
      assert Foundation.Coordination.with_lock({:default, make_ref()}, fn -> 42 end) == {:ok, 42}
      assert {:ok, :yes} = Foundation.Distributed.coordinate_consensus(%{topic: make_ref(), value: :yes})
      on_exit(fn -> Consensus.stop_group(Consensus.default_group()) end)
    end
  end

  test "what makes no sense raises, with what was expected", %{lock: lock, group: group} do
    assert_raise ArgumentError, ~r/has no option :tomeout/, fn -> Coordination.acquire(lock, tomeout: 1) end
    assert_raise ArgumentError, ~r/lease: is/, fn -> Coordination.acquire(lock, lease: -1) end

    assert_raise ArgumentError, ~r/permits is/, fn ->
      Coordination.create_semaphore(:s, permits: 0, group: group)
    end

    assert_raise ArgumentError, ~r/priority: is/, fn ->
      Coordination.create_leader_election(:e, priority: :high)
    end

    assert Coordination.create_distributed_lock(:l, group: :nowhere) == {:error, :no_group}
  end
end
