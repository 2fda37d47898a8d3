defmodule Foundation.MABEAM.EconomicsTest do
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Economics
  alias Foundation.MABEAM.Economics.{Ledger, Reputation}
  alias Foundation.MABEAM.Guards

  doctest Economics
  doctest Guards

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&MABEAM.stop/0)
  end

  defp available(account), do: elem(Economics.balance(account), 1).available

  describe "money" do
    test "is exact, both ways" do
      for {text, micro} <- [
            {"0", 0},
            {"0.1", 100_000},
            {"-3.000001", -3_000_001},
            {"123456789.5", 123_456_789_500_000}
          ] do
        assert Economics.units(text) == micro
        assert Economics.text(micro) == text
      end

      # What floats get wrong.
      assert Economics.units("0.1") + Economics.units("0.2") == Economics.units("0.3")

      for bad <- [
            1.5,
            "1.",
            ".5",
            "1e5",
            "0.0000001",
            "NaN",
            "1,5",
            "١",
            "1\n",
            nil,
            String.duplicate("9", 99)
          ],
          do: assert_raise(ArgumentError, fn -> Economics.units(bad) end)
    end
  end

  describe "the ledger" do
    test "moves money, and refuses what is not there" do
      for account <- [:a, :b], do: :ok = Economics.open_account(account)
      assert {:error, :already_open} = Economics.open_account(:a)
      assert {:ok, _} = Economics.deposit(:a, 100)
      assert {:ok, _} = Economics.pay(:a, :b, 30, "for tea")
      assert {available(:a), available(:b)} == {70, 30}
      assert {:error, {:insufficient, %{available: 70, needed: 71}}} = Economics.pay(:a, :b, 71)
      assert {:error, {:no_account, :c}} = Economics.pay(:a, :c, 1)
      assert {:error, :same_account} = Economics.pay(:a, :a, 1)
      assert {:ok, _} = Economics.withdraw(:b, 30)
      assert {:ok, [%{kind: :withdrawal}, %{kind: :payment, memo: "for tea"}]} = Economics.history(:b)
      assert {:error, :not_empty} = Economics.close_account(:a)
      assert :ok = Economics.close_account(:b)
      assert {:error, :not_found} = Economics.balance(:b)
      assert {:ok, 0} = Economics.audit()

      for bad <- [0, -1, 1.5, :nan, nil, 2 ** 70],
          do: assert_raise(ArgumentError, fn -> Economics.pay(:a, :b, bad) end)

      for bad <- [:bank, :all, nil, 7], do: assert_raise(ArgumentError, fn -> Economics.deposit(bad, 1) end)
      assert_raise ArgumentError, fn -> Economics.deposit(:a, 1, self()) end
    end

    test "does under an id what it does once" do
      for account <- [:a, :b], do: :ok = Economics.open_account(account)
      assert {:ok, first} = Economics.deposit(:a, 100, nil, id: {:fill, 1})
      assert {:ok, ^first} = Economics.deposit(:a, 100, nil, id: {:fill, 1})
      assert {:ok, payment} = Economics.pay(:a, :b, 30, nil, id: "x")
      assert {:ok, ^payment} = Economics.pay(:a, :b, 30, nil, id: "x")
      assert {:error, :id_reused} = Economics.pay(:a, :b, 31, nil, id: "x")
      assert {:error, {:insufficient, _}} = refused = Economics.pay(:b, :a, 31, nil, id: "y")
      {:ok, _} = Economics.pay(:a, :b, 1)
      # The answer to an id is its answer.
      assert Economics.pay(:b, :a, 31, nil, id: "y") == refused
      assert {:ok, hold} = Economics.hold(:a, 9, id: "z")
      assert {:ok, ^hold} = Economics.hold(:a, 9, id: "z")
      assert {:ok, last} = Economics.capture(hold, :b, amount: 4, id: "c")
      assert {:ok, ^last} = Economics.capture(hold, :b, amount: 4, id: "c")
      assert {:ok, _} = Economics.settle([{:a, :b, 1}], nil, id: "s")
      assert {:ok, _} = Economics.settle([{:a, :b, 1}], nil, id: "s")
      assert {available(:a), available(:b)} == {100 - 30 - 1 - 4 - 1, 30 + 1 + 4 + 1}
      assert_raise ArgumentError, ~r/id:/, fn -> Economics.pay(:a, :b, 1, nil, id: self()) end
    end

    test "concludes an affair once" do
      for account <- [:a, :b], do: :ok = Economics.open_account(account)
      {:ok, _} = Economics.deposit(:a, 10)
      assert {:error, {:insufficient, _}} = Economics.conclude("lot", [{:a, :b, 11}], :dear)
      assert {:ok, %{note: :fair, last: last}} = Economics.conclude("lot", [{:a, :b, 5}], :fair)
      assert {:ok, %{note: :fair, last: ^last}} = Economics.conclude("lot", [{:a, :b, 1}], :cheap)
      assert {:ok, %{note: :none, payments: []}} = Economics.conclude("nothing", [], :none)
      assert {available(:a), available(:b)} == {5, 5}
    end

    test "settles all or nothing" do
      for account <- [:a, :b, :c], do: :ok = Economics.open_account(account)
      {:ok, _} = Economics.deposit(:a, 100)
      assert {:error, {:insufficient, _}} = Economics.settle([{:a, :b, 60}, {:a, :c, 60}])
      assert {available(:a), available(:b)} == {100, 0}
      assert {:ok, _} = Economics.settle([{:a, :b, 60}, {:b, :c, 50}])
      assert {available(:a), available(:b), available(:c)} == {40, 10, 50}
    end

    test "does not let the same money be promised twice, and gives it back in time" do
      for account <- [:a, :b], do: :ok = Economics.open_account(account)
      {:ok, _} = Economics.deposit(:a, 100)
      {:ok, hold} = Economics.hold(:a, 80)
      assert {:ok, %{available: 20, held: 80}} = Economics.balance(:a)
      assert {:error, {:insufficient, _}} = Economics.hold(:a, 30)
      assert {:error, :not_empty} = Economics.close_account(:a)
      assert {:error, {:held, "0.00008"}} = Economics.capture(hold, :b, amount: 81)
      assert {:ok, _} = Economics.capture(hold, :b, amount: 50)
      assert {:ok, %{available: 50, held: 0}} = Economics.balance(:a)
      assert available(:b) == 50
      assert {:error, :not_found} = Economics.capture(hold, :b)
      {:ok, other} = Economics.hold(:a, 50)
      assert :ok = Economics.release(other)
      assert {:error, :not_found} = Economics.release(other)
      {:ok, short} = Economics.hold(:a, 50, for_ms: 1_000)
      assert available(:a) == 0
      assert_eventually(available(:a) == 50)
      assert {:error, :not_found} = Economics.capture(short, :b)
      assert {:ok, 0} = Economics.audit()
    end

    test "balances whatever is done to it" do
      :rand.seed(:exsss, {1, 2, 3})
      accounts = for n <- 1..6, do: "account-#{n}"

      ledger =
        Enum.reduce(accounts, Ledger.new(), fn account, ledger -> elem(Ledger.open(ledger, account), 1) end)

      Enum.reduce(1..5_000, ledger, fn at, ledger ->
        [one, other] = Enum.take_random(accounts, 2)
        amount = :rand.uniform(100)
        hold = :rand.uniform(20)

        result =
          case :rand.uniform(8) do
            1 -> Ledger.deposit(ledger, one, amount, at, nil)
            2 -> Ledger.withdraw(ledger, one, amount, at, nil)
            3 -> Ledger.transfer(ledger, one, other, amount, at, nil)
            4 -> Ledger.hold(ledger, hold, one, amount, at + 50, at, nil)
            5 -> Ledger.capture(ledger, hold, other, amount, at, nil)
            6 -> Ledger.release(ledger, hold, at)
            7 -> Ledger.settle(ledger, [{one, other, amount}, {other, one, 2 * amount}], at, nil)
            8 -> {:ok, elem(Ledger.expire(ledger, at), 0)}
          end

        ledger = with {:error, _} <- result, do: {:ok, ledger}, else: ({:ok, new} -> {:ok, new})
        {:ok, ledger} = ledger
        assert Ledger.sum(ledger) == 0
        for {account, balance} <- ledger.accounts, account != :bank, do: assert(balance >= 0)
        ledger
      end)
    end

    test "keeps the newest entries of its journal" do
      {:ok, ledger} = Ledger.open(Ledger.new(), :a)

      ledger =
        Enum.reduce(1..30_000, ledger, fn at, ledger -> elem(Ledger.deposit(ledger, :a, 1, at, nil), 1) end)

      entries = Ledger.entries(ledger, :all, 20_000)
      assert length(entries) == 10_000
      assert hd(entries).number == 30_000
      assert length(ledger.journal) <= 20_000
    end
  end

  describe "reputation" do
    test "is earned by payments, rated once by each side" do
      for account <- [:a, :b], do: :ok = Economics.open_account(account)
      {:ok, _} = Economics.deposit(:a, 100)
      assert {:ok, %{score: zero, ratings: 0}} = Economics.reputation(:b)
      assert zero == 0
      {:ok, payment} = Economics.pay(:a, :b, 10)
      assert :ok = Economics.rate(payment, :a, 1)
      assert {:error, :not_rateable} = Economics.rate(payment, :a, 1)
      assert {:error, :not_rateable} = Economics.rate(payment, :c, 1)
      assert :ok = Economics.rate(payment, :b, 0)
      assert {:error, :not_rateable} = Economics.rate(payment + 7, :a, 1)
      assert {:ok, %{score: score, ratings: 1}} = Economics.reputation(:b)
      assert_in_delta score, 1 / 3, 0.001
      assert {:ok, %{ratings: 1}} = Economics.reputation(:a)
      {:ok, hold} = Economics.hold(:a, 10)
      {:ok, captured} = Economics.capture(hold, :b)
      assert :ok = Economics.rate(captured, :a, 1)
      for bad <- [2, -0.1, :good], do: assert_raise(ArgumentError, fn -> Economics.rate(1, :a, bad) end)
    end

    test "is not bettered by coming back under a new name" do
      for good <- 0..20, bad <- 0..20 do
        reputation =
          Enum.reduce(
            List.duplicate(1, good) ++ List.duplicate(0, bad),
            Reputation.new(),
            &Reputation.rate(&2, &1, 0)
          )

        assert Reputation.score(reputation, 0) >= Reputation.score(Reputation.new(), 0)
      end
    end

    test "fades" do
      week = 7 * 86_400_000
      good = Enum.reduce(1..100, Reputation.new(), fn _, reputation -> Reputation.rate(reputation, 1, 0) end)
      scores = for n <- 0..10, do: Reputation.score(good, n * week)
      assert scores == Enum.sort(scores, :desc)
      assert_in_delta Enum.at(scores, 1), 50 / 52, 1.0e-9
    end
  end

  test "guards stop where they say" do
    assert {:stop, :rounds, _} = Guards.round(Guards.new!(rounds: 0))
    assert {:stop, :wall_ms, _} = Guards.check(Guards.new!(wall_ms: 0))
    assert {:ok, guards} = Guards.spend(Guards.new!(money: 10), %{money: 10})
    assert {:stop, :money, %{spent: %{money: 11}}} = Guards.spend(guards, %{money: 1})
    assert {:error, {:invalid, %{field: :tokens}}} = Guards.new(tokens: 1.5)
    assert_raise ArgumentError, fn -> Guards.spend(guards, %{money: -1}) end
    assert Guards.left_ms(Guards.new!([])) == :infinity
  end
end
