defmodule Foundation.Distributed.Discovery.Load do
  @moduledoc false
  # What this node has seen of one provider: calls in flight, how long they take, how they end, and whether it is set
  # aside. An array of atomics a provider, which callers read and write themselves.
  #
  # Latency is a peak EWMA: a slower call counts at once, faster ones bring it down by exp(-t/10 s), and so does the time in
  # which nothing was called, so that who was slow once is tried again. Two callers that end at the same time may lose one
  # sample of the two.

  @type t :: :atomics.atomics_ref()

  @in_flight 1
  @ewma 2
  @stamp 3
  @consecutive 4
  @window_ok 5
  @window_failed 6
  @aside_until 7
  @ejections 8
  @failing 9
  @total 10
  @failed 11

  @tau_ns 10_000_000_000
  # A provider with calls in flight and none that has ended yet costs as much as one that takes so long.
  @unknown_ns 1.0e9
  @million 1_000_000

  @doc "Nothing seen yet."
  @spec new() :: t
  def new, do: :atomics.new(11, signed: true)

  @doc "A call begins."
  @spec begin(t) :: :ok
  def begin(load), do: :atomics.add(load, @in_flight, 1)

  @doc "A call that began will not be told of."
  @spec abandon(t) :: :ok
  def abandon(load), do: :atomics.sub(load, @in_flight, 1)

  @doc "A call ended; the number of failures in a row, 0 after a success. `took` and `now` in ns."
  @spec finish(t, :success | :failure, non_neg_integer, integer) :: non_neg_integer
  def finish(load, outcome, took, now) do
    :atomics.sub(load, @in_flight, 1)
    :atomics.add(load, @total, 1)
    share = observe(load, took, now)

    case outcome do
      :success ->
        :atomics.add(load, @window_ok, 1)
        failing(load, 0, share)
        if :atomics.get(load, @consecutive) != 0, do: :atomics.put(load, @consecutive, 0)
        0

      :failure ->
        :atomics.add(load, @failed, 1)
        :atomics.add(load, @window_failed, 1)
        failing(load, @million, share)
        :atomics.add_get(load, @consecutive, 1)
    end
  end

  # The weight of what was before.
  defp observe(load, took, now) do
    before = :atomics.get(load, @ewma)
    kept = kept(load, now)
    :atomics.put(load, @stamp, now)

    if before == 0 or took >= before * kept,
      do: :atomics.put(load, @ewma, max(took, 1)),
      else: :atomics.put(load, @ewma, round(before * kept + took * (1.0 - kept)))

    # Each call counts for at least a tenth, however fast they follow.
    if before == 0, do: 0.0, else: min(kept, 0.9)
  end

  defp failing(load, sample, kept) do
    before = :atomics.get(load, @failing)
    if before != sample, do: :atomics.put(load, @failing, round(before * kept + sample * (1.0 - kept)))
  end

  defp kept(load, now) do
    case now - :atomics.get(load, @stamp) do
      # Within a millisecond nothing is lost that counts.
      gone when gone < 1_000_000 -> 1.0
      gone when gone > 40 * @tau_ns -> 0.0
      gone -> :math.exp(-gone / @tau_ns)
    end
  end

  @doc "What one more call there costs: the latency expected, times the calls it would stand behind, by weight."
  @spec cost(t, integer, pos_integer) :: float
  def cost(load, now, weight) do
    waiting = :atomics.get(load, @in_flight)

    case :atomics.get(load, @ewma) do
      0 -> @unknown_ns * waiting / weight
      ewma -> max(ewma * kept(load, now), 1.0) * (waiting + 1) / weight
    end
  end

  @doc "Calls in flight from this node."
  @spec in_flight(t) :: integer
  def in_flight(load), do: :atomics.get(load, @in_flight)

  @doc "The share of calls that failed lately, in millionths."
  @spec failing(t) :: non_neg_integer
  def failing(load), do: :atomics.get(load, @failing)

  @doc "Whether it is set aside at `now` (monotonic, in ns)."
  @spec aside?(t, integer) :: boolean
  def aside?(load, now) do
    case :atomics.get(load, @aside_until) do
      0 -> false
      until -> now < until
    end
  end

  @doc "Sets it aside until then (monotonic, in ns)."
  @spec set_aside(t, integer) :: :ok
  # 0 stands for never.
  def set_aside(load, until),
    do: :atomics.put(load, @aside_until, if(until == 0, do: 1, else: until))

  @doc "Until when; 0: it is not."
  @spec aside_until(t) :: integer
  def aside_until(load), do: :atomics.get(load, @aside_until)

  @doc "Takes it back: it begins without failures."
  @spec take_back(t) :: :ok
  def take_back(load) do
    :atomics.put(load, @aside_until, 0)
    :atomics.put(load, @consecutive, 0)
    :atomics.put(load, @failing, 0)
  end

  @doc "Counts ejections: how many there have been with that."
  @spec ejections(t, integer) :: integer
  def ejections(load, change), do: :atomics.add_get(load, @ejections, change)

  @doc "Calls that ended well and badly since this was last asked."
  @spec window(t) :: {non_neg_integer, non_neg_integer}
  def window(load), do: {:atomics.exchange(load, @window_ok, 0), :atomics.exchange(load, @window_failed, 0)}

  @doc "What there is to see."
  @spec view(t, integer) :: map
  def view(load, now) do
    %{
      in_flight: :atomics.get(load, @in_flight),
      ewma_us: div(:atomics.get(load, @ewma), 1_000),
      calls: :atomics.get(load, @total),
      failed: :atomics.get(load, @failed),
      consecutive_failures: :atomics.get(load, @consecutive),
      failing: :atomics.get(load, @failing) / @million,
      ejected: aside?(load, now),
      ejections: :atomics.get(load, @ejections)
    }
  end
end
