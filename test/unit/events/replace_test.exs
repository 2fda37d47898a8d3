defmodule Foundation.Events.ReplaceTest do
  use ExUnit.Case, async: true

  alias Foundation.Events.Store
  alias Foundation.Native
  alias Foundation.Types.Event

  # Events stored again and again under the same id and time, with other lists to be in, against a plain map.
  test "an event that takes another's place is in its own lists and in no other" do
    :rand.seed(:exsss, {1, 2, 3})
    handle = Native.events_new()
    :ok = Native.events_attach(handle, self())

    model =
      Enum.reduce(1..3_000, %{}, fn step, model ->
        event = random(:rand.uniform(20))
        {:ok, [_]} = Store.store_batch(handle, [event])
        model = Map.put(model, event.event_id, {step, event})
        if rem(step, 50) == 0, do: compare(handle, model)
        model
      end)

    # Bounds take what arrived first: a replaced event arrived when it was replaced.
    removed = Native.events_enforce(handle, 5, -1, -1)
    assert removed == map_size(model) - 5
    kept = model |> Map.values() |> Enum.sort(:desc) |> Enum.take(5) |> Enum.map(&elem(&1, 1))
    compare(handle, Map.new(kept, &{&1.event_id, {0, &1}}))
  end

  defp random(id) do
    %Event{
      event_id: id,
      event_type: Enum.random([:a, :b]),
      timestamp: id,
      node: Enum.random([nil, :n@one, :n@two]),
      correlation_id: Enum.random([nil, "x", "y", "00000000-0000-4000-8000-00000000000a"]),
      parent_id: Enum.random([nil, 1, 2]),
      data: %{text: String.duplicate("t", :rand.uniform(3))}
    }
  end

  defp compare(handle, model) do
    events = for {_, {_, event}} <- model, do: event
    wanted = fn keep -> events |> Enum.filter(keep) |> Enum.sort() end
    sorted = fn {:ok, found} -> Enum.sort(found) end

    for c <- ["x", "y", "00000000-0000-4000-8000-00000000000a"],
        do: assert(sorted.(Store.by_correlation(handle, c)) == wanted.(&(&1.correlation_id == c)))

    for p <- [1, 2], do: assert(sorted.(Store.by_parent(handle, p)) == wanted.(&(&1.parent_id == p)))

    for t <- [:a, :b],
        do: assert(sorted.(Store.query(handle, %{event_type: t})) == wanted.(&(&1.event_type == t)))
  end
end
