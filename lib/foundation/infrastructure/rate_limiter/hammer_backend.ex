defmodule Foundation.Infrastructure.RateLimiter.HammerBackend do
  @moduledoc """
  Counts hits by key in fixed windows, with the functions and meaning of a Hammer 7 fixed-window backend.

  Windows are aligned to the epoch: window `n` of `scale` ms is from `n × scale` to `(n + 1) × scale`. Every hit counts,
  those that are denied too. The counters outlive this process, which removes those whose window is over every
  `clean_period` ms (60_000).

  **Scheduling**: one call on a normal scheduler, O(1), below 1 µs; the cleanup runs on a dirty CPU scheduler.
  """

  use GenServer

  alias Foundation.{Engine, Native}

  @clean_period 60_000

  @type key :: term

  @doc "Starts the cleanup. `opts`: `clean_period:` (ms, 60_000), `name:` (this module)."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\ []) do
    GenServer.start_link(__MODULE__, opts, name: Keyword.get(opts, :name, __MODULE__))
  end

  @doc """
  Adds `increment` to the present window of `key`: `{:allow, count}` while the count is within `limit`, otherwise
  `{:deny, ms}` with the time until the window ends.

      iex> alias Foundation.Infrastructure.RateLimiter.HammerBackend
      iex> HammerBackend.hit("doc_hit", 3_600_000, 1)
      {:allow, 1}
      iex> {:deny, ms} = HammerBackend.hit("doc_hit", 3_600_000, 1)
      iex> ms in 0..3_600_000
      true
  """
  @spec hit(key, pos_integer, non_neg_integer, non_neg_integer) ::
          {:allow, non_neg_integer} | {:deny, non_neg_integer}
  def hit(key, scale, limit, increment \\ 1),
    do: Native.limits_window_hit(handle(), key, scale, limit, increment)

  @doc "Adds `increment` to the present window of `key` and answers the count."
  @spec inc(key, pos_integer, non_neg_integer) :: non_neg_integer
  def inc(key, scale, increment \\ 1), do: Native.limits_window_inc(handle(), key, scale, increment)

  @doc "Makes the count of the present window of `key` `count`, and answers it."
  @spec set(key, pos_integer, non_neg_integer) :: non_neg_integer
  def set(key, scale, count) do
    :ok = Native.limits_window_set(handle(), key, scale, count)
    count
  end

  @doc "The count of the present window of `key`."
  @spec get(key, pos_integer) :: non_neg_integer
  def get(key, scale), do: Native.limits_window_get(handle(), key, scale)

  @impl true
  def init(opts) do
    period = Keyword.get(opts, :clean_period, @clean_period)
    {:ok, period, {:continue, :schedule}}
  end

  @impl true
  def handle_continue(:schedule, period) do
    Process.send_after(self(), :clean, period)
    {:noreply, period}
  end

  @impl true
  def handle_info(:clean, period) do
    with handle when handle != nil <- Engine.handle(:limits), do: Native.limits_window_clean(handle)
    {:noreply, period, {:continue, :schedule}}
  end

  def handle_info(_message, period), do: {:noreply, period}

  defp handle do
    case Engine.handle(:limits) do
      nil -> raise ArgumentError, "the :foundation application is not running"
      handle -> handle
    end
  end
end
