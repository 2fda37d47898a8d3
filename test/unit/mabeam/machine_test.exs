defmodule Foundation.MABEAM.MachineTest do
  # What the replicas agree on, as a machine by itself: the same log, the same state, and each command once.
  use ExUnit.Case, async: true

  alias Foundation.MABEAM.{Answers, Machine, Recent}
  alias Foundation.MABEAM.Economics.Books

  defp run(log, state \\ Machine.init(nil)), do: Enum.map_reduce(log, state, &step/2)

  defp step({command, at}, state), do: Machine.apply(command, %{index: at, term: 1, time_ms: at}, state)

  defp log(seed, count) do
    :rand.seed(:exsss, {seed, seed, seed})
    accounts = for n <- 1..5, do: {{"open-#{n}", :books, {:open, "a#{n}"}}, n}
    markets = [{{"market", :markets, {:create, "m", :continuous, options()}}, 6}]

    accounts ++
      markets ++ for(n <- 10..(count + 10), do: {{:rand.uniform(count + 1), room(), nil} |> filled(), n * 7})
  end

  defp options, do: %{tick: 1, max_orders: 50, self_trade: :cancel_incoming, durable: true}
  defp room, do: Enum.random([:books, :books, :markets])
  defp account, do: "a#{:rand.uniform(5)}"

  defp filled({id, :books, nil}) do
    amount = :rand.uniform(50)

    command =
      case :rand.uniform(7) do
        1 -> {:deposit, account(), amount * 10, nil}
        2 -> {:transfer, account(), account(), amount, :memo}
        3 -> {:hold, "h#{:rand.uniform(30)}", account(), amount, 100, nil}
        4 -> {:capture, "h#{:rand.uniform(30)}", account(), nil, nil}
        5 -> {:settle, [{account(), account(), amount}, {account(), account(), amount}], nil}
        6 -> {:rate, :rand.uniform(200), account(), :rand.uniform()}
        7 -> {:conclude, :rand.uniform(9), [{account(), account(), amount}], nil, amount}
      end

    {id, :books, command}
  end

  defp filled({id, :markets, nil}) do
    order = %{
      agent: account(),
      side: Enum.random([:buy, :sell]),
      price: 95 + :rand.uniform(9),
      quantity: :rand.uniform(9)
    }

    {id, :markets, {:submit, "m", order}}
  end

  test "replicas that apply the same log are the same, also from a snapshot in the middle" do
    for seed <- 1..5 do
      log = log(seed, 400)
      {answers, state} = run(log)
      {first, rest} = Enum.split(log, 200)
      {before, middle} = run(first)
      kept = middle |> Machine.snapshot() |> :erlang.term_to_binary()
      {after_, restored} = run(rest, kept |> :erlang.binary_to_term() |> Machine.restore(nil))
      assert before ++ after_ == answers
      # To the last digit, and in the form that a snapshot has.
      assert :erlang.term_to_binary(restored, [:deterministic]) ==
               :erlang.term_to_binary(state, [:deterministic])

      assert {:ok, 0} = Machine.query({:books, {:sum, 10_000}}, state)
    end
  end

  test "a command counts once for its id, and is answered as it was" do
    pay = {"id", :books, {:transfer, "a1", "a2", 5, nil}}
    {_, state} = run(log(1, 0) |> Enum.take(5))
    # Refused, and so it stays: who was refused is not charged later.
    {[{:error, {:insufficient, _}} = refused], state} = run([{pay, 10}], state)
    {[{:ok, 1}], state} = run([{{"fill", :books, {:deposit, "a1", 10, nil}}, 11}], state)
    {[^refused], state} = run([{pay, 12}], state)
    again = put_elem(pay, 0, "other")
    {[{:ok, 2}, {:ok, 2}], state} = run([{again, 13}, {again, 14}], state)
    assert {:ok, %{available: 5}} = Machine.query({:books, {{:balance, "a1"}, 20}}, state)
    {[{:error, :id_reused}], _} = run([{{"other", :books, {:deposit, "a1", 1, nil}}, 15}], state)
  end

  test "holds are over by the time of the log" do
    {_, state} = run(log(1, 0) |> Enum.take(5))
    hold = [{{1, :books, {:deposit, "a1", 10, nil}}, 10}, {{2, :books, {:hold, "h", "a1", 10, 100, nil}}, 10}]
    {[{:ok, 1}, {:ok, "h"}], state} = run(hold, state)
    assert {:ok, %{available: 0, held: 10}} = Machine.query({:books, {{:balance, "a1"}, 109}}, state)
    # Nobody has given it back yet, and it counts as given back.
    assert {:ok, %{available: 10, held: 0}} = Machine.query({:books, {{:balance, "a1"}, 110}}, state)
    {[{:error, :not_found}], state} = run([{{3, :books, {:capture, "h", "a2", nil, nil}}, 110}], state)
    assert {:ok, 0} = Machine.query({:books, {:sum, 200}}, state)
  end

  test "an affair is settled once" do
    {_, state} = run(log(1, 0) |> Enum.take(5))
    {_, state} = run([{{0, :books, {:deposit, "a1", 10, nil}}, 9}], state)
    poor = {1, :books, {:conclude, "lot", [{"a3", "a2", 5}], nil, :poor}}
    rich = {2, :books, {:conclude, "lot", [{"a1", "a2", 5}], nil, :rich}}
    none = {3, :books, {:conclude, "lot", [], nil, :none}}

    {[{:error, {:insufficient, _}}, {:ok, done}, {:ok, same}], state} =
      run([{poor, 10}, {rich, 11}, {none, 12}], state)

    assert done == same
    assert %{note: :rich, payments: [{"a1", "a2", 5}], last: 2} = done
    assert {:ok, %{available: 5}} = Machine.query({:books, {{:balance, "a2"}, 20}}, state)
  end

  test "what is no command changes nothing, and nothing falls" do
    {_, state} = run(log(1, 20))

    for bad <- [
          nil,
          :x,
          {1, 2, 3},
          {1, :books, :nonsense},
          {1, :books, {}},
          {1, :kitchen, {:open, 1}},
          {"q", :books, {:burn, 1}}
        ] do
      try do
        {answer, same} = Machine.apply(bad, %{index: 1, term: 1, time_ms: 1_000}, state)
        assert {:error, _} = answer
        assert same.books.ledger == state.books.ledger
      rescue
        # The group answers `{:raised, _}` and leaves the state as it was.
        _exception -> :ok
      end
    end

    assert {:error, :unknown_request} = Machine.query(:x, state)
    assert {:error, :not_found} = Machine.query({:markets, {:depth, "none", 5}}, state)
  end

  test "what is remembered is bounded, and the newest" do
    recent = Enum.reduce(1..100, Recent.new(10), &Recent.put_new(&2, &1, &1 * &1))
    assert map_size(recent.values) == 10 and map_size(recent.order) == 10
    assert {Recent.fetch(recent, 90), Recent.fetch(recent, 91)} == {:error, {:ok, 91 * 91}}
    assert {1, answers, 1} = Answers.once(Answers.new(), :id, :command, 0, fn -> {1, 1} end)
    assert {1, _, 7} = Answers.once(answers, :id, :command, 7, fn -> flunk("ran twice") end)
    assert %Books{} = Books.new()
  end
end
