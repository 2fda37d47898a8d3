defmodule Foundation.MABEAM.Agent.Gate do
  @moduledoc false
  # Two sets of atomic numbers that an agent shares with those that ask it and watch it, so that neither needs a message:
  # of its present life, how many requests wait and since when a callback runs; of all its lives, what it did and spent.

  @waiting 1
  @busy_since 2
  @closed 3

  @handled 1
  @failed 2
  @busy_us 3
  @tokens 4
  @money 5

  @type gate :: :atomics.atomics_ref()
  @type totals :: :atomics.atomics_ref()

  @doc "The numbers of a new life."
  @spec new() :: gate
  def new, do: :atomics.new(3, signed: true)

  @doc "The numbers of an agent."
  @spec totals() :: totals
  def totals, do: :atomics.new(5, signed: true)

  @doc "Takes a place in the mailbox."
  @spec enter(gate, pos_integer) :: :ok | {:error, :busy}
  def enter(gate, limit) do
    if :atomics.add_get(gate, @waiting, 1) <= limit do
      :ok
    else
      :atomics.sub(gate, @waiting, 1)
      {:error, :busy}
    end
  end

  @doc "Gives the place back: the request is begun, or was never sent."
  @spec leave(gate) :: :ok
  def leave(gate), do: :atomics.sub(gate, @waiting, 1)

  @spec waiting(gate) :: integer
  def waiting(gate), do: :atomics.get(gate, @waiting)

  @doc "From now on requests that wait are refused instead of done."
  @spec close(gate) :: :ok
  def close(gate), do: :atomics.put(gate, @closed, 1)

  @spec closed?(gate) :: boolean
  def closed?(gate), do: :atomics.get(gate, @closed) == 1

  @doc "A callback begins; gives the time for `finish/4`."
  @spec begin(gate) :: integer
  def begin(gate) do
    now = System.monotonic_time(:microsecond)
    :atomics.put(gate, @busy_since, now)
    now
  end

  @doc "It ended."
  @spec finish(gate, totals, integer, :handled | :failed) :: non_neg_integer
  def finish(gate, totals, began, how) do
    :atomics.put(gate, @busy_since, 0)
    taken = System.monotonic_time(:microsecond) - began
    :atomics.add(totals, if(how == :handled, do: @handled, else: @failed), 1)
    :atomics.add(totals, @busy_us, taken)
    taken
  end

  @doc "For how many ms a callback has been running; 0 when none is."
  @spec busy_ms(gate) :: non_neg_integer
  def busy_ms(gate) do
    # Monotonic time is below zero on most systems: only 0 means that nothing runs.
    case :atomics.get(gate, @busy_since) do
      0 -> 0
      since -> max(div(System.monotonic_time(:microsecond) - since, 1_000), 0)
    end
  end

  @doc "Whether a callback runs now."
  @spec busy?(gate) :: boolean
  def busy?(gate), do: :atomics.get(gate, @busy_since) != 0

  @doc "Adds to what was spent, unless that would be more than there is."
  @spec spend(totals, :tokens | :money, non_neg_integer, non_neg_integer | nil) :: :ok | :refused
  def spend(_totals, _what, 0, _most), do: :ok

  def spend(totals, what, amount, most) do
    slot = if what == :tokens, do: @tokens, else: @money

    if :atomics.add_get(totals, slot, amount) <= (most || 2 ** 62) do
      :ok
    else
      :atomics.sub(totals, slot, amount)
      :refused
    end
  end

  @doc "Takes back what was spent."
  @spec refund(totals, :tokens | :money, non_neg_integer) :: :ok
  def refund(totals, :tokens, amount), do: :atomics.sub(totals, @tokens, amount)
  def refund(totals, :money, amount), do: :atomics.sub(totals, @money, amount)

  @doc "What was done and spent in all lives."
  @spec read(totals) :: map
  def read(totals) do
    %{
      handled: :atomics.get(totals, @handled),
      failed: :atomics.get(totals, @failed),
      busy_us: :atomics.get(totals, @busy_us),
      spent: %{tokens: :atomics.get(totals, @tokens), money: :atomics.get(totals, @money)}
    }
  end
end
