defmodule Foundation.Error do
  @moduledoc """
  Builds errors that know their code, severity, category, whether to retry and what to do about it.

  All of these come from one table by the error's type:

      iex> error = Foundation.Error.new(:timeout)
      iex> {error.code, error.severity, error.category, error.retry_strategy}
      {4301, :medium, :external, :exponential_backoff}

  A type that is not in the table has code 9999. Services return `Foundation.Types.Error`, the same fields as
  bare data.
  """

  alias Foundation.Error.Table

  @type error_code :: atom
  @type error_context :: map
  @type stacktrace_info :: [map]
  @type error_category :: :config | :system | :data | :external
  @type error_subcategory :: :structure | :validation | :access | :runtime
  @type error_severity :: :low | :medium | :high | :critical
  @type retry_strategy :: :no_retry | :immediate | :fixed_delay | :exponential_backoff

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

  @base_delay 1_000
  @max_delay 30_000
  @max_frames 10

  @doc """
  Builds an error of the given type; the message is the table's unless given.

  Options: `context:` a map (default empty), `correlation_id:`, `stacktrace:` of which the first ten frames
  are kept as maps. O(1).

      iex> Foundation.Error.new(:data_not_found).message
      "Requested data not found"
      iex> Foundation.Error.new(:no_such_type).code
      9999
  """
  @spec new(error_code, String.t() | nil, keyword) :: t
  def new(error_type, message \\ nil, opts \\ []) do
    {code, severity, category, subcategory, default_message} = Table.fetch(error_type)
    context = Keyword.get(opts, :context, %{})

    %__MODULE__{
      code: code,
      error_type: error_type,
      message: message || default_message,
      severity: severity,
      context: context,
      correlation_id: Keyword.get(opts, :correlation_id),
      timestamp: DateTime.utc_now(),
      stacktrace: frames(Keyword.get(opts, :stacktrace)),
      category: category,
      subcategory: subcategory,
      retry_strategy: Table.retry_strategy(error_type, severity),
      recovery_actions: Table.recovery_actions(error_type, context)
    }
  end

  @doc "As `new/3`, in an error tuple."
  @spec error_result(error_code, String.t() | nil, keyword) :: {:error, t}
  def error_result(error_type, message \\ nil, opts \\ []), do: {:error, new(error_type, message, opts)}

  @doc """
  Adds to a failed result what the caller knows, and leaves any other result as it is.

  An error of ours keeps its type and gains `wrapped_by`, `wrapper_message` and `wrapper_context` in its
  context; any other reason becomes an error of the given type with `original_reason` in its context.

      iex> {:error, error} = Foundation.Error.wrap_error({:error, :nxdomain}, :network_error)
      iex> {error.error_type, error.context}
      {:network_error, %{original_reason: :nxdomain}}
      iex> Foundation.Error.wrap_error({:ok, 1}, :network_error)
      {:ok, 1}
  """
  @spec wrap_error(term, error_code, String.t() | nil, keyword) :: term
  def wrap_error(result, error_type, message \\ nil, opts \\ [])

  def wrap_error({:error, %__MODULE__{} = error}, error_type, message, opts) do
    wrapper = %{
      wrapped_by: error_type,
      wrapper_message: message,
      wrapper_context: Keyword.get(opts, :context, %{})
    }

    {:error, %{error | context: Map.merge(error.context || %{}, wrapper)}}
  end

  def wrap_error({:error, reason}, error_type, message, opts) do
    context = opts |> Keyword.get(:context, %{}) |> Map.put(:original_reason, reason)
    error_result(error_type, message, Keyword.put(opts, :context, context))
  end

  def wrap_error(result, _error_type, _message, _opts), do: result

  @doc """
  Whether trying again may help.

      iex> Foundation.Error.is_retryable?(Foundation.Error.new(:data_corruption))
      false
  """
  @spec is_retryable?(t) :: boolean
  def is_retryable?(%__MODULE__{retry_strategy: strategy}), do: strategy != :no_retry

  @doc """
  Milliseconds to wait before the given attempt (0 is the first), or `:infinity` when none should follow.

      iex> error = Foundation.Error.new(:timeout)
      iex> Enum.map([0, 1, 4, 5, 100], &Foundation.Error.retry_delay(error, &1))
      [1000, 2000, 16000, 30000, 30000]
  """
  @spec retry_delay(t, non_neg_integer) :: non_neg_integer | :infinity
  def retry_delay(%__MODULE__{retry_strategy: :exponential_backoff}, attempt) when attempt >= 5,
    do: @max_delay

  def retry_delay(%__MODULE__{retry_strategy: :exponential_backoff}, attempt),
    do: min(round(@base_delay * :math.pow(2, attempt)), @max_delay)

  def retry_delay(%__MODULE__{retry_strategy: :fixed_delay}, _attempt), do: @base_delay
  def retry_delay(%__MODULE__{retry_strategy: :immediate}, _attempt), do: 0
  def retry_delay(%__MODULE__{retry_strategy: :no_retry}, _attempt), do: :infinity

  @doc "Whether a person should hear of it: severity high or critical."
  @spec should_escalate?(t) :: boolean
  def should_escalate?(%__MODULE__{severity: severity}), do: severity in [:high, :critical]

  @doc """
  One line of text.

      iex> Foundation.Error.to_string(Foundation.Error.new(:timeout))
      "[4301:timeout] Operation timeout | Severity: medium"
      iex> Foundation.Error.to_string(Foundation.Error.new(:timeout, "late", context: %{ms: 5}))
      "[4301:timeout] late | Context: %{ms: 5} | Severity: medium"
  """
  @spec to_string(t) :: String.t()
  def to_string(%__MODULE__{} = error) do
    context =
      case error.context do
        %{} = context when map_size(context) > 0 -> " | Context: #{inspect(context, limit: 3)}"
        _ -> ""
      end

    "[#{error.code}:#{error.error_type}] #{error.message}#{context} | Severity: #{error.severity}"
  end

  @doc "Counts the error in telemetry under `[:foundation, :errors, category, subcategory]`."
  @spec collect_error_metrics(t) :: :ok
  def collect_error_metrics(%__MODULE__{} = error) do
    Foundation.Telemetry.emit_counter(
      [:foundation, :errors, error.category, error.subcategory],
      %{error_type: error.error_type, severity: error.severity, code: error.code}
    )

    :ok
  end

  defp frames(nil), do: nil

  defp frames(stacktrace) when is_list(stacktrace) do
    stacktrace |> Enum.take(@max_frames) |> Enum.map(&frame/1)
  end

  defp frame({module, function, arity, location}) when is_list(location) do
    %{
      module: module,
      function: function,
      arity: if(is_list(arity), do: length(arity), else: arity),
      file: Keyword.get(location, :file),
      line: Keyword.get(location, :line)
    }
  end

  defp frame(%{} = frame), do: frame
  defp frame(other), do: inspect(other)
end
