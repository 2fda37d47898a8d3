defmodule Foundation.Validation.EventValidator do
  @moduledoc """
  Checks that an event is one: its required fields, their types and the size of its data.

  Pure functions; each answers `:ok` or `{:error, %Foundation.Types.Error{}}` of category `:data`, `:validation`.
  """

  alias Foundation.Types.{Error, Event}

  @max_data_size 1_000_000

  @typedoc "The most bytes that an event's data may have in external form."
  @type max_data_size :: 1_000_000
  @max_integer 0x7FFF_FFFF_FFFF_FFFF
  @min_integer -0x8000_0000_0000_0000

  @allowed_types [
    :function_entry,
    :function_exit,
    :state_change,
    :message_send,
    :message_receive,
    :spawn,
    :exit,
    :link,
    :unlink,
    :monitor,
    :demonitor,
    :system_event,
    :custom_event,
    :config_updated,
    :config_reset,
    :test,
    :test1,
    :test2,
    :test3,
    :test_event,
    :default,
    :type_a,
    :type_b
  ]

  defguardp is_id(id) when is_integer(id) and id > 0 and id <= @max_integer
  defguardp is_time(time) when is_integer(time) and time >= @min_integer and time <= @max_integer
  defguardp is_utc(wall) when is_nil(wall) or is_struct(wall, DateTime)

  @doc """
  Checks required fields, then types, then the size of the data. O(size of the data).

      iex> Foundation.Validation.EventValidator.validate(Foundation.Types.Event.new(:test))
      :ok
      iex> {:error, error} = Foundation.Validation.EventValidator.validate(%Foundation.Types.Event{
      ...>   event_id: nil, event_type: :test, timestamp: 1})
      iex> {error.error_type, error.code, error.message}
      {:validation_failed, 2001, "Event ID cannot be nil"}
  """
  @spec validate(Event.t()) :: :ok | {:error, Error.t()}
  # The usual event, in one step; whatever is wrong is told apart below.
  def validate(%Event{
        event_id: id,
        event_type: type,
        timestamp: timestamp,
        wall_time: wall,
        node: node,
        pid: pid,
        correlation_id: correlation,
        parent_id: parent,
        data: data
      })
      when is_id(id) and is_atom(type) and not is_nil(type) and is_time(timestamp) and is_utc(wall) and
             is_atom(node) and (is_pid(pid) or is_nil(pid)) and
             (is_binary(correlation) or is_nil(correlation)) and
             (is_id(parent) or is_nil(parent)) do
    check_size(data)
  end

  def validate(%Event{} = event) do
    with :ok <- validate_required_fields(event),
         :ok <- validate_field_types(event) do
      validate_data_size(event)
    end
  end

  @doc "Id, type and timestamp are there (else `:validation_failed`, 2001). O(1)."
  @spec validate_required_fields(Event.t()) :: :ok | {:error, Error.t()}
  def validate_required_fields(%Event{event_id: nil}), do: failed("Event ID cannot be nil")
  def validate_required_fields(%Event{event_type: nil}), do: failed("Event type cannot be nil")
  def validate_required_fields(%Event{timestamp: nil}), do: failed("Timestamp cannot be nil")
  def validate_required_fields(%Event{}), do: :ok

  @doc """
  Each field that is not nil has its type (else `:type_mismatch`, 2002). Integers have 64 bits. O(1).
  """
  @spec validate_field_types(Event.t()) :: :ok | {:error, Error.t()}
  def validate_field_types(%Event{} = event) do
    cond do
      not positive?(event.event_id) -> mismatch("Event ID must be a positive integer")
      not is_atom(event.event_type) -> mismatch("Event type must be an atom")
      not (is_nil(event.timestamp) or is_time(event.timestamp)) -> mismatch("Timestamp must be an integer")
      not is_utc(event.wall_time) -> mismatch("Wall time must be a DateTime")
      not is_atom(event.node) -> mismatch("Node must be an atom")
      not (is_nil(event.pid) or is_pid(event.pid)) -> mismatch("PID must be a process identifier")
      not text?(event.correlation_id) -> mismatch("Correlation ID must be a string")
      not positive?(event.parent_id) -> mismatch("Parent ID must be a positive integer")
      true -> :ok
    end
  end

  @doc """
  The data takes at most 1,000,000 bytes in external format (else `:data_too_large`, 2003). O(size of the data).
  """
  @spec validate_data_size(Event.t()) :: :ok | {:error, Error.t()}
  def validate_data_size(%Event{data: data}), do: check_size(data)

  @doc """
  The type is one of the built-in ones (else `:invalid_event_type`, 2004). Not part of `validate/1`. O(1).

      iex> Foundation.Validation.EventValidator.validate_event_type(:spawn)
      :ok
  """
  @spec validate_event_type(atom) :: :ok | {:error, Error.t()}
  def validate_event_type(type) when type in @allowed_types, do: :ok

  def validate_event_type(type) when is_atom(type) do
    error(2004, :invalid_event_type, :medium, "Invalid event type", %{
      event_type: type,
      allowed_types: @allowed_types
    })
  end

  def validate_event_type(_type), do: mismatch("Event type must be an atom")

  defp check_size(data) do
    case :erlang.external_size(data) do
      size when size > @max_data_size ->
        error(2003, :data_too_large, :high, "Event data too large", %{size: size, max_size: @max_data_size})

      _ ->
        :ok
    end
  end

  defp positive?(id), do: is_nil(id) or is_id(id)
  defp text?(text), do: is_nil(text) or is_binary(text)

  defp failed(message), do: error(2001, :validation_failed, :high, message, %{})
  defp mismatch(message), do: error(2002, :type_mismatch, :medium, message, %{})

  defp error(code, type, severity, message, context) do
    {:error,
     Error.new(
       code: code,
       error_type: type,
       message: message,
       severity: severity,
       context: context,
       category: :data,
       subcategory: :validation
     )}
  end
end
