defmodule Foundation.Infrastructure.Breaker do
  @moduledoc """
  Stops calling what fails, and comes back to it step by step.

  A breaker is found by its key, which is any term, and lives in the native library: no process is asked. It is

    * `:closed`: calls go through and their outcomes are counted;
    * `:open`: calls are refused for `open_ms`, after too many failures or too large a share of failed or slow calls;
    * `:half_open`: `probes` calls go through; when all succeed it goes on to closed, when one fails it opens again;
    * `:restoring`: with `ramp_ms`, a growing share of the calls goes through before it is closed. The share is exact,
      not a matter of chance: at 25 % every fourth call is admitted;
    * `:forced_open`, `:forced_closed`: as `force/2` says, until `reset/1`.

  `run/3` does it all; `admit/1` and `record/4` are its halves. A probe whose process dies gives its slot back at
  once, one that never reports after `probe_timeout_ms`. An outcome of a call that was admitted before the last
  change of state is not counted.

      iex> alias Foundation.Infrastructure.Breaker
      iex> :ok = Breaker.configure({:docs, "api"}, tolerance: 0, open_ms: 60_000)
      iex> Breaker.run({:docs, "api"}, fn -> :fine end)
      {:ok, :fine}
      iex> Breaker.run({:docs, "api"}, fn -> raise "down" end)
      {:error, {:exception, %RuntimeError{message: "down"}}}
      iex> {:error, {:open, %{retry_after_ms: ms}}} = Breaker.run({:docs, "api"}, fn -> :fine end)
      iex> ms > 0
      true

  Changes of state are sent to who asked for them (`subscribe/1`) and recorded as
  `[:foundation, :breaker, :state_change]` with measurement `counter: 1` and metadata `key`, `from`, `to`. Changes that
  only time brings (open to half-open, restoring to closed) are noticed, and told, at the next call.

  ## Scheduling

  Every function makes one native call on a normal scheduler, `run/3` two. `sweep/0` and `keys/1` run on a dirty CPU
  scheduler. Admitting a call to a closed breaker is one atomic load after the lookup.
  """

  alias Foundation.{Engine, Native, Telemetry}
  alias Foundation.Infrastructure.Breaker.{Handle, Settings, Subscribers}

  @type key :: term
  @type state :: :closed | :open | :half_open | :restoring | :forced_open | :forced_closed
  @typedoc "The right to make one call."
  @opaque permit :: non_neg_integer | reference
  @type outcome :: :success | :failure | :ignored
  @type refusal ::
          {:open, %{key: key, retry_after_ms: pos_integer | :infinity}} | :not_found | :not_running

  @doc """
  Makes the breaker of `key`, closed; one that exists is replaced.

  Options, times in milliseconds:

    * `tolerance` (5): so many failures within `window_ms` are tolerated, the next one opens; `nil` to go by rates only
    * `failure_rate` (nil): a share in 0.0–1.0; opens when so much of the calls in the window failed
    * `slow_rate` (nil), `slow_after_ms`: the same for calls that took at least `slow_after_ms`
    * `minimum_calls` (10): rates count from so many calls in the window on
    * `window_ms` (60_000), `open_ms` (60_000)
    * `probes` (1): calls admitted half-open, all of which must succeed; a slow one counts as failed under `slow_rate`
    * `probe_timeout_ms` (60_000): a probe that has not reported by then gives its slot back
    * `ramp_ms` (0), `ramp_start` (0.1): how long the share of admitted calls grows, and from where

  Errors: `{:invalid_option, name, value}`, `:not_running`. Raises ArgumentError for a key that nests deeper than 32
  levels or is longer than 4096 bytes. O(1).
  """
  @spec configure(key, keyword) ::
          :ok | {:error, {:invalid_option, atom, term} | :not_running}
  def configure(key, options \\ []), do: put(key, options, true)

  @doc "Makes the breaker of `key` unless there is one, with the options of `configure/2`. O(1)."
  @spec ensure(key, keyword) :: :ok | {:error, {:invalid_option, atom, term} | :not_running}
  def ensure(key, options \\ []), do: put(key, options, false)

  defp put(key, options, replace) do
    with {:ok, settings} <- Settings.new(options), {:ok, breakers} <- breakers() do
      Native.breaker_put(breakers, key, settings, replace)
      :ok
    end
  end

  @doc """
  Calls `fun` in the caller when the breaker of `key` lets it: `{:ok, value}`.

  A raise is `{:error, {:exception, exception}}`; a throw or an exit counts as a failure and goes on. When refused:
  `{:error, {:open, %{key: key, retry_after_ms: ms}}}`; `{:error, :not_found}` when there is no breaker of that key.

  Options:

    * `failure?`: a function of the returned value; true counts it as a failure. `{:error, _}` and `:error` by default
      do not: they are values
    * `ignore`: exception modules, or a function of the exception, that say nothing about the health of what was
      called and are not counted
    * `create`: options of `configure/2`, to make the breaker when it is missing
  """
  @spec run(key, (() -> value), keyword) ::
          {:ok, value} | {:error, {:exception, Exception.t()} | refusal | term}
        when value: var
  def run(key, fun, options \\ []) when is_function(fun, 0) and is_list(options) do
    case admit(key) do
      {:ok, permit} ->
        call(key, permit, fun, options)

      {:error, :not_found} = missing ->
        case Keyword.fetch(options, :create) do
          {:ok, create} ->
            with :ok <- ensure(key, create), do: run(key, fun, Keyword.delete(options, :create))

          :error ->
            missing
        end

      refused ->
        refused
    end
  end

  defp call(key, permit, fun, options) do
    start = System.monotonic_time()

    try do
      fun.()
    rescue
      exception ->
        outcome = if ignored?(exception, options[:ignore]), do: :ignored, else: :failure
        record(key, permit, outcome, since(start))
        {:error, {:exception, exception}}
    catch
      kind, reason ->
        record(key, permit, :failure, since(start))
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      value ->
        outcome = if failed?(value, options[:failure?]), do: :failure, else: :success
        record(key, permit, outcome, since(start))
        {:ok, value}
    end
  end

  defp since(start), do: System.convert_time_unit(System.monotonic_time() - start, :native, :microsecond)

  defp failed?(_value, nil), do: false
  defp failed?(value, predicate), do: predicate.(value) == true

  defp ignored?(_exception, nil), do: false
  defp ignored?(exception, modules) when is_list(modules), do: exception.__struct__ in modules
  defp ignored?(exception, predicate) when is_function(predicate, 1), do: predicate.(exception) == true

  @doc """
  Asks whether a call may be made. The permit goes back with `record/4`.

  A handle from `prepare/1` saves the lookup. Errors: `{:open, %{key: key, retry_after_ms: ms}}` (`:infinity` when forced open), `:not_found`, `:not_running`. O(1).
  """
  @spec admit(key | Handle.t()) :: {:ok, permit} | {:error, refusal}
  def admit(%Handle{ref: ref, key: key}) do
    case Native.breaker_admit_prepared(ref) do
      permit when is_integer(permit) -> {:ok, permit}
      :missing -> admit(key)
      {answer, change} -> admitted(key, answer, change)
    end
  end

  def admit(key) do
    case Engine.handle(:breakers) do
      nil ->
        {:error, :not_running}

      breakers ->
        case Native.breaker_admit(breakers, key) do
          permit when is_integer(permit) -> {:ok, permit}
          :missing -> {:error, :not_found}
          {answer, change} -> admitted(key, answer, change)
        end
    end
  end

  @doc """
  A handle of the breaker of `key` for `admit/1`, to be kept where calls are many.

  It stays good when the breaker is configured anew or removed: it then asks by key. Errors: `:not_found`,
  `:not_running`. O(1).

      iex> alias Foundation.Infrastructure.Breaker
      iex> :ok = Breaker.configure(:docs_prepared)
      iex> {:ok, handle} = Breaker.prepare(:docs_prepared)
      iex> {:ok, permit} = Breaker.admit(handle)
      iex> Breaker.record(:docs_prepared, permit, :success)
      :ok
  """
  @spec prepare(key) :: {:ok, Handle.t()} | {:error, :not_found | :not_running}
  def prepare(key) do
    with {:ok, breakers} <- breakers() do
      case Native.breaker_prepare(breakers, key) do
        :missing -> {:error, :not_found}
        ref -> {:ok, %Handle{ref: ref, key: key}}
      end
    end
  end

  defp admitted(key, answer, change) do
    announce(key, change)

    case answer do
      {:refused, ms} -> {:error, {:open, %{key: key, retry_after_ms: ms}}}
      permit -> {:ok, permit}
    end
  end

  @doc "Whether a call made now would be let through. Takes no probe slot and counts nothing. O(1)."
  @spec allow?(key) :: boolean
  def allow?(key) do
    case status(key) do
      {:ok, %{state: state}} -> state not in [:open, :forced_open]
      _ -> false
    end
  end

  @doc """
  Reports how the call went that `permit` was given for, and the microseconds it took. A permit counts once. O(1).
  """
  @spec record(key, permit, outcome, non_neg_integer) :: :ok | {:error, :not_found | :not_running}
  def record(key, permit, outcome, took_us \\ 0) when outcome in [:success, :failure, :ignored] do
    with {:ok, breakers} <- breakers() do
      told(key, Native.breaker_record(breakers, key, permit, outcome, took_us))
    end
  end

  @doc "Counts a failure that was seen elsewhere, without a permit. Only a closed or restoring breaker counts it. O(1)."
  @spec melt(key) :: :ok | {:error, :not_found | :not_running}
  def melt(key) do
    with {:ok, breakers} <- breakers(), do: told(key, Native.breaker_melt(breakers, key))
  end

  @doc "Holds the breaker `:open` or `:closed`, whatever happens, until `reset/1`. O(1)."
  @spec force(key, :open | :closed) :: :ok | {:error, :not_found | :not_running}
  def force(key, :open), do: force_native(key, :forced_open)
  def force(key, :closed), do: force_native(key, :forced_closed)

  @doc "Closes the breaker and forgets what it counted. O(1)."
  @spec reset(key) :: :ok | {:error, :not_found | :not_running}
  def reset(key), do: force_native(key, :closed)

  defp force_native(key, state) do
    with {:ok, breakers} <- breakers(), do: told(key, Native.breaker_force(breakers, key, state))
  end

  @doc """
  What the breaker looks like: `state`, `calls`, `failures` and `slow` in the window (`calls` and `slow` only where
  rates are set), `refused` and `opened` since it was made, `probing`, `share` of calls admitted, `retry_after_ms`.
  """
  @spec status(key) :: {:ok, map} | {:error, :not_found | :not_running}
  def status(key) do
    with {:ok, breakers} <- breakers() do
      case Native.breaker_view(breakers, key) do
        :missing -> {:error, :not_found}
        view -> {:ok, view}
      end
    end
  end

  @doc "Removes the breaker of `key`. O(1)."
  @spec remove(key) :: :ok | {:error, :not_found | :not_running}
  def remove(key) do
    with {:ok, breakers} <- breakers() do
      if Native.breaker_remove(breakers, key), do: :ok, else: {:error, :not_found}
    end
  end

  @doc """
  Removes the breakers that are closed and have counted nothing within their window, and returns how many. For
  breakers by user or by host that `run/3` makes with `create:`. O(breakers), dirty CPU scheduler.
  """
  @spec sweep() :: non_neg_integer
  def sweep do
    case breakers() do
      {:ok, breakers} -> Native.breaker_sweep(breakers)
      _ -> 0
    end
  end

  @doc "How many breakers there are. O(1)."
  @spec count() :: non_neg_integer
  def count do
    case breakers() do
      {:ok, breakers} -> Native.breaker_count(breakers)
      _ -> 0
    end
  end

  @doc "Up to `max` keys, in no order. O(max), dirty CPU scheduler."
  @spec keys(non_neg_integer) :: [key]
  def keys(max \\ 1_000) do
    case breakers() do
      {:ok, breakers} -> Native.breaker_keys(breakers, max)
      _ -> []
    end
  end

  @doc """
  Sends `{:foundation_breaker, key, from, to}` to the caller when the breaker of `key` changes state, until it ends or
  calls `unsubscribe/1`. O(1).
  """
  @spec subscribe(key) :: :ok | {:error, :not_running}
  defdelegate subscribe(key), to: Subscribers

  @doc "Ends `subscribe/1`. O(1)."
  @spec unsubscribe(key) :: :ok
  defdelegate unsubscribe(key), to: Subscribers

  defp told(_key, nil), do: :ok
  defp told(_key, :missing), do: {:error, :not_found}
  defp told(key, change), do: announce(key, change)

  defp announce(_key, nil), do: :ok

  defp announce(key, {from, to}) do
    Subscribers.tell(key, from, to)
    Telemetry.execute([:foundation, :breaker, :state_change], %{counter: 1}, %{key: key, from: from, to: to})
    :ok
  end

  defp breakers do
    case Engine.handle(:breakers) do
      nil -> {:error, :not_running}
      breakers -> {:ok, breakers}
    end
  end
end
