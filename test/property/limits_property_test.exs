defmodule Foundation.Property.LimitsTest do
  use ExUnit.Case, async: true

  alias Foundation.Infrastructure.Limits

  @day 86_400_000

  defp holds(property, numtests) do
    assert :proper.quickcheck(property, [:quiet, {:numtests, numtests}]) == true
  end

  # What concurrent processes did, as {cost kept} of each; every process works its own list of steps off.
  defp run(key, scripts) do
    scripts
    |> Enum.map(fn script -> Task.async(fn -> Enum.reduce(script, 0, &step(key, &1, &2)) end) end)
    |> Task.await_many(30_000)
    |> Enum.sum()
  end

  defp step(key, {:acquire, cost}, kept) do
    case Limits.acquire(key, %{units: cost}) do
      :ok -> kept + cost
      {:error, {:limited, _}} -> kept
      {:error, {:never, :units}} -> kept
    end
  end

  defp step(key, {settle, cost}, kept) do
    case Limits.reserve(key, %{units: cost}) do
      {:ok, reservation} when settle == :refund ->
        :ok = Limits.refund(reservation)
        kept

      {:ok, reservation} ->
        used = div(cost, 2)
        :ok = Limits.commit(reservation, %{units: used})
        kept + used

      {:error, _} ->
        kept
    end
  end

  defp scripts do
    kind = :proper_types.elements([:acquire, :refund, :commit])
    step = :proper_types.tuple([kind, :proper_types.integer(0, 9)])
    :proper_types.vector(4, :proper_types.list(step))
  end

  defp key, do: {__MODULE__, System.unique_integer()}

  test "whatever the interleaving, no more passes than the window holds, and what is used is what was kept" do
    type =
      :proper_types.tuple([
        :proper_types.integer(0, 60),
        :proper_types.elements([:token_bucket, :sliding_window]),
        scripts()
      ])

    holds(
      :proper.forall(type, fn {limit, algorithm, scripts} ->
        {tenant, key} = {key(), key()}
        spec = [limit: limit, per: @day, algorithm: algorithm]
        :ok = Limits.set_limits(tenant, units: spec)
        :ok = Limits.set_limits(key, [units: Keyword.put(spec, :limit, 1_000)], parent: tenant)
        kept = run(key, scripts)

        used =
          for k <- [tenant, key] do
            {:ok, peek} = Limits.peek(k)
            peek.dimensions.units.used
          end

        :ok = Limits.delete_limits(key)
        :ok = Limits.delete_limits(tenant)
        # A bucket of a day has leaked a little within the test.
        kept <= limit and Enum.all?(used, &(abs(&1 - kept) < 0.5))
      end),
      150
    )
  end

  test "refunds conserve: all of it is there again" do
    holds(
      :proper.forall(:proper_types.list(:proper_types.integer(0, 9)), fn costs ->
        key = key()

        :ok =
          Limits.set_limits(key,
            units: [limit: 1_000, per: @day, algorithm: :sliding_window],
            calls: [limit: 1_000]
          )

        reservations = for cost <- costs, {:ok, r} <- [Limits.reserve(key, %{units: cost})], do: r
        true = length(reservations) == length(costs)

        reservations
        |> Enum.shuffle()
        |> Enum.map(&Task.async(fn -> :ok = Limits.refund(&1) end))
        |> Task.await_many()

        {:ok, peek} = Limits.peek(key)
        :ok = Limits.delete_limits(key)
        peek.dimensions.units.used == 0 and peek.dimensions.calls.used == 0 and peek.reservations == 0
      end),
      100
    )
  end

  test "decimals are counted exactly" do
    type = :proper_types.list(:proper_types.integer(0, 999_999))

    holds(
      :proper.forall(type, fn millionths ->
        key = key()
        :ok = Limits.set_limits(key, usd: [limit: 1_000_000_000, per: @day, algorithm: :sliding_window])

        for n <- millionths do
          :ok = Limits.acquire(key, %{usd: "0." <> String.pad_leading("#{n}", 6, "0")})
        end

        {:ok, peek} = Limits.peek(key)
        :ok = Limits.delete_limits(key)
        round(peek.dimensions.usd.used * 1_000_000) == Enum.sum(millionths)
      end),
      100
    )
  end
end
