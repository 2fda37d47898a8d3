defmodule Foundation.Validation.ConfigValidator do
  @moduledoc """
  Checks a configuration section by section; the first rule that is broken is the error.

  Pure functions. An error is a `Foundation.Types.Error` of category `:config`, subcategory `:validation`:

  | code | type | severity | says |
  |---|---|---|---|
  | 1001 | `:validation_failed` | medium | a part has the wrong shape |
  | 1002 | `:invalid_config_value` | medium | a value is not one of those allowed |
  | 1003 | `:constraint_violation` | high | a value breaks a constraint |
  | 1004 | `:range_error` | high | a number is out of range |

  A section of ai, capture or storage that lacks a key raises `FunctionClauseError`.
  """

  alias Foundation.Types.{Config, Error}

  @providers [:mock, :openai, :anthropic, :gemini]
  @strategies [:fast, :balanced, :thorough]
  @overflow_strategies [:drop_oldest, :drop_newest, :block]
  @compressions [:none, :gzip, :zstd]

  defguardp is_positive(value) when is_integer(value) and value > 0

  @doc "Checks all six sections, in the order of the struct."
  @spec validate(Config.t()) :: :ok | {:error, Error.t()}
  def validate(%Config{} = config) do
    with :ok <- validate_ai_config(config.ai),
         :ok <- validate_capture_config(config.capture),
         :ok <- validate_storage_config(config.storage),
         :ok <- validate_interface_config(config.interface),
         :ok <- validate_dev_config(config.dev) do
      validate_infrastructure_config(config.infrastructure)
    end
  end

  @doc "Checks the ai section."
  @spec validate_ai_config(map) :: :ok | {:error, Error.t()}
  def validate_ai_config(%{provider: provider, analysis: analysis, planning: planning}) do
    with :ok <- provider(provider), :ok <- analysis(analysis), do: planning(planning)
  end

  @doc "Checks the capture section."
  @spec validate_capture_config(map) :: :ok | {:error, Error.t()}
  def validate_capture_config(%{ring_buffer: ring_buffer, processing: processing, vm_tracing: vm_tracing}) do
    with :ok <- ring_buffer(ring_buffer), :ok <- processing(processing), do: vm_tracing(vm_tracing)
  end

  @doc "Checks the storage section."
  @spec validate_storage_config(map) :: :ok | {:error, Error.t()}
  def validate_storage_config(%{hot: hot, warm: warm, cold: cold}) do
    with :ok <- hot_storage(hot), :ok <- warm_storage(warm), do: cold_storage(cold)
  end

  @doc "Checks the interface section."
  @spec validate_interface_config(map) :: :ok | {:error, Error.t()}
  def validate_interface_config(%{query_timeout: timeout, max_results: results, enable_streaming: streaming})
      when is_positive(timeout) and is_positive(results) and is_boolean(streaming),
      do: :ok

  def validate_interface_config(_section), do: malformed("Invalid interface configuration")

  @doc "Checks the dev section."
  @spec validate_dev_config(map) :: :ok | {:error, Error.t()}
  def validate_dev_config(%{debug_mode: debug, verbose_logging: verbose, performance_monitoring: monitoring})
      when is_boolean(debug) and is_boolean(verbose) and is_boolean(monitoring),
      do: :ok

  def validate_dev_config(_section), do: malformed("Invalid development configuration")

  @doc "Checks the infrastructure section."
  @spec validate_infrastructure_config(map) :: :ok | {:error, Error.t()}
  def validate_infrastructure_config(%{
        rate_limiting: rate_limiting,
        circuit_breaker: circuit_breaker,
        connection_pool: connection_pool
      }) do
    with :ok <- rate_limiting(rate_limiting),
         :ok <- circuit_breaker(circuit_breaker),
         do: connection_pool(connection_pool)
  end

  def validate_infrastructure_config(_section), do: malformed("Invalid infrastructure configuration")

  # -- ai ----------------------------------------------------------------------------------------------------

  defp provider(provider) when provider in @providers, do: :ok

  defp provider(provider) do
    error(1002, :invalid_config_value, "Invalid AI provider", %{
      provider: provider,
      valid_providers: @providers
    })
  end

  defp analysis(%{max_file_size: size, timeout: timeout, cache_ttl: ttl})
       when is_positive(size) and is_positive(timeout) and is_positive(ttl),
       do: :ok

  defp analysis(_part), do: malformed("Invalid AI analysis configuration")

  defp planning(%{performance_target: target, sampling_rate: rate, default_strategy: strategy}) do
    cond do
      not is_number(target) or target < 0 ->
        error(1003, :constraint_violation, "Performance target must be a non-negative number")

      not is_number(rate) or rate < 0 or rate > 1 ->
        error(1004, :range_error, "Sampling rate must be between 0 and 1")

      strategy not in @strategies ->
        error(1002, :invalid_config_value, "Invalid planning strategy")

      true ->
        :ok
    end
  end

  defp planning(_part), do: malformed("Invalid AI planning configuration")

  # -- capture -----------------------------------------------------------------------------------------------

  defp ring_buffer(%{size: size, max_events: events, overflow_strategy: strategy})
       when is_positive(size) and is_positive(events) do
    one_of(strategy, @overflow_strategies, "Invalid overflow strategy")
  end

  defp ring_buffer(_part), do: malformed("Invalid ring buffer configuration")

  defp processing(%{batch_size: batch, flush_interval: interval, max_queue_size: queue})
       when is_positive(batch) and is_positive(interval) and is_positive(queue),
       do: :ok

  defp processing(_part), do: malformed("Invalid processing configuration")

  defp vm_tracing(%{
         enable_spawn_trace: spawns,
         enable_exit_trace: exits,
         enable_message_trace: messages,
         trace_children: children
       })
       when is_boolean(spawns) and is_boolean(exits) and is_boolean(messages) and is_boolean(children),
       do: :ok

  defp vm_tracing(_part), do: malformed("Invalid VM tracing configuration")

  # -- storage -----------------------------------------------------------------------------------------------

  defp hot_storage(%{max_events: events, max_age_seconds: age, prune_interval: interval})
       when is_positive(events) and is_positive(age) and is_positive(interval),
       do: :ok

  defp hot_storage(_part), do: malformed("Invalid hot storage configuration")

  defp warm_storage(%{enable: false}), do: :ok

  defp warm_storage(%{enable: true, path: path, max_size_mb: size, compression: compression})
       when is_binary(path) and is_positive(size) do
    one_of(compression, @compressions, "Invalid compression type")
  end

  defp warm_storage(_part), do: malformed("Invalid warm storage configuration")

  defp cold_storage(%{enable: false}), do: :ok
  defp cold_storage(_part), do: malformed("Invalid cold storage configuration")

  # -- infrastructure ----------------------------------------------------------------------------------------

  defp rate_limiting(%{default_rules: rules, enabled: enabled, cleanup_interval: interval})
       when is_map(rules) and is_boolean(enabled) and is_positive(interval) do
    Enum.find_value(rules, :ok, fn {name, rule} -> rate_rule_error(name, rule) end)
  end

  defp rate_limiting(_part), do: malformed("Invalid rate limiting configuration")

  defp rate_rule_error(name, %{scale: scale, limit: limit})
       when is_atom(name) and is_positive(scale) and is_positive(limit),
       do: nil

  defp rate_rule_error(name, _rule), do: malformed("Invalid rate limiting rule: #{inspect(name)}")

  defp circuit_breaker(%{default_config: default, enabled: enabled})
       when is_map(default) and is_boolean(enabled),
       do: breaker_default(default)

  defp circuit_breaker(_part), do: malformed("Invalid circuit breaker configuration")

  defp breaker_default(%{failure_threshold: threshold, recovery_time: recovery, call_timeout: timeout})
       when is_positive(threshold) and is_positive(recovery) and is_positive(timeout),
       do: :ok

  defp breaker_default(_part), do: malformed("Invalid circuit breaker default configuration")

  defp connection_pool(%{default_config: default, enabled: enabled})
       when is_map(default) and is_boolean(enabled),
       do: pool_default(default)

  defp connection_pool(_part), do: malformed("Invalid connection pool configuration")

  defp pool_default(%{size: size, max_overflow: overflow, strategy: strategy})
       when is_positive(size) and is_integer(overflow) and overflow >= 0 and strategy in [:lifo, :fifo],
       do: :ok

  defp pool_default(_part), do: malformed("Invalid connection pool default configuration")

  # -- errors ------------------------------------------------------------------------------------------------

  defp one_of(value, allowed, message) do
    if value in allowed, do: :ok, else: error(1002, :invalid_config_value, message)
  end

  defp malformed(message), do: error(1001, :validation_failed, message)

  defp error(code, type, message, context \\ %{}) do
    {:error,
     Error.new(
       code: code,
       error_type: type,
       message: message,
       severity: if(code in [1003, 1004], do: :high, else: :medium),
       context: context,
       category: :config,
       subcategory: :validation
     )}
  end
end
