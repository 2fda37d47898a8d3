defmodule Foundation.Infrastructure.Limits.Cluster.Slice do
  @moduledoc false
  # What this node has leased of one dimension of one key, how much it needs, and when it has to ask. Pure; what the
  # native library says of the slice (spent since the last report, left, short) comes in. Amounts are billionths, times ms
  # of the monotonic clock.
  #
  # granted, returned and spent are what the group has been told and has said, in all, in this life of the holder: told twice
  # they mean the same.

  alias Foundation.Infrastructure.Limits.Cluster.{Amount, Budget}

  defstruct budget: %{},
            life: nil,
            granted: 0,
            returned: 0,
            spent: 0,
            ends: nil,
            rate: 0.0,
            reported_at: 0,
            retry_at: 0,
            look_at: nil,
            failed: false,
            holders: 1,
            open: nil,
            untold: 0

  @type t :: %__MODULE__{}
  @type look :: {spent :: integer, left :: integer, short :: integer}

  # Demand is looked ahead for one and a half leases.
  @ahead 1.5
  # Of a quota, a node keeps a hundredth ready, but all nodes together at most a quarter.
  @ready 100
  @together 4
  @idle_look_ms 250

  @doc "Nothing leased yet."
  @spec new(map, integer) :: t
  def new(budget, now),
    do: %__MODULE__{budget: budget, life: life(), reported_at: now, retry_at: now, look_at: now}

  defp life, do: :crypto.strong_rand_bytes(8)

  @doc "Whether it is time to report and ask."
  @spec due?(t, look, integer) :: boolean
  def due?(slice, {spent, left, short}, now) do
    active = spent > 0 or short > 0
    low = active and 2 * left < ahead(slice, spent, now)
    renew = slice.ends != nil and now + div(slice.budget.lease, 2) >= slice.ends

    cond do
      slice.open != nil or slice.failed -> now >= slice.retry_at
      renew and (left > 0 or spent > 0 or ready(slice) > 0) -> true
      now < slice.retry_at -> false
      true -> slice.ends == nil or short > 0 or low
    end
  end

  @doc "When to look at it again: at every tick while it is used, less often when not."
  @spec look_at(t, look, integer) :: integer
  def look_at(_slice, {spent, _left, short}, now) when spent > 0 or short > 0, do: now
  def look_at(slice, _look, now), do: now + min(@idle_look_ms, div(slice.budget.lease, 4))

  # What is spent in the time looked ahead, by the rate known or seen since the last report.
  defp ahead(slice, spent, now) do
    seen = spent / max(now - slice.reported_at, 10)
    round(max(slice.rate, seen) * slice.budget.lease * @ahead)
  end

  defp ready(%{budget: %{limit: limit}, holders: holders}) do
    most = div(limit, @together * holders)

    if most < Amount.unit() and limit >= Amount.unit(),
      do: 0,
      else: min(max(div(limit, @ready), Amount.unit()), most)
  end

  @doc "How much to keep when it reports now."
  @spec keep(t, look, integer) :: non_neg_integer
  def keep(slice, {spent, _left, short}, now), do: max(2 * ahead(slice, spent, now), ready(slice)) + short

  @doc "It reported, and asks: what for, and the slice after."
  @spec ask(t, spent :: integer, returned :: integer, look, integer) ::
          {{told :: {integer, integer}, demand :: {integer, integer}}, t}
  def ask(slice, spent, returned, {_, left, short}, now) do
    wanted = max(max(ahead(slice, spent, now), ready(slice)), 2 * short)
    seen = spent / max(now - slice.reported_at, 10)
    # Up at once, down by and by.
    rate = max(seen, (slice.rate + seen) / 2)

    slice = %{
      slice
      | spent: slice.spent + spent,
        returned: slice.returned + returned,
        rate: if(rate < 1.0e-3, do: 0.0, else: rate),
        reported_at: now
    }

    {{{slice.spent, slice.returned}, {max(wanted - left, short), short}}, slice}
  end

  @doc """
  The answer to what was asked at `asked_at`: `{amount, lease ms left, retry ms, slice}` to be granted here, or `{:ended, slice}`.
  """
  @spec answered(t, term, integer, integer) ::
          {non_neg_integer, non_neg_integer, non_neg_integer, t} | {:ended, t}
  def answered(slice, {:ok, granted, lease, retry, holders}, asked_at, now) do
    amount = max(granted - slice.granted, 0)

    slice = %{
      slice
      | granted: max(granted, slice.granted),
        ends: asked_at + lease,
        # Others may return some before.
        retry_at: now + min(retry, max(div(lease, 4), 10)),
        holders: holders,
        failed: false
    }

    {amount, max(slice.ends - now, 0), retry, slice}
  end

  def answered(slice, :ended, _asked_at, now) do
    slice = %{slice | granted: 0, returned: 0, spent: 0, ends: nil, retry_at: now, failed: false}
    {:ended, %{slice | life: life()}}
  end

  @doc "No answer came."
  @spec failed(t, integer) :: t
  def failed(slice, now), do: %{slice | failed: true, retry_at: now + max(div(slice.budget.lease, 4), 50)}

  # -- without a majority

  @doc "Whether the node is on its own: the lease is over, and nobody renews it."
  @spec alone?(t, integer) :: boolean
  def alone?(slice, now), do: slice.failed and (slice.ends == nil or now >= slice.ends)

  @doc "Goes on alone, with a share of the limit, among so many nodes."
  @spec open(t, pos_integer) :: t
  def open(slice, nodes) do
    settings = %{slice.budget | limit: div(slice.budget.limit, max(nodes, 1)), overshoot: 0, skew: 0}
    %{slice | open: {Budget.define(nil, settings), 0, 0}}
  end

  @doc "As the group would answer: what is granted here, how long it lasts, when to ask again."
  @spec lease_alone(t, spent :: integer, look, integer) ::
          {non_neg_integer, non_neg_integer, non_neg_integer, t}
  def lease_alone(%{open: {budget, told, granted}} = slice, spent, {_, left, short}, now) do
    demand = {max(max(ahead(slice, spent, now), Amount.unit()) - left, short), short}
    slice = %{slice | untold: slice.untold + spent, reported_at: now}

    case Budget.lease(budget, :alone, {told + spent, 0}, demand, now) do
      {{:ok, total, lease, retry, _}, budget} ->
        {total - granted, lease, retry, %{slice | open: {budget, told + spent, total}}}

      # On a busy machine it may come later than the lease that it has given itself lasts: what was spent of that is
      # counted, the rest is void, and it begins anew.
      {:ended, budget} ->
        {{:ok, total, lease, retry, _}, budget} = Budget.lease(budget, :alone, {0, 0}, demand, now)
        {total, lease, retry, %{slice | open: {budget, 0, total}}}
    end
  end
end
