defmodule Foundation.Infrastructure.BreakerTest do
  use ExUnit.Case, async: true

  import Foundation.Eventually
  alias Foundation.Infrastructure.Breaker

  doctest Foundation.Infrastructure.Breaker

  setup do
    %{key: {:breaker_test, make_ref()}}
  end

  defp state(key) do
    {:ok, %{state: state}} = Breaker.status(key)
    state
  end

  defp fail(key, options \\ []), do: Breaker.run(key, fn -> raise "boom" end, options)

  test "options are checked", %{key: key} do
    for {name, value} <- [
          tolerance: -1,
          tolerance: 1.5,
          failure_rate: 0.0,
          failure_rate: 1.1,
          slow_rate: :much,
          probes: 0,
          open_ms: -1,
          ramp_start: 0,
          ramp_ms: nil
        ] do
      assert Breaker.configure(key, [{name, value}]) == {:error, {:invalid_option, name, value}}
    end

    assert Breaker.configure(key, what: 1) == {:error, {:invalid_option, :unknown, {:what, 1}}}
    assert Breaker.configure(key, tolerance: nil) == {:error, {:invalid_option, :tolerance, nil}}
    assert Breaker.configure(key, tolerance: 1_000_000_000_000_000_000_000) == :ok
  end

  test "any term is a key" do
    for key <- [nil, "text", 1.5, {:a, [%{b: self()}]}, make_ref()] do
      assert Breaker.configure(key) == :ok
      assert Breaker.run(key, fn -> 1 end) == {:ok, 1}
      assert key in Breaker.keys(1_000_000)
      assert Breaker.remove(key) == :ok
      assert Breaker.run(key, fn -> 1 end) == {:error, :not_found}
    end
  end

  test "a failure rate, from its minimum of calls on", %{key: key} do
    :ok = Breaker.configure(key, tolerance: nil, failure_rate: 0.5, minimum_calls: 4)
    for _ <- 1..3, do: fail(key)
    assert state(key) == :closed
    Breaker.run(key, fn -> :fine end)
    assert state(key) == :open
    assert {:ok, %{opened: 1, refused: 0}} = Breaker.status(key)
  end

  test "slow calls", %{key: key} do
    :ok = Breaker.configure(key, tolerance: nil, slow_rate: 1.0, slow_after_ms: 10, minimum_calls: 1)
    {:ok, permit} = Breaker.admit(key)
    Breaker.record(key, permit, :success, 9_999)
    assert state(key) == :closed
    :ok = Breaker.reset(key)
    {:ok, permit} = Breaker.admit(key)
    Breaker.record(key, permit, :success, 10_000)
    assert state(key) == :open
  end

  test "ignored exceptions and failing values", %{key: key} do
    :ok = Breaker.configure(key, tolerance: 0)
    fail(key, ignore: [RuntimeError])
    fail(key, ignore: &match?(%RuntimeError{}, &1))
    assert state(key) == :closed
    assert Breaker.run(key, fn -> {:error, :x} end) == {:ok, {:error, :x}}
    assert state(key) == :closed
    assert Breaker.run(key, fn -> {:error, :x} end, failure?: &match?({:error, _}, &1)) == {:ok, {:error, :x}}
    assert state(key) == :open
  end

  test "a throw and an exit count and go on", %{key: key} do
    :ok = Breaker.configure(key, tolerance: 1)
    assert catch_throw(Breaker.run(key, fn -> throw(:x) end)) == :x
    assert catch_exit(Breaker.run(key, fn -> exit(:x) end)) == :x
    assert state(key) == :open
  end

  test "half-open admits its probes only; a dead prober gives its slot back", %{key: key} do
    :ok = Breaker.configure(key, tolerance: 0, open_ms: 0, probes: 2)
    fail(key)
    test = self()

    prober =
      spawn(fn ->
        {:ok, _permit} = Breaker.admit(key)
        send(test, :probing)
        receive do: (:never -> :ok)
      end)

    assert_receive :probing
    {:ok, second} = Breaker.admit(key)
    assert {:error, {:open, %{key: ^key}}} = Breaker.admit(key)
    assert {:ok, %{state: :half_open, probing: 2}} = Breaker.status(key)
    Process.exit(prober, :kill)
    assert_eventually(match?({:ok, %{probing: 1}}, Breaker.status(key)))
    {:ok, third} = Breaker.admit(key)
    :ok = Breaker.record(key, second, :success)
    assert state(key) == :half_open
    :ok = Breaker.record(key, third, :success)
    assert state(key) == :closed
    :ok = Breaker.record(key, third, :failure)
    assert state(key) == :closed
  end

  test "the ramp restores the share exactly", %{key: key} do
    :ok = Breaker.configure(key, tolerance: 0, open_ms: 0, ramp_ms: 10_000_000, ramp_start: 0.25)
    fail(key)
    assert Breaker.run(key, fn -> 1 end) == {:ok, 1}
    assert state(key) == :restoring
    admitted = Enum.count(1..400, fn _ -> match?({:ok, _}, Breaker.admit(key)) end)
    assert admitted in 100..101
    assert {:ok, %{share: share}} = Breaker.status(key)
    assert_in_delta share, 0.25, 0.01
  end

  test "forced states hold until reset", %{key: key} do
    :ok = Breaker.configure(key, tolerance: 0)
    :ok = Breaker.force(key, :open)
    assert {:error, {:open, %{retry_after_ms: :infinity}}} = Breaker.run(key, fn -> 1 end)
    refute Breaker.allow?(key)
    :ok = Breaker.force(key, :closed)
    for _ <- 1..3, do: fail(key)
    assert state(key) == :forced_closed
    :ok = Breaker.reset(key)
    assert state(key) == :closed
    assert Breaker.melt(key) == :ok
    assert state(key) == :open
  end

  test "a prepared handle follows its breaker", %{key: key} do
    assert Breaker.prepare(key) == {:error, :not_found}
    :ok = Breaker.configure(key, tolerance: 0)
    {:ok, handle} = Breaker.prepare(key)
    assert {:ok, _} = Breaker.admit(handle)
    fail(key)
    assert {:error, {:open, %{key: ^key}}} = Breaker.admit(handle)
    :ok = Breaker.configure(key)
    assert {:ok, permit} = Breaker.admit(handle)
    assert Breaker.record(key, permit, :success) == :ok
    :ok = Breaker.remove(key)
    assert Breaker.admit(handle) == {:error, :not_found}
  end

  test "subscribers hear of each change", %{key: key} do
    :ok = Breaker.configure(key, tolerance: 0, open_ms: 0)
    :ok = Breaker.subscribe(key)
    :ok = Breaker.subscribe(key)
    fail(key)
    assert_receive {:foundation_breaker, ^key, :closed, :open}
    Breaker.run(key, fn -> 1 end)
    assert_receive {:foundation_breaker, ^key, :open, :half_open}
    assert_receive {:foundation_breaker, ^key, :half_open, :closed}
    :ok = Breaker.unsubscribe(key)
    fail(key)
    refute_receive {:foundation_breaker, _, _, _}, 20
  end

  test "create makes a missing breaker, sweep removes the quiet ones", %{key: key} do
    assert Breaker.run(key, fn -> 1 end, create: [tolerance: 0]) == {:ok, 1}
    assert {:error, {:exception, _}} = fail(key, create: [tolerance: 5])
    assert state(key) == :open
    quiet = {key, :quiet}
    :ok = Breaker.ensure(quiet)
    Breaker.sweep()
    assert {:error, :not_found} = Breaker.status(quiet)
    assert state(key) == :open
  end

  @tag :slow
  test "a breaker takes less than 1,000 bytes" do
    before = resident()
    for n <- 1..100_000, do: Breaker.configure({:breaker_memory, n})
    assert (resident() - before) / 100_000 < 1_000
    for n <- 1..100_000, do: Breaker.remove({:breaker_memory, n})
  end

  defp resident do
    [_, pages | _] = "/proc/self/statm" |> File.read!() |> String.split()
    String.to_integer(pages) * 4096
  end
end
