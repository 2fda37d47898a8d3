defmodule Foundation.Error.Table do
  @moduledoc false
  # What is known of each type of error: code, severity, category, message, retry strategy and recovery
  # actions.

  @definitions [
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
    {:authentication_failed, 4401, :high, :external, :auth, "Authentication failed"}
  ]

  @recovery %{
    config_not_found: [
      "Check that the configuration exists where it is looked for",
      "Compare the path with the names in use"
    ],
    invalid_config_value: [
      "Compare the value with the type and range that are documented",
      "Validate the configuration before using it",
      "Go back to the last value that worked"
    ],
    service_unavailable: [
      "Check that the service is running",
      "Check that it can be reached from here",
      "Read the service's log"
    ],
    resource_exhausted: [
      "Look at memory and process counts",
      "Review the limits that are configured",
      "Add capacity or lower the load"
    ],
    network_error: ["Check the network connection", "Retry with a growing delay"],
    timeout: [
      "Allow more time",
      "Measure the latency of the network",
      "Find out what the called service is busy with"
    ],
    data_corruption: ["Restore the data from a backup", "Tell the operator of the system"]
  }

  @generic ["Read the log around the time of the error", "Look at the error's context", "Ask for support"]

  @doc "Code, severity, category, subcategory and message of a type."
  @spec fetch(atom) :: {pos_integer, atom, atom, atom, String.t()}
  for {type, code, severity, category, subcategory, message} <- @definitions do
    def fetch(unquote(type)),
      do: {unquote(code), unquote(severity), unquote(category), unquote(subcategory), unquote(message)}
  end

  def fetch(_type), do: {9999, :medium, :unknown, :unknown, "Unknown error"}

  @doc "Whether and how to try again; the first rule that applies."
  @spec retry_strategy(atom, atom) :: Foundation.Error.retry_strategy()
  def retry_strategy(type, _severity) when type in [:timeout, :network_error], do: :exponential_backoff
  def retry_strategy(:external_service_error, _severity), do: :fixed_delay
  def retry_strategy(_type, :critical), do: :no_retry
  def retry_strategy(_type, :high), do: :immediate
  def retry_strategy(type, _severity) when type in [:invalid_config_value, :data_corruption], do: :no_retry
  def retry_strategy(:resource_exhausted, _severity), do: :immediate
  def retry_strategy(_type, _severity), do: :fixed_delay

  @doc "What a person may do, and one line more when the context names the operation."
  @spec recovery_actions(atom, term) :: [String.t()]
  def recovery_actions(type, context) do
    Map.get(@recovery, type, @generic) ++ operation(context)
  end

  defp operation(%{operation: name}) when is_binary(name) or is_atom(name) or is_number(name),
    do: ["Review #{name} implementation"]

  defp operation(%{operation: name}), do: ["Review #{inspect(name)} implementation"]
  defp operation(_context), do: []
end
