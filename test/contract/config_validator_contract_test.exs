defmodule Foundation.ConfigValidatorContractTest do
  # The 1.x rules of Foundation.Validation.ConfigValidator, row by row.
  use ExUnit.Case, async: true

  alias Foundation.Types.{Config, Error}
  alias Foundation.Validation.ConfigValidator

  @validation_failed {1001, :validation_failed, :medium}
  @invalid_value {1002, :invalid_config_value, :medium}
  @constraint {1003, :constraint_violation, :high}
  @range {1004, :range_error, :high}

  # {path, bad values, code and type and severity}
  @rules [
    {[:ai, :provider], [:other, "mock", nil], @invalid_value},
    {[:ai, :analysis, :max_file_size], [0, -1, 1.5, nil, "1"], @validation_failed},
    {[:ai, :analysis, :timeout], [0, :infinity], @validation_failed},
    {[:ai, :analysis, :cache_ttl], [0, 1.0], @validation_failed},
    {[:ai, :planning, :performance_target], [-0.1, -1, "1", nil], @constraint},
    {[:ai, :planning, :sampling_rate], [-0.1, 1.1, 2, nil, :all], @range},
    {[:ai, :planning, :default_strategy], [:slow, nil], @invalid_value},
    {[:capture, :ring_buffer, :size], [0, 1.5], @validation_failed},
    {[:capture, :ring_buffer, :max_events], [0, nil], @validation_failed},
    {[:capture, :ring_buffer, :overflow_strategy], [:error, nil], @invalid_value},
    {[:capture, :processing, :batch_size], [0, "1"], @validation_failed},
    {[:capture, :processing, :flush_interval], [0, 0.5], @validation_failed},
    {[:capture, :processing, :max_queue_size], [-1], @validation_failed},
    {[:capture, :vm_tracing, :enable_spawn_trace], [nil, 1], @validation_failed},
    {[:capture, :vm_tracing, :enable_exit_trace], [nil], @validation_failed},
    {[:capture, :vm_tracing, :enable_message_trace], [:yes], @validation_failed},
    {[:capture, :vm_tracing, :trace_children], ["true"], @validation_failed},
    {[:storage, :hot, :max_events], [0], @validation_failed},
    {[:storage, :hot, :max_age_seconds], [0], @validation_failed},
    {[:storage, :hot, :prune_interval], [-5], @validation_failed},
    {[:storage, :warm, :enable], [nil, :no], @validation_failed},
    {[:storage, :cold, :enable], [true, nil], @validation_failed},
    {[:interface, :query_timeout], [0, nil], @validation_failed},
    {[:interface, :max_results], [0, 1.0], @validation_failed},
    {[:interface, :enable_streaming], [nil, 1], @validation_failed},
    {[:dev, :debug_mode], [nil, 1], @validation_failed},
    {[:dev, :verbose_logging], ["true"], @validation_failed},
    {[:dev, :performance_monitoring], [nil], @validation_failed},
    {[:infrastructure, :rate_limiting, :default_rules], [[], nil], @validation_failed},
    {[:infrastructure, :rate_limiting, :default_rules, :api_calls, :scale], [0, nil], @validation_failed},
    {[:infrastructure, :rate_limiting, :default_rules, :api_calls, :limit], [-1, 1.5], @validation_failed},
    {[:infrastructure, :rate_limiting, :enabled], [nil], @validation_failed},
    {[:infrastructure, :rate_limiting, :cleanup_interval], [0], @validation_failed},
    {[:infrastructure, :circuit_breaker, :default_config], [nil], @validation_failed},
    {[:infrastructure, :circuit_breaker, :default_config, :failure_threshold], [0], @validation_failed},
    {[:infrastructure, :circuit_breaker, :default_config, :recovery_time], [0], @validation_failed},
    {[:infrastructure, :circuit_breaker, :default_config, :call_timeout], [0], @validation_failed},
    {[:infrastructure, :circuit_breaker, :enabled], [1], @validation_failed},
    {[:infrastructure, :connection_pool, :default_config, :size], [0], @validation_failed},
    {[:infrastructure, :connection_pool, :default_config, :max_overflow], [-1], @validation_failed},
    {[:infrastructure, :connection_pool, :default_config, :strategy], [:random], @validation_failed},
    {[:infrastructure, :connection_pool, :enabled], [nil], @validation_failed}
  ]

  for {path, values, expected} <- @rules do
    test "#{inspect(path)}" do
      path = unquote(path)

      for value <- unquote(Macro.escape(values)) do
        config = put_in(Config.new(), path, value)
        assert {:error, %Error{} = error} = ConfigValidator.validate(config)
        assert {error.code, error.error_type, error.severity} == unquote(Macro.escape(expected))
        assert {error.category, error.subcategory} == {:config, :validation}

        section = hd(path)
        by_section = apply(ConfigValidator, :"validate_#{section}_config", [Map.fetch!(config, section)])
        assert {:error, %Error{code: code}} = by_section
        assert code == error.code
      end
    end
  end

  test "what is allowed" do
    for {path, values} <- [
          {[:ai, :provider], [:mock, :openai, :anthropic, :gemini]},
          {[:ai, :planning, :default_strategy], [:fast, :balanced, :thorough]},
          {[:ai, :planning, :performance_target], [0, 0.0, 5]},
          {[:ai, :planning, :sampling_rate], [0, 1, 0.5]},
          {[:capture, :ring_buffer, :overflow_strategy], [:drop_oldest, :drop_newest, :block]},
          {[:infrastructure, :connection_pool, :default_config, :strategy], [:lifo, :fifo]},
          {[:infrastructure, :connection_pool, :default_config, :max_overflow], [0]},
          {[:infrastructure, :rate_limiting, :default_rules], [%{}]}
        ],
        value <- values do
      assert ConfigValidator.validate(put_in(Config.new(), path, value)) == :ok
    end
  end

  test "warm storage, when it is on, is checked further" do
    warm = fn changes ->
      storage =
        put_in(Config.new().storage, [:warm], Map.merge(%{Config.new().storage.warm | enable: true}, changes))

      ConfigValidator.validate_storage_config(storage)
    end

    assert warm.(%{}) == :ok
    for kind <- [:none, :gzip, :zstd], do: assert(warm.(%{compression: kind}) == :ok)
    assert {:error, %Error{code: 1002}} = warm.(%{compression: :lz4})
    assert {:error, %Error{code: 1001}} = warm.(%{path: nil})
    assert {:error, %Error{code: 1001}} = warm.(%{max_size_mb: 0})
  end

  test "a rule that is no atom" do
    config =
      put_in(Config.new(), [:infrastructure, :rate_limiting, :default_rules], %{"x" => %{scale: 1, limit: 1}})

    assert {:error, %Error{code: 1001, message: message}} = ConfigValidator.validate(config)
    assert message == ~s(Invalid rate limiting rule: "x")
  end

  test "missing keys: an error in the open sections, no clause in ai, capture and storage" do
    for section <- [:interface, :dev, :infrastructure] do
      assert {:error, %Error{code: 1001}} = apply(ConfigValidator, :"validate_#{section}_config", [%{}])
    end

    for section <- [:ai, :capture, :storage] do
      assert_raise FunctionClauseError, fn ->
        apply(ConfigValidator, :"validate_#{section}_config", [%{}])
      end
    end
  end

  test "the provider's error says what is allowed" do
    assert {:error, %Error{context: context}} =
             ConfigValidator.validate_ai_config(%{Config.new().ai | provider: :x})

    assert context == %{provider: :x, valid_providers: [:mock, :openai, :anthropic, :gemini]}
  end
end
