defmodule Foundation.MABEAM.Coordination.NegotiationTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  defp parties(script, other), do: [start(:one, script), start(:other, other)]
  defp worths(list, conflict \\ 0), do: {:say, %{worths: list, conflict: conflict}}

  describe "monotonic concession" do
    @deals %{subject: :price, deals: [80, 90, 100, 110]}

    # Rosenschein and Zlotkin 1994: Zeuthen's strategy ends at the largest product of gains.
    test "ends where the product of gains is largest" do
      for {one, other, conflict} <- [
            {[40, 30, 20, 10], [10, 20, 30, 40], {0, 0}},
            {[9, 8, 5, 1], [1, 2, 9, 10], {0, 0}},
            {[40, 30, 20, 10], [10, 20, 30, 40], {15, 0}}
          ] do
        agents = parties(%{bid: worths(one, elem(conflict, 0))}, %{bid: worths(other, elem(conflict, 1))})
        assert {:ok, outcome} = Coordination.coordinate(:monotonic_concession, agents, @deals)

        gains =
          Enum.zip_with([one, other, @deals.deals], fn [a, b, deal] ->
            {a - elem(conflict, 0), b - elem(conflict, 1), deal}
          end)

        most =
          gains
          |> Enum.filter(fn {a, b, _} -> a >= 0 and b >= 0 end)
          |> Enum.map(fn {a, b, _} -> a * b end)
          |> Enum.max()

        assert {a, b, _} = List.keyfind(gains, outcome.decision, 2)
        assert a * b == most
        assert outcome.detail.gains == %{one: a, other: b}
        assert {outcome.rounds, outcome.messages} == {2, 4}
        # Nobody takes a concession back.
        {mine, yours} = Enum.unzip(outcome.detail.path)
        assert concessions?(mine, one) and concessions?(yours, other)
        Enum.each(agents, &MABEAM.AgentRegistry.deregister_agent/1)
      end
    end

    defp concessions?(path, worths) do
      order = @deals.deals |> Enum.zip(worths) |> Map.new()
      own = Enum.map(path, &order[&1])
      own == Enum.sort(own, :desc)
    end

    test "fails where there is no deal, or no will" do
      agents = parties(%{bid: worths([1, 1, 1, 1], 5)}, %{bid: worths([1, 2, 3, 4])})
      assert {:error, {:no_agreement, _}} = Coordination.coordinate(:monotonic_concession, agents, @deals)

      start(:stubborn, %{bid: worths([1, 2, 3, 4]), proposal: {:say, :reject}})
      start(:silent)
      start(:odd, %{bid: worths([1, 2])})
      start(:fair, %{bid: worths([4, 3, 2, 1])})

      assert {:error, {:rejected, %{detail: %{by: :stubborn}}}} =
               Coordination.coordinate(:monotonic_concession, [:fair, :stubborn], @deals)

      assert {:error, {:broken_off, %{detail: %{by: :silent, why: :abstained}}}} =
               Coordination.coordinate(:monotonic_concession, [:fair, :silent], @deals)

      assert {:error, {:broken_off, %{detail: %{by: :odd, why: {:invalid, :not_worths}}}}} =
               Coordination.coordinate(:monotonic_concession, [:fair, :odd], @deals)

      for {agents, problem} <- [{[:fair], @deals}, {[:fair, :odd], %{deals: []}}, {[:fair, :odd], 1}] do
        assert {:error, {{:invalid, _}, _}} = Coordination.coordinate(:monotonic_concession, agents, problem)
      end
    end
  end

  describe "multi-issue" do
    @problem %{
      issues: %{price: [:low, :high], delivery: [:today, :later]},
      from: %{price: :high, delivery: :later}
    }
    # The buyer cares for the day, the seller for the price.
    @buyer %{price: %{low: 4, high: 0}, delivery: %{today: 9, later: 0}}
    @seller %{price: %{low: 0, high: 9}, delivery: %{today: 0, later: 2}}

    test "leaves nobody worse off, and nothing on the table" do
      agents = parties(%{bid: {:say, @buyer}}, %{bid: {:say, %{@seller | delivery: %{today: 2, later: 2}}}})
      assert {:ok, outcome} = Coordination.coordinate(:multi_issue, agents, @problem)
      assert outcome.decision == %{price: :high, delivery: :today}
      assert outcome.detail == %{worths: %{one: {0, 9}, other: {11, 11}}, steps: 1, complete: true}
      assert outcome.messages == 4
    end

    test "swaps two issues at once" do
      agents = parties(%{bid: {:say, @buyer}}, %{bid: {:say, @seller}})
      from = %{@problem | from: %{price: :low, delivery: :later}}
      assert {:ok, outcome} = Coordination.coordinate(:multi_issue, agents, from)
      assert outcome.decision == %{price: :high, delivery: :today}
      assert outcome.detail.worths == %{one: {4, 9}, other: {2, 9}}
    end

    test "everybody has to agree, and to say what it wants" do
      start(:buyer, %{bid: {:say, @buyer}})
      start(:no, %{bid: {:say, @seller}, proposal: {:say, :reject}})
      start(:odd, %{bid: {:say, put_in(@seller.price.high, 1.5)}})

      assert {:error, {:rejected, %{detail: %{by: :no}}}} =
               Coordination.coordinate(:multi_issue, [:buyer, :no], @problem)

      assert {:error, {:broken_off, %{detail: %{by: :odd, why: {:invalid, :not_worths}}}}} =
               Coordination.coordinate(:multi_issue, [:buyer, :odd], @problem)

      for bad <- [
            %{},
            %{issues: []},
            %{issues: %{a: []}},
            %{issues: %{a: [1]}, from: %{a: 2}},
            %{issues: %{}}
          ] do
        assert {:error, {{:invalid, _}, _}} = Coordination.coordinate(:multi_issue, [:buyer], bad)
      end
    end
  end
end
