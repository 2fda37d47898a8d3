defmodule Foundation.Distributed.ConsensusTest do
  # Groups of one member, in this VM.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed.Consensus
  alias Foundation.Tally

  setup do
    group = "test_#{System.unique_integer([:positive])}"
    on_exit(fn -> Consensus.stop_group(group) end)
    {:ok, group: group}
  end

  describe "a group with a machine of one's own" do
    setup %{group: group} do
      {:ok, ^group} = Consensus.start_group(group, machine: Tally)
      :ok
    end

    test "answers with what the machine replies, in order", %{group: group} do
      assert Consensus.propose(group, {:write, 1}) == {:ok, :ok}
      assert Consensus.propose(group, {:cas, 1, 2}) == {:ok, true}
      assert Consensus.propose(group, {:cas, 1, 3}) == {:ok, false}
      assert Consensus.query(group, :register) == {:ok, 2}

      for level <- [:lease, :quorum, :linearizable] do
        assert Consensus.query(group, :register, consistency: level) == {:ok, 2}
      end

      assert Consensus.query(group, :register, consistency: :local) == {:ok, 2}
    end

    test "counts a command once that is proposed again under its number", %{group: group} do
      id = {Consensus.session(), 0}
      assert Consensus.propose(group, {:append, :a}, id: id) == {:ok, 1}
      assert Consensus.propose(group, {:append, :a}, id: id) == {:ok, 1}
      assert Consensus.query(group, :list) == {:ok, [:a]}
    end

    test "tells the machine index, term and time", %{group: group} do
      {:ok, first} = Consensus.propose(group, :meta)
      {:ok, second} = Consensus.propose(group, :meta)
      assert second.index > first.index and second.term == first.term and second.time_ms >= first.time_ms
      assert abs(first.time_ms - System.os_time(:millisecond)) < 60_000
    end

    test "answers a command that raises with the exception, and goes on", %{group: group} do
      assert {:error, {:raised, %RuntimeError{message: "no such thing"}}} = Consensus.propose(group, :raise)
      assert {:error, {:raised, %RuntimeError{}}} = Consensus.query(group, :raise)
      assert Consensus.propose(group, {:append, 1}) == {:ok, 1}
    end

    test "takes commands of all sizes, up to its bound", %{group: group} do
      large = :binary.copy("x", 200_000)
      assert Consensus.propose(group, {:write, large}) == {:ok, :ok}
      assert Consensus.query(group, :register) == {:ok, large}
      huge = :binary.copy("x", 5_000_000)
      assert Consensus.propose(group, {:write, huge}) == {:error, :too_large}
    end

    test "takes many proposals at a time, each once", %{group: group} do
      1..500
      |> Task.async_stream(&Consensus.propose(group, {:append, &1}), max_concurrency: 100, timeout: 30_000)
      |> Enum.each(fn {:ok, {:ok, _}} -> :ok end)

      {:ok, list} = Consensus.query(group, :list)
      assert Enum.sort(list) == Enum.to_list(1..500)
    end

    test "says how it is doing", %{group: group} do
      {:ok, _} = Consensus.propose(group, {:append, 1})
      assert {:ok, status} = Consensus.status(group)
      assert %{role: :leader, learners: [], joint: false, error: nil} = status
      assert status.members == [node()] and status.leader == node() and status.me == node()
      assert Consensus.leader(group) == {:ok, node()}
      assert Consensus.members(group) == {:ok, [node()]}
      assert Consensus.snapshot(group) == :ok
      assert_eventually(match?({:ok, %{snapshot: n}} when n != nil, Consensus.status(group)))
    end

    test "is there once", %{group: group} do
      assert Consensus.start_group(group, machine: Tally) == {:error, :already_started}
      assert group in Consensus.groups()
      assert Consensus.stop_group(group) == :ok
      assert Consensus.propose(group, {:append, 1}) == {:error, :no_group}
      assert Consensus.query(group, :list) == {:error, :no_group}
      assert Consensus.status(group) == {:error, :no_group}
      assert Consensus.stop_group(group) == {:error, :no_group}
    end
  end

  test "a machine's process that dies is started again, and its group with it", %{group: group} do
    {:ok, _} = Consensus.start_group(group, machine: Tally)
    {:ok, _kind, _handle, pid} = Foundation.Distributed.Consensus.Roster.find(group)
    Process.exit(pid, :kill)
    assert_eventually(match?({:ok, _}, Consensus.query(group, :list)), 10_000)
  end

  describe "a group without a machine of one's own" do
    setup %{group: group} do
      {:ok, ^group} = Consensus.start_group(group)
      :ok
    end

    test "keeps values with versions", %{group: group} do
      assert Consensus.get_value(group, :a, []) == {:error, :not_found}
      assert {:ok, first} = Consensus.propose(group, {:put, :a, %{x: 1}})
      assert Consensus.get_value(group, :a, version: true) == {:ok, %{x: 1}, first}
      assert {:error, {:conflict, ^first, %{x: 1}}} = Consensus.propose(group, {:put, :a, 2, :absent})
      assert {:ok, second} = Consensus.propose(group, {:put, :a, 2, first})
      assert second > first
      assert {:ok, _} = Consensus.propose(group, {:delete, :a})
      assert Consensus.get_value(group, :a, []) == {:error, :not_found}
    end

    test "decides once on a topic", %{group: group} do
      assert Consensus.reach_consensus(:colour, :red, group: group) == {:ok, :red}
      assert Consensus.reach_consensus(:colour, :blue, group: group, quorum: :all) == {:ok, :red}
      assert Consensus.get_value(:colour, group: group) == {:ok, :red}

      assert Consensus.reach_consensus(:colour, :blue, group: group, quorum: 2, timeout: 1_000) ==
               {:error, {:decided, :red, 1}}
    end

    test "decides once among many who ask", %{group: group} do
      decided =
        1..50
        |> Task.async_stream(&Consensus.reach_consensus(:one, &1, group: group), max_concurrency: 50)
        |> Enum.map(fn {:ok, {:ok, value}} -> value end)

      assert [_] = Enum.uniq(decided)
    end

    test "counts and numbers", %{group: group} do
      assert Consensus.propose(group, {:add, :visits, 2}) == {:ok, 2}
      assert Consensus.propose(group, {:next, :orders, 3}) == {:ok, 1..3}
      assert Consensus.propose(group, {:next, :orders, 1}) == {:ok, 4..4}
    end
  end

  test "what makes no sense raises, with what was expected" do
    assert_raise ArgumentError, ~r/a group is named by/, fn -> Consensus.start_group(nil) end
    assert_raise ArgumentError, ~r/has no option :machines/, fn -> Consensus.start_group(:g, machines: 1) end

    assert_raise ArgumentError, ~r/members: is a list of nodes/, fn ->
      Consensus.start_group(:g, members: [])
    end

    assert_raise ArgumentError, ~r/timeout is an integer/, fn -> Consensus.query(:g, :q, timeout: 0) end
    assert_raise ArgumentError, ~r/consistency: is/, fn -> Consensus.query(:g, :q, consistency: :strong) end
    assert_raise ArgumentError, ~r/quorum: is/, fn -> Consensus.reach_consensus(:t, 1, quorum: 0) end
    assert_raise ArgumentError, ~r/id: is/, fn -> Consensus.propose(:g, :c, id: 1) end
  end

  @tag :tmp_dir
  test "an engine on disk recovers a group only with the word", %{tmp_dir: dir} do
    alias Foundation.Distributed.Consensus.Recovery
    alias Foundation.Native

    options = %{
      me: "lonely@h",
      dir: dir,
      sync: false,
      heartbeat_ms: 50,
      election_min_ms: 150,
      election_max_ms: 300
    }

    {:ok, engine} = Native.consensus_start(options, self())
    reference = make_ref()
    settings = %{max_in_flight: 10, max_command: 1_000, snapshot_entries: 1_000}
    members = ["lonely@h", "lost1@h", "lost2@h"]

    :ok =
      Native.consensus_group_start(engine, reference, "orphan", members, settings, {:coordination, self()})

    assert_receive {^reference, {:ok, _group}}, 10_000
    :ok = Native.consensus_stop(engine)

    assert {:ok, [%{group: "orphan", voters: voters}]} = Recovery.groups(dir, "lonely@h")
    assert Enum.sort(voters) == Enum.sort(members)
    assert Recovery.recover(dir, "lonely@h", "orphan", nil) == {:error, :no_word}
    assert Recovery.recover(dir, "lonely@h", "orphan", "yes") == {:error, :no_word}
    assert Recovery.recover(dir, "lonely@h", "other", Recovery.word()) == {:error, :not_found}
    assert Recovery.recover(dir, "lonely@h", "orphan", Recovery.word()) == :ok
    assert {:ok, [%{voters: ["lonely@h"]}]} = Recovery.groups(dir, "lonely@h")
  end
end
