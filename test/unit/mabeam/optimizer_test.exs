defmodule Foundation.MABEAM.OptimizerTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Core
  alias Foundation.MABEAM.Core.Optimizer
  alias Foundation.Opaque

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  defp choice(name, attributes \\ []),
    do: :ok = Core.register_variable([name: name, type: :choice, options: [:a, :b, :c]] ++ attributes)

  defp tries(name, rounds, by, reward) do
    for _ <- 1..rounds do
      {:ok, %{id: id, value: value}} = Optimizer.suggest(name, by)
      {:ok, _} = Optimizer.report(name, id, reward.(value), by)
      value
    end
  end

  describe "bandits" do
    test "come to try what is best, and the variable is it" do
      :rand.seed(:exsss, {4, 5, 6})
      mean = %{a: 0.2, b: 0.8, c: 0.4}
      coin = fn value -> if :rand.uniform() < mean[value], do: 1, else: 0 end

      for method <- [:ucb1, :thompson, :exp3, {:exp3, 0.2}] do
        choice("#{inspect(method)}")
        name = "#{inspect(method)}"
        :ok = Optimizer.attach(name, method, seed: 7)
        tried = tries(name, 400, :ann, coin)
        assert Core.get_variable(name) == {:ok, :b}
        assert Enum.count(Enum.drop(tried, 200), &(&1 == :b)) > 120
        assert {:ok, status} = Optimizer.status(name)
        assert {status.told, status.open, status.best.value} == {400, 0, :b}
        assert status.arms |> Enum.map(& &1.told) |> Enum.sum() == 400
        assert_in_delta Enum.find(status.arms, &(&1.value == :b)).mean, 0.8, 0.15
      end
    end

    # Auer, Cesa-Bianchi and Fischer 2002, theorem 1: 8 ln n sum(1/gap) + (1 + pi^2/3) sum(gap).
    test "UCB1's regret stays below its bound" do
      :rand.seed(:exsss, {7, 8, 9})
      mean = %{a: 0.3, b: 0.9, c: 0.6}
      choice(:regret)
      :ok = Optimizer.attach(:regret, :ucb1)
      tried = tries(:regret, 1_000, :ann, fn value -> if :rand.uniform() < mean[value], do: 1, else: 0 end)
      regret = Enum.sum(Enum.map(tried, &(0.9 - mean[&1])))
      bound = 8 * :math.log(1_000) * (1 / 0.6 + 1 / 0.3) + (1 + :math.pi() ** 2 / 3) * 0.9
      assert regret < bound
      # A third of the tries each would cost 300.
      assert regret < 150
    end

    test "rewards have bounds, and may be made small instead" do
      choice(:cost)
      :ok = Optimizer.attach(:cost, :ucb1, reward: {0, 100}, goal: :minimise)
      tries(:cost, 60, :ann, &%{a: 90, b: 50, c: 10}[&1])
      assert Core.get_variable(:cost) == {:ok, :c}
      assert {:ok, %{best: %{value: :c, reward: reward}}} = Optimizer.status(:cost)
      assert_in_delta reward, 10, 1.0e-6
      {:ok, %{id: id}} = Optimizer.suggest(:cost, :ann)
      assert {:error, {:invalid, %{field: :reward}}} = Optimizer.report(:cost, id, 101, :ann)
      assert {:ok, _} = Optimizer.report(:cost, id, 100, :ann)
    end

    test "choose from a grid of numbers" do
      :ok = Core.register_variable(name: :batch, type: :numeric, min: 1, max: 1_000)
      :ok = Optimizer.attach(:batch, :ucb1, arms: 4, steps: :integer)
      tries(:batch, 60, :ann, &(&1 / 1_000))
      assert Core.get_variable(:batch) == {:ok, 1_000}
      {:ok, %{arms: arms}} = Optimizer.status(:batch)
      assert Enum.map(arms, & &1.value) == [1, 334, 667, 1_000]
    end
  end

  test "halving gives the best more of the budget, and ends" do
    choice(:race, options: Enum.to_list(1..9))
    :ok = Optimizer.attach(:race, :halving, eta: 3, budget: 2)
    first = for _ <- 1..9, do: elem(Optimizer.suggest(:race, :ann), 1)
    assert Enum.all?(first, &(&1.budget == 2))
    assert Optimizer.suggest(:race, :ann) == {:error, :waiting}
    assert {:ok, %{why: :rung_not_complete, moved: false}} = report(:race, hd(first))
    for one <- tl(first), do: report(:race, one)
    second = for _ <- 1..3, do: elem(Optimizer.suggest(:race, :ann), 1)
    assert second |> Enum.map(& &1.value) |> Enum.sort() == [7, 8, 9]
    assert Enum.all?(second, &(&1.budget == 6))
    for one <- second, do: report(:race, one)
    {:ok, %{value: 9} = last} = Optimizer.suggest(:race, :ann)
    assert {:ok, %{best: 9, why: :best_of_rung}} = report(:race, last)
    assert Optimizer.suggest(:race, :ann) == {:error, :done}
    assert Core.get_variable(:race) == {:ok, 9}
  end

  defp report(name, %{id: id, value: value}), do: Optimizer.report(name, id, value, :ann)

  describe "search" do
    test "TPE and CMA-ES find the top of a hill" do
      for {method, rounds, near} <- [{:tpe, 120, 1.0}, {:cma_es, 120, 0.3}] do
        :ok = Core.register_variable(name: "#{method}", type: :numeric, min: -10, max: 10)
        :ok = Optimizer.attach("#{method}", method, seed: 3)
        tries("#{method}", rounds, :ann, fn x -> -(x - 3) * (x - 3) end)
        {:ok, value} = Core.get_variable("#{method}")
        assert_in_delta value, 3, near
        assert {:ok, [%{why: :best_reward} | _]} = Optimizer.history("#{method}", limit: 1)
      end
    end

    test "of several numbers and choices at once" do
      :ok = Core.register_variable(name: :plan)
      space = [rate: {:log, 1.0e-4, 1}, size: {:integer, 1, 64}, mode: {:choice, [:fast, :good]}]
      :ok = Optimizer.attach(:plan, :tpe, space: space, seed: 1)

      worth = fn %{rate: rate, size: size, mode: mode} ->
        -abs(:math.log10(rate) + 2) - abs(size - 32) / 32 + if(mode == :good, do: 1, else: 0)
      end

      tries(:plan, 150, :ann, worth)
      assert {:ok, %{mode: :good, size: size} = plan} = Core.get_variable(:plan)
      assert is_integer(size) and worth.(plan) > 0.3
      assert {:error, {:invalid, %{field: :space}}} = Optimizer.attach(:plan, :cma_es, space: space)
    end
  end

  test "the history says why" do
    choice(:why)
    :ok = Optimizer.attach(:why, :ucb1)
    {:ok, %{id: id, value: :a}} = Optimizer.suggest(:why, :ann)
    {:ok, _} = Optimizer.report(:why, id, 0.5, :ann)
    {:ok, %{id: id, value: :b}} = Optimizer.suggest(:why, :bob)
    {:ok, entry} = Optimizer.report(:why, id, 1, :bob)
    assert {:ok, [^entry, first]} = Optimizer.history(:why)

    assert %{by: :bob, tried: :b, reward: 1, best: :b, mean: 1.0, told: 2, moved: true, why: :best_mean} =
             entry

    assert %{by: :ann, tried: :a, best: :a} = first
    assert {:ok, [%{value: :b, by: :bob} | _]} = Core.history(:why)
  end

  test "the same seed and rewards give the same suggestions" do
    runs =
      for name <- [:one, :other] do
        choice(name)
        :ok = Optimizer.attach(name, :thompson, seed: 11)
        tries(name, 50, :ann, &%{a: 0.3, b: 0.5, c: 0.7}[&1])
      end

    assert [same, same] = runs
  end

  test "a suggestion is rewarded once, by who got it" do
    choice(:strict, access: {:agents, [:ann, :bob]})
    :ok = Optimizer.attach(:strict, :ucb1)
    assert {:error, :forbidden} = Optimizer.suggest(:strict, :mallory)
    {:ok, %{id: id}} = Optimizer.suggest(:strict, :ann)
    assert {:error, :not_yours} = Optimizer.report(:strict, id, 1, :bob)
    assert {:error, :forbidden} = Optimizer.detach(:strict, :mallory)
    assert {:ok, _} = Optimizer.report(:strict, id, 1, :ann)
    assert {:error, :not_found} = Optimizer.report(:strict, id, 1, :ann)
    {:ok, %{id: id}} = Optimizer.suggest(:strict, :bob)
    assert :ok = Optimizer.abandon(:strict, id, :bob)
    assert {:error, :not_found} = Optimizer.report(:strict, id, 1, :bob)
    assert :ok = Optimizer.detach(:strict, :ann)
    assert {:error, :not_found} = Optimizer.suggest(:strict, :ann)
    assert {:ok, :a} = Core.get_variable(:strict)
    :ok = Optimizer.attach(:strict, :ucb1)
    assert :ok = Core.delete_variable(:strict, :ann)
    assert {:error, :not_found} = Optimizer.status(:strict)
  end

  test "many at once lose nothing" do
    choice(:crowd)
    :ok = Optimizer.attach(:crowd, :ucb1)

    1..20
    |> Task.async_stream(fn n -> tries(:crowd, 10, "agent-#{n}", &%{a: 0.1, b: 0.9, c: 0.5}[&1]) end,
      timeout: 30_000
    )
    |> Stream.run()

    assert {:ok, %{told: 200, open: 0, best: %{value: :b}}} = Optimizer.status(:crowd)
    assert Core.get_variable(:crowd) == {:ok, :b}
  end

  test "of a :consensus variable the search is an entry of the group" do
    name = "agreed-#{System.unique_integer([:positive])}"
    choice(name, conflict: :consensus)
    :ok = Optimizer.attach(name, :thompson, seed: 2)
    tries(name, 15, :ann, &%{a: 0, b: 1, c: 0}[&1])
    assert {:ok, :b} = Core.get_variable(name)

    # What this node knew of it is gone with MABEAM; what was learnt is not.
    Foundation.MabeamAgents.stop()
    {:ok, _} = MABEAM.start()
    assert {:error, :not_found} = Optimizer.status(name)
    choice(name, conflict: :consensus)
    :ok = Optimizer.attach(name, :thompson, seed: 2)
    assert {:ok, %{told: 15, best: %{value: :b}}} = Optimizer.status(name)
    assert {:ok, :b} = Core.get_variable(name)
    :ok = Core.delete_variable(name, :ann)
    assert {:error, :not_found} = Optimizer.status(name)
  end

  test "asks agents what a value is worth to them" do
    choice(:asked, agents: [:ann, :bob])
    start(:ann, %{utility: {:say, {__MODULE__, :worth, [0.0]}}})
    start(:bob, %{utility: {:say, {__MODULE__, :worth, [0.2]}}})
    :ok = Optimizer.attach(:asked, :ucb1)
    assert {:ok, %{told: 30, best: %{value: :c}}} = Optimizer.tune(:asked, rounds: 30)
    assert Core.get_variable(:asked) == {:ok, :c}
    choice(:lonely)
    :ok = Optimizer.attach(:lonely, :ucb1)
    assert {:error, :no_agents} = Optimizer.tune(:lonely)
    assert {:ok, %{told: 0, open: 0}} = Optimizer.tune(:lonely, agents: [:nobody], rounds: 2)
  end

  def worth(value, more), do: %{a: 0.1, b: 0.3, c: 0.6}[value] + more

  test "what cannot be is refused" do
    choice(:odd)
    :ok = Core.register_variable(name: :any)
    :ok = Core.register_variable(name: :shared, type: :numeric, min: 0, max: 1, conflict: {:priority, [:ann]})
    assert {:error, :not_found} = Optimizer.attach(:none, :ucb1)
    assert {:error, :not_found} = Optimizer.status(:odd)

    for {name, method, opts} <- [
          {:odd, :magic, []},
          {:odd, {:exp3, 0}, []},
          {:odd, :cma_es, []},
          {:odd, :ucb1, [values: [:z]]},
          {:odd, :ucb1, [reward: {1, 0}]},
          {:odd, :ucb1, [goal: :win]},
          {:any, :ucb1, []},
          {:any, :tpe, []},
          {:any, :tpe, [space: [a: {:log, 0, 1}]]},
          {:any, :tpe, [space: [:a]]},
          {:shared, :ucb1, []}
        ] do
      assert {:error, {:invalid, _}} = Optimizer.attach(name, method, opts)
    end

    for opts <- [[seed: -1], [eta: 1], [budget: 0], [speed: 1]],
        do: assert_raise(ArgumentError, fn -> Optimizer.attach(:odd, :halving, opts) end)

    :ok = Optimizer.attach(:odd, :ucb1)
    assert {:error, :already_registered} = Optimizer.attach(:odd, :ucb1)
    {:ok, %{id: id}} = Optimizer.suggest(:odd, :ann)
    assert_raise ArgumentError, ~r/reward/, fn -> Optimizer.report(:odd, id, Opaque.term(:much), :ann) end
    {:ok, _} = Core.update_variable(Optimizer.name(:odd), :garbage, :mallory)
    assert {:error, :malformed} = Optimizer.suggest(:odd, :ann)
  end
end
