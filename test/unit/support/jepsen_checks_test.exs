defmodule Foundation.JepsenChecksTest do
  # What is to find faults in a history finds those that are planted.
  use ExUnit.Case, async: true

  alias Foundation.{JepsenHistory, Linearizable}
  alias Foundation.JepsenChecks, as: Checks

  test "the checker of registers finds what cannot be" do
    write = {1, 2, {:write, :a}, :ok}
    assert Linearizable.check([write, {3, 4, :read, {:ok, :a}}], nil) == :ok
    assert Linearizable.check([write, {3, 4, :read, {:ok, nil}}], nil) == :error
    assert Linearizable.check([{1, 5, {:write, :a}, :ok}, {3, 4, :read, {:ok, nil}}], nil) == :ok
    assert Linearizable.check([{1, :infinity, {:write, :a}, :unknown}, {3, 4, :read, {:ok, :a}}], nil) == :ok
    reads = [{3, 4, :read, {:ok, :a}}, {5, 6, :read, {:ok, nil}}]
    assert Linearizable.check([{1, :infinity, {:write, :a}, :unknown} | reads], nil) == :error
    both = [{1, 3, {:cas, nil, :a}, {:ok, true}}, {2, 4, {:cas, nil, :b}, {:ok, true}}]
    assert Linearizable.check(both, nil) == :error
  end

  test "registers: a lost write, a refused one that is read, one that nobody wrote" do
    write = {:register, :k, 1, 2, {:write, :a}, :ok}
    read = &{:register, :k, 3, 4, :read, {:ok, &1}}
    assert Checks.registers([write, read.(:a)]) == []
    assert [{:not_linearizable, :k, _}] = Checks.registers([write, read.(nil)])
    perhaps = {:register, :k, 1, :infinity, {:write, :a}, :unknown}
    assert [{:was_refused, :k, :a}] = Checks.registers([perhaps, {:never, :a}, read.(:a)])
    assert Checks.invented([write, read.(:a)]) == []
    assert [{:nobody_wrote, :k, :b}] = Checks.invented([write, read.(:b)])
    assert [{:doubled, :version, 7, 2}] = Checks.versions([{:agreed, 7}, {:agreed, 8}, {:agreed, 7}])
  end

  test "locks and names: two holders at once, tokens that go back or come twice" do
    for kind <- [:held, :named] do
      one = {kind, :l, 1, 10, 20, :a}
      assert Checks.in_turn([{kind, :l, 2, 20, 30, :b}, one, {kind, :m, 9, 15, 16, :b}], kind) == []
      assert [{:at_once, ^one, _}] = Checks.in_turn([one, {kind, :l, 2, 19, 30, :b}], kind)
      assert [{:token_goes_back, ^one, _}] = Checks.in_turn([one, {kind, :l, 0, 21, 30, :b}], kind)
    end

    assert {:doubled, :token, 1, 2} in Checks.in_turn(
             [{:named, :l, 1, 1, 2, :a}, {:named, :m, 1, 1, 2, :b}],
             :named
           )
  end

  test "the queue: popped twice, lost, never pushed" do
    pushed = [{:pushed, 1, :ok}, {:pushed, 2, :unknown}, {:pushed, 3, :refused}]
    assert Checks.queue([{:popped, 1, :ok} | pushed], []) == []
    assert Checks.queue([{:popped, 1, :unknown} | pushed], []) == []
    assert Checks.queue([{:popped, 1, :unknown} | pushed], [1, 2]) == []
    assert Checks.queue(pushed, []) == [{:lost, 1}]
    assert Checks.queue([{:popped, 1, :ok} | pushed], [1]) == [{:doubled, :popped, 1, 2}]
    assert Checks.queue(pushed, [1, 3]) == [{:was_not_pushed, 3, :refused}]
    assert Checks.queue(pushed, [1, 4]) == [{:was_not_pushed, 4, nil}]
  end

  test "the counter: too little, too much, a number twice" do
    added = [
      {:added, {:ok, 1}},
      {:added, {:ok, 2}},
      {:added, {:error, :unknown}},
      {:added, {:error, :no_leader}}
    ]

    assert Checks.counter(added, 2) == []
    assert Checks.counter(added, 3) == []
    assert [{:counter, 1, 2, 1}] = Checks.counter(added, 1)
    assert [{:counter, 4, 2, 1}] = Checks.counter(added, 4)
    assert [{:doubled, :number, 1, 2}] = Checks.counter([{:added, {:ok, 1}}, {:added, {:ok, 1}}], 2)
  end

  test "a minority that answers; what its session lets it keep for a while" do
    cuts = [{[:a], 100, 200}]
    call = &{:call, &1, :a, &2, &3, :done}

    for other <- [call.(:queue, 99, 110), call.(:queue, 190, 201), put_elem(call.(:queue, 110, 120), 2, :b)],
        do: assert(Checks.minority([other], cuts, 50) == [])

    assert [{:answered_by_minority, :queue, _}] = Checks.minority([call.(:queue, 110, 120)], cuts, 50)
    assert Checks.minority([call.(:lock, 110, 120)], cuts, 50) == []
    assert [{:answered_by_minority, :lock, _}] = Checks.minority([call.(:lock, 151, 160)], cuts, 50)
    assert Checks.minority([put_elem(call.(:queue, 110, 120), 5, :refused)], cuts, 50) == []
  end

  test "of an operation what was said last counts, and a torn end is nothing" do
    directory = Path.join(System.tmp_dir!(), "foundation_history_#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(directory) end)
    file = JepsenHistory.open(directory, {:a@h, "1", 0})
    JepsenHistory.say(file, 0, [{:pushed, 1, :unknown}])
    JepsenHistory.say(file, 0, [{:pushed, 1, :ok}])
    JepsenHistory.say(file, 1, [{:pushed, 2, :unknown}])
    :ok = :file.write(file, <<100::32, 1, 2>>)
    :file.close(file)
    assert Enum.sort(JepsenHistory.read(directory)) == [{:pushed, 1, :ok}, {:pushed, 2, :unknown}]
  end
end
