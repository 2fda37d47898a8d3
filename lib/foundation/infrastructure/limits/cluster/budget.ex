defmodule Foundation.Infrastructure.Limits.Cluster.Budget do
  @moduledoc false
  # Leases one dimension of one key to holders, so that in any window they spend at most the limit, and at most the
  # overshoot more. Pure; amounts are billionths, times ms of one clock that does not run back.
  #
  # What is charged at a time is what holders have and may spend yet, and what they have told of as spent within the last
  # window. A lease is given only when with it the charge is at most the limit. Therefore, for any window that ends at y: let g
  # be the time of the last lease up to y. Whatever was spent in the window was leased up to g. What was told of by g was spent
  # later than y - window, which is not before g - window, and told of later still, so it is still charged at g. What was
  # not told of by g is part of what holders had at g, and charged too. So all of it is within the charge at g, which is at most
  # the limit; but for holders that were lost.
  #
  # A holder whose lease ends without a word may have spent all it had, up to that end. Either that counts as spent then, or it
  # is given up: nothing is charged for it. What is given up within a window is at most the overshoot, by which a window may
  # therefore exceed the limit. A lost holder that comes back says what it has really spent, and that is charged instead.
  #
  # Here a lease ends `skew` ms later than the holder knows, and a window is `skew` ms longer, by which the clocks of two
  # leaders may differ.

  @parts 64
  @unit 1_000_000_000
  @shortest_retry 10

  defstruct limit: 0, per: 1, lease: 1, overshoot: 0, skew: 0, spent: %{}, holders: %{}, lost: %{}

  @type holder :: {node, binary}
  @type t :: %__MODULE__{}
  @type account :: %{granted: non_neg_integer, returned: non_neg_integer, spent: non_neg_integer}

  @doc "A budget of `%{limit:, per:, lease:, overshoot:, skew:}`, or an old one with other settings."
  @spec define(t | nil, map) :: t
  def define(budget, settings), do: struct!(budget || %__MODULE__{}, settings)

  @doc """
  A holder tells how much it has spent and returned in all, and wants more: `{answer, budget}`.

  It gets at most `want`, not more at a time than its share of half the limit, unless it needs so much at once. The
  answer is `{:ok, granted in all, lease ms, retry ms, holders}` or `:ended`: the lease was lost, and a new life
  has to begin.
  """
  @spec lease(t, holder, {spent :: integer, returned :: integer}, {want :: integer, need :: integer}, integer) ::
          {{:ok, integer, pos_integer, non_neg_integer, pos_integer} | :ended, t}
  def lease(budget, holder, {spent, returned} = told, demand, now) do
    budget = advance(budget, now)

    case budget do
      %{holders: %{^holder => account}} -> grant(budget, holder, tell(account, told), account, demand, now)
      %{lost: %{^holder => lost}} -> {:ended, found(budget, holder, lost, spent)}
      _ when spent == 0 and returned == 0 -> grant(budget, holder, new(), new(), demand, now)
      _ -> {:ended, budget}
    end
  end

  defp new, do: %{granted: 0, returned: 0, spent: 0, ends: 0}

  # Told twice, or late, an account says nothing new.
  defp tell(account, {spent, returned}),
    do: %{account | spent: max(account.spent, spent), returned: max(account.returned, returned)}

  defp grant(budget, holder, account, before, {want, need}, now) do
    budget = spend(budget, account.spent - before.spent, now)
    budget = %{budget | holders: Map.put(budget.holders, holder, account)}
    free = budget.limit - charged(budget)
    share = max(div(budget.limit, 2 * map_size(budget.holders)), min(@unit, budget.limit))
    allowed = min(want, max(share, need))
    amount = if need > free, do: 0, else: allowed |> min(free) |> max(0)
    account = %{account | granted: account.granted + amount, ends: now + budget.lease + budget.skew}
    budget = %{budget | holders: Map.put(budget.holders, holder, account)}
    retry = if amount < allowed, do: retry(budget, now), else: 0
    {{:ok, account.granted, budget.lease, retry, map_size(budget.holders)}, budget}
  end

  @doc "What was spent without a lease."
  @spec spent(t, non_neg_integer, integer) :: t
  def spent(budget, amount, now), do: budget |> advance(now) |> spend(amount, now)

  defp spend(budget, amount, _at) when amount <= 0, do: budget

  defp spend(budget, amount, at),
    do: %{budget | spent: Map.update(budget.spent, div(at, part(budget)), amount, &(&1 + amount))}

  # The parts of a window are counted whole until their last moment has left it.
  defp part(%{per: per}), do: max(div(per, @parts), 1)
  defp leaves(budget, part), do: (part + 1) * part(budget) + budget.per + budget.skew

  # Now and then something is returned before a window has passed.
  defp retry(budget, now) do
    budget.spent
    |> Enum.map(fn {part, _} -> leaves(budget, part) - now end)
    |> Enum.min(fn -> budget.lease end)
    |> min(budget.lease)
    |> max(@shortest_retry)
  end

  @doc "What is charged now."
  @spec charged(t) :: integer
  def charged(budget) do
    held = for {_, account} <- budget.holders, do: held(account)
    lost = for {_, %{forgiven: false, amount: amount}} <- budget.lost, do: amount
    Enum.sum(held) + Enum.sum(lost) + Enum.sum(Map.values(budget.spent))
  end

  # Below 0 when more was charged than there was, which is among the spent.
  defp held(account), do: max(account.granted - account.returned - account.spent, 0)

  @doc "Forgets what has left the window, and ends what nobody has renewed."
  @spec advance(t, integer) :: t
  def advance(budget, now) do
    gone = budget.per + budget.skew

    %{
      budget
      | spent: Map.filter(budget.spent, fn {part, _} -> leaves(budget, part) > now end),
        lost: Map.filter(budget.lost, fn {_, lost} -> lost.at + gone > now end)
    }
    |> expire(now)
  end

  defp expire(budget, now) do
    late = for {holder, %{ends: ends} = account} <- budget.holders, ends <= now, do: {ends, holder, account}
    Enum.reduce(Enum.sort(late), budget, &lose/2)
  end

  defp lose({ends, holder, account}, budget) do
    amount = held(account)
    given_up = for {_, %{forgiven: true, amount: amount}} <- budget.lost, do: amount
    forgiven = amount + Enum.sum(given_up) <= budget.overshoot
    lost = %{amount: amount, at: ends, forgiven: forgiven, spent: account.spent}
    holders = Map.delete(budget.holders, holder)
    # Also who has lost nothing may come back late with news.
    %{budget | holders: holders, lost: Map.put(budget.lost, holder, lost)}
  end

  # It was spent before the lease ended, whenever it is told.
  defp found(budget, holder, lost, spent) do
    budget = %{budget | lost: Map.delete(budget.lost, holder)}
    spend(budget, spent - lost.spent, lost.at)
  end

  @doc "How it stands."
  @spec view(t) :: map
  def view(budget) do
    given_up = for {_, %{forgiven: true, amount: amount}} <- budget.lost, do: amount

    %{
      limit: budget.limit,
      charged: charged(budget),
      given_up: Enum.sum(given_up),
      holders: for({{node, _life}, account} <- budget.holders, do: {node, held(account)})
    }
  end
end
