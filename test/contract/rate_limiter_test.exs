defmodule Foundation.Contract.RateLimiterTest do
  use ExUnit.Case, async: false

  alias Foundation.Infrastructure.RateLimiter
  alias Foundation.Infrastructure.RateLimiter.HammerBackend
  alias Foundation.Types.Error

  doctest RateLimiter
  doctest HammerBackend

  # So long that no test meets the edge of a window.
  @window 31_536_000_000

  setup context do
    {:ok, entity: "#{context.test}-#{System.unique_integer()}"}
  end

  describe "check_rate/5" do
    test "allows up to the limit, then answers 6001; denied hits count too", %{entity: entity} do
      for _ <- 1..3, do: assert(RateLimiter.check_rate(entity, :login, 3, @window) == :ok)
      message = "Rate limit exceeded for #{entity}:login"

      assert {:error,
              %Error{
                code: 6001,
                error_type: :rate_limit_exceeded,
                severity: :medium,
                retry_strategy: :fixed_delay,
                message: ^message,
                context: %{entity_id: ^entity, operation: :login, limit: 3, time_window_ms: @window}
              }} = RateLimiter.check_rate(entity, :login, 3, @window, %{source: :test})

      assert RateLimiter.check_rate(entity, :login, 4, @window) |> elem(0) == :error
      assert RateLimiter.check_rate(entity, :login, 6, @window) == :ok
      assert RateLimiter.check_rate(entity, :other, 1, @window) == :ok
    end

    test "entities and operations with the same text share a counter" do
      name = "shared#{System.unique_integer([:positive])}"
      atom = String.to_atom(name)
      assert RateLimiter.check_rate(name, :op, 2, @window) == :ok
      assert RateLimiter.check_rate(atom, "op", 2, @window) == :ok
      assert {:error, %Error{code: 6001}} = RateLimiter.check_rate(String.to_charlist(name), :op, 2, @window)
      assert HammerBackend.get("foundation:#{name}:op", @window) == 3

      id = System.unique_integer([:positive])
      assert RateLimiter.check_rate(id, :op, 1, @window) == :ok
      assert HammerBackend.get("foundation:#{id}:op", @window) == 1
      assert RateLimiter.check_rate(:"ünï#{name}", :größe, 1, @window) == :ok
      assert HammerBackend.get("foundation:ünï#{name}:größe", @window) == 1
    end

    test "a limit of 0 always denies, a window of 0 is 6003", %{entity: entity} do
      assert {:error, %Error{code: 6001}} = RateLimiter.check_rate(entity, :op, 0, @window)

      for {limit, window} <- [{1, 0}, {1, -1}, {1, 1.5}, {1, :x}, {:x, 1_000}] do
        assert {:error, %Error{code: 6003, error_type: :rate_limiter_exception, severity: :critical}} =
                 RateLimiter.check_rate(entity, :op, limit, window)
      end
    end

    test "an entity without text is 6008" do
      for entity <- [{:a, 1}, %{}, self()] do
        assert {:error, %Error{code: 6008, error_type: :validation_failed}} =
                 RateLimiter.check_rate(entity, :op, 1, @window)
      end
    end

    test "windows are aligned to the epoch and end", %{entity: entity} do
      window = 100
      allowed = fn -> RateLimiter.check_rate(entity, :op, 1, window) == :ok end
      first = Stream.repeatedly(fn -> {allowed.(), div(System.system_time(:millisecond), window)} end)
      {true, seen} = Enum.find(first, &elem(&1, 0))
      {true, next} = Enum.find(first, &elem(&1, 0))
      assert next > seen
    end
  end

  describe "telemetry" do
    test "has the names of 1.x", %{entity: entity} do
      import Foundation.Eventually
      RateLimiter.check_rate(entity, :op, 1, @window)
      RateLimiter.check_rate(entity, :op, 1, @window)
      RateLimiter.check_rate(entity, :op, 1, 0)
      RateLimiter.reset(entity, :op)

      for event <- [:request_allowed, :request_denied, :rate_limiter_exception, :bucket_reset] do
        path = [:foundation, :foundation, :infra, :rate_limiter, event]

        assert_eventually(
          match?(
            {:ok, %{measurements: %{counter: _}}},
            with({:ok, metrics} <- Foundation.Telemetry.get_metrics(), do: {:ok, get_in(metrics, path)})
          )
        )
      end
    end
  end

  describe "get_status/2 and reset/2" do
    test "tell the truth", %{entity: entity} do
      assert RateLimiter.get_status(entity, :op) ==
               {:ok,
                %{status: :available, current_count: 0, limit: 100, window_ms: 60_000, entity_id: entity}}

      RateLimiter.check_rate(entity, :op, 2, @window)

      assert RateLimiter.get_status(entity, :op) ==
               {:ok, %{status: :available, current_count: 1, limit: 2, window_ms: @window, entity_id: entity}}

      RateLimiter.check_rate(entity, :op, 2, @window)
      assert {:ok, %{status: :rate_limited, current_count: 2}} = RateLimiter.get_status(entity, :op)

      assert RateLimiter.reset(entity, :op) == :ok
      assert {:ok, %{status: :available, current_count: 0}} = RateLimiter.get_status(entity, :op)
      assert RateLimiter.check_rate(entity, :op, 1, @window) == :ok
    end
  end

  describe "execute_with_limit/6" do
    test "runs, denies, and turns a raise into 6008", %{entity: entity} do
      assert RateLimiter.execute_with_limit(entity, :op, 3, @window, fn -> 42 end) == {:ok, 42}

      assert {:error, %Error{code: 6008, error_type: :rate_limited_operation_failed}} =
               RateLimiter.execute_with_limit(entity, :op, 3, @window, fn -> raise "no" end)

      assert catch_throw(RateLimiter.execute_with_limit(entity, :op, 3, @window, fn -> throw(:x) end)) == :x

      assert {:error, %Error{code: 6001}} =
               RateLimiter.execute_with_limit(entity, :op, 3, @window, fn -> flunk("ran") end, %{})
    end
  end

  describe "HammerBackend" do
    test "has Hammer's functions", %{entity: key} do
      assert HammerBackend.hit(key, @window, 2) == {:allow, 1}
      assert HammerBackend.hit(key, @window, 2, 1) == {:allow, 2}
      assert {:deny, left} = HammerBackend.hit(key, @window, 2)
      assert left in 0..@window
      assert HammerBackend.inc(key, @window) == 4
      assert HammerBackend.inc(key, @window, 6) == 10
      assert HammerBackend.get(key, @window) == 10
      assert HammerBackend.get(key, @window + 1) == 0
      assert HammerBackend.set(key, @window, 1) == 1
      assert HammerBackend.hit({:any, key}, @window, 1) == {:allow, 1}
      assert HammerBackend.hit(key, @window, 2) == {:allow, 2}
    end

    test "is a supervised process that removes what is over" do
      assert is_pid(Process.whereis(HammerBackend))
      children = Supervisor.which_children(Foundation.Supervisor)
      assert List.keyfind(children, HammerBackend, 0)
      assert %{id: HammerBackend, start: {HammerBackend, :start_link, [[]]}} = HammerBackend.child_spec([])

      key = {__MODULE__, :cleaned}
      HammerBackend.hit(key, 1, 1)
      window = System.system_time(:millisecond)

      Foundation.Eventually.wait(
        fn -> System.system_time(:millisecond) > window + 1 end,
        1_000,
        "time passes"
      )

      send(HammerBackend, :clean)
      :sys.get_state(HammerBackend)
      assert Foundation.Native.limits_window_clean(Foundation.Engine.handle(:limits)) >= 0
    end
  end
end
