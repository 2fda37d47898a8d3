defmodule Foundation.Types.Error do
  @moduledoc """
  Carries an error as plain data: the struct that the services return.

  `Foundation.Error` is the richer one, whose code, category and recovery actions come from a table.
  """

  @type error_code :: atom
  @type error_context :: map
  @type error_severity :: :low | :medium | :high | :critical
  @type error_category :: :config | :system | :data | :external
  @type error_subcategory :: :structure | :validation | :access | :runtime
  @type retry_strategy :: :no_retry | :immediate | :fixed_delay | :exponential_backoff
  @type stacktrace_info :: [map]
  @type t :: %__MODULE__{
          code: pos_integer,
          error_type: error_code,
          message: String.t(),
          severity: error_severity,
          context: error_context | nil,
          correlation_id: String.t() | nil,
          timestamp: DateTime.t() | nil,
          stacktrace: stacktrace_info | nil,
          category: error_category | nil,
          subcategory: error_subcategory | nil,
          retry_strategy: retry_strategy | nil,
          recovery_actions: [String.t()] | nil
        }

  @enforce_keys [:code, :error_type, :message, :severity]
  defstruct [
    :code,
    :error_type,
    :message,
    :severity,
    :context,
    :correlation_id,
    :timestamp,
    :stacktrace,
    :category,
    :subcategory,
    :retry_strategy,
    :recovery_actions
  ]

  @doc """
  Builds an error of the given fields; `timestamp` is now, `context` an empty map and `recovery_actions` an empty list
  unless given. O(1).

      iex> error = Foundation.Types.Error.new(error_type: :timeout, message: "too late")
      iex> {error.error_type, error.code, error.context}
      {:timeout, nil, %{}}
  """
  @spec new(keyword) :: t
  def new(fields \\ []) do
    struct(%__MODULE__{code: nil, error_type: nil, message: nil, severity: nil},
      timestamp: DateTime.utc_now(),
      context: %{},
      recovery_actions: []
    )
    |> struct(fields)
  end

  @doc false
  # What a service answers when it is to forget its state and this is no test. Each has a code of its own.
  @spec only_in_tests(pos_integer) :: t
  def only_in_tests(code) do
    new(
      code: code,
      error_type: :operation_forbidden,
      message: "State reset only allowed in test mode",
      severity: :high,
      category: :security,
      subcategory: :authorization
    )
  end
end
