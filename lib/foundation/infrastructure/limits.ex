defmodule Foundation.Infrastructure.Limits do
  @moduledoc """
  Limits calls by key over any number of dimensions: rates, budgets and concurrency, all or none at a time.

      alias Foundation.Infrastructure.Limits

      :ok = Limits.set_limits({:tenant, "acme"}, usd: [limit: "50.00", per: 86_400_000, algorithm: :sliding_window])

      :ok =
        Limits.set_limits(
          {:openai, "gpt"},
          [
            requests: [limit: 60, per: 60_000],
            input_tokens: [limit: 90_000, per: 60_000, burst: 20_000],
            concurrency: [limit: 8]
          ],
          parent: {:tenant, "acme"}
        )

      {:ok, reservation} = Limits.reserve({:openai, "gpt"}, %{requests: 1, input_tokens: 900, usd: "0.012"})
      # the call
      :ok = Limits.commit(reservation, %{input_tokens: 874, usd: "0.0117"})

  ## Keys, parents and patterns

  A key is any term of at most 4096 bytes and 32 levels. Its limits are named by `set_limits/3`; `parent:` puts it below
  another key, up to eight levels, and a demand must then pass on every level that has the dimension. A tuple whose
  last element is `:_` is a pattern: `set_limits({:user, :_}, …)` gives every `{:user, id}` that has no limits of its own
  the same ones, each with its own budget, made at first use and dropped when all of it is free, nothing hangs on it, and
  it was not used for `idle_ttl:`. Keys that were named themselves stay until `delete_limits/1`.

  ## Dimensions

    * `limit:` with `per:` (ms): a token bucket (GCRA, exact integer arithmetic). It holds `burst:` (the limit unless
      given) and fills at `limit / per`. In any window of `w` ms at most `burst + limit × w / per` passes.
    * the same with `algorithm: :sliding_window`: in any window of `per` ms at most `limit` passes. It counts `sub_windows:`
      (20) parts, each whole until it has left, so budget returns up to one part (here 5 %) late, never early.
    * `limit:` alone: at most so much at a time. Only reservations take it, one each unless the costs say otherwise.

  Amounts are integers, decimal strings, `Decimal` structs (all exact, up to nine fractional digits and 10¹² units) or
  floats (the nearest billionth).

  ## Errors

  Nothing is taken on any of them.

  | error | when |
  |---|---|
  | `{:limited, %{dimension: d, key: k, retry_after_ms: n}}` | not now; the dimension with the longest wait, on the key or an ancestor. Of a concurrency dimension `n` is an estimate from mean holding times; `:paused` and `:queue` stand for a pause that a provider asked for and for callers that wait already |
  | `{:never, d}` | more than the dimension can ever hold |
  | `{:unknown_dimension, d}`, `{:invalid_cost, d}` | neither key nor ancestors have it; negative or no number |
  | `{:reserve_only, d}` | `acquire/2` or `await/3` on a concurrency dimension without a reservation |
  | `:unknown_key`, `:unknown_parent`, `:parent_cycle`, `:too_many_ancestors`, `:too_many_keys` | |
  | `:settled` | the reservation was settled or has expired |
  | `:queue_full`, `:timeout`, `:cancelled` | waiting |
  | `:invalid_key` | too long or too deep |
  | `:not_running` | the application is not running |

  ## Fairness

  Waiters of a key are served by priority, then in the order they came; while anybody waits for a key, `acquire/2` and
  `reserve/3` on that same key are limited. Keys below one parent compete for what the parent has, first come first
  served.

  **Scheduling**: every function here makes one call on a normal scheduler, O(dimensions of the key and its ancestors),
  of about 1 µs (a reservation, which is a resource with a monitor, up to some 15 µs at p99); `set_limits/3` runs on a
  dirty CPU scheduler. No process is on the way; waiters are woken by a native thread
  at the time the first of them can be served, without polling.
  """

  alias Foundation.Engine
  alias Foundation.Infrastructure.Limits.{Definition, Headers, Profile, Reservation, Shared, Ticket}
  alias Foundation.{Native, Telemetry}

  require Engine

  @type key :: term
  @type dimension :: atom
  @type amount :: integer | float | String.t() | struct
  @type costs :: %{optional(dimension) => amount} | [{dimension, amount}]
  @type reason :: atom | {atom, term}
  @type limits :: keyword | map | Profile.t()

  @forever 100 * 366 * 86_400_000
  @default_expiry 60_000
  @default_timeout 5_000
  @doc """
  Sets the limits of `key`; what is used stays used, and reservations and waiters stay.

  `opts`: `parent:` (a key that has limits), `idle_ttl:` (ms, 600_000; of keys made from a pattern), `max_waiters:` (1_000).
  Errors: `{:invalid_limit, {dimension, what}}`, `{:invalid_limits, term}`, `{:invalid_option, {name, value}}` and those of
  parents above. O(dimensions); of a pattern that exists O(keys).

  With `scope: :cluster` the nodes of the cluster share the limits, with a stated overshoot: see
  `Foundation.Infrastructure.Limits.Cluster.share/3` for the options and errors of that.

      iex> Foundation.Infrastructure.Limits.set_limits(:doc_set, requests: [limit: 60, per: 60_000])
      :ok
      iex> Foundation.Infrastructure.Limits.set_limits(:doc_set, requests: [limit: 60, per: 0])
      {:error, {:invalid_limit, {:requests, :per}}}
  """
  @spec set_limits(key, limits, keyword) :: :ok | {:error, reason}
  def set_limits(key, limits, opts \\ []) do
    if cluster?(opts) do
      Shared.share(key, limits, opts)
    else
      with {:ok, {dimensions, parent, options}} <- Definition.parse(limits, opts) do
        native(&Native.limits_define(&1, key, dimensions, parent, options))
      end
    end
  end

  defp cluster?(opts) when is_map(opts) and not is_struct(opts), do: Map.get(opts, :scope) == :cluster
  defp cluster?(opts), do: Keyword.keyword?(opts) and Keyword.get(opts, :scope) == :cluster

  @doc """
  Takes `costs` from `key` and all its ancestors, or nothing. O(dimensions).

      iex> :ok = Foundation.Infrastructure.Limits.set_limits(:doc_acquire, requests: [limit: 1, per: 60_000])
      iex> Foundation.Infrastructure.Limits.acquire(:doc_acquire, %{requests: 1})
      :ok
      iex> {:error, {:limited, info}} = Foundation.Infrastructure.Limits.acquire(:doc_acquire, %{requests: 1})
      iex> {info.dimension, info.key, info.retry_after_ms > 59_000}
      {:requests, :doc_acquire, true}
      iex> Foundation.Infrastructure.Limits.acquire(:doc_acquire, %{requests: 2})
      {:error, {:never, :requests}}
  """
  @spec acquire(key, costs) :: :ok | {:error, reason}
  def acquire(key, costs) when is_map(costs) do
    case Engine.inline_handle(:limits) do
      nil ->
        {:error, :not_running}

      handle ->
        with refused when refused != :ok <- Native.limits_acquire(handle, key, costs),
             do: Shared.hint(refused)
    end
  rescue
    ArgumentError -> {:error, :invalid_key}
  end

  def acquire(key, costs), do: acquire(key, costs!(costs))

  @doc """
  Takes `costs`, and one of every concurrency dimension, until the reservation is settled.

  `opts`: `expires_in:` (ms, 60_000), after which what is unsettled goes back; `owner:` (the caller), a process of this
  node at whose end it goes back at once (`{:error, :noproc}` when it has ended). O(dimensions + log reservations).

      iex> :ok = Foundation.Infrastructure.Limits.set_limits(:doc_reserve, tokens: [limit: 100, per: 60_000])
      iex> {:ok, reservation} = Foundation.Infrastructure.Limits.reserve(:doc_reserve, %{tokens: 80})
      iex> Foundation.Infrastructure.Limits.commit(reservation, %{tokens: 30})
      :ok
      iex> Foundation.Infrastructure.Limits.refund(reservation)
      {:error, :settled}
  """
  @spec reserve(key, costs, keyword) :: {:ok, Reservation.t()} | {:error, reason}
  def reserve(key, costs, opts \\ []) do
    costs = costs!(costs)
    expires_in = duration!(opts, :expires_in, @default_expiry)
    owner = owner!(opts)

    key |> reserved(Shared.hint(native(&Native.limits_reserve(&1, key, costs, expires_in, owner))))
  end

  @doc """
  Settles a reservation with what was really used.

  Dimensions that `actual` leaves out count as reserved. What was reserved and not used goes back as far as it still
  counts (what a bucket has leaked since is free already); what was used beyond is charged even when there is no room:
  the debt makes later callers wait. Dimensions that were not reserved are charged. O(dimensions).
  """
  @spec commit(Reservation.t(), costs) :: :ok | {:error, reason}
  def commit(%Reservation{ref: ref}, actual \\ %{}), do: Native.limits_commit(ref, costs!(actual))

  @doc "Gives all of a reservation back, as far as it still counts. O(dimensions)."
  @spec refund(Reservation.t()) :: :ok | {:error, :settled}
  def refund(%Reservation{ref: ref}), do: Native.limits_refund(ref)

  @doc """
  Takes `costs`, waiting in the key's queue while there is no room.

  `opts`: `timeout:` (ms, 5_000, or `:infinity`), `priority:` (0; higher goes first), `reserve:` (false; true takes a
  reservation and answers `{:ok, reservation}`), `expires_in:` as in `reserve/3`. Errors besides those above: `:timeout`,
  `:queue_full`, `:cancelled`. A caller that ends leaves the queue.
  """
  @spec await(key, costs, keyword) :: :ok | {:ok, Reservation.t()} | {:error, reason}
  def await(key, costs, opts \\ []) do
    case request(key, costs, opts) do
      {:waiting, ticket} -> await_ticket(ticket)
      answer -> answer
    end
  end

  @doc """
  As `await/3`, but answers `{:waiting, ticket}` at once when there is no room; `await_ticket/1` has the answer.
  """
  @spec request(key, costs, keyword) ::
          :ok | {:ok, Reservation.t()} | {:waiting, Ticket.t()} | {:error, reason}
  def request(key, costs, opts \\ []) do
    costs = costs!(costs)
    tag = make_ref()
    options = {priority!(opts), duration!(opts, :timeout, @default_timeout), reserve_ms(opts)}

    case native(&Native.limits_wait(&1, key, costs, tag, options)) do
      {:waiting, ref} -> {:waiting, %Ticket{key: key, pid: self(), tag: tag, ref: ref}}
      answer -> reserved(key, answer)
    end
  end

  @doc "Waits for the answer to a `request/3` of this process."
  @spec await_ticket(Ticket.t()) :: :ok | {:ok, Reservation.t()} | {:error, reason}
  def await_ticket(%Ticket{pid: pid, tag: tag, key: key}) when pid == self() do
    receive do
      {^tag, answer} -> reserved(key, answer)
    end
  end

  @doc "Gives a place in a queue up; its owner is answered `{:error, :cancelled}`. False when it was answered before."
  @spec cancel(Ticket.t()) :: boolean
  def cancel(%Ticket{ref: ref, pid: pid, tag: tag}) do
    cancelled = Native.limits_cancel(ref)
    if cancelled, do: send(pid, {tag, {:error, :cancelled}})
    cancelled
  end

  @doc """
  Where a key stands, without taking anything: `{:ok, map}` with `:dimensions` (each `:algorithm`, `:limit`, `:per`,
  `:capacity`, `:used`, `:remaining` (below 0 in debt) and `:full_in_ms`), `:parent`, `:waiting`, `:reservations`,
  `:paused_ms`. Amounts are integers when whole, floats otherwise. O(dimensions).
  """
  @spec peek(key) :: {:ok, map} | {:error, reason}
  def peek(key), do: native(&Native.limits_peek(&1, key))

  @doc """
  Makes all of a key's rates free again and ends its pause; its ancestors stay as they are. Reservations that are out
  keep their concurrency, and give nothing else back later. O(dimensions).
  """
  @spec reset_limits(key) :: :ok | {:error, reason}
  def reset_limits(key), do: native(&Native.limits_reset(&1, key))

  @doc """
  Forgets a key. `{:error, :in_use}` while it has reservations, waiters or keys below it. O(1).
  """
  @spec delete_limits(key) :: :ok | {:error, reason}
  def delete_limits(key), do: native(&Native.limits_delete(&1, key))

  @doc "How many keys have limits, those made from patterns included; 0 when the application is not running. O(1)."
  @spec count() :: non_neg_integer
  def count do
    case native(&Native.limits_count/1) do
      n when is_integer(n) -> n
      _ -> 0
    end
  end

  @doc """
  Takes `costs` from the first key that has room: `{:ok, key}`, or `{:error, reasons}` with each key's reason in order.

  Each step from a key to the next emits `[:foundation, :limits, :fallback]` with `%{counter: 1}` and
  `%{from: key, to: next, reason: reason}`.
  """
  @spec acquire_any([key], costs) :: {:ok, key} | {:error, [{key, reason}]}
  def acquire_any(keys, costs) do
    costs = costs!(costs)
    first(keys, &with(:ok <- acquire(&1, costs), do: {:ok, &1}), [])
  end

  @doc "As `acquire_any/2`, with a reservation (which names its key); `opts` as in `reserve/3`."
  @spec reserve_any([key], costs, keyword) :: {:ok, Reservation.t()} | {:error, [{key, reason}]}
  def reserve_any(keys, costs, opts \\ []) do
    first(keys, &reserve(&1, costs, opts), [])
  end

  @doc """
  What a provider enforces, as `set_limits/3` takes it: `:openai`, `:anthropic`, `:azure_openai`, `:gemini`, or a map of
  one's own. See `Foundation.Infrastructure.Limits.Profile`.
  """
  @spec provider_profile(atom | map | keyword, keyword) :: {:ok, Profile.t()} | {:error, reason}
  def provider_profile(provider, overrides \\ []), do: Profile.new(provider, overrides)

  @doc """
  Learns from a response's headers (a map or a list of pairs, names in any case): the limits, what is left when that is
  less than what is left here, and a pause when the provider asks to retry later.

  Answers `{:ok, learned}`: for each dimension `:limit`, `:remaining` and `:reset_ms` as far as told, and
  `:retry_after_ms`. Dimensions the key does not have are told but not applied. `profile` adds header names of one's own.
  """
  @spec update_from_headers(key, map | [{term, term}], Profile.t() | nil) :: {:ok, map} | {:error, reason}
  def update_from_headers(key, headers, profile \\ nil) do
    learned = Headers.parse(headers, profile)
    {pause, dimensions} = Map.pop(learned, :retry_after_ms, -1)
    said = for {name, told} <- dimensions, do: {name, told[:limit], told[:remaining]}

    with :ok <- native(&Native.limits_learn(&1, key, said, pause)), do: {:ok, learned}
  end

  defp first([], _take, reasons), do: {:error, Enum.reverse(reasons)}

  defp first([key | rest], take, reasons) do
    with {:error, reason} <- take.(key) do
      if rest != [] do
        metadata = %{from: key, to: hd(rest), reason: reason}
        Telemetry.execute([:foundation, :limits, :fallback], %{counter: 1}, metadata)
      end

      first(rest, take, [{key, reason} | reasons])
    end
  end

  # The arguments other than the key have been checked; what the native side still rejects is the key.
  defp native(call) do
    case Engine.handle(:limits) do
      nil -> {:error, :not_running}
      handle -> call.(handle)
    end
  rescue
    ArgumentError -> {:error, :invalid_key}
  end

  defp reserved(key, {:ok, ref}), do: {:ok, %Reservation{key: key, ref: ref}}
  defp reserved(_key, answer), do: answer

  defp reserve_ms(opts) do
    if Keyword.get(opts, :reserve, false), do: duration!(opts, :expires_in, @default_expiry), else: -1
  end

  defp costs!(costs) when is_map(costs) and map_size(costs) <= 32, do: costs

  defp costs!(costs) do
    if Keyword.keyword?(costs) and length(costs) <= 32,
      do: Map.new(costs),
      else:
        raise(
          ArgumentError,
          "costs must be a map or keyword list of at most 32 amounts, got: #{inspect(costs)}"
        )
  end

  defp duration!(opts, name, default) do
    case Keyword.get(opts, name, default) do
      :infinity -> @forever
      ms when is_integer(ms) and ms >= 0 -> min(ms, @forever)
      other -> raise ArgumentError, "#{name}: must be milliseconds or :infinity, got: #{inspect(other)}"
    end
  end

  defp priority!(opts) do
    case Keyword.get(opts, :priority, 0) do
      n when is_integer(n) and n in -1_000_000..1_000_000 -> n
      other -> raise ArgumentError, "priority: must be an integer within ±1_000_000, got: #{inspect(other)}"
    end
  end

  defp owner!(opts) do
    case Keyword.get(opts, :owner, self()) do
      pid when is_pid(pid) and node(pid) == node() -> pid
      other -> raise ArgumentError, "owner: must be a process of this node, got: #{inspect(other)}"
    end
  end
end
