defmodule Foundation.Infrastructure.AdaptiveConcurrencyTest do
  use ExUnit.Case, async: true

  import Foundation.Eventually
  alias Foundation.Infrastructure.AdaptiveConcurrency, as: Adaptive

  doctest Foundation.Infrastructure.AdaptiveConcurrency

  setup do
    %{key: {:adaptive_test, make_ref()}}
  end

  test "options are checked", %{key: key} do
    for {options, wrong} <- [
          {[algorithm: :magic], :algorithm},
          {[min: 0], :min},
          {[max: 10], :initial},
          {[initial: 1, min: 2], :initial},
          {[what: 1], :what}
        ] do
      assert {:error, {:invalid_option, ^wrong, _}} = Adaptive.configure(key, options)
    end

    assert Adaptive.acquire(key) == {:error, :not_found}
  end

  test "calls that take their usual time raise the limit, slow ones lower it", %{key: key} do
    for algorithm <- [:gradient2, :vegas] do
      :ok = Adaptive.configure(key, algorithm: algorithm, initial: 20, max: 200)

      grown = load(key, 1_000, 20)
      assert grown > 20
      yielded = load(key, 20_000, 2)
      assert yielded < grown, inspect(algorithm)
    end
  end

  # All slots taken, each call `us` long, so many times over.
  defp load(key, us, rounds) do
    for _ <- 1..rounds do
      slots = Stream.repeatedly(fn -> Adaptive.acquire(key) end) |> Enum.take_while(&match?({:ok, _}, &1))
      for {:ok, slot} <- slots, do: Adaptive.release(slot, :success, us)
    end

    {:ok, %{limit: limit, in_flight: 0}} = Adaptive.status(key)
    limit
  end

  test "drops lower it, a slot counts once", %{key: key} do
    :ok = Adaptive.configure(key, initial: 50, max: 100)
    {:ok, slot} = Adaptive.acquire(key)
    {:ok, limit} = Adaptive.release(slot, :dropped)
    assert limit < 50
    assert Adaptive.release(slot, :success) == {:error, :released}
  end

  test "run gives the slot back whatever happens", %{key: key} do
    :ok = Adaptive.configure(key, initial: 1, min: 1, max: 1)
    assert Adaptive.run(key, fn -> :fine end) == {:ok, :fine}
    assert_raise RuntimeError, fn -> Adaptive.run(key, fn -> raise "x" end) end
    assert Adaptive.run(key, fn -> Adaptive.run(key, fn -> 1 end) end) |> elem(1) |> elem(0) == :error
    assert {:ok, %{in_flight: 0, refused: 1, samples: 2}} = Adaptive.status(key)
  end

  test "a dead holder's slot comes back", %{key: key} do
    :ok = Adaptive.configure(key, initial: 1, min: 1, max: 1)
    test = self()

    pid =
      spawn(fn ->
        {:ok, slot} = Adaptive.acquire(key)
        send(test, :acquired)
        receive do: (:never -> slot)
      end)

    assert_receive :acquired
    assert {:error, {:limited, %{limit: 1, in_flight: 1}}} = Adaptive.acquire(key)
    Process.exit(pid, :kill)
    assert_eventually(match?({:ok, %{in_flight: 0}}, Adaptive.status(key)))
  end
end
