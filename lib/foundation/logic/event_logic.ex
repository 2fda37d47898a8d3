defmodule Foundation.Logic.EventLogic do
  @moduledoc """
  Builds events, writes them as bytes and back, and sorts lists of them; pure functions without a store.

  Errors are `%Foundation.Types.Error{}`: those of `Foundation.Validation.EventValidator`, and
  `:serialization_failed` and `:deserialization_failed` (no code, category `:data`, `:runtime`).
  """

  alias Foundation.Types.{Error, Event}
  alias Foundation.Distributed.Context
  alias Foundation.Utils
  alias Foundation.Validation.EventValidator

  @type event_opts :: keyword
  @type serialization_opts :: keyword

  @doc """
  An event of a type and data, checked.

  Options override `:event_id`, `:timestamp` (monotonic milliseconds), `:wall_time`, `:node`, `:pid`,
  `:correlation_id` (the trace id of a `Foundation.Distributed.Context`, or a new UUID) and `:parent_id` (nil).
  O(size of the data).

      iex> {:ok, event} = Foundation.Logic.EventLogic.create_event(:test, %{a: 1}, event_id: 7)
      iex> {event.event_id, event.event_type, event.data}
      {7, :test, %{a: 1}}
  """
  @spec create_event(atom, term, event_opts) :: {:ok, Event.t()} | {:error, Error.t()}
  def create_event(event_type, data, opts \\ []) do
    event = %Event{
      event_type: event_type,
      event_id: option(opts, :event_id, &Utils.generate_id/0),
      timestamp: option(opts, :timestamp, &Utils.monotonic_timestamp/0),
      wall_time: option(opts, :wall_time, &DateTime.utc_now/0),
      node: option(opts, :node, &node/0),
      pid: option(opts, :pid, &self/0),
      correlation_id: option(opts, :correlation_id, &Context.correlation_id/0),
      parent_id: Keyword.get(opts, :parent_id),
      data: data
    }

    with :ok <- EventValidator.validate(event), do: {:ok, event}
  end

  @doc "A `:function_entry` event; arguments over 10,000 bytes are truncated. Options also `:caller_module`, `:caller_function`, `:caller_line`."
  @spec create_function_entry(module, atom, arity, [term], event_opts) ::
          {:ok, Event.t()} | {:error, Error.t()}
  def create_function_entry(module, function, arity, args, opts \\ []) do
    data = %{
      call_id: Utils.generate_id(),
      module: module,
      function: function,
      arity: arity,
      args: Utils.truncate_if_large(args),
      caller_module: Keyword.get(opts, :caller_module),
      caller_function: Keyword.get(opts, :caller_function),
      caller_line: Keyword.get(opts, :caller_line)
    }

    create_event(:function_entry, data, opts)
  end

  @doc "A `:function_exit` event; a result over 10,000 bytes is truncated, `duration_ns` is in nanoseconds."
  @spec create_function_exit(module, atom, arity, pos_integer, term, non_neg_integer, atom) ::
          {:ok, Event.t()} | {:error, Error.t()}
  def create_function_exit(module, function, arity, call_id, result, duration_ns, exit_reason) do
    data = %{
      call_id: call_id,
      module: module,
      function: function,
      arity: arity,
      result: Utils.truncate_if_large(result),
      duration_ns: duration_ns,
      exit_reason: exit_reason
    }

    create_event(:function_exit, data)
  end

  @doc "A `:state_change` event; states over 10,000 bytes are truncated. Options also `:trigger_message`, `:trigger_call_id`."
  @spec create_state_change(pid, atom, term, term, event_opts) :: {:ok, Event.t()} | {:error, Error.t()}
  def create_state_change(server_pid, callback, old_state, new_state, opts \\ []) do
    data = %{
      server_pid: server_pid,
      callback: callback,
      old_state: Utils.truncate_if_large(old_state),
      new_state: Utils.truncate_if_large(new_state),
      state_diff: if(old_state == new_state, do: :no_change, else: :changed),
      trigger_message: Keyword.get(opts, :trigger_message),
      trigger_call_id: Keyword.get(opts, :trigger_call_id)
    }

    create_event(:state_change, data, opts)
  end

  @doc "The event as external term, compressed unless `compression: false`. O(its size)."
  @spec serialize_event(Event.t(), serialization_opts) :: {:ok, binary} | {:error, Error.t()}
  def serialize_event(%Event{} = event, opts \\ []) do
    flags = if Keyword.get(opts, :compression, true), do: [:compressed], else: []
    {:ok, :erlang.term_to_binary(event, flags)}
  rescue
    error ->
      failed(:serialization_failed, "Failed to serialize event", %{
        original_error: error,
        event_id: event.event_id
      })
  end

  @doc """
  The event that `serialize_event/2` wrote, checked.

  Never creates an atom or a function: bytes that name an atom unknown to this VM are `:deserialization_failed`, as
  is anything that is not an event. O(size).
  """
  @spec deserialize_event(binary) :: {:ok, Event.t()} | {:error, Error.t()}
  def deserialize_event(binary) when is_binary(binary) do
    event = :erlang.binary_to_term(binary, [:safe])

    with :ok <- EventValidator.validate(event), do: {:ok, event}
  rescue
    error ->
      failed(:deserialization_failed, "Failed to deserialize event", %{
        original_error: error,
        binary_size: byte_size(binary)
      })
  end

  @doc "Bytes that `serialize_event/1` makes. O(size)."
  @spec calculate_serialized_size(Event.t()) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def calculate_serialized_size(%Event{} = event) do
    with {:ok, binary} <- serialize_event(event), do: {:ok, byte_size(binary)}
  end

  @doc "The events of a correlation id, by timestamp. O(n log n)."
  @spec extract_correlation_chain([Event.t()], String.t()) :: [Event.t()]
  def extract_correlation_chain(events, correlation_id) when is_list(events) and is_binary(correlation_id) do
    events
    |> Enum.filter(&(&1.correlation_id == correlation_id))
    |> Enum.sort_by(& &1.timestamp)
  end

  @doc "The events by correlation id, each group by timestamp; events without one are left out. O(n log n)."
  @spec group_by_correlation([Event.t()]) :: %{String.t() => [Event.t()]}
  def group_by_correlation(events) when is_list(events) do
    events
    |> Enum.reject(&is_nil(&1.correlation_id))
    |> Enum.group_by(& &1.correlation_id)
    |> Map.new(fn {id, group} -> {id, Enum.sort_by(group, & &1.timestamp)} end)
  end

  @doc "The events between two timestamps, both included, in the order given. O(n)."
  @spec filter_by_time_range([Event.t()], integer, integer) :: [Event.t()]
  def filter_by_time_range(events, start_time, end_time)
      when is_list(events) and is_integer(start_time) and is_integer(end_time) do
    Enum.filter(events, &(&1.timestamp >= start_time and &1.timestamp <= end_time))
  end

  @doc "The event with its data replaced by what the function makes of it."
  @spec transform_event_data(Event.t(), (term -> term)) :: Event.t()
  def transform_event_data(%Event{} = event, transform) when is_function(transform, 1) do
    %{event | data: transform.(event.data)}
  end

  defp option(opts, key, default) do
    case Keyword.fetch(opts, key) do
      {:ok, value} -> value
      :error -> default.()
    end
  end

  defp failed(type, message, context) do
    {:error,
     Error.new(
       error_type: type,
       message: message,
       context: context,
       category: :data,
       subcategory: :runtime,
       severity: :medium
     )}
  end
end
