defmodule Foundation.Events.GracefulDegradation do
  @moduledoc """
  Makes, writes and stores events when the usual way fails, so that the caller goes on.
  """

  alias Foundation.{Events, Utils}
  alias Foundation.Types.Event
  require Logger

  @buffer :event_fallback_buffer
  @buffer_size 100

  @doc """
  An event, whatever the data: one of the data with processes, references, ports and functions as text when the data as
  it is does not do, and one that says so in place of the data when that fails too.
  """
  @spec new_event_safe(term, term) :: Event.t()
  def new_event_safe(event_type, data) do
    case Events.new_event(event_type, data) do
      {:ok, event} ->
        event

      {:error, error} ->
        Logger.warning("Event of type #{inspect(event_type)} made without its data: #{error.message}")
        minimal_event(event_type, data)
    end
  rescue
    error ->
      Logger.warning("Event creation failed: #{Exception.message(error)}")
      sanitized_event(event_type, data)
  end

  @doc "The event's bytes; `{:json_fallback, json}` or `{:minimal_fallback, map}` as external term when it cannot be written."
  @spec serialize_safe(term) :: binary
  def serialize_safe(event) do
    case Events.serialize(event) do
      {:ok, binary} -> binary
      {:error, _} -> fallback_bytes(event)
    end
  rescue
    error ->
      Logger.warning("Event serialization failed: #{Exception.message(error)}")
      fallback_bytes(event)
  end

  @doc "The result of `Foundation.Events.deserialize/1`."
  @spec deserialize_safe(binary) :: {:ok, Event.t()} | {:error, Foundation.Types.Error.t()}
  def deserialize_safe(binary) when is_binary(binary), do: Events.deserialize(binary)

  @doc """
  As `Foundation.Events.store/1`; when that raises, the event goes into the caller's process dictionary under
  `#{inspect(@buffer)}` (the newest #{@buffer_size}, newest first) and the answer is `:ok`.
  """
  @spec store_safe(term) :: {:ok, pos_integer} | {:error, Foundation.Types.Error.t()} | :ok
  def store_safe(event) do
    Events.store(event)
  rescue
    error ->
      Logger.warning("Event storage failed: #{Exception.message(error)}")
      Process.put(@buffer, [event | Enum.take(Process.get(@buffer, []), @buffer_size - 1)])
      :ok
  end

  @doc "As `Foundation.Events.query/1`; when that raises, `{:ok, [], %{warning: text}}`."
  @spec query_safe(term) ::
          {:ok, [Event.t()]} | {:error, Foundation.Types.Error.t()} | {:ok, [], %{warning: String.t()}}
  def query_safe(query) do
    Events.query(query)
  rescue
    error ->
      Logger.warning("Event query failed: #{Exception.message(error)}")
      {:ok, [], %{warning: "Service temporarily unavailable"}}
  end

  defp sanitized_event(event_type, data) do
    case Events.new_event(event_type, sanitize(data)) do
      {:ok, event} -> event
      {:error, _} -> minimal_event(event_type, data)
    end
  rescue
    error ->
      Logger.error("Event creation failed again: #{Exception.message(error)}")
      minimal_event(event_type, data)
  end

  defp minimal_event(event_type, data) do
    %Event{
      event_type: event_type,
      event_id: Utils.generate_id(),
      timestamp: System.system_time(:microsecond),
      wall_time: DateTime.utc_now(),
      node: node(),
      pid: self(),
      data: %{
        original_data_error: "Failed to serialize original data",
        fallback_info: %{
          original_data_type: type_of(data),
          sanitization_attempted: true,
          timestamp: DateTime.utc_now()
        }
      }
    }
  end

  defp fallback_bytes(event) do
    :erlang.term_to_binary({:json_fallback, json(plain(event))})
  rescue
    error ->
      Logger.error("JSON of the event failed: #{Exception.message(error)}")

      minimal =
        case event do
          %{event_type: type, timestamp: timestamp} -> %{event_type: type, timestamp: timestamp}
          _ -> %{event_type: nil, timestamp: nil}
        end

      :erlang.term_to_binary({:minimal_fallback, Map.put(minimal, :error, "Serialization failed")})
  end

  defp plain(%Event{} = event) do
    event
    |> Map.from_struct()
    |> Map.update!(:wall_time, &if(is_struct(&1, DateTime), do: DateTime.to_iso8601(&1), else: &1))
    |> sanitize()
  end

  defp plain(other), do: sanitize(other)

  defp sanitize(%_{} = struct), do: inspect(struct)
  defp sanitize(map) when is_map(map), do: Map.new(map, fn {key, value} -> {key, sanitize(value)} end)
  defp sanitize(list) when is_list(list), do: sanitize_list(list)
  defp sanitize(fun) when is_function(fun), do: "#Function<#{inspect(fun)}>"
  defp sanitize(value) when is_pid(value) or is_reference(value) or is_port(value), do: inspect(value)
  defp sanitize(value), do: value

  defp sanitize_list([head | tail]), do: [sanitize(head) | sanitize_list(tail)]
  defp sanitize_list([]), do: []
  defp sanitize_list(tail), do: [sanitize(tail)]

  defp json(map) when is_map(map),
    do:
      "{" <> Enum.map_join(map, ",", fn {key, value} -> json(key_text(key)) <> ":" <> json(value) end) <> "}"

  defp json(list) when is_list(list), do: "[" <> Enum.map_join(list, ",", &json/1) <> "]"
  defp json(nil), do: "null"
  defp json(value) when is_boolean(value) or is_number(value), do: to_string(value)
  defp json(value) when is_atom(value), do: json(Atom.to_string(value))

  defp json(value) when is_binary(value),
    do:
      if(String.valid?(value),
        do: [?", escape(value), ?"] |> IO.iodata_to_binary(),
        else: json(inspect(value))
      )

  defp json(value), do: json(inspect(value))

  defp key_text(key) when is_binary(key), do: key
  defp key_text(key) when is_atom(key), do: Atom.to_string(key)
  defp key_text(key), do: inspect(key)

  defp escape(text) do
    for <<char::utf8 <- text>>, into: "" do
      case char do
        ?" -> "\\\""
        ?\\ -> "\\\\"
        char when char < 0x20 -> "\\u" <> String.pad_leading(Integer.to_string(char, 16), 4, "0")
        char -> <<char::utf8>>
      end
    end
  end

  defp type_of(data) when is_map(data), do: :map
  defp type_of(data) when is_list(data), do: :list
  defp type_of(data) when is_binary(data), do: :binary
  defp type_of(data) when is_atom(data), do: :atom
  defp type_of(data) when is_number(data), do: :number
  defp type_of(data) when is_pid(data), do: :pid
  defp type_of(data) when is_reference(data), do: :reference
  defp type_of(data) when is_function(data), do: :function
  defp type_of(_data), do: :unknown
end
