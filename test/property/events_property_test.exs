defmodule Foundation.EventsPropertyTest do
  # A durable store under a random sequence of commands does what a map does, through every reopening.
  use Foundation.EventCase, async: false

  import :proper_types, only: [union: 1, integer: 2, list: 1, tuple: 1, exactly: 1]

  alias Foundation.Events.Store
  alias Foundation.Native

  @tag timeout: 120_000
  test "a durable store is a map" do
    property = :proper.forall(list(command()), fn commands -> run(commands) end)
    assert :proper.quickcheck(property, [:quiet, numtests: 60, max_size: 60]) == true
  end

  defp command do
    union([
      tuple([exactly(:store), id(), time(), correlation()]),
      tuple([exactly(:store), id(), time(), correlation()]),
      tuple([exactly(:batch), list(tuple([id(), time(), correlation()]))]),
      tuple([exactly(:prune), time()]),
      tuple([exactly(:enforce), integer(0, 30)]),
      exactly(:reopen),
      exactly(:compact),
      exactly(:reset)
    ])
  end

  defp id, do: integer(1, 40)
  defp time, do: integer(-20, 20)
  defp correlation, do: integer(0, 3)

  defp run(commands) do
    dir =
      Path.join(
        System.tmp_dir!(),
        "foundation_property_#{System.pid()}_#{System.unique_integer([:positive])}"
      )

    {handle, _} = open!(dir, sync: :os, segment_bytes: 4_096)

    try do
      {handle, model} = Enum.reduce(commands, {handle, {%{}, 0}}, &step(&1, &2, dir))
      same = same?(handle, model)
      Native.events_close(handle)
      {handle, _} = open!(dir, sync: :os, segment_bytes: 4_096)
      again = same?(handle, model)
      Native.events_close(handle)
      same and again
    after
      File.rm_rf!(dir)
    end
  end

  # The model: id => {order of arrival, event}, and how many arrived.
  defp step({:store, id, time, c}, {handle, model}, _dir) do
    event = make(id, time, c)
    {:ok, ^id} = Store.store(handle, event)
    {handle, arrive(model, event)}
  end

  defp step({:batch, rows}, {handle, model}, _dir) do
    events = for {id, time, c} <- rows, do: make(id, time, c)
    {:ok, _} = Store.store_batch(handle, events)
    {handle, Enum.reduce(events, model, &arrive(&2, &1))}
  end

  defp step({:prune, time}, {handle, {map, n}}, _dir) do
    kept = Map.reject(map, fn {_, {_, event}} -> event.timestamp < time end)
    {:ok, count} = Store.prune_before(handle, time)
    true = count == map_size(map) - map_size(kept)
    {handle, {kept, n}}
  end

  defp step({:enforce, max}, {handle, {map, n}}, _dir) do
    kept = map |> Enum.sort_by(fn {_, {order, _}} -> -order end) |> Enum.take(max) |> Map.new()
    removed = Native.events_enforce(handle, max, -1, -1)
    true = removed == map_size(map) - map_size(kept)
    {handle, {kept, n}}
  end

  defp step(:reopen, {handle, model}, dir) do
    :ok = Native.events_close(handle)
    {handle, %{damage: [], torn_bytes: 0}} = open!(dir, sync: :os, segment_bytes: 4_096)
    {handle, model}
  end

  defp step(:compact, {handle, model}, _dir) do
    true = is_integer(Native.events_compact(handle, true))
    {handle, model}
  end

  defp step(:reset, {handle, {_, n}}, _dir) do
    :ok = Store.reset(handle)
    {handle, {%{}, n}}
  end

  defp make(id, time, c) do
    correlation = if c == 0, do: nil, else: "c#{c}"

    event(id,
      timestamp: time,
      correlation_id: correlation,
      parent_id: c + 1,
      data: %{id: id, pad: String.duplicate("p", id * 5)}
    )
  end

  defp arrive({map, n}, event), do: {Map.put(map, event.event_id, {n, event}), n + 1}

  defp same?(handle, {map, _}) do
    events = Map.new(map, fn {id, {_, event}} -> {id, event} end)
    by_time = events |> Map.values() |> Enum.sort_by(&{&1.timestamp, &1.event_id})

    Store.query(handle, %{order_by: :timestamp}) == {:ok, by_time} and
      Enum.all?(1..3, fn c ->
        wanted = Enum.filter(by_time, &(&1.correlation_id == "c#{c}"))

        Store.by_correlation(handle, "c#{c}") == {:ok, wanted} and
          Store.by_parent(handle, c + 1) == {:ok, wanted}
      end) and
      Enum.all?(1..40, fn id ->
        case Store.get(handle, id) do
          {:ok, event} -> event == events[id]
          {:error, %Error{code: 3001}} -> not is_map_key(events, id)
        end
      end)
  end
end
