defmodule Foundation.ErrorContractTest do
  # The 1.x contract of Foundation.Error: the table of codes and what follows from it.
  use ExUnit.Case, async: true
  doctest Foundation.Error
  doctest Foundation.Types.Error

  alias Foundation.Error

  @table [
    {:invalid_config_structure, 1101, :high, :config, :structure, "Configuration structure is invalid"},
    {:missing_required_field, 1102, :high, :config, :structure, "Required configuration field missing"},
    {:invalid_config_value, 1201, :medium, :config, :validation, "Configuration value failed validation"},
    {:constraint_violation, 1202, :medium, :config, :validation, "Configuration constraint violated"},
    {:range_error, 1203, :low, :config, :validation, "Value outside acceptable range"},
    {:config_not_found, 1301, :high, :config, :access, "Configuration not found"},
    {:config_update_forbidden, 1401, :medium, :config, :runtime, "Configuration update not allowed"},
    {:initialization_failed, 2101, :critical, :system, :initialization, "System initialization failed"},
    {:service_unavailable, 2102, :high, :system, :initialization, "Required service unavailable"},
    {:resource_exhausted, 2201, :high, :system, :resources, "System resources exhausted"},
    {:dependency_failed, 2301, :high, :system, :dependencies, "Required dependency failed"},
    {:internal_error, 2401, :critical, :system, :runtime, "Internal system error"},
    {:serialization_failed, 3101, :medium, :data, :serialization, "Data serialization failed"},
    {:deserialization_failed, 3102, :medium, :data, :serialization, "Data deserialization failed"},
    {:type_mismatch, 3201, :low, :data, :validation, "Data type mismatch"},
    {:format_error, 3202, :low, :data, :validation, "Data format error"},
    {:validation_failed, 3203, :medium, :data, :validation, "Data validation failed"},
    {:invalid_input, 3204, :low, :data, :validation, "Invalid input provided"},
    {:data_corruption, 3301, :critical, :data, :corruption, "Data corruption detected"},
    {:data_not_found, 3401, :low, :data, :not_found, "Requested data not found"},
    {:network_error, 4101, :medium, :external, :network, "Network communication error"},
    {:external_service_error, 4201, :medium, :external, :service, "External service error"},
    {:timeout, 4301, :medium, :external, :timeout, "Operation timeout"},
    {:authentication_failed, 4401, :high, :external, :auth, "Authentication failed"},
    {:anything_else, 9999, :medium, :unknown, :unknown, "Unknown error"}
  ]

  for {type, code, severity, category, subcategory, message} <- @table do
    test "#{type}" do
      error = Error.new(unquote(type))

      assert %Error{
               error_type: unquote(type),
               code: unquote(code),
               severity: unquote(severity),
               category: unquote(category),
               subcategory: unquote(subcategory),
               message: unquote(message),
               context: %{},
               correlation_id: nil,
               stacktrace: nil
             } = error

      assert %DateTime{} = error.timestamp
      assert Error.error_result(unquote(type)) |> elem(1) |> Map.get(:code) == unquote(code)
      assert Error.should_escalate?(error) == unquote(severity in [:high, :critical])
    end
  end

  @retry %{
    timeout: :exponential_backoff,
    network_error: :exponential_backoff,
    external_service_error: :fixed_delay,
    initialization_failed: :no_retry,
    internal_error: :no_retry,
    data_corruption: :no_retry,
    invalid_config_value: :no_retry,
    config_not_found: :immediate,
    service_unavailable: :immediate,
    resource_exhausted: :immediate,
    authentication_failed: :immediate,
    invalid_config_structure: :immediate,
    range_error: :fixed_delay,
    validation_failed: :fixed_delay,
    anything_else: :fixed_delay
  }

  for {type, strategy} <- @retry do
    test "#{type} is retried by #{strategy}" do
      error = Error.new(unquote(type))
      assert error.retry_strategy == unquote(strategy)
      assert Error.is_retryable?(error) == unquote(strategy != :no_retry)

      delays = for attempt <- [0, 1, 3, 10, 2000], do: Error.retry_delay(error, attempt)

      assert delays ==
               Map.fetch!(
                 %{
                   exponential_backoff: [1000, 2000, 8000, 30_000, 30_000],
                   fixed_delay: [1000, 1000, 1000, 1000, 1000],
                   immediate: [0, 0, 0, 0, 0],
                   no_retry: [:infinity, :infinity, :infinity, :infinity, :infinity]
                 },
                 unquote(strategy)
               )
    end
  end

  @actions [
    config_not_found: 2,
    invalid_config_value: 3,
    service_unavailable: 3,
    resource_exhausted: 3,
    network_error: 2,
    timeout: 3,
    data_corruption: 2,
    internal_error: 3,
    anything_else: 3
  ]

  for {type, count} <- @actions do
    test "#{type} has #{count} recovery actions, one more with an operation" do
      plain = Error.new(unquote(type)).recovery_actions
      assert length(plain) == unquote(count)
      assert Enum.all?(plain, &is_binary/1)
      with_operation = Error.new(unquote(type), nil, context: %{operation: :load}).recovery_actions
      assert with_operation == plain ++ ["Review load implementation"]
    end
  end

  test "seven lists are their own" do
    generic = Error.new(:anything_else).recovery_actions
    own = for {type, _} <- Enum.take(@actions, 7), do: Error.new(type).recovery_actions
    assert length(Enum.uniq([generic | own])) == 8
  end

  test "options" do
    {:current_stacktrace, stack} = Process.info(self(), :current_stacktrace)
    long = List.duplicate(hd(stack), 30)
    error = Error.new(:timeout, "late", context: %{a: 1}, correlation_id: "c", stacktrace: long)
    assert {error.message, error.context, error.correlation_id} == {"late", %{a: 1}, "c"}
    assert length(error.stacktrace) == 10
    assert [:arity, :file, :function, :line, :module] = error.stacktrace |> hd() |> Map.keys() |> Enum.sort()
  end

  test "wrap_error" do
    inner = Error.new(:timeout, nil, context: %{a: 1})

    assert {:error, wrapped} =
             Error.wrap_error({:error, inner}, :external_service_error, "call", context: %{b: 2})

    assert wrapped.error_type == :timeout

    assert wrapped.context == %{
             a: 1,
             wrapped_by: :external_service_error,
             wrapper_message: "call",
             wrapper_context: %{b: 2}
           }

    assert {:error, %Error{error_type: :timeout, context: %{original_reason: :boom, b: 2}}} =
             Error.wrap_error({:error, :boom}, :timeout, nil, context: %{b: 2})

    for other <- [:ok, {:ok, 1}, nil, :error], do: assert(Error.wrap_error(other, :timeout) == other)
  end

  test "to_string" do
    assert Error.to_string(Error.new(:config_not_found)) ==
             "[1301:config_not_found] Configuration not found | Severity: high"

    assert Error.to_string(Error.new(:timeout, "m", context: %{k: 1})) ==
             "[4301:timeout] m | Context: %{k: 1} | Severity: medium"
  end

  test "collect_error_metrics gives :ok" do
    assert Error.collect_error_metrics(Error.new(:timeout)) == :ok
  end
end
