defmodule Foundation.Infrastructure.Protected do
  @moduledoc false
  # One call of execute_protected/3: its layers, from the outside in, and its retries.
  #
  #   retry → rate limiter → limits → breaker → pool → call timeout → the function

  alias Foundation.Infrastructure.{CircuitBreaker, ConnectionManager, Limits, ProtectionConfig, RateLimiter}
  alias Foundation.Infrastructure.Protected.Retry
  alias Foundation.Telemetry
  alias Foundation.Types.Error

  @timeout_ms 5_000
  @default_limit 100
  @default_window_ms 60_000

  def execute(key, options, fun) do
    case Retry.new(options[:retry]) do
      {:ok, retry} -> Retry.run(retry, fn -> attempt(key, options, fun) end)
      {:error, _} = error -> error
    end
  end

  # -- limits ------------------------------------------------------------------------------------------------------

  defp attempt(key, options, fun) do
    with :ok <- rate(key, options[:rate_limiter]),
         {:ok, settle} <- limits(options[:limits]) do
      settled(settle, fn ran -> breaker(options, ran.(fun)) end)
    end
  end

  defp rate(_key, nil), do: :ok

  defp rate(key, {rule, identifier}) do
    {limit, window} = limit_of(key)

    case RateLimiter.check_rate(identifier, rule, limit, window) do
      :ok ->
        :ok

      {:error, %Error{error_type: :rate_limit_exceeded}} = error ->
        triggered(:rate_limit, %{rule_name: rule, identifier: identifier})
        error

      {:error, reason} ->
        {:error, {:rate_limit_error, reason}}
    end
  end

  defp limit_of(key) do
    case ProtectionConfig.get(key) do
      {:ok, %{rate_limiter: %{limit: limit, scale: scale}}} -> {limit, scale}
      {:error, :not_found} -> {@default_limit, @default_window_ms}
    end
  end

  defp limits(nil), do: {:ok, nil}
  defp limits({key, costs}), do: limits({key, costs, fn _value -> %{} end})

  defp limits({key, costs, actual}) do
    case Limits.reserve(key, costs) do
      {:ok, reservation} ->
        {:ok, {reservation, actual}}

      {:error, reason} = error ->
        triggered(:limits, %{key: key, reason: reason})
        error
    end
  end

  # What was reserved is charged when the function ran, and given back when an inner layer kept it from running.
  defp settled(nil, inner), do: inner.(fn fun -> fun end)

  defp settled({reservation, actual}, inner) do
    me = make_ref()

    noting = fn
      fun when is_function(fun, 1) ->
        fn worker ->
          note(me)
          fun.(worker)
        end

      fun ->
        fn ->
          note(me)
          fun.()
        end
    end

    try do
      result = inner.(noting)

      case result do
        {:ok, value} -> Limits.commit(reservation, actual.(value))
        _ -> if ran?(me), do: Limits.commit(reservation), else: Limits.refund(reservation)
      end

      result
    after
      # Settled already, unless something was thrown past us.
      if ran?(me), do: Limits.commit(reservation), else: Limits.refund(reservation)
      Process.delete({__MODULE__, me})
    end
  end

  defp note(me), do: Process.put({__MODULE__, me}, true)

  defp ran?(me), do: Process.get({__MODULE__, me}, false)

  # -- breaker, pool, time -----------------------------------------------------------------------------------------

  defp breaker(options, fun) do
    case options[:circuit_breaker] do
      nil ->
        pool(options, fun)

      name ->
        case CircuitBreaker.execute(name, fn -> pool(options, fun) end) do
          {:ok, inner} -> inner
          {:error, %Error{context: %{kind: :exit, value: {:call_timeout, _}}}} -> {:error, :call_timeout}
          error -> error
        end
    end
  catch
    :exit, {:call_timeout, _ms} -> {:error, :call_timeout}
  end

  defp pool(options, fun) do
    case options[:connection_pool] do
      nil ->
        plain(fn -> timed(options[:call_timeout], fun) end)

      name ->
        timeout = Keyword.get(options, :timeout, @timeout_ms)

        call =
          if is_function(fun, 1),
            do: &timed(options[:call_timeout], fn -> fun.(&1) end),
            else: fn _ -> timed(options[:call_timeout], fun) end

        melting(ConnectionManager.with_connection(name, call, timeout))
    end
  end

  # A pool reports an exit as an error; one that means "too late" is a failure to the breaker around it.
  defp melting({:error, {:call_timeout, _} = reason}), do: exit(reason)
  defp melting(result), do: result

  defp plain(fun) do
    {:ok, fun.()}
  rescue
    error -> {:error, {:execution_error, error}}
  end

  defp timed(nil, fun), do: fun.()

  # In a process of its own, which is killed when it is late; a raise, throw or exit of the function is repeated here.
  defp timed(ms, fun) do
    callers = [self() | Process.get(:"$callers", [])]

    {pid, ref} =
      spawn_monitor(fn ->
        Process.put(:"$callers", callers)
        exit({__MODULE__, outcome(fun)})
      end)

    receive do
      {:DOWN, ^ref, :process, ^pid, {__MODULE__, {:returned, value}}} -> value
      {:DOWN, ^ref, :process, ^pid, {__MODULE__, {kind, reason, stack}}} -> :erlang.raise(kind, reason, stack)
      {:DOWN, ^ref, :process, ^pid, reason} -> exit(reason)
    after
      ms ->
        Process.demonitor(ref, [:flush])
        Process.exit(pid, :kill)
        exit({:call_timeout, ms})
    end
  end

  defp outcome(fun) do
    {:returned, fun.()}
  catch
    kind, reason -> {kind, reason, __STACKTRACE__}
  end

  defp triggered(type, metadata) do
    Telemetry.execute(
      [:foundation, :foundation, :infrastructure, :protection_triggered],
      %{protection_type: type},
      metadata
    )
  end
end
