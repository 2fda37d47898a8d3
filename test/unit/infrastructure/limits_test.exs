defmodule Foundation.Infrastructure.LimitsTest do
  use ExUnit.Case, async: true
  import Foundation.Eventually

  alias Foundation.Infrastructure.Limits
  alias Foundation.Infrastructure.Limits.{Profile, Reservation}

  doctest Limits
  doctest Profile

  setup context do
    {:ok, key: {__MODULE__, context.test}}
  end

  defp used(key, dimension) do
    {:ok, peek} = Limits.peek(key)
    peek.dimensions[dimension].used
  end

  describe "set_limits/3" do
    test "says what is wrong with a definition", %{key: key} do
      for {limits, opts, reason} <- [
            {[requests: [limit: -1, per: 1_000]], [], {:invalid_limit, {:requests, :limit}}},
            {[requests: [limit: "1.2.3", per: 1_000]], [], {:invalid_limit, {:requests, :limit}}},
            {[requests: [per: 1_000]], [], {:invalid_limit, {:requests, :limit}}},
            {[requests: [limit: 1, per: 1.5]], [], {:invalid_limit, {:requests, :per}}},
            {[requests: [limit: 1, per: 1_000, burst: :x]], [], {:invalid_limit, {:requests, :burst}}},
            {[requests: [limit: 1, per: 1_000, colour: 1]], [], {:invalid_limit, {:requests, :colour}}},
            {[requests: [limit: 1, per: 1_000, algorithm: :leaky]], [],
             {:invalid_limit, {:requests, :algorithm}}},
            {[requests: 5], [], {:invalid_limit, {:requests, :spec}}},
            {[a: [limit: 1], a: [limit: 1]], [], {:invalid_limit, {:a, :twice}}},
            {for(i <- 1..17, do: {:"d#{i}", [limit: 1]}), [], {:invalid_limit, {:d17, :too_many_dimensions}}},
            {:nonsense, [], {:invalid_limits, :nonsense}},
            {[a: [limit: 1]], [parnet: 1], {:invalid_option, {:parnet, 1}}},
            {[a: [limit: 1]], [parent: :nobody], :unknown_parent}
          ] do
        assert {limits, Limits.set_limits(key, limits, opts)} == {limits, {:error, reason}}
      end

      assert Limits.peek(key) == {:error, :unknown_key}
    end

    test "again keeps what is used, what is out, and frees waiters", %{key: key} do
      :ok = Limits.set_limits(key, requests: [limit: 2, per: 3_600_000], calls: [limit: 3])
      {:ok, reservation} = Limits.reserve(key, %{requests: 2})
      waiter = Task.async(fn -> Limits.await(key, %{requests: 1}) end)
      assert_eventually(match?({:ok, %{waiting: 1}}, Limits.peek(key)))

      :ok = Limits.set_limits(key, requests: [limit: 4, per: 3_600_000], calls: [limit: 3])
      assert Task.await(waiter) == :ok
      assert_in_delta used(key, :requests), 3, 0.1
      assert used(key, :calls) == 1
      :ok = Limits.refund(reservation)
      assert_in_delta used(key, :requests), 1, 0.1
      assert used(key, :calls) == 0
    end

    test "cycles and chains that are too long are refused", %{key: key} do
      limits = [a: [limit: 1]]
      :ok = Limits.set_limits({key, 0}, limits)
      for i <- 1..8, do: :ok = Limits.set_limits({key, i}, limits, parent: {key, i - 1})
      assert Limits.set_limits({key, 9}, limits, parent: {key, 8}) == {:error, :too_many_ancestors}
      assert Limits.set_limits({key, 0}, limits, parent: {key, 2}) == {:error, :parent_cycle}
      assert Limits.delete_limits({key, 2}) == {:error, :in_use}
      assert Limits.delete_limits({key, 8}) == :ok
      assert Limits.delete_limits({key, 8}) == {:error, :unknown_key}
    end
  end

  describe "acquire/2" do
    test "takes from all dimensions and ancestors or from none", %{key: key} do
      tenant = {:tenant, key}
      :ok = Limits.set_limits(tenant, usd: [limit: "0.03", per: 86_400_000, algorithm: :sliding_window])
      :ok = Limits.set_limits(key, [requests: [limit: 9, per: 3_600_000]], parent: tenant)

      assert Limits.acquire(key, %{requests: 1, usd: "0.015"}) == :ok
      assert Limits.acquire(key, %{requests: 1, usd: 0.015}) == :ok

      assert {:error, {:limited, %{dimension: :usd, key: ^tenant, retry_after_ms: ms}}} =
               Limits.acquire(key, requests: 1, usd: "0.000000001")

      assert ms > 86_000_000
      assert_in_delta used(key, :requests), 2, 0.1
      assert used(tenant, :usd) == 0.03
    end

    test "names what is wrong and takes nothing", %{key: key} do
      :ok = Limits.set_limits(key, requests: [limit: 9, per: 3_600_000], calls: [limit: 1])

      for {costs, reason} <- [
            {%{requests: 10}, {:never, :requests}},
            {%{requests: 1, tokens: 1}, {:unknown_dimension, :tokens}},
            {%{requests: -1}, {:invalid_cost, :requests}},
            {%{requests: "0.0000000001"}, {:invalid_cost, :requests}},
            {%{requests: "many"}, {:invalid_cost, :requests}},
            {%{requests: nil}, {:invalid_cost, :requests}},
            {%{requests: 100_000_000_000_000_000_000}, {:invalid_cost, :requests}},
            {%{"requests" => 1}, {:unknown_dimension, "requests"}},
            {%{requests: 1, calls: 1}, {:reserve_only, :calls}}
          ] do
        assert {costs, Limits.acquire(key, costs)} == {costs, {:error, reason}}
      end

      assert used(key, :requests) == 0
      assert Limits.acquire(key, %{requests: 0}) == :ok
      assert Limits.acquire({key, :other}, %{requests: 1}) == {:error, :unknown_key}
      assert Limits.acquire(String.duplicate("x", 5_000), %{requests: 1}) == {:error, :invalid_key}

      assert_raise ArgumentError, ~r/costs must be/, fn ->
        Limits.acquire(key, Process.get(:no_such_key, 1))
      end
    end

    test "takes Decimal structs exactly", %{key: key} do
      :ok = Limits.set_limits(key, usd: [limit: 10, per: 86_400_000, algorithm: :sliding_window])
      decimal = Map.put(%{sign: 1, coef: 15, exp: -3}, :__struct__, Decimal)
      assert Limits.acquire(key, %{usd: decimal}) == :ok
      assert used(key, :usd) == 0.015
      assert Limits.acquire(key, %{usd: %{decimal | coef: :NaN}}) == {:error, {:invalid_cost, :usd}}
    end
  end

  describe "patterns" do
    test "give every key of theirs a budget of its own", %{key: key} do
      :ok = Limits.set_limits({key, :_}, requests: [limit: 1, per: 3_600_000])
      assert Limits.acquire({key, 1}, %{requests: 1}) == :ok
      assert Limits.acquire({key, 2}, %{requests: 1}) == :ok
      assert {:error, {:limited, %{key: {^key, 1}}}} = Limits.acquire({key, 1}, %{requests: 1})
      assert Limits.acquire({:not, key, 1}, %{requests: 1}) == {:error, :unknown_key}

      :ok = Limits.set_limits({key, :_}, requests: [limit: 2, per: 3_600_000])
      assert Limits.acquire({key, 1}, %{requests: 1}) == :ok
    end

    test "let keys go once they are free and idle", %{key: key} do
      :ok = Limits.set_limits({key, :_}, [requests: [limit: 1, per: 1]], idle_ttl: 0)
      assert Limits.acquire({key, 1}, %{requests: 1}) == :ok

      assert_eventually(
        Foundation.Native.limits_sweep(Foundation.Engine.handle(:limits)) >= 0 and
          Limits.peek({key, 1}) == {:error, :unknown_key}
      )

      assert {:ok, _} = Limits.peek({key, :_})
    end
  end

  describe "reservations" do
    test "settle once, with the difference returned or charged", %{key: key} do
      :ok = Limits.set_limits(key, tokens: [limit: 100, per: 3_600_000], calls: [limit: 1])
      {:ok, %Reservation{key: ^key} = reservation} = Limits.reserve(key, %{tokens: 80})
      assert {:error, {:limited, %{dimension: :calls}}} = Limits.reserve(key, %{tokens: 1})
      assert Limits.commit(reservation, %{nothing: 1}) == {:error, {:unknown_dimension, :nothing}}
      assert Limits.commit(reservation, %{tokens: 30}) == :ok
      assert Limits.commit(reservation) == {:error, :settled}
      assert Limits.refund(reservation) == {:error, :settled}
      assert_in_delta used(key, :tokens), 30, 0.1

      {:ok, reservation} = Limits.reserve(key, %{tokens: 10})
      assert Limits.commit(reservation, %{tokens: 150}) == :ok
      assert_in_delta used(key, :tokens), 180, 0.1
      assert {:error, {:limited, %{dimension: :tokens}}} = Limits.acquire(key, %{tokens: 1})
      {:ok, peek} = Limits.peek(key)
      assert peek.dimensions.tokens.remaining < 0
    end

    test "of a process that ends come back at once", %{key: key} do
      :ok = Limits.set_limits(key, calls: [limit: 1])
      test = self()

      pid =
        spawn(fn ->
          {:ok, _} = Limits.reserve(key, %{}, expires_in: :infinity)
          send(test, :reserved)
          receive do: (:stop -> exit(:crash))
        end)

      assert_receive :reserved
      assert {:error, {:limited, _}} = Limits.reserve(key, %{})
      send(pid, :stop)
      assert {:ok, _} = Limits.await(key, %{}, reserve: true)
      assert Limits.reserve(key, %{calls: 0}, owner: pid) == {:error, :noproc}
    end

    test "expire when nobody settles them", %{key: key} do
      :ok = Limits.set_limits(key, tokens: [limit: 5, per: 3_600_000])
      {:ok, reservation} = Limits.reserve(key, %{tokens: 5}, expires_in: 20)
      assert_eventually(used(key, :tokens) == 0)
      assert Limits.commit(reservation) == {:error, :settled}
    end
  end

  describe "await/3" do
    test "serves in order, higher priorities first", %{key: key} do
      :ok = Limits.set_limits(key, calls: [limit: 1])
      {:ok, held} = Limits.reserve(key, %{})
      test = self()

      for {name, priority, place} <- [{:a, 0, 1}, {:b, 0, 2}, {:c, 5, 3}] do
        spawn_link(fn ->
          {:ok, reservation} = Limits.await(key, %{}, reserve: true, priority: priority)
          send(test, name)
          Limits.refund(reservation)
        end)

        assert_eventually(match?({:ok, %{waiting: ^place}}, Limits.peek(key)))
      end

      assert {:error, {:limited, %{dimension: dimension}}} = Limits.reserve(key, %{})
      assert dimension in [:queue, :calls]
      Limits.refund(held)
      for name <- [:c, :a, :b], do: assert(receive(do: (got -> got)) == name)
    end

    test "wakes when a bucket has filled, without being asked again", %{key: key} do
      :ok = Limits.set_limits(key, requests: [limit: 1, per: 1_000])
      :ok = Limits.acquire(key, %{requests: 1})
      {us, :ok} = :timer.tc(fn -> Limits.await(key, %{requests: 1}) end)
      assert us > 10_000
    end

    test "has a deadline, a bound on waiters, and can be cancelled", %{key: key} do
      :ok = Limits.set_limits(key, [requests: [limit: 1, per: 3_600_000]], max_waiters: 1)
      :ok = Limits.acquire(key, %{requests: 1})
      assert Limits.await(key, %{requests: 1}, timeout: 20) == {:error, :timeout}

      {:waiting, ticket} = Limits.request(key, %{requests: 1})
      assert Limits.await(key, %{requests: 1}) == {:error, :queue_full}
      assert Limits.cancel(ticket)
      refute Limits.cancel(ticket)
      assert Limits.await_ticket(ticket) == {:error, :cancelled}
      assert Limits.await(key, %{requests: 2}) == {:error, {:never, :requests}}
      assert {:ok, %{waiting: 0}} = Limits.peek(key)
    end

    test "is left by a caller that ends", %{key: key} do
      :ok = Limits.set_limits(key, requests: [limit: 1, per: 3_600_000])
      :ok = Limits.acquire(key, %{requests: 1})
      pid = spawn(fn -> Limits.await(key, %{requests: 1}, timeout: :infinity) end)
      assert_eventually(match?({:ok, %{waiting: 1}}, Limits.peek(key)))
      Process.exit(pid, :kill)
      assert_eventually(match?({:ok, %{waiting: 0}}, Limits.peek(key)))
    end

    test "rejects options that are none", %{key: key} do
      assert_raise ArgumentError, ~r/timeout:/, fn -> Limits.await(key, %{}, timeout: -1) end
      assert_raise ArgumentError, ~r/priority:/, fn -> Limits.await(key, %{}, priority: :high) end
    end
  end

  describe "reset_limits/1, peek/1" do
    test "free everything but concurrency", %{key: key} do
      :ok = Limits.set_limits(key, requests: [limit: 2, per: 3_600_000], calls: [limit: 2])
      {:ok, reservation} = Limits.reserve(key, %{requests: 2})
      assert Limits.reset_limits(key) == :ok
      assert {used(key, :requests), used(key, :calls)} == {0, 1}
      :ok = Limits.acquire(key, %{requests: 2})
      Limits.refund(reservation)
      assert used(key, :calls) == 0
      assert_in_delta used(key, :requests), 2, 0.1
      assert Limits.reset_limits({key, :none}) == {:error, :unknown_key}
    end

    test "tell the whole of it", %{key: key} do
      :ok = Limits.set_limits(:peek_parent, calls: [limit: 4])
      limits = [spend: [limit: 10, per: 1_000, algorithm: :sliding_window]]
      :ok = Limits.set_limits(key, limits, parent: :peek_parent)

      assert Limits.peek(key) ==
               {:ok,
                %{
                  dimensions: %{
                    spend: %{
                      algorithm: :sliding_window,
                      limit: 10,
                      per: 1_000,
                      capacity: 10,
                      used: 0,
                      remaining: 10,
                      full_in_ms: 0
                    }
                  },
                  parent: :peek_parent,
                  waiting: 0,
                  reservations: 0,
                  paused_ms: 0
                }}
    end
  end

  describe "fallback" do
    test "goes to the first key with room", %{key: key} do
      for name <- [:a, :b],
          do: :ok = Limits.set_limits({key, name}, requests: [limit: 1, per: 3_600_000], calls: [limit: 9])

      keys = [{key, :a}, {key, :b}]
      assert Limits.acquire_any(keys, %{requests: 1}) == {:ok, {key, :a}}
      assert {:ok, %Reservation{key: {^key, :b}}} = Limits.reserve_any(keys, %{requests: 1})

      assert {:error, [{{^key, :a}, {:limited, _}}, {{^key, :b}, {:limited, _}}]} =
               Limits.acquire_any(keys, %{requests: 1})

      assert_eventually(
        match?(
          {:ok, %{foundation: %{limits: %{fallback: %{count: n}}}}} when n >= 2,
          Foundation.Telemetry.get_metrics()
        )
      )
    end
  end

  # Threads keep such a key in a place of its own (`foundation_limits`, hot.rs).
  describe "a key that is asked for again and again" do
    @often 200_000

    test "gives exactly what it has, however many ask", %{key: key} do
      :ok = Limits.set_limits(key, requests: [limit: @often, per: 86_400_000_000])

      ask = fn -> Enum.count(1..@often, fn _ -> Limits.acquire(key, %{requests: 1}) == :ok end) end
      others = fn -> for _ <- 1..200, do: {Limits.peek(key), Limits.acquire({key, :_}, %{requests: 1})} end

      tasks = for _ <- 1..4, do: Task.async(ask)
      other = Task.async(others)
      assert tasks |> Task.await_many(60_000) |> Enum.sum() == @often
      Task.await(other, 60_000)
      # What has leaked since is less than one.
      assert_in_delta used(key, :requests), @often, 0.5
    end

    test "changes at once for those that keep it", %{key: key} do
      ask = fn -> Limits.acquire(key, %{requests: 1}) end
      plenty = [limit: 1_000_000_000, per: 1_000]

      for change <- [:less, :pause, :delete, :sweep, :less] do
        :ok = Limits.set_limits(key, requests: plenty)
        assert Enum.all?(1..@often, fn _ -> ask.() == :ok end)

        case change do
          :less ->
            :ok = Limits.set_limits(key, requests: [limit: 1, per: 86_400_000_000])
            # What was used before may have leaked by now.
            ask.()
            assert {:error, {:limited, %{dimension: :requests, key: ^key}}} = ask.()
            assert {:error, {:unknown_dimension, :tokens}} = Limits.acquire(key, %{tokens: 1})
            :ok = Limits.reset_limits(key)
            assert ask.() == :ok

          :pause ->
            assert {:ok, _} = Limits.update_from_headers(key, [{"retry-after", "60"}])
            assert {:error, {:limited, %{}}} = ask.()
            :ok = Limits.reset_limits(key)

          :delete ->
            :ok = Limits.delete_limits(key)
            assert ask.() == {:error, :unknown_key}

          # It rests, and is as all others are.
          :sweep ->
            handle = Foundation.Engine.handle(:limits)
            for _ <- 1..2, do: Foundation.Native.limits_sweep(handle)
            assert ask.() == :ok
        end
      end
    end

    test "is told from one in another table, and from one that is hashed alike" do
      # What `Brief` in native/foundation_nif makes of a pair of integers.
      mix = fn word, hash -> word(Bitwise.bxor(rotated(hash), word) * 0x9E37_79B9_7F4A_7C15) end
      hash = fn {a, b} -> Enum.reduce([2, word(a), word(b)], 0, mix) end
      first = fn a -> Enum.reduce([2, word(a)], 0, mix) end
      <<alike::signed-64>> = <<Bitwise.bxor(Bitwise.bxor(rotated(first.(1)), rotated(first.(3))), 2)::64>>
      assert hash.({1, 2}) == hash.({3, alike})

      [plenty, table] = for _ <- 1..2, do: Foundation.Native.limits_new(10)
      define = &Foundation.Native.limits_define(&1, &2, [{:requests, 0, &3, 86_400_000_000, nil}], [], {0, 0})
      for key <- [:one, {1, 2}], do: :ok = define.(plenty, key, 1_000_000_000)
      for key <- [:one, {3, alike}], do: :ok = define.(table, key, @often)
      :ok = define.(plenty, {3, alike}, @often)

      granted = fn table, key ->
        Enum.count(1..(@often + 9), fn _ ->
          Foundation.Native.limits_acquire(table, key, %{requests: 1}) == :ok
        end)
      end

      # Last first, so that there are hot keys in both when it matters whose they are.
      assert granted.(table, {3, alike}) == @often
      assert granted.(plenty, :one) == @often + 9
      assert granted.(table, :one) == @often
      assert granted.(plenty, {1, 2}) == @often + 9
      assert granted.(plenty, {3, alike}) == @often
    end

    defp word(n), do: Bitwise.band(n, 0xFFFF_FFFF_FFFF_FFFF)
    defp rotated(hash), do: word(Bitwise.bor(Bitwise.bsl(hash, 23), Bitwise.bsr(hash, 41)))
  end
end
