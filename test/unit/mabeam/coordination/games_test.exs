defmodule Foundation.MABEAM.Coordination.GamesTest do
  use ExUnit.Case, async: true

  alias Foundation.MABEAM.Coordination.Games

  @prisoners {[[-1, -3], [0, -2]], [[-1, 0], [-3, -2]]}
  @pennies {[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]}
  @sexes {[[3, 0], [0, 2]], [[2, 0], [0, 3]]}
  # Aumann 1987: dare or chicken out.
  @chicken {[[0, 7], [2, 6]], [[0, 2], [7, 6]]}

  defp near(list, expected), do: Enum.zip_with(list, expected, &assert_in_delta(&1, &2, 1.0e-6))

  test "Nash equilibria of the standard games" do
    assert {:ok, %{profiles: [both], complete: true, degenerate: false}} = Games.nash(@prisoners)
    near(both.row ++ both.column, [0, 1, 0, 1])
    assert {:ok, %{profiles: [mixed]}} = Games.nash(@pennies)
    near(mixed.row ++ mixed.column, [0.5, 0.5, 0.5, 0.5])
    assert {:ok, %{profiles: three, complete: true}} = Games.nash(@sexes)
    mixes = three |> Enum.map(&(&1.row ++ &1.column)) |> Enum.sort()
    assert length(mixes) == 3
    near(Enum.concat(mixes), [0, 1, 0, 1, 0.6, 0.4, 0.4, 0.6, 1, 0, 1, 0])
    assert {:ok, %{degenerate: true}} = Games.nash({[[1, 1], [1, 1]], [[1, 1], [1, 1]]})
    assert {:ok, %{profiles: [one]}} = Games.nash(@prisoners, method: {:lemke_howson, 0})
    near(one.row, [0, 1])
  end

  test "dominated strategies are struck out" do
    assert {:ok, %{rows: [1], columns: [1], dominated: %{rows: [0], columns: [0]}}} =
             Games.dominated(@prisoners)

    assert {:ok, %{rows: [0, 1], columns: [0, 1]}} = Games.dominated(@pennies)
    # The last row is dominated by a mixture only.
    assert {:ok, %{dominated: %{rows: [2]}}} =
             Games.dominated({[[4, 0], [0, 4], [1, 1]], [[1, 0], [0, 1], [0, 0]]})
  end

  test "the correlated equilibrium of chicken" do
    assert {:ok, %{probabilities: rows, payoffs: {one, other}}} = Games.correlated(@chicken)
    near(Enum.concat(rows), [0, 0.25, 0.25, 0.5])
    near([one, other], [5.25, 5.25])
  end

  test "learning" do
    assert {:ok, %{row: row, regret: regret}} =
             Games.fictitious_play(@pennies, rounds: 100_000, tolerance: 0.01)

    assert regret <= 0.01
    assert_in_delta hd(row), 0.5, 0.05

    assert {:ok, %{row: [high, _]}} =
             Games.replicator({[[2, 0], [0, 1]], [[2, 0], [0, 1]]}, {[0.6, 0.4], [0.6, 0.4]})

    assert_in_delta high, 1, 1.0e-3
  end

  test "minimax" do
    assert {:ok, %{value: value, row: row}} = Games.minimax([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    near([value | row], [0, 1 / 3, 1 / 3, 1 / 3])
    # A saddle point.
    assert {:ok, %{value: value, row: row}} = Games.minimax([[1, 5], [2, 3]])
    near([value | row], [2, 0, 1])
  end

  describe "Shapley" do
    test "the glove game" do
      # Two left gloves and a right one: a pair is worth 1.
      pair? = fn who -> if :right in who and length(who) > 1, do: 1_000_000, else: 0 end
      assert {:ok, shares} = Games.shapley([:left, :other_left, :right], pair?)
      # 1/6, 1/6 and 4/6, in whole millionths.
      assert shares == %{left: 166_667, other_left: 166_667, right: 666_666}

      assert {:ok, ^shares} =
               Games.shapley([:left, :other_left, :right], %{
                 [:left, :right] => 1_000_000,
                 [:other_left, :right] => 1_000_000,
                 [:left, :other_left, :right] => 1_000_000
               })
    end

    # Littlechild and Owen 1973: each pays for the part of the runway that it needs, with those who need it too.
    test "the airport game" do
      lengths = %{a: 8, b: 11, c: 13, d: 18}
      cost = fn who -> who |> Enum.map(&lengths[&1]) |> Enum.max() end
      assert Games.shapley([:a, :b, :c, :d], cost) == {:ok, %{a: 2, b: 3, c: 4, d: 9}}

      assert {:ok, sampled} =
               Games.shapley_sampled([:a, :b, :c, :d], cost, low: 0, high: 18, samples: 4_000, seed: 3)

      for {player, exact} <- %{a: 2, b: 3, c: 4, d: 9} do
        assert_in_delta sampled[player].share, exact, sampled[player].within
        assert sampled[player].within < 1
      end

      assert {:error, {:out_of_bounds, {_, 8}}} = Games.shapley_sampled([:a], cost, low: 0, high: 5)
    end

    test "limits" do
      assert {:error, {:too_large, :players}} = Games.shapley(Enum.to_list(1..21), fn _ -> 0 end)
      assert_raise ArgumentError, ~r/worth/, fn -> Games.shapley([:a], fn _ -> 0.5 end) end
      assert_raise ArgumentError, ~r/players/, fn -> Games.shapley([:a, :a], fn _ -> 0 end) end
      assert_raise ArgumentError, ~r/low/, fn -> Games.shapley_sampled([:a], fn _ -> 0 end, high: 1) end
    end
  end

  # Gale and Shapley 1962, example 1: each side gets its first choice when it proposes.
  test "stable matching" do
    men = %{alpha: [:a, :b, :c], beta: [:b, :c, :a], gamma: [:c, :a, :b]}
    women = %{a: [:beta, :gamma, :alpha], b: [:gamma, :alpha, :beta], c: [:alpha, :beta, :gamma]}

    assert {:ok, %{pairs: %{alpha: :a, beta: :b, gamma: :c}, unmatched: {[], []}}} =
             Games.stable_matching(men, women)

    assert {:ok, %{pairs: %{alpha: :c, beta: :a, gamma: :b}}} =
             Games.stable_matching(men, women, proposing: :seconds)

    students = %{ann: [:x], bob: [:x], cec: [:x]}

    assert {:ok, %{pairs: %{bob: :x, cec: :x}, unmatched: {[:ann], [:y]}}} =
             Games.stable_matching(students, %{x: [:bob, :cec, :ann], y: []}, places: %{x: 2})

    assert_raise ArgumentError, ~r/firsts/, fn -> Games.stable_matching(%{a: [:nobody]}, %{}) end
  end

  test "fair division" do
    points = %{ann: %{house: 60, car: 40}, bob: %{house: 30, car: 70}}

    assert Games.fair_division(:adjusted_winner, points) ==
             {:ok, %{ann: %{house: {1, 1}, car: {1, 11}}, bob: %{car: {10, 11}}}}

    assert {:ok, %{ann: [:house], bob: [:car]}} = Games.fair_division(:round_robin, points)
    assert {:error, {:invalid, _}} = Games.fair_division(:adjusted_winner, put_in(points.ann.car, 41))

    assert_raise ArgumentError, ~r/values/, fn ->
      Games.fair_division(:round_robin, %{ann: %{a: 1}, bob: %{b: 1}})
    end

    assert_raise ArgumentError, ~r/values/, fn -> Games.fair_division(:round_robin, %{ann: %{a: 0.5}}) end

    assert {:ok, [_, _] = halves} = Games.cut(:divide_and_choose, %{ann: [1, 1, 1, 1], bob: [3, 1, 0, 0]})
    assert Enum.all?(halves, &(&1.share >= 0.5 - 1.0e-9))
    assert {:ok, pieces} = Games.cut(:moving_knife, %{ann: [1, 2, 3], bob: [3, 2, 1], cec: [1, 1, 1]})
    assert Enum.all?(pieces, &(&1.share >= 1 / 3 - 1.0e-9))
    assert_raise ArgumentError, ~r/cut/, fn -> Games.cut(:moving_knife, []) end
  end

  test "what is no game is refused" do
    for bad <- [
          :x,
          {[], []},
          {[[1]], [[1, 2]]},
          {[[1], [1, 2]], [[1]]},
          {[[:a]], [[1]]},
          {[[1] | 2], [[1]]},
          {[[1.0e200]], [[1]]}
        ] do
      assert_raise ArgumentError, fn -> Games.nash(bad) end
      assert_raise ArgumentError, fn -> Games.correlated(bad) end
    end

    assert_raise ArgumentError, ~r/timeout/, fn -> Games.nash(@pennies, timeout: 0) end
    assert_raise ArgumentError, ~r/option/, fn -> Games.nash(@pennies, speed: 0) end
    assert_raise ArgumentError, ~r/start/, fn -> Games.replicator(@pennies, {[1, 1], [0.5, 0.5]}) end
    assert_raise ArgumentError, ~r/payoffs/, fn -> Games.minimax([]) end
  end
end
