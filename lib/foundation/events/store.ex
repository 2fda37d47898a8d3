defmodule Foundation.Events.Store do
  @moduledoc false
  # What is done on one native event store, whoever holds its handle: the module functions of the production service,
  # and the processes of test namespaces.
  #
  # Scheduling: store/2 and get/2 run on the normal scheduler while the event's record is at most 16 KB, the store is in
  # memory and has at most 4 subscriptions; else, and for batches, on a dirty CPU scheduler. Durable stores and
  # everything that removes: dirty IO. Reading lists and searching: dirty CPU.

  alias Foundation.Events.Schema
  alias Foundation.Native
  alias Foundation.Telemetry
  alias Foundation.Types.{Error, Event}
  alias Foundation.Validation.EventValidator

  @stored [:foundation, :event_store, :events_stored]

  @spec store(reference | nil, Event.t()) :: {:ok, pos_integer} | {:error, Error.t()}
  def store(nil, _event), do: unavailable()

  def store(handle, %Event{event_id: id, event_type: type} = event) do
    with :ok <- EventValidator.validate(event),
         :ok <- Schema.check(event),
         :ok <- put(handle, row(event)) do
      Telemetry.execute(@stored, %{counter: 1}, %{event_type: type, event_id: id})
      {:ok, id}
    end
  end

  @spec store_batch(reference | nil, [Event.t()]) :: {:ok, [pos_integer]} | {:error, Error.t()}
  def store_batch(nil, _events), do: unavailable()

  def store_batch(handle, events) do
    with :ok <- check_all(events),
         :ok <- put_all(handle, Enum.map(events, &row/1), 0) do
      count = length(events)
      Telemetry.execute(@stored, %{counter: count}, %{batch_size: count})
      {:ok, Enum.map(events, & &1.event_id)}
    end
  end

  @spec get(reference | nil, pos_integer) :: {:ok, Event.t()} | {:error, Error.t()}
  def get(handle, id) when is_integer(id) and id <= 0x7FFF_FFFF_FFFF_FFFF do
    case call(handle, &Native.events_get(&1, id)) do
      :dirty -> handle |> call(&Native.events_get_large(&1, id)) |> found(id)
      answer -> found(answer, id)
    end
  end

  def get(_handle, id), do: found(nil, id)

  @spec query(reference | nil, map) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def query(handle, query) do
    case native_query(query) do
      :nothing -> list(call(handle, fn _ -> [] end))
      native -> list(call(handle, &Native.events_query(&1, native)))
    end
  end

  @spec recent(reference | nil, non_neg_integer) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def recent(handle, limit), do: list(call(handle, &Native.events_recent(&1, limit)))

  @spec by_correlation(reference | nil, String.t()) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def by_correlation(handle, correlation),
    do: list(call(handle, &Native.events_by_correlation(&1, correlation)))

  @spec by_parent(reference | nil, pos_integer) :: {:ok, [Event.t()]} | {:error, Error.t()}
  def by_parent(handle, parent), do: list(call(handle, &Native.events_by_parent(&1, parent)))

  @spec prune_before(reference | nil, integer) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def prune_before(handle, timestamp) do
    within = timestamp |> max(-0x8000_0000_0000_0000) |> min(0x7FFF_FFFF_FFFF_FFFF)

    case call(handle, &Native.events_prune(&1, within)) do
      count when is_integer(count) -> {:ok, count}
      {:error, _} = error -> error
    end
  end

  @spec reset(reference | nil) :: :ok | {:error, Error.t()}
  def reset(handle), do: call(handle, &Native.events_reset/1)

  @doc "Calls a function of the native library and gives its failures their 1.x shape."
  @spec call(reference | nil, (reference -> result)) :: result | {:error, Error.t()} when result: term
  def call(nil, _fun), do: unavailable()

  def call(handle, fun) do
    case fun.(handle) do
      {:error, reason} -> failure(reason)
      answer -> answer
    end
  end

  @doc "The error of a service that does not run."
  @spec unavailable(String.t()) :: {:error, Error.t()}
  def unavailable(message \\ "Event store not available") do
    {:error,
     Error.new(
       code: 3000,
       error_type: :service_unavailable,
       message: message,
       severity: :high,
       category: :system,
       subcategory: :availability
     )}
  end

  defp put(handle, row) do
    case Native.events_store(handle, row) do
      :ok -> :ok
      :dirty -> put_all(handle, [row], 0)
      {:full, id, wait} -> wait_for_room(handle, [row], id, wait, deadline(wait))
      {:error, reason} -> failure(reason)
    end
  end

  defp put_all(handle, rows, deadline) do
    case put_dirty(handle, rows, false) do
      :ok -> :ok
      {:full, id, wait} -> wait_for_room(handle, rows, id, wait, max(deadline, deadline(wait)))
      {:error, reason} -> failure(reason)
    end
  end

  defp put_dirty(handle, rows, force) do
    case Native.events_running(handle) do
      :memory -> Native.events_store_batch(handle, rows, force)
      :durable -> Native.events_store_durable(handle, rows, force)
      nil -> {:error, :not_running}
    end
  end

  defp deadline(wait), do: System.monotonic_time(:millisecond) + wait

  # A subscription that blocks is waited for until the deadline; then the event is stored and that subscription loses it.
  defp wait_for_room(handle, rows, id, wait, deadline) do
    reference = make_ref()

    room =
      case Native.events_await_room(handle, id, self(), reference) do
        :ok -> await(handle, id, reference, deadline)
        :room -> :room
        {:error, _} -> :late
      end

    case put_dirty(handle, rows, room == :late) do
      :ok -> :ok
      {:full, other, _} -> wait_for_room(handle, rows, other, wait, deadline)
      {:error, reason} -> failure(reason)
    end
  end

  defp await(handle, id, reference, deadline) do
    receive do
      {:foundation_events_room, ^reference} -> :room
    after
      max(deadline - System.monotonic_time(:millisecond), 0) ->
        Native.events_cancel_room(handle, id, reference)

        receive do
          {:foundation_events_room, ^reference} -> :late
        after
          0 -> :late
        end
    end
  end

  # Without a schema, events are not looked up in them one by one.
  defp check_all(events), do: check_all(events, Schema.any?())

  defp check_all([event | events], schemas) do
    with :ok <- EventValidator.validate(event),
         :ok <- if(schemas, do: Schema.check(event), else: :ok) do
      check_all(events, schemas)
    end
  end

  defp check_all([], _schemas), do: :ok

  # Fields taken in one match are found in one walk over the keys of the map.
  defp row(%Event{
         event_id: id,
         event_type: type,
         timestamp: timestamp,
         wall_time: wall,
         node: node,
         pid: pid,
         correlation_id: correlation,
         parent_id: parent,
         data: data
       }) do
    {id, type, timestamp, wall(wall), node, pid, correlation, parent, data}
  end

  defp wall(
         %DateTime{
           calendar: Calendar.ISO,
           time_zone: "Etc/UTC",
           zone_abbr: "UTC",
           utc_offset: 0,
           std_offset: 0,
           year: year,
           month: month,
           day: day,
           hour: hour,
           minute: minute,
           second: second,
           microsecond: {micros, precision}
         } = time
       ) do
    {year, month, day, hour, minute, second, micros, precision, time}
  end

  defp wall(other), do: other

  # 1.x: the type, the range (both ends included), the order, the offset and the limit, in that order.
  defp native_query(query) do
    type = query[:event_type]
    limit = limit(query[:limit])

    if is_atom(type) and limit != 0 do
      by_time = query[:order_by] == :timestamp
      {type, range(query[:time_range]), by_time, offset(query[:offset]), limit}
    else
      :nothing
    end
  end

  defp range({a, b}) when is_integer(a) and is_integer(b), do: {clamp(a), clamp(b)}
  defp range({a, b}) when is_number(a) and is_number(b), do: {clamp(ceil(a)), clamp(floor(b))}
  defp range(_), do: nil

  defp clamp(n), do: n |> max(-0x8000_0000_0000_0000) |> min(0x7FFF_FFFF_FFFF_FFFF)

  defp offset(n) when is_integer(n) and n > 0, do: min(n, 0x7FFF_FFFF_FFFF_FFFF)
  defp offset(_), do: 0

  defp limit(n) when is_integer(n) and n >= 0, do: min(n, 0x7FFF_FFFF_FFFF_FFFF)
  defp limit(_), do: nil

  defp list(events) when is_list(events), do: {:ok, events}
  defp list({:error, _} = error), do: error

  defp found(%Event{} = event, _id), do: {:ok, event}
  defp found({:error, _} = error, _id), do: error

  defp found(nil, id) do
    {:error,
     Error.new(
       code: 3001,
       error_type: :not_found,
       message: "Event not found",
       severity: :low,
       context: %{event_id: id},
       category: :data,
       subcategory: :retrieval
     )}
  end

  defp failure(:not_running), do: unavailable()

  defp failure({kind, text}) do
    {:error,
     Error.new(
       code: 3003,
       error_type: :storage_failed,
       message: "The event log failed: #{text}",
       severity: :critical,
       context: %{reason: kind, detail: text},
       category: :system,
       subcategory: :storage
     )}
  end
end
