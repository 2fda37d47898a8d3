defmodule Foundation.MABEAM.BlackboardTest do
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.MABEAM.Blackboard
  alias Foundation.MABEAM.Blackboard.Entry

  setup do
    board = :"board_#{System.unique_integer([:positive])}"
    {:ok, _} = Blackboard.open(board)
    on_exit(fn -> Blackboard.close(board) end)
    %{board: board}
  end

  test "what is posted is there with its author and confidence", %{board: board} do
    assert :ok = Blackboard.post(board, :facts, "sky", :blue, author: :a, confidence: 0.7)

    assert {:ok, %Entry{contributions: [said], support: support} = entry} =
             Blackboard.get(board, :facts, "sky")

    assert %{value: :blue, author: :a, confidence: 0.7, at: at} = said
    assert abs(at - System.system_time(:millisecond)) < 60_000
    assert support == %{}
    assert {Entry.value(entry), Entry.weight(entry)} == {:blue, 0}
    assert {:ok, [:facts]} = Blackboard.topics(board)
  end

  test "a later post takes the place of the one before", %{board: board} do
    :ok = Blackboard.post(board, :facts, 1, :old, author: :a)
    :ok = Blackboard.post(board, :facts, 1, :new, author: "b")
    assert {:ok, %Entry{contributions: [%{value: :new, author: "b"}]}} = Blackboard.get(board, :facts, 1)
  end

  test "entries come by support, then confidence, then key", %{board: board} do
    for {key, confidence} <- [a: 0.2, b: 0.9, c: 0.9, d: 0.1],
        do: :ok = Blackboard.post(board, :plans, key, key, author: :planner, confidence: confidence)

    :ok = Blackboard.support(board, :plans, :d, :x)
    :ok = Blackboard.support(board, :plans, :d, :y, 2)
    :ok = Blackboard.support(board, :plans, :a, :x)
    assert {:ok, entries} = Blackboard.entries(board, :plans)
    assert Enum.map(entries, & &1.key) == [:d, :a, :b, :c]
    assert Entry.weight(hd(entries)) == 3

    # Once for each agent, the last weight.
    :ok = Blackboard.support(board, :plans, :d, :y, 0.5)
    assert {:ok, entry} = Blackboard.get(board, :plans, :d)
    assert entry.support == %{x: 1, y: 0.5}
    :ok = Blackboard.withdraw(board, :plans, :d, :y)
    assert {:ok, %Entry{support: %{x: 1}}} = Blackboard.get(board, :plans, :d)
    assert {:ok, []} = Blackboard.entries(board, :nothing)
  end

  test "a retracted entry is gone, with its support and its topic", %{board: board} do
    :ok = Blackboard.post(board, :t, :k, 1, author: :a)
    :ok = Blackboard.support(board, :t, :k, :b)
    :ok = Blackboard.retract(board, :t, :k)
    assert {:error, :not_found} = Blackboard.get(board, :t, :k)
    assert {:error, :not_found} = Blackboard.support(board, :t, :k, :b)
    assert {:error, :not_found} = Blackboard.withdraw(board, :t, :k, :b)
    assert {:ok, []} = Blackboard.entries(board, :t)
    assert {:ok, []} = Blackboard.topics(board)
  end

  test "watchers hear of their topic, once for each entry", %{board: board} do
    :ok = Blackboard.watch(board, topic: :mine)
    all = spawn_link(fn -> collect(board) end)
    :ok = Blackboard.watch(board, pid: all)

    :ok = Blackboard.post(board, :other, :k, 1, author: :a)
    :ok = Blackboard.post(board, :mine, :k, 1, author: :a)
    assert_receive {:foundation_blackboard, ^board, [{:posted, :mine, :k}]}
    :ok = Blackboard.support(board, :mine, :k, :b)
    assert_receive {:foundation_blackboard, ^board, [{:supported, :mine, :k}]}
    :ok = Blackboard.retract(board, :mine, :k)
    assert_receive {:foundation_blackboard, ^board, [{:retracted, :mine, :k}]}

    :ok = Blackboard.unwatch(board)
    :ok = Blackboard.post(board, :mine, :last, 1, author: :a)
    send(all, {:ask, self()})
    assert_eventually({:posted, :mine, :last} in heard(all))
    assert {:posted, :other, :k} in heard(all)
    refute_received {:foundation_blackboard, _, _}
  end

  test "watching goes on when the replica has crashed", %{board: board} do
    :ok = Blackboard.watch(board)
    {:ok, replica} = Foundation.Distributed.State.new(Blackboard.state(board), Blackboard.type())
    Process.exit(replica, :kill)
    assert_receive {:foundation_blackboard, ^board, :reset}, 5_000
    :ok = Blackboard.post(board, :t, :k, 1, author: :a)
    assert_receive {:foundation_blackboard, ^board, [{:posted, :t, :k}]}, 5_000
  end

  test "bad input raises with a reason and changes nothing", %{board: board} do
    assert_raise ArgumentError, ~r/a board is named by an atom, got: "b"/, fn -> Blackboard.open("b") end
    assert_raise ArgumentError, ~r/:author is an agent's id/, fn -> Blackboard.post(board, :t, :k, 1, []) end

    for confidence <- [-0.1, 1.1, :high, "1"] do
      assert_raise ArgumentError, ~r/:confidence is a number from 0 to 1/, fn ->
        Blackboard.post(board, :t, :k, 1, author: :a, confidence: confidence)
      end
    end

    assert_raise ArgumentError, ~r/a weight is a number above 0/, fn ->
      Blackboard.support(board, :t, :k, :a, 0)
    end

    assert_raise ArgumentError, ~r/the agent is an agent's id/, fn ->
      Blackboard.support(board, :t, :k, nil)
    end

    assert_raise ArgumentError, ~r/the options :topic and :pid/, fn -> Blackboard.watch(board, topics: 1) end
    assert {:ok, []} = Blackboard.topics(board)
  end

  test "a board that is not open says so" do
    for call <- [
          fn -> Blackboard.post(:no_board, :t, :k, 1, author: :a) end,
          fn -> Blackboard.get(:no_board, :t, :k) end,
          fn -> Blackboard.entries(:no_board, :t) end,
          fn -> Blackboard.topics(:no_board) end,
          fn -> Blackboard.watch(:no_board) end,
          fn -> Blackboard.status(:no_board) end,
          fn -> Blackboard.close(:no_board) end
        ],
        do: assert(call.() == {:error, :not_running})
  end

  defp collect(board, heard \\ []) do
    receive do
      {:foundation_blackboard, ^board, news} ->
        collect(board, heard ++ news)

      {:ask, from} ->
        send(from, {:heard, heard})
        collect(board, heard)
    end
  end

  defp heard(pid) do
    send(pid, {:ask, self()})
    receive do: ({:heard, heard} -> heard)
  end
end
