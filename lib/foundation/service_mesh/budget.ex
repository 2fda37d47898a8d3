defmodule Foundation.ServiceMesh.Budget do
  @moduledoc false
  # How many retries and hedges a service may be sent: a token bucket of atomics that each call fills by a share of a token,
  # and time by some tokens a second, and from which each retry takes one. So of n calls in t seconds at most
  # burst + ratio × n + per_second × t are sent again.

  @tokens 1
  @stamp 2
  @refused 3
  @spent 4
  @token 1_000

  @type t :: :atomics.atomics_ref()
  @type settings :: %{
          retry_ratio: number,
          retries_per_second: non_neg_integer,
          retry_burst: pos_integer
        }

  @doc "A full one."
  @spec new(settings, integer) :: t
  def new(settings, now_ms) do
    budget = :atomics.new(4, signed: true)
    :atomics.put(budget, @tokens, settings.retry_burst * @token)
    :atomics.put(budget, @stamp, now_ms)
    budget
  end

  @doc "A call is made."
  @spec deposit(t, settings) :: :ok
  def deposit(budget, settings), do: add(budget, round(settings.retry_ratio * @token), settings)

  @doc "Whether there may be one more retry; it is taken when so."
  @spec withdraw(t, settings, integer) :: boolean
  def withdraw(budget, settings, now_ms) do
    accrue(budget, settings, now_ms)
    took = take(budget, :atomics.get(budget, @tokens))
    :atomics.add(budget, if(took, do: @spent, else: @refused), 1)
    took
  end

  defp take(_budget, tokens) when tokens < @token, do: false

  defp take(budget, tokens) do
    case :atomics.compare_exchange(budget, @tokens, tokens, tokens - @token) do
      :ok -> true
      now -> take(budget, now)
    end
  end

  # Who moves the stamp adds what the time between has brought.
  defp accrue(budget, %{retries_per_second: rate} = settings, now) do
    then = :atomics.get(budget, @stamp)
    brought = (now - then) * rate

    if now > then and brought > 0 and :atomics.compare_exchange(budget, @stamp, then, now) == :ok,
      do: add(budget, div(brought * @token, 1_000), settings)

    :ok
  end

  defp add(budget, amount, %{retry_burst: burst} = settings) do
    before = :atomics.get(budget, @tokens)
    most = burst * @token

    cond do
      before >= most or amount <= 0 ->
        :ok

      :atomics.compare_exchange(budget, @tokens, before, min(before + amount, most)) == :ok ->
        :ok

      true ->
        add(budget, amount, settings)
    end
  end

  @doc "What is in it, how many retries it has allowed and refused."
  @spec view(t) :: map
  def view(budget) do
    %{
      tokens: :atomics.get(budget, @tokens) / @token,
      allowed: :atomics.get(budget, @spent),
      refused: :atomics.get(budget, @refused)
    }
  end
end
