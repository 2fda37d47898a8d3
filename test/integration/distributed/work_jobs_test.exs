defmodule Foundation.Distributed.WorkJobsTest do
  # Jobs: runs whose results are recorded, so that another node goes on when the coordinating one dies or is cut off.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.{Consensus, Work}
  alias Foundation.Distributed.Work.Checkpoint
  alias Foundation.WorkSteps

  @moduletag timeout: 120_000

  describe "on one node" do
    setup do
      for node <- Node.list(), do: Node.disconnect(node)
      stop = fn -> for group <- Consensus.groups(), do: Consensus.stop_group(group) end
      stop.()
      on_exit(stop)
    end

    test "a job that is done answers what it has come to, until it is forgotten" do
      counter = :counters.new(1, [])

      work = fn x ->
        :counters.add(counter, 1, 1)
        if x == 3, do: raise("three"), else: x * x
      end

      options = [nodes: [node()], job: {:squares, 1}, checkpoint_every: 2]
      assert {:ok, run} = Work.run(1..5, work, options)
      assert [{:ok, 1}, {:ok, 4}, {:error, {:exit, {%RuntimeError{}, _}}}, {:ok, 16}, {:ok, 25}] = run.results
      assert run.recovered == 0
      assert {:ok, again} = Work.run(1..5, work, options)
      assert again.results == run.results
      assert {again.recovered, again.nodes} == {5, %{}}
      assert :counters.get(counter, 1) == 5

      assert Work.run(1..6, work, options) == {:error, :other_items}
      assert Work.forget({:squares, 1}) == :ok
      assert {:ok, %{recovered: 0}} = Work.run(1..6, work, options)
      assert :counters.get(counter, 1) == 11
      assert Work.forget(:never_heard_of) == :ok
    end

    test "what was recorded when the coordinator ended is not done again" do
      counter = :counters.new(20, [])
      me = self()

      work = fn x ->
        :counters.add(counter, x, 1)
        x
      end

      stop_at_five = fn index, _result ->
        send(me, {:result, index})
        if index == 5, do: raise("enough")
      end

      options = [nodes: [node()], job: :stopped, checkpoint_every: 1, concurrency: 1]
      assert {:error, {:on_result, _}} = Work.run(1..20, work, [on_result: stop_at_five] ++ options)
      assert {:ok, run} = Work.run(1..20, work, [on_result: &send(me, {:result, {&1, &2}})] ++ options)
      assert run.results == Enum.map(1..20, &{:ok, &1})
      assert run.recovered == 6
      # Others may have been begun before it ended, and again.
      for x <- 1..6, do: assert(:counters.get(counter, x) == 1)

      first =
        for _ <- 1..6 do
          assert_received {:result, index} when is_integer(index)
          index
        end

      second =
        for _ <- 1..14 do
          assert_received {:result, {index, {:ok, _}}}
          index
        end

      assert Enum.sort(first ++ second) == Enum.to_list(0..19)
    end

    test "two who run it share it, and one that runs cannot be forgotten" do
      options = [nodes: [node()], job: :shared]

      runs =
        for _ <- 1..2, do: Task.async(fn -> Work.run(1..40, {WorkSteps, :slow_square, [20]}, options) end)

      assert_eventually(Work.forget(:shared) == {:error, :running})
      assert [{:ok, one}, {:ok, other}] = Task.await_many(runs, 30_000)
      assert one.results == other.results
      assert Enum.sort([one.recovered, other.recovered]) == [0, 40]
    end

    test "a result that is too large for the group ends the run, and many that are large together do not" do
      large = fn n -> :binary.copy("x", n) end
      assert {:ok, run} = Work.run([1, 2, 3, 4], fn _ -> large.(600_000) end, nodes: [node()], job: :large)
      assert Enum.all?(run.results, &(&1 == {:ok, large.(600_000)}))

      assert Work.run([1], fn _ -> large.(1_100_000) end, nodes: [node()], job: :larger) ==
               {:error, :too_large}
    end

    test "of two who think that they coordinate, one is told that it does not" do
      options = %{job: :fenced, group: Consensus.default_group()}
      assert {:ok, checkpoint} = Checkpoint.run(%{0 => :a, 1 => :b}, options, &{:ok, &1})
      assert {:ok, one} = Checkpoint.record(checkpoint, %{0 => {:ok, :one}})
      assert Checkpoint.record(checkpoint, %{0 => {:ok, :other}}) == {:error, :superseded}
      # The same again, as after an answer that was lost.
      assert {:ok, ^one} = Checkpoint.record(checkpoint, %{0 => {:ok, :one}})
      assert {:ok, _} = Checkpoint.record(one, %{1 => {:ok, :two}})
      assert {:ok, %{results: results, next: 2}} = Checkpoint.run(%{0 => :a, 1 => :b}, options, &{:ok, &1})
      assert results == %{0 => {:ok, :one}, 1 => {:ok, :two}}
    end

    test "map_reduce is two jobs" do
      words = fn line -> for word <- String.split(line), do: {word, 1} end
      count = fn _word, ones -> Enum.sum(ones) end
      options = [nodes: [node()], job: :words]
      assert Work.map_reduce(["a b", "b"], words, count, options) == {:ok, %{"a" => 1, "b" => 2}}

      assert Work.map_reduce(["a b", "b"], fn _ -> exit(:no) end, count, options) ==
               {:ok, %{"a" => 1, "b" => 2}}

      for part <- [:map, :reduce], do: assert(Work.forget({:words, part}) == :ok)
    end

    test "options are checked" do
      for options <- [[job: nil], [checkpoint_every: 0], [group: 5]],
          do: assert_raise(ArgumentError, fn -> Work.run([1], & &1, options) end)

      assert Work.run([1], & &1, job: :x, group: :no_such_group) == {:error, :no_group}
    end
  end

  defp start do
    cluster = Nodes.start(3, durable: false, coordination: [expect: 3, session_ms: 1_500])
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.formed(cluster)

    {cluster, names}
  end

  # Each takes part; the first coordinates.
  defp part(cluster, node, job, items) do
    work = {WorkSteps, :slow_square, [30]}
    options = [job: job, concurrency: 2, checkpoint_every: 4]
    Task.async(fn -> Nodes.rpc(cluster, node, Work, :run, [items, work, options], 60_000) end)
  end

  defp recorded(cluster, node, job, number) do
    case Nodes.rpc(cluster, node, Consensus, :get_value, [:foundation, {:work, job, number}, []]) do
      {:ok, batch} -> map_size(batch) > 0
      _ -> false
    end
  end

  test "the coordinating node dies: another one goes on, and each item has one result" do
    {cluster, [a, b, c]} = start()
    Process.flag(:trap_exit, true)
    first = part(cluster, a, :billing, 1..150)
    assert_eventually(recorded(cluster, b, :billing, 0), 20_000)
    others = for node <- [b, c], do: part(cluster, node, :billing, 1..150)
    assert_eventually(recorded(cluster, b, :billing, 3), 20_000)
    Nodes.kill(cluster, a)
    _ = Task.shutdown(first, :brutal_kill)

    assert [{:ok, one}, {:ok, other}] = Task.await_many(others, 60_000)
    assert one.results == other.results
    assert Enum.map(one.results, fn {:ok, {_node, square}} -> square end) == Enum.map(1..150, &(&1 * &1))
    # What a had recorded counts: some was done by it.
    assert Enum.any?(one.results, fn {:ok, {node, _}} -> node == a end)
    assert Enum.max([one.recovered, other.recovered]) == 150
    assert Enum.min([one.recovered, other.recovered]) in 12..149
  end

  test "a coordinator that is cut off records nothing more, and gets the results of the others in the end" do
    {cluster, [a, b, c] = names} = start()
    first = part(cluster, a, :cut, 1..150)
    assert_eventually(recorded(cluster, b, :cut, 1), 20_000)
    Nodes.split(cluster, [[a], [b, c]])
    second = part(cluster, b, :cut, 1..150)
    assert {:ok, run} = Task.await(second, 60_000)
    assert run.recovered > 0
    Nodes.heal(cluster)
    assert {:ok, late} = Task.await(first, 60_000)
    assert late.results == run.results
    assert Enum.map(run.results, fn {:ok, {_node, square}} -> square end) == Enum.map(1..150, &(&1 * &1))
    assert_eventually(Enum.all?(names, &(Nodes.rpc(cluster, &1, WorkSteps, :runners, []) == [])), 20_000)
  end
end
