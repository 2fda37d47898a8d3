defmodule Foundation.Infrastructure.LimitsClusterTest do
  # The budget against its promise, and shared limits of one node, whose group is its own.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Infrastructure.Limits
  alias Foundation.Infrastructure.Limits.Cluster
  alias Foundation.Infrastructure.Limits.Cluster.{Amount, Budget, Settings, Slice}
  alias Foundation.Infrastructure.Limits.Shared

  @unit 1_000_000_000

  describe "the budget" do
    defp budget(settings \\ []) do
      defaults = %{limit: 100, per: 1_000, lease: 200, overshoot: 0, skew: 0}
      Budget.define(nil, Map.merge(defaults, Map.new(settings)))
    end

    test "leases at most a share at a time, and the limit in all" do
      {a, b} = {{:a, "1"}, {:b, "1"}}
      assert {{:ok, 50, 200, _, 1}, budget} = Budget.lease(budget(limit: 100 * @unit), a, {0, 0}, {50, 0}, 0)
      big = budget(limit: 100 * @unit)
      assert {{:ok, first, _, _, 1}, big} = Budget.lease(big, a, {0, 0}, {100 * @unit, 0}, 0)
      assert first == 50 * @unit
      assert {{:ok, second, _, _, 2}, big} = Budget.lease(big, b, {0, 0}, {100 * @unit, 0}, 0)
      assert second == 25 * @unit
      # More at once only when it is needed at once.
      assert {{:ok, third, _, _, 2}, big} = Budget.lease(big, b, {0, 0}, {26 * @unit, 26 * @unit}, 0)
      assert third == second and Budget.charged(big) == 75 * @unit
      assert {{:ok, all, _, _, 2}, _} = Budget.lease(big, b, {0, 0}, {25 * @unit, 25 * @unit}, 0)
      assert all == 50 * @unit
      assert Budget.charged(budget) == 50
    end

    test "what is returned is free at once, what was spent after a window" do
      a = {:a, "1"}
      {{:ok, 100, _, _, _}, budget} = Budget.lease(budget(), a, {0, 0}, {100, 100}, 0)
      {{:ok, 100, _, retry, _}, budget} = Budget.lease(budget, a, {60, 30}, {40, 40}, 100)
      assert retry > 0
      {{:ok, 130, _, _, _}, budget} = Budget.lease(budget, a, {60, 30}, {30, 30}, 200)
      # Told again it means the same.
      {{:ok, 130, _, _, _}, budget} = Budget.lease(budget, a, {60, 30}, {0, 0}, 250)
      assert Budget.charged(budget) == 100
      {_, budget} = Budget.lease(budget, a, {60, 70}, {0, 0}, 300)
      assert Budget.charged(budget) == 60
      assert Budget.charged(Budget.advance(budget, 1_099)) == 60
      # A part of the window late at most.
      assert Budget.charged(Budget.advance(budget, 1_100 + 16)) == 0
    end

    test "on its own a node that comes too late to renew what it gave itself begins anew, and counts what it spent" do
      slice = Slice.open(Slice.new(Map.from_struct(budget(limit: 90 * @unit)), 0), 3)
      {first, 200, _, slice} = Slice.lease_alone(slice, 0, {0, 0, 30 * @unit}, 0)
      assert first == 30 * @unit
      {amount, 200, _, slice} = Slice.lease_alone(slice, 20 * @unit, {20 * @unit, 0, 10 * @unit}, 500)
      assert amount == 10 * @unit
      {more, _, _, slice} = Slice.lease_alone(slice, 10 * @unit, {10 * @unit, 0, @unit}, 550)
      assert more == 0 and slice.untold == 30 * @unit
      assert {more, _, _, _} = Slice.lease_alone(slice, 0, {0, 0, @unit}, 3_000)
      assert more > 0
    end

    test "what a lost holder had counts as spent, or is given up as far as the overshoot goes" do
      {a, b} = {{:a, "1"}, {:b, "1"}}
      {_, strict} = Budget.lease(budget(), a, {0, 0}, {100, 100}, 0)
      assert {{:ok, 0, _, _, 1}, strict} = Budget.lease(strict, b, {0, 0}, {10, 10}, 200)
      assert {{:ok, 0, _, _, 1}, _} = Budget.lease(strict, b, {0, 0}, {10, 10}, 350)
      # It comes back and says what it has really spent.
      assert {:ended, strict} = Budget.lease(strict, a, {20, 0}, {10, 10}, 350)
      assert {{:ok, 80, _, _, 1}, _} = Budget.lease(strict, b, {0, 0}, {80, 80}, 360)

      {_, loose} = Budget.lease(budget(overshoot: 30), a, {0, 0}, {30, 30}, 0)
      assert {{:ok, 20, _, _, 1}, loose} = Budget.lease(loose, b, {0, 0}, {20, 20}, 200)
      assert Budget.view(loose).given_up == 30
      # No more within a window.
      loose = Budget.advance(loose, 450)
      assert %{given_up: 30, charged: 20} = Budget.view(loose)
      assert {{:ok, 80, _, _, 1}, _} = Budget.lease(loose, {:c, "1"}, {0, 0}, {80, 80}, 450)
    end

    # Holders that spend what they have at any time until their lease ends, tell of it late, twice or never, die and come
    # back; whatever they do, each window holds at most the limit and the overshoot.
    test "in any window at most the limit and the overshoot is spent" do
      for seed <- 1..300 do
        :rand.seed(:exsss, {seed, 5, 6})
        [limit, overshoot] = [10 + :rand.uniform(90), Enum.random([0, 0, 5, 20])]

        settings = [
          limit: limit,
          overshoot: overshoot,
          per: Enum.random([300, 1_000]),
          lease: Enum.random([100, 250])
        ]

        spends = run(budget(settings), 400)
        per = settings[:per]
        ends = for {at, _} <- spends, do: at

        for last <- Enum.uniq(ends) do
          spent = Enum.sum(for {at, n} <- spends, at > last - per and at <= last, do: n)
          assert spent <= limit + overshoot, "seed #{seed}: #{spent} of #{limit} + #{overshoot} up to #{last}"
        end
      end
    end

    defp run(budget, steps) do
      start = %{budget: budget, now: 0, nodes: %{}, spends: [], lives: 0}
      Enum.reduce(1..steps, start, fn _, s -> step(s, :rand.uniform(10)) end).spends
    end

    # Time goes on.
    defp step(s, what) when what <= 3, do: %{s | now: s.now + :rand.uniform(40)}

    # Someone spends some of what it has.
    defp step(s, what) when what <= 6 do
      n = :rand.uniform(3)

      case s.nodes do
        %{^n => %{left: left, ends: ends} = node} when left > 0 and ends > s.now ->
          amount = :rand.uniform(left)
          node = %{node | left: left - amount, spent: node.spent + amount}
          %{s | nodes: Map.put(s.nodes, n, node), spends: [{s.now, amount} | s.spends]}

        _ ->
          s
      end
    end

    # Someone dies.
    defp step(s, 7),
      do: if(:rand.uniform(4) == 1, do: %{s | nodes: Map.delete(s.nodes, :rand.uniform(3))}, else: s)

    # Someone tells, returns and asks; the answer may be lost, and time passes until it is there.
    defp step(s, _what) do
      n = :rand.uniform(3)
      lives = s.lives + 1
      node = s.nodes[n] || %{life: "#{lives}", spent: 0, returned: 0, granted: 0, left: 0, ends: 0}
      back = if node.left > 0 and :rand.uniform(3) == 1, do: :rand.uniform(node.left), else: 0
      node = %{node | left: node.left - back, returned: node.returned + back}
      sent = s.now
      now = s.now + :rand.uniform(10) - 1
      want = :rand.uniform(Enum.random([15, 60]))
      demand = {want, Enum.random([0, want])}
      {answer, budget} = Budget.lease(s.budget, {n, node.life}, {node.spent, node.returned}, demand, now)
      s = %{s | budget: budget, now: now + :rand.uniform(5), lives: lives}
      lost = :rand.uniform(4) == 1

      case answer do
        _ when lost ->
          %{s | nodes: Map.put(s.nodes, n, node)}

        :ended ->
          %{s | nodes: Map.delete(s.nodes, n)}

        {:ok, granted, lease, _, _} ->
          node = %{node | left: node.left + granted - node.granted, granted: granted, ends: sent + lease}
          %{s | nodes: Map.put(s.nodes, n, node)}
      end
    end
  end

  test "amounts are exact" do
    assert Amount.parse(3) == 3 * @unit
    assert Amount.parse("0.000000001") == 1
    assert Amount.parse("12.5") == 12_500_000_000
    assert Amount.parse(0.1) == 100_000_000
    assert Amount.parse(%{sign: 1, coef: 125, exp: -2}) == 1_250_000_000
    for bad <- [-1, "x", "1.0000000001", nil, %{}], do: assert(Amount.parse(bad) == nil)
    assert Amount.whole(Amount.parts(1_234_567_890_123)) == 1_234_567_890_123
  end

  test "what cannot be shared is refused" do
    requests = [requests: [limit: 10, per: 1_000]]

    for {limits, opts, reason} <- [
          {[c: [limit: 3]], [], {:invalid_limit, {:c, :per}}},
          {[r: [limit: 3, per: 1_000, burst: 5]], [], {:invalid_limit, {:r, :burst}}},
          {requests, [overshoot: 2], {:invalid_option, {:overshoot, 2}}},
          {requests, [on_partition: :maybe], {:invalid_option, {:on_partition, :maybe}}},
          {requests, [lease_ms: 2_000], {:invalid_option, {:lease_ms, 2_000}}},
          {requests, [colour: 1], {:invalid_option, {:colour, 1}}}
        ],
        do: assert(Limits.set_limits(:shared_bad, limits, [scope: :cluster] ++ opts) == {:error, reason})

    assert Limits.set_limits({:user, :_}, requests, scope: :cluster) ==
             {:error, {:invalid_option, {:scope, :cluster}}}

    assert Limits.set_limits(:shared_bad, requests, scope: :everywhere) ==
             {:error, {:invalid_option, {:scope, :everywhere}}}

    assert Limits.set_limits(:shared_node, requests, scope: :node) == :ok

    assert {:ok, %{budgets: %{requests: %{lease: 250, skew: 50}}}} =
             Settings.parse(:x, requests, scope: :cluster)
  end

  describe "alone in its cluster" do
    setup do
      key = {:shared_test, System.unique_integer([:positive])}
      on_exit(fn -> Limits.delete_limits(key) end)
      {:ok, key: key}
    end

    defp drain(key, costs, until) do
      case Limits.acquire(key, costs) do
        :ok -> 1 + drain(key, costs, until)
        {:error, {:limited, _}} -> if now() < until, do: drain(key, costs, until), else: 0
      end
    end

    defp now, do: System.monotonic_time(:millisecond)

    # So many, as soon as leases bring them, and no more.
    defp all_of?(key, costs, count) do
      for _ <- 1..count, do: assert_eventually(Limits.acquire(key, costs) == :ok)
      drain(key, costs, now() + 500) == 0
    end

    test "all of the limit is had, and no more", %{key: key} do
      :ok = Limits.set_limits(key, [requests: [limit: 1_000, per: 60_000]], scope: :cluster)
      assert :ok = Limits.acquire(key, %{requests: 1})
      assert all_of?(key, %{requests: 1}, 999)

      assert {:error, {:limited, %{dimension: :requests, key: ^key, retry_after_ms: ms}}} =
               Limits.acquire(key, %{requests: 1})

      assert ms > 0
      assert Limits.acquire(key, %{requests: 1_001}) == {:error, {:never, :requests}}

      assert_eventually(
        match?({:ok, %{requests: %{charged: 1_000_000_000_000}}}, Cluster.status(key)),
        10_000
      )

      assert {:ok, %{dimensions: %{requests: %{algorithm: :leased, remaining: 0}}}} = Limits.peek(key)
    end

    test "it comes back with the window", %{key: key} do
      :ok = Limits.set_limits(key, [requests: [limit: 50, per: 1_000]], scope: :cluster)
      began = now()
      taken = drain(key, %{requests: 1}, began + 3_500)
      windows = (now() - began) / 1_000
      assert taken <= 50 * ceil(windows)
      assert taken >= 100
    end

    test "one demand of many units is served, and a reservation gives back", %{key: key} do
      :ok = Limits.set_limits(key, [tokens: [limit: 10_000, per: 60_000]], scope: :cluster)
      assert_eventually(match?(:ok, Limits.acquire(key, %{tokens: 9_000})))
      assert :ok = Limits.await(key, %{tokens: 400}, timeout: 15_000)
      assert {:ok, reservation} = reserve(key, %{tokens: 600})
      assert :ok = Limits.refund(reservation)
      assert {:ok, reservation} = reserve(key, %{tokens: 600})
      assert :ok = Limits.commit(reservation, %{tokens: 600})
      assert {:error, {:limited, _}} = Limits.acquire(key, %{tokens: 1})
    end

    defp reserve(key, costs) do
      assert_eventually(match?({:ok, _}, peeked(key, costs)))
      Limits.reserve(key, costs)
    end

    # Room for it, once the lease has come.
    defp peeked(key, %{tokens: n}) do
      {:ok, %{dimensions: %{tokens: %{remaining: left}}}} = Limits.peek(key)
      if left >= n, do: {:ok, left}, else: Limits.reserve(key, %{tokens: n}) |> given_back()
    end

    defp given_back({:ok, reservation}), do: {:ok, Limits.refund(reservation)}
    defp given_back(error), do: error

    test "below a parent, with exact decimals", %{key: key} do
      parent = {:parent, key}
      on_exit(fn -> Limits.delete_limits(parent) end)
      :ok = Limits.set_limits(parent, [usd: [limit: "1.00", per: 60_000]], scope: :cluster)
      :ok = Limits.set_limits(key, [requests: [limit: 1_000, per: 1_000]], parent: parent)
      assert_eventually(Limits.acquire(key, %{requests: 1, usd: "0.25"}) == :ok)
      assert_eventually(Limits.acquire(key, %{requests: 1, usd: "0.70"}) == :ok)
      assert_eventually(Limits.acquire(key, %{usd: "0.05"}) == :ok)
      assert {:error, {:limited, %{key: ^parent}}} = Limits.acquire(key, %{usd: "0.01"})
    end

    test "the limit may change, and the key be deleted", %{key: key} do
      :ok = Limits.set_limits(key, [requests: [limit: 10, per: 60_000]], scope: :cluster)
      assert all_of?(key, %{requests: 1}, 10)
      :ok = Limits.set_limits(key, [requests: [limit: 15, per: 60_000]], scope: :cluster)
      assert all_of?(key, %{requests: 1}, 5)
      :ok = Limits.delete_limits(key)
      assert_eventually(:ets.lookup(Shared.table(), key) == [])
      assert Limits.acquire(key, %{requests: 1}) == {:error, :unknown_key}
      assert {:ok, %{requests: _}} = Cluster.status(key)
      assert Cluster.forget(key) == :ok
      assert Cluster.status(key) == {:ok, %{}}
    end

    test "the process that leases may be killed", %{key: key} do
      :ok = Limits.set_limits(key, [requests: [limit: 100, per: 60_000]], scope: :cluster, lease_ms: 300)
      for _ <- 1..10, do: assert_eventually(Limits.acquire(key, %{requests: 1}) == :ok)
      pid = Process.whereis(Shared.table())
      Process.exit(pid, :kill)
      assert_eventually(Process.whereis(Shared.table()) not in [nil, pid])
      assert_eventually(Limits.acquire(key, %{requests: 1}) == :ok)
      drain(key, %{requests: 1}, now() + 1_500)
      # What the earlier one had and did not tell of counts as spent.
      {:ok, %{requests: %{charged: charged, given_up: given_up}}} = Cluster.status(key)
      assert charged <= 100 * @unit and given_up <= 5 * @unit
    end
  end
end
