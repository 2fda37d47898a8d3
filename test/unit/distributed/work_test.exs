defmodule Foundation.Distributed.WorkTest do
  use ExUnit.Case, async: true

  alias Foundation.Distributed.{Context, Work}
  alias Foundation.Distributed.Work.Book

  doctest Foundation.Distributed
  doctest Foundation.Distributed.Work

  @here [nodes: [node()]]

  test "nothing to do is done" do
    assert {:ok, %{results: [], nodes: nodes}} = Work.run([], &Function.identity/1)
    assert nodes == %{}
    assert Work.map_reduce([], fn _ -> [] end, fn _, _ -> 0 end) == {:ok, %{}}
  end

  test "a failing item is its own affair" do
    work = fn
      1 -> raise "one"
      2 -> exit(:two)
      3 -> throw(:three)
      4 -> Process.exit(self(), :kill)
      5 -> :five
    end

    assert {:ok, %{results: [one, two, three, four, five]}} = Work.run(1..5, work, @here)
    assert {:error, {:exit, {%RuntimeError{message: "one"}, [_ | _]}}} = one
    assert two == {:error, {:exit, :two}}
    assert {:error, {:exit, {{:nocatch, :three}, _}}} = three
    assert four == {:error, {:exit, :killed}}
    assert five == {:ok, :five}
  end

  test "no more run at a time than asked for" do
    counter = :counters.new(2, [])

    work = fn _ ->
      :counters.add(counter, 1, 1)
      if :counters.get(counter, 1) > 2, do: :counters.add(counter, 2, 1)
      for i <- 1..1000, do: i
      :counters.sub(counter, 1, 1)
    end

    assert {:ok, _} = Work.run(1..200, work, [concurrency: 2] ++ @here)
    assert :counters.get(counter, 2) == 0
  end

  test "an item that takes too long is ended, and the others go on" do
    work = fn
      1 -> Process.sleep(:infinity)
      x -> x
    end

    assert {:ok, %{results: [{:error, :timeout}, {:ok, 2}, {:ok, 3}]}} =
             Work.run(1..3, work, [item_timeout: 1_000, concurrency: 1] ++ @here)
  end

  test "the whole has a time too, and nothing runs on after it" do
    me = self()

    work = fn _ ->
      send(me, {:working, self()})
      Process.sleep(:infinity)
    end

    assert Work.run([1], work, [timeout: 1_000] ++ @here) == {:error, :timeout}
    assert_received {:working, pid}
    ref = Process.monitor(pid)
    assert_receive {:DOWN, ^ref, :process, ^pid, reason} when reason in [:killed, :noproc]
  end

  test "it ends with its caller" do
    me = self()

    work = fn _ ->
      send(me, {:working, self()})
      Process.sleep(:infinity)
    end

    caller = spawn(fn -> Work.run([1], work, @here) end)
    assert_receive {:working, pid}
    ref = Process.monitor(pid)
    Process.exit(caller, :kill)
    assert_receive {:DOWN, ^ref, :process, ^pid, _}
  end

  test "each result is announced once; an announcer that fails ends the run" do
    me = self()
    announce = fn index, result -> send(me, {index, result}) end
    assert {:ok, _} = Work.run([:a, :b], &Function.identity/1, [on_result: announce] ++ @here)
    assert_received {0, {:ok, :a}}
    assert_received {1, {:ok, :b}}
    refute_received {_, {:ok, _}}

    assert {:error, {:on_result, {%RuntimeError{}, _}}} =
             Work.run([:a], &Function.identity/1, [on_result: fn _, _ -> raise "no" end] ++ @here)
  end

  test "items run in the caller's context" do
    assert {:ok, %{results: [ok: %{user: 1}]}} =
             Context.run(%{user: 1}, fn -> Work.run([1], fn _ -> Context.current() end, @here) end)
  end

  test "nodes that are not there are named; none at all is an error" do
    there = node()

    assert {:ok, %{results: [ok: 1], lost_nodes: [{:no@where, _}]}} =
             Work.run([1], & &1, nodes: [there, :no@where])

    assert Work.run([1], & &1, nodes: [:no@where]) == {:error, :no_nodes}
  end

  test "bad arguments are named" do
    assert_raise ArgumentError, ~r/the worker must be/, fn -> Work.run([1], fn -> 1 end) end
    assert_raise ArgumentError, ~r/unknown option :speed/, fn -> Work.run([1], & &1, speed: 1) end

    assert_raise ArgumentError, ~r/invalid value for :concurrency: 0/, fn ->
      Work.run([1], & &1, concurrency: 0)
    end

    assert_raise ArgumentError, ~r/keyword list/, fn -> Work.run([1], & &1, [:all]) end
  end

  describe "map_reduce/4" do
    test "is the same as doing it by hand, combined or not" do
      items = Enum.to_list(1..2_000)
      mapper = fn x -> [{rem(x, 7), x}, {:all, 1}] end
      reducer = fn _key, values -> Enum.sum(values) end

      expected =
        items
        |> Enum.flat_map(mapper)
        |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
        |> Map.new(fn {k, v} -> {k, Enum.sum(v)} end)

      assert Work.map_reduce(items, mapper, reducer) == {:ok, expected}
      assert Work.map_reduce(items, mapper, reducer, combine: true) == {:ok, expected}
    end

    test "the values of a key come in the order of the items" do
      assert Work.map_reduce(1..500, &[{:k, &1}], fn :k, values -> values end) ==
               {:ok, %{k: Enum.to_list(1..500)}}
    end

    test "says which items and which keys failed" do
      mapper = fn
        2 -> raise "two"
        3 -> :no_list
        x -> [{x, x}]
      end

      assert {:error, {:failed, failed}} = Work.map_reduce(1..4, mapper, fn _, [v] -> v end)
      assert [{2, {%RuntimeError{}, _}}, {3, {:no_pairs, :no_list}}] = Enum.sort(failed)

      assert {:error, {:not_reduced, [{1, {:exit, {%ArithmeticError{}, _}}}]}} =
               Work.map_reduce(0..1, &[{&1, &1}], fn key, [_] -> 1 / (1 - key) end)
    end
  end

  describe "the book" do
    test "keeps every item in one place whatever happens" do
      for seed <- 1..200 do
        :rand.seed(:exsss, {seed, 1, 1})
        items = Map.new(0..29, &{&1, &1})
        book = Enum.reduce([:a, :b, :c], Book.new(items), &Book.add_node(&2, &1))
        book = Enum.reduce(1..200, book, fn _, book -> checked(act(book, Enum.random(1..4))) end)
        assert map_size(book.items) == 30
      end
    end

    defp act(book, 1), do: book |> Book.assign(any(book), :rand.uniform(8)) |> elem(1)

    defp act(book, 2) do
      case Book.result(book, any(book), :rand.uniform(30) - 1, {:ok, 1}) do
        {:new, book} -> book
        :known -> book
      end
    end

    defp act(book, 3) do
      node = any(book)
      Book.returned(book, node, Enum.take_random(Map.fetch!(book.owned, node), 3) ++ [:rand.uniform(30) - 1])
    end

    defp act(book, 4) do
      if :rand.uniform(10) > 1 or map_size(book.owned) == 1, do: book, else: lose(book, any(book))
    end

    defp lose(book, node) do
      {given_up, book} = Book.lost(book, node, 100)
      assert given_up == []
      Book.add_node(book, node)
    end

    defp any(book), do: book.owned |> Map.keys() |> Enum.random()

    defp checked(book) do
      owned = Enum.flat_map(book.owned, fn {_, own} -> MapSet.to_list(own) end)
      everywhere = book.waiting ++ owned ++ Map.keys(book.results)
      assert Enum.sort(everywhere) == Enum.to_list(0..29)
      assert Enum.sort(Map.keys(book.owner)) == Enum.sort(owned)
      book
    end

    test "an item is given up when it was begun often enough" do
      book = Book.add_node(Book.new(%{0 => :x}), :a)
      {[{0, :x}], book} = Book.assign(book, :a, 1)
      {[], book} = Book.lost(book, :a, 2)
      {[{0, :x}], book} = Book.assign(Book.add_node(book, :a), :a, 1)
      assert {[0], _} = Book.lost(book, :a, 2)
    end
  end
end
