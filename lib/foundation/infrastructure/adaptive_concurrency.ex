defmodule Foundation.Infrastructure.AdaptiveConcurrency do
  @moduledoc """
  Finds out how many calls may be under way at once from how long they take.

  Two ways to learn, chosen by `algorithm:`

    * `:gradient2`, after Netflix's concurrency-limits (`Gradient2Limit`): follows the ratio of the usual time of a
      call to that of the newest one. A dropped call counts as twice the usual time
    * `:vegas`, after L. Brakmo and L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet"
      (IEEE JSAC 13(8), 1995): estimates the queue at the other side from the least time a call ever took

  The limit does not grow while fewer than half of it is in use: a quiet time teaches nothing.

      iex> alias Foundation.Infrastructure.AdaptiveConcurrency, as: Adaptive
      iex> :ok = Adaptive.configure(:docs_adaptive, initial: 1, min: 1, max: 10)
      iex> {:ok, slot} = Adaptive.acquire(:docs_adaptive)
      iex> Adaptive.acquire(:docs_adaptive)
      {:error, {:limited, %{key: :docs_adaptive, limit: 1, in_flight: 1}}}
      iex> {:ok, limit} = Adaptive.release(slot, :success)
      iex> limit >= 1
      true

  A slot whose process dies is given back at once, as one that taught nothing.

  ## Scheduling

  Every function makes one native call on a normal scheduler, O(1).
  """

  alias Foundation.{Engine, Native}

  @type key :: term
  @opaque slot :: reference
  @type outcome :: :success | :dropped | :ignored

  @defaults %{algorithm: :gradient2, initial: 20, min: 1, max: 1_000}
  @u32 4_294_967_295

  @doc """
  Makes the limiter of `key`; one that exists is replaced.

  Options: `algorithm` (`:gradient2`), `initial` (20), `min` (1), `max` (1000) calls; `1 <= min <= initial <= max`.
  Errors: `{:invalid_option, name, value}`, `:not_running`.
  """
  @spec configure(key, keyword) :: :ok | {:error, {:invalid_option, atom, term} | :not_running}
  def configure(key, options \\ []) do
    with {:ok, settings} <- settings(options), {:ok, limiters} <- limiters() do
      Native.adaptive_put(limiters, key, settings, true)
      :ok
    end
  end

  @doc """
  Takes a slot, to be given back with `release/3`.

  Errors: `{:limited, %{key: key, limit: n, in_flight: n}}`, `:not_found`, `:not_running`.
  """
  @spec acquire(key) :: {:ok, slot} | {:error, {:limited, map} | :not_found | :not_running}
  def acquire(key) do
    with {:ok, limiters} <- limiters() do
      case Native.adaptive_acquire(limiters, key) do
        slot when is_reference(slot) -> {:ok, slot}
        :refused -> {:error, {:limited, limited(limiters, key)}}
        :missing -> {:error, :not_found}
      end
    end
  end

  defp limited(limiters, key) do
    case Native.adaptive_view(limiters, key) do
      %{limit: limit, in_flight: in_flight} -> %{key: key, limit: limit, in_flight: in_flight}
      :missing -> %{key: key, limit: 0, in_flight: 0}
    end
  end

  @doc """
  Gives a slot back and learns from the call: it was a `:success`, was `:dropped` (refused or timed out at the other
  side), or is `:ignored`. `took_us` is how long it took in microseconds; by default the time since `acquire/1`.

  Answers the limit that follows; `{:error, :released}` when it was back already.
  """
  @spec release(slot, outcome, non_neg_integer | nil) :: {:ok, non_neg_integer} | {:error, :released}
  def release(slot, outcome, took_us \\ nil) when outcome in [:success, :dropped, :ignored] do
    case Native.adaptive_release(slot, outcome, took_us) do
      nil -> {:error, :released}
      limit -> {:ok, limit}
    end
  end

  @doc """
  Runs `fun` in the caller when there is a slot: `{:ok, value}`. `dropped?:` is a function of the value that says
  whether the other side was overloaded; a raise, throw or exit teaches nothing and goes on. Errors as `acquire/1`.
  """
  @spec run(key, (() -> value), keyword) :: {:ok, value} | {:error, term} when value: var
  def run(key, fun, options \\ []) when is_function(fun, 0) do
    with {:ok, slot} <- acquire(key) do
      try do
        value = fun.()
        dropped? = Keyword.get(options, :dropped?, fn _ -> false end)
        release(slot, if(dropped?.(value), do: :dropped, else: :success))
        {:ok, value}
      after
        release(slot, :ignored)
      end
    end
  end

  @doc """
  `limit`, `in_flight`, `refused`, `samples`, and `usual_us`: the usual time of a call (Gradient2) or the least one
  (Vegas), in microseconds.
  """
  @spec status(key) :: {:ok, map} | {:error, :not_found | :not_running}
  def status(key) do
    with {:ok, limiters} <- limiters() do
      case Native.adaptive_view(limiters, key) do
        :missing -> {:error, :not_found}
        view -> {:ok, view}
      end
    end
  end

  @doc "Removes the limiter of `key`; slots taken from it stay valid."
  @spec remove(key) :: :ok | {:error, :not_found | :not_running}
  def remove(key) do
    with {:ok, limiters} <- limiters() do
      if Native.adaptive_remove(limiters, key), do: :ok, else: {:error, :not_found}
    end
  end

  defp settings(options) do
    with {:ok, settings} <- Enum.reduce_while(options, {:ok, @defaults}, &setting/2), do: in_order(settings)
  end

  defp setting({:algorithm, name}, {:ok, settings}) when name in [:gradient2, :vegas],
    do: {:cont, {:ok, %{settings | algorithm: name}}}

  defp setting({name, n}, {:ok, settings})
       when name in [:initial, :min, :max] and is_integer(n) and n >= 1 and n <= @u32,
       do: {:cont, {:ok, Map.put(settings, name, n)}}

  defp setting({name, value}, _), do: {:halt, {:error, {:invalid_option, name, value}}}
  defp setting(other, _), do: {:halt, {:error, {:invalid_option, :unknown, other}}}

  defp in_order(%{min: min, initial: initial, max: max} = settings) do
    if min <= initial and initial <= max,
      do: {:ok, settings},
      else: {:error, {:invalid_option, :initial, initial}}
  end

  defp limiters do
    case Engine.handle(:adaptive) do
      nil -> {:error, :not_running}
      limiters -> {:ok, limiters}
    end
  end
end
