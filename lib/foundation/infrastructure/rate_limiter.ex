defmodule Foundation.Infrastructure.RateLimiter do
  @moduledoc """
  Limits how often an entity may perform an operation, in fixed windows.

  The interface of Foundation 1.x. Windows are aligned to the epoch, and hits that are denied count too. The counter of an
  entity and operation is the key `"foundation:ENTITY:OPERATION"` of `Foundation.Infrastructure.RateLimiter.HammerBackend`.
  For rates without the jump at a window's edge, several dimensions and budgets see
  `Foundation.Infrastructure.Limits`.

  Each check emits `[:foundation, :foundation, :infra, :rate_limiter, event]`, event one of `:request_allowed`,
  `:request_denied`, `:rate_limiter_exception`; a reset emits `:bucket_reset`.

  **Scheduling**: one call on a normal scheduler, O(1), below 1 µs.
  """

  alias Foundation.{Engine, Native, Telemetry}
  alias Foundation.Types.Error

  @type entity_id :: String.t() | atom | integer
  @type operation :: atom
  @type rate_limit :: pos_integer
  @type time_window :: pos_integer
  @type rate_check_result :: :ok | {:error, Error.t()}

  @allowed [:foundation, :foundation, :infra, :rate_limiter, :request_allowed]
  @denied [:foundation, :foundation, :infra, :rate_limiter, :request_denied]
  @failed [:foundation, :foundation, :infra, :rate_limiter, :rate_limiter_exception]
  @reset [:foundation, :foundation, :infra, :rate_limiter, :bucket_reset]
  @once %{counter: 1}

  @default_limit 100
  @default_window 60_000

  @doc """
  Counts a hit: `:ok` while there are at most `limit` in the window of `time_window_ms`.

  Errors (`Foundation.Types.Error`): 6001 `:rate_limit_exceeded`, 6003 `:rate_limiter_exception` (a limit or window that is
  none, or the application is not running), 6008 `:validation_failed` (an entity that has no text). O(1).

      iex> alias Foundation.Infrastructure.RateLimiter
      iex> RateLimiter.check_rate("doc_user", :login, 1, 3_600_000)
      :ok
      iex> {:error, error} = RateLimiter.check_rate("doc_user", :login, 1, 3_600_000)
      iex> {error.code, error.error_type, error.message}
      {6001, :rate_limit_exceeded, "Rate limit exceeded for doc_user:login"}
  """
  @spec check_rate(entity_id, operation, rate_limit, time_window, map) :: rate_check_result
  def check_rate(entity_id, operation, limit, time_window_ms, metadata \\ %{}) do
    count = hit(entity_id, operation, limit, time_window_ms)

    ours = %{
      entity_id: entity_id,
      operation: operation,
      count: count,
      limit: limit,
      time_window_ms: time_window_ms
    }

    if count <= limit do
      Telemetry.execute(@allowed, @once, over(metadata, ours))
      :ok
    else
      Telemetry.execute(@denied, @once, over(metadata, ours))
      exceeded(entity_id, operation, limit, time_window_ms)
    end
  rescue
    error in Protocol.UndefinedError -> no_text(entity_id, operation, error)
    error -> failed(entity_id, operation, limit, time_window_ms, metadata, error)
  end

  @doc """
  The counter of the window that the latest hit of an entity and operation counted in.

  `:status` is `:available` or `:rate_limited` (the next hit of the same limit would be denied). An entity that made no
  hit in a window that is still open has count 0 and the defaults 100 and 60_000. O(1).
  """
  @spec get_status(entity_id, operation) :: {:ok, map}
  def get_status(entity_id, operation) do
    {count, limit, window} =
      with_text(entity_id, operation, &Native.limits_rate_status/3) || {0, @default_limit, @default_window}

    {:ok,
     %{
       status: if(count < limit or count == 0, do: :available, else: :rate_limited),
       current_count: count,
       limit: limit,
       window_ms: window,
       entity_id: entity_id
     }}
  end

  @doc "Forgets the hits of an entity and operation. O(1)."
  @spec reset(entity_id, operation) :: :ok | {:error, Error.t()}
  def reset(entity_id, operation) do
    with_text(entity_id, operation, &Native.limits_rate_reset/3)
    Telemetry.execute(@reset, @once, %{entity_id: entity_id, operation: operation})
    :ok
  rescue
    error in Protocol.UndefinedError ->
      no_text(entity_id, operation, error)

    error ->
      {:error,
       Error.new(
         code: 6007,
         error_type: :rate_limiter_reset_failed,
         message: "Failed to reset rate limiter: #{Exception.message(error)}",
         severity: :medium,
         context: %{entity_id: entity_id, operation: operation}
       )}
  end

  @doc """
  Runs `fun` when `check_rate/5` lets it: `{:ok, result}`, the error of the check, or 6008
  `:rate_limited_operation_failed` when `fun` raises. Throws and exits pass through.
  """
  @spec execute_with_limit(entity_id, operation, rate_limit, time_window, (() -> any), map) ::
          {:ok, any} | {:error, Error.t()}
  def execute_with_limit(entity_id, operation, limit, time_window_ms, fun, metadata \\ %{})
      when is_function(fun, 0) do
    with :ok <- check_rate(entity_id, operation, limit, time_window_ms, metadata) do
      try do
        {:ok, fun.()}
      rescue
        error ->
          {:error,
           Error.new(
             code: 6008,
             error_type: :rate_limited_operation_failed,
             message: "Rate limited operation failed: #{Exception.message(error)}",
             severity: :medium,
             context: %{entity_id: entity_id, operation: operation, exception: error}
           )}
      end
    end
  end

  # A float limits like the next integer below it, a negative limit like 0; the count is compared with what was given.
  defp hit(entity, operation, limit, window) when is_number(limit) and is_integer(window) and window > 0 do
    kept = limit |> max(0) |> min(0xFFFFFFFF) |> floor()
    with_text(entity, operation, &Native.limits_check_rate(&1, &2, &3, kept, window))
  end

  defp hit(_entity, _operation, limit, window) do
    raise ArgumentError,
          "limit must be a number and window a positive integer, got: #{inspect({limit, window})}"
  end

  # The native side writes binaries, ASCII atoms and small integers as text itself; the rest is made text here.
  defp with_text(entity, operation, call) do
    handle = Engine.handle(:limits) || raise ArgumentError, "the :foundation application is not running"

    try do
      call.(handle, entity, operation)
    rescue
      ArgumentError -> call.(handle, to_string(entity), to_string(operation))
    end
  end

  defp over(metadata, ours) when metadata == %{}, do: ours
  defp over(metadata, ours), do: Map.merge(metadata, ours)

  defp exceeded(entity_id, operation, limit, time_window_ms) do
    {:error,
     Error.new(
       code: 6001,
       error_type: :rate_limit_exceeded,
       message: "Rate limit exceeded for #{entity_id}:#{operation}",
       severity: :medium,
       context: %{entity_id: entity_id, operation: operation, limit: limit, time_window_ms: time_window_ms},
       retry_strategy: :fixed_delay
     )}
  end

  defp no_text(entity_id, operation, error) do
    {:error,
     Error.new(
       code: 6008,
       error_type: :validation_failed,
       message: "Invalid entity or operation: #{Exception.message(error)}",
       severity: :medium,
       context: %{entity_id: entity_id, operation: operation}
     )}
  end

  defp failed(entity_id, operation, limit, time_window_ms, metadata, error) do
    ours = %{entity_id: entity_id, operation: operation, exception: error}
    metadata = if is_map(metadata), do: over(metadata, ours), else: ours
    Telemetry.execute(@failed, @once, metadata)

    {:error,
     Error.new(
       code: 6003,
       error_type: :rate_limiter_exception,
       message: "Rate limiter exception: #{Exception.message(error)}",
       severity: :critical,
       context: Map.merge(ours, %{limit: limit, time_window_ms: time_window_ms})
     )}
  end
end
