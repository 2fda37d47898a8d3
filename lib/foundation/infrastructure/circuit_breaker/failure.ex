defmodule Foundation.Infrastructure.CircuitBreaker.Failure do
  @moduledoc false
  # The errors 5001 to 5014 of the 1.x circuit breaker.

  alias Foundation.Types.Error

  def install_failed(name, reason),
    do:
      error(
        5001,
        :circuit_breaker_install_failed,
        :high,
        "Failed to install circuit breaker: #{inspect(reason)}",
        %{
          fuse_name: name,
          reason: reason
        }
      )

  def install_exception(name, exception),
    do:
      error(
        5002,
        :circuit_breaker_exception,
        :critical,
        "Exception during fuse installation: #{inspect(exception)}",
        %{
          fuse_name: name,
          exception: exception
        }
      )

  def raised(name, exception),
    do:
      error(
        5003,
        :protected_operation_failed,
        :medium,
        "Protected operation failed: #{inspect(exception)}",
        %{
          fuse_name: name,
          exception: exception
        }
      )

  def blown(name) do
    error =
      error(5004, :circuit_breaker_blown, :medium, "Circuit breaker is open for #{name}", %{fuse_name: name})

    %{error | retry_strategy: :fixed_delay}
  end

  def not_found(name),
    do:
      error(5005, :circuit_breaker_not_found, :high, "Circuit breaker #{name} not found", %{fuse_name: name})

  def execution_exception(name, exception),
    do:
      error(
        5006,
        :circuit_breaker_exception,
        :critical,
        "Exception in circuit breaker execution: #{inspect(exception)}",
        %{fuse_name: name, exception: exception}
      )

  def status_not_found(name),
    do:
      error(5007, :circuit_breaker_not_found, :medium, "Circuit breaker #{name} not found", %{fuse_name: name})

  def status_exception(name, reason),
    do:
      error(
        5008,
        :circuit_breaker_exception,
        :medium,
        "Exception checking circuit breaker status: #{inspect(reason)}",
        %{fuse_name: name, exception: reason}
      )

  def invalid_call(name, operation) do
    message = "Invalid circuit breaker inputs: name must be atom, operation must be 0-arity function"
    kind = if is_function(operation), do: :function, else: :not_function
    error(5009, :invalid_input, :medium, message, %{name: name, operation_type: kind})
  end

  def invalid_metadata(name, operation),
    do:
      error(5010, :invalid_input, :medium, "Invalid circuit breaker inputs", %{
        name: name,
        operation: operation
      })

  def invalid_name(name),
    do: error(5011, :invalid_input, :medium, "Invalid circuit breaker name: must be an atom", %{name: name})

  def caught(name, kind, value) do
    message = "Protected operation failed with #{kind}: #{inspect(value)}"
    error(5012, :protected_operation_failed, :medium, message, %{fuse_name: name, kind: kind, value: value})
  end

  def reset_not_found(name) do
    message = "Cannot reset circuit breaker #{name}: not found"
    error(5013, :circuit_breaker_not_found, :medium, message, %{fuse_name: name})
  end

  def reset_exception(name, reason),
    do:
      error(
        5014,
        :circuit_breaker_exception,
        :medium,
        "Exception resetting circuit breaker: #{inspect(reason)}",
        %{
          fuse_name: name,
          exception: reason
        }
      )

  defp error(code, type, severity, message, context) do
    Error.new(code: code, error_type: type, severity: severity, message: message, context: context)
  end
end
