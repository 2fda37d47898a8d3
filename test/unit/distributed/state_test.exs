defmodule Foundation.Distributed.StateTest do
  # One replica alone: types, errors, subscriptions, bounds, the durable copy.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.State
  alias Foundation.DistributedState

  setup do
    name = :"state_#{System.unique_integer([:positive])}"
    on_exit(fn -> State.stop(name) end)
    {:ok, name: name}
  end

  defp all!(name, changes), do: Enum.each(changes, fn change -> assert :ok = State.mutate(name, change) end)

  describe "types" do
    test "counters", %{name: name} do
      {:ok, _} = State.new(name, :pn_counter)
      assert State.read(name) == {:ok, 0}
      all!(name, [:increment, {:increment, 5}, :decrement, {:decrement, 10}])
      assert State.read(name) == {:ok, -5}
      assert State.mutate(name, {:increment, 4_611_686_018_427_387_904}) == {:error, :overflow}
      assert State.read(name) == {:ok, -5}
    end

    test "a counter that only grows", %{name: name} do
      {:ok, _} = State.new(name, :g_counter)
      all!(name, [:increment, :increment])
      assert State.mutate(name, :decrement) == {:error, :grow_only}
      assert State.read(name) == {:ok, 2}
    end

    for set <- [:or_set, :rw_set] do
      test "#{set}", %{name: name} do
        {:ok, _} = State.new(name, unquote(set))
        assert State.read(name) == {:ok, MapSet.new()}
        all!(name, [{:add, 1}, {:add, 2.0}, {:add, 2}, {:add, "two"}, {:remove, 1}, {:remove, :never}])
        assert State.read(name) == {:ok, MapSet.new([2.0, 2, "two"])}
        assert State.read(name, ["two"]) == {:ok, true}
        assert State.read(name, [1]) == {:ok, false}
      end
    end

    test "a set that only grows", %{name: name} do
      {:ok, _} = State.new(name, :g_set)
      all!(name, [{:add, :a}, {:add, :a}, {:add, :b}])
      assert State.mutate(name, {:remove, :a}) == {:error, :grow_only}
      assert State.read(name) == {:ok, MapSet.new([:a, :b])}
    end

    test "registers", %{name: name} do
      {:ok, _} = State.new(name, :lww_register)
      assert State.read(name) == {:ok, nil}
      all!(name, [{:set, 1}, {:set, %{deep: [1, {2, "three"}]}}])
      assert State.read(name) == {:ok, %{deep: [1, {2, "three"}]}}
      State.stop(name)
      {:ok, _} = State.new(name, :mv_register)
      assert State.read(name) == {:ok, []}
      all!(name, [{:set, 1}, {:set, 2}])
      assert State.read(name) == {:ok, [2]}
    end

    for flag <- [:ew_flag, :dw_flag] do
      test "#{flag}", %{name: name} do
        {:ok, _} = State.new(name, unquote(flag))
        assert State.read(name) == {:ok, false}
        all!(name, [:enable])
        assert State.read(name) == {:ok, true}
        all!(name, [:disable])
        assert State.read(name) == {:ok, false}
      end
    end

    for map <- [:lww_map, :or_map] do
      test "#{map}", %{name: name} do
        {:ok, _} = State.new(name, unquote(map))
        all!(name, [{:put, :a, 1}, {:put, "b", 2}, {:put, {1, 2}, 3}, {:put, :a, 4}, {:remove, "b"}])
        assert State.read(name) == {:ok, %{:a => 4, {1, 2} => 3}}
        assert State.read(name, [:a]) == {:ok, 4}
        assert State.read(name, ["b"]) == {:error, :not_found}
        assert State.read(name, [:a, :b]) == {:error, :wrong_path}
        assert State.mutate(name, {:add, :a}) == {:error, :wrong_operation}
      end
    end

    test "nested types, by the other door", %{name: name} do
      type =
        {:or_map,
         {:record, %{tags: :or_set, seen: :pn_counter, name: :lww_register, at: {:or_map, :mv_register}}}}

      {:ok, _} = DistributedState.new(name, type)

      for change <- [{:tags, {:add, "x"}}, {:seen, {:increment, 3}}, {:at, {:put, :home, 1}}] do
        {field, inner} = change
        assert :ok = DistributedState.mutate(name, {:update, 7, {:update, field, inner}})
      end

      whole = %{tags: MapSet.new(["x"]), seen: 3, name: nil, at: %{home: [1]}}
      assert DistributedState.read(name) == {:ok, %{7 => whole}}
      assert DistributedState.read(name, [7]) == {:ok, whole}
      assert DistributedState.read(name, [7, :tags]) == {:ok, MapSet.new(["x"])}
      assert DistributedState.read(name, [7, :at, :work]) == {:error, :not_found}
      assert DistributedState.read(name, [7, :name]) == {:ok, nil}
      assert DistributedState.read(name, [7, :other]) == {:error, :wrong_path}

      assert DistributedState.mutate(name, {:update, 7, {:update, :other, :increment}}) ==
               {:error, :wrong_path}

      assert DistributedState.mutate(name, {:remove, 7}) == :ok
      assert DistributedState.read(name) == {:ok, %{}}
      assert {:ok, %{keys: 0}} = DistributedState.status(name)
    end

    test "a record of large parts is read whole", %{name: name} do
      {:ok, _} =
        State.new(name, {:record, a: :or_set, b: {:record, [c: {:or_map, :pn_counter}]}, d: :pn_counter})

      all!(name, for(n <- 1..100, do: {:update, :a, {:add, n}}))
      all!(name, for(n <- 1..100, do: {:update, :b, {:update, :c, {:update, n, {:increment, n}}}}))
      counts = Map.new(1..100, &{&1, &1})
      assert State.read(name) == {:ok, %{a: MapSet.new(1..100), b: %{c: counts}, d: 0}}
      assert State.read(name, [:b, :c]) == {:ok, counts}
      assert State.read(name, [:b, :c, 50]) == {:ok, 50}
    end
  end

  test "terms come back as they were, whatever they are", %{name: name} do
    {:ok, _} = State.new(name, :or_map)
    big = :binary.copy("x", 300_000)

    terms = [
      :átom,
      String.to_atom(String.duplicate("ж", 200)),
      -1,
      255,
      256,
      -2_147_483_649,
      1_000_000_000_000_000_000_000_000,
      1.5,
      -0.0,
      "",
      <<1::3>>,
      [],
      ~c"list",
      [1 | 2],
      {},
      %{b: 1, a: %{"x" => [self(), make_ref()]}},
      Map.new(1..100, &{&1, &1}),
      Enum.to_list(1..10_000),
      big
    ]

    for {term, n} <- Enum.with_index(terms) do
      assert :ok = State.mutate(name, {:put, n, term})
      assert State.read(name, [n]) === {:ok, term}
    end

    for term <- terms, term != big do
      assert :ok = State.mutate(name, {:put, {:key, term}, 1})
      assert State.read(name, [{:key, term}]) == {:ok, 1}
    end

    assert State.mutate(name, {:put, big, 1}) == {:error, :too_large}
    assert State.mutate(name, {:put, 1, :binary.copy("x", 10_000_000)}) == {:error, :too_large}
    assert {:ok, %{0 => :átom} = map} = State.read(name)
    assert map_size(map) == 2 * length(terms) - 1
  end

  test "a list of changes stops at the first that is refused", %{name: name} do
    {:ok, _} = State.new(name, {:or_map, :pn_counter})
    assert :ok = State.mutate(name, for(n <- 1..1_000, do: {:update, n, {:increment, n}}))
    assert {:ok, %{keys: 1_000}} = State.status(name)

    changes = [{:update, 1, :increment}, {:put, 1, 1}, {:update, 1, :increment}]
    assert State.mutate(name, changes) == {:error, {1, :wrong_operation}}
    assert State.read(name, [1]) == {:ok, 2}
  end

  test "subscribers are told what changed, and no more after they left", %{name: name} do
    {:ok, _} = State.new(name, {:or_map, :or_set}, push_after: 1)
    :ok = State.mutate(name, {:update, :a, {:add, 1}})
    assert :ok = State.subscribe(name)
    :ok = State.mutate(name, {:update, :a, {:add, 2}})
    assert_receive {:foundation_state, ^name, [{:add, [:a], 2}]}, 5_000
    :ok = State.mutate(name, {:remove, :a})
    assert_receive {:foundation_state, ^name, diffs}, 5_000
    told = more_diffs(name, diffs, 2)
    assert Enum.sort(told) == [{:remove, [:a], 1}, {:remove, [:a], 2}]
    assert :ok = State.unsubscribe(name)
    assert {:ok, %{subscribers: 0}} = State.status(name)
  end

  defp more_diffs(_name, diffs, count) when length(diffs) >= count, do: diffs

  defp more_diffs(name, diffs, count) do
    assert_receive {:foundation_state, ^name, more}, 5_000
    more_diffs(name, diffs ++ more, count)
  end

  test "a subscriber of registers is told values, and that a key is gone", %{name: name} do
    {:ok, _} = State.new(name, :lww_map, push_after: 1)
    me = self()
    subscriber = spawn_link(fn -> relay(me) end)
    :ok = State.subscribe(name, subscriber)
    :ok = State.mutate(name, {:put, :k, 1})
    assert_receive {:foundation_state, ^name, [{:put, [:k], 1}]}, 5_000
    :ok = State.mutate(name, {:remove, :k})
    assert_receive {:foundation_state, ^name, [{:delete, [:k]}]}, 5_000
    send(subscriber, :stop)
    assert_eventually(match?({:ok, %{subscribers: 0}}, State.status(name)))
  end

  defp relay(to) do
    receive do
      :stop ->
        :ok

      message ->
        send(to, message)
        relay(to)
    end
  end

  test "bounds hold for what adds", %{name: name} do
    {:ok, _} = State.new(name, :or_map, max_keys: 3)
    all!(name, for(n <- 1..3, do: {:put, n, n}))
    assert State.mutate(name, {:put, 4, 4}) == {:error, :full}
    all!(name, [{:put, 3, :again}, {:remove, 1}, {:put, 4, 4}])
    assert {:ok, %{keys: 3}} = State.status(name)
  end

  test "a process that crashed finds the state where it was", %{name: name} do
    {:ok, pid} = State.new(name, :or_set)
    :ok = State.mutate(name, {:add, 1})
    :ok = State.subscribe(name)
    Process.exit(pid, :kill)
    assert_eventually(Process.whereis(:"foundation_state_#{name}") not in [nil, pid])
    :ok = State.mutate(name, {:add, 2})
    assert_receive {:foundation_state, ^name, [{:add, [], 2}]}, 5_000
    assert State.read(name) == {:ok, MapSet.new([1, 2])}
    assert {:ok, _} = State.status(name)
  end

  test "what runs is not started twice, and not with another type", %{name: name} do
    assert {:ok, pid} = State.new(name, :or_set)
    assert {:ok, ^pid} = State.new(name, :or_set)
    assert State.new(name, :rw_set) == {:error, {:already_started, :or_set}}
    assert :ok = State.stop(name)
    assert State.stop(name) == {:error, :not_running}
    assert State.mutate(name, {:add, 1}) == {:error, :not_running}
    assert State.read(name) == {:error, :not_running}
    assert State.subscribe(name) == {:error, :not_running}
    assert State.status(name) == {:error, :not_running}
  end

  test "it runs under a supervisor of the user's", %{name: name} do
    start_supervised!({State, {name, :or_set}})
    assert :ok = State.mutate(name, {:add, 1})
    stop_supervised!({State.Replica, name})
    assert State.read(name) == {:error, :not_running}
  end

  test "a durable copy is there after a restart, and belongs to one", %{name: name} do
    dir = Path.join(System.tmp_dir!(), "foundation_#{name}")
    on_exit(fn -> File.rm_rf!(dir) end)
    type = {:or_map, :rw_set}
    {:ok, _} = State.new(name, type, durable: [dir: dir])
    all!(name, for(n <- 1..50, do: {:update, rem(n, 5), {:add, n}}))
    all!(name, [{:remove, 1}, {:update, 2, {:remove, 2}}])
    {:ok, before} = State.read(name)
    {:ok, %{id: id}} = State.status(name)
    assert State.new(:"#{name}_other", type, durable: [dir: dir]) |> elem(0) == :error
    :ok = State.stop(name)
    {:ok, _} = State.new(name, type, durable: [dir: dir])
    assert State.read(name) == {:ok, before}
    assert {:ok, %{id: other, recovered: %{records: 52, unreadable: 0}}} = State.status(name)
    assert other != id
    :ok = State.stop(name)
    assert State.new(name, :or_set, durable: [dir: dir]) == {:error, :mismatch}
  end

  test "marks of removals go when there is nobody to confirm them", %{name: name} do
    {:ok, _} = State.new(name, :rw_set, sync_interval: 10)
    all!(name, for(n <- 1..10, do: {:add, n}))
    all!(name, for(n <- 1..9, do: {:remove, n}))
    assert {:ok, %{marks: 9, keys: 10}} = State.status(name)
    assert_eventually(match?({:ok, %{marks: 0, keys: 1}}, State.status(name)))
    assert State.read(name) == {:ok, MapSet.new([10])}
  end

  test "majorities are counted of the replicas there are to be", %{name: name} do
    {:ok, _} = State.new(name, :or_set, replicas: 3)
    timeout = State.mutate(name, {:add, 1}, level: :majority, timeout: 50)
    assert timeout == {:error, {:timeout, %{confirmed: 1, needed: 2}}}
    assert State.read(name) == {:ok, MapSet.new([1])}
    :ok = State.stop(name)
    {:ok, _} = State.new(name, :or_set)
    assert :ok = State.mutate(name, {:add, 1}, level: :all)
  end

  test "wrong arguments are named", %{name: name} do
    assert_raise ArgumentError, ~r/a type is one of/, fn -> State.new(name, :set) end
    assert_raise ArgumentError, ~r/levels deep/, fn -> State.new(name, deep(9)) end
    assert_raise ArgumentError, ~r/named by an atom, got: "x"/, fn -> State.new("x", :or_set) end
    assert_raise ArgumentError, ~r/no option :colour/, fn -> State.new(name, :or_set, colour: 1) end
    assert_raise ArgumentError, ~r/a power of two/, fn -> State.new(name, :or_set, shards: 3) end
    assert_raise ArgumentError, ~r/durable is/, fn -> State.new(name, :or_set, durable: [dir: 1]) end
    {:ok, _} = State.new(name, :pn_counter)
    assert_raise ArgumentError, ~r/a change is/, fn -> State.mutate(name, :grow) end
    assert_raise ArgumentError, ~r/from 0 to 2\^62/, fn -> State.mutate(name, {:increment, -1}) end
    assert_raise ArgumentError, ~r/level is/, fn -> State.mutate(name, :increment, level: :most) end

    assert_raise ArgumentError, ~r/timeout is/, fn ->
      State.mutate(name, :increment, level: :all, timeout: -1)
    end
  end

  defp deep(0), do: :or_set
  defp deep(n), do: {:or_map, deep(n - 1)}
end
