defmodule Foundation.Infrastructure.CircuitBreaker do
  @moduledoc """
  Runs an operation behind a circuit breaker that is known by an atom: the 1.x interface.

  A breaker tolerates `tolerance` failures within `refresh` milliseconds and opens at the next one. After `refresh`
  milliseconds it lets one call through: when that succeeds it closes, when it fails it stays open as long again.
  `Foundation.Infrastructure.Breaker` offers rates, ramps, any key and more, and finds a breaker `name` of this module
  under the key `{Foundation.Infrastructure.CircuitBreaker, name}`.

  Every call records a counter under `[:foundation, :foundation, :infra, :circuit_breaker, event]`.

  ## Scheduling

  `execute/3` makes two native calls, the others one, on a normal scheduler; each is O(1).
  """

  alias Foundation.Infrastructure.Breaker
  alias Foundation.Infrastructure.CircuitBreaker.Failure
  alias Foundation.Telemetry
  alias Foundation.Types.Error

  @type fuse_name :: atom
  @type fuse_options :: [
          strategy: :standard | :fault_injection,
          tolerance: non_neg_integer,
          refresh: non_neg_integer
        ]
  @type operation :: (() -> any)
  @type operation_result :: {:ok, any} | {:error, Error.t()}

  @event [:foundation, :foundation, :infra, :circuit_breaker]

  @doc """
  Makes the breaker `name`, closed; one that exists is replaced.

  Only exactly `[strategy: :standard, tolerance: n, refresh: ms]`, in this order, is looked at; any other list gives
  tolerance 5 and refresh 60,000 ms. Errors: 5002 `:circuit_breaker_exception` for values that are no non-negative
  integers, 5001 `:circuit_breaker_install_failed` when the application does not run.

      iex> Foundation.Infrastructure.CircuitBreaker.start_fuse_instance(:docs_fuse)
      :ok
      iex> Foundation.Infrastructure.CircuitBreaker.get_status(:docs_fuse)
      :ok
  """
  @spec start_fuse_instance(fuse_name, fuse_options) :: :ok | {:error, Error.t()}
  def start_fuse_instance(name, options \\ []) when is_atom(name) do
    {tolerance, refresh} =
      case options do
        [strategy: :standard, tolerance: tolerance, refresh: refresh] -> {tolerance, refresh}
        _ -> {5, 60_000}
      end

    case Breaker.configure(key(name), tolerance: whole(tolerance), window_ms: refresh, open_ms: refresh) do
      :ok ->
        emit(:fuse_installed, %{name: name, options: options})
        :ok

      {:error, {:invalid_option, option, value}} ->
        exception =
          ArgumentError.exception("#{option} must be a non-negative integer, got: #{inspect(value)}")

        emit(:fuse_install_exception, %{name: name, exception: exception})
        {:error, Failure.install_exception(name, exception)}

      {:error, reason} ->
        emit(:fuse_install_failed, %{name: name, reason: reason})
        {:error, Failure.install_failed(name, reason)}
    end
  end

  # nil means "no count" to Breaker, and is no number here.
  defp whole(nil), do: :none
  defp whole(tolerance), do: tolerance

  @doc """
  Runs `operation` in the caller unless the breaker is open: `{:ok, value}`, also when the value is an error tuple.

  Errors: 5003 `:protected_operation_failed` (it raised) and 5012 (it threw or exited), both of which count as
  failures; 5004 `:circuit_breaker_blown`, 5005 `:circuit_breaker_not_found`, 5006 `:circuit_breaker_exception`,
  5009 and 5010 `:invalid_input`.

      iex> alias Foundation.Infrastructure.CircuitBreaker
      iex> :ok = CircuitBreaker.start_fuse_instance(:docs_fuse)
      iex> CircuitBreaker.execute(:docs_fuse, fn -> 1 + 1 end)
      {:ok, 2}
  """
  @spec execute(fuse_name, operation, map) :: operation_result
  def execute(name, operation, metadata \\ %{})

  def execute(name, operation, metadata)
      when is_atom(name) and is_function(operation, 0) and is_map(metadata) do
    start = System.monotonic_time()

    case Breaker.admit(key(name)) do
      {:ok, permit} -> run(name, permit, operation, metadata, start)
      {:error, {:open, _}} -> reject(name, metadata, :circuit_blown, Failure.blown(name))
      {:error, :not_found} -> reject(name, metadata, :not_found, Failure.not_found(name))
      {:error, reason} -> failed_itself(name, reason, metadata, start)
    end
  end

  def execute(name, operation, metadata) when is_map(metadata),
    do: {:error, Failure.invalid_call(name, operation)}

  def execute(name, operation, _metadata), do: {:error, Failure.invalid_metadata(name, operation)}

  defp run(name, permit, operation, metadata, start) do
    operation.()
  rescue
    exception ->
      told(name, permit, :failure, start, metadata, %{status: :failed, exception: exception})
      {:error, Failure.raised(name, exception)}
  catch
    kind, value ->
      told(name, permit, :failure, start, metadata, %{status: :failed, kind: kind, value: value})
      {:error, Failure.caught(name, kind, value)}
  else
    value ->
      told(name, permit, :success, start, metadata, %{status: :success})
      {:ok, value}
  end

  defp told(name, permit, outcome, start, metadata, more) do
    duration = microseconds(start)
    Breaker.record(key(name), permit, outcome, duration)
    emit(:call_executed, Map.merge(metadata, Map.merge(%{name: name, duration: duration}, more)))
  end

  defp reject(name, metadata, reason, error) do
    emit(:call_rejected, Map.merge(metadata, %{name: name, reason: reason}))
    {:error, error}
  end

  defp failed_itself(name, reason, metadata, start) do
    exception = RuntimeError.exception(Atom.to_string(reason))
    more = %{name: name, duration: microseconds(start), status: :exception, exception: exception}
    emit(:call_executed, Map.merge(metadata, more))
    {:error, Failure.execution_exception(name, exception)}
  end

  @doc """
  `:blown` while it refuses every call, `:ok` otherwise.

  Errors: 5007 `:circuit_breaker_not_found`, 5008 `:circuit_breaker_exception`, 5011 `:invalid_input`.
  """
  @spec get_status(fuse_name) :: :ok | :blown | {:error, Error.t()}
  def get_status(name) when is_atom(name) do
    case Breaker.status(key(name)) do
      {:ok, %{state: state}} when state in [:open, :forced_open] -> :blown
      {:ok, _} -> :ok
      {:error, :not_found} -> {:error, Failure.status_not_found(name)}
      {:error, reason} -> {:error, Failure.status_exception(name, reason)}
    end
  end

  def get_status(name), do: {:error, Failure.invalid_name(name)}

  @doc "Closes the breaker. Errors: 5013 `:circuit_breaker_not_found`, 5014 `:circuit_breaker_exception`."
  @spec reset(fuse_name) :: :ok | {:error, Error.t()}
  def reset(name) when is_atom(name) do
    case Breaker.reset(key(name)) do
      :ok ->
        emit(:state_change, %{name: name, new_state: :reset})
        :ok

      {:error, :not_found} ->
        {:error, Failure.reset_not_found(name)}

      {:error, reason} ->
        {:error, Failure.reset_exception(name, reason)}
    end
  end

  defp key(name), do: {__MODULE__, name}

  defp microseconds(start),
    do: System.convert_time_unit(System.monotonic_time() - start, :native, :microsecond)

  defp emit(event, metadata), do: Telemetry.emit_counter(@event ++ [event], metadata)
end
