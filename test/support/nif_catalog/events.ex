defmodule Foundation.NifCatalog.Events do
  @moduledoc false

  alias Foundation.Native

  def entries, do: lifecycle() ++ storing() ++ reading() ++ subscribing()

  defp lifecycle do
    [
      entry(:events_new, :normal, "O(1)", fn -> [] end),
      entry(:events_open, :dirty_io, "O(records in the log)", fn ->
        [store(), directory(), :os, 65_536]
      end),
      entry(:events_close, :dirty_io, "O(bytes on their way to the disk)", fn -> [store()] end),
      entry(:events_attach, :normal, "O(1)", fn -> [store(), self()] end),
      entry(:events_detach, :normal, "O(1)", fn -> [store()] end),
      entry(:events_running, :normal, "O(1)", fn -> [store()] end, true),
      entry(:events_stats, :normal, "O(segments and blocks of 512 events)", fn -> [store()] end),
      entry(:events_sync, :dirty_io, "O(bytes on their way to the disk)", fn -> [store()] end),
      entry(:events_reset, :dirty_io, "O(events)", fn -> [store()] end),
      entry(:events_compact, :dirty_io, "O(bytes of the log)", fn -> [store(), false] end)
    ]
  end

  defp storing do
    [
      entry(
        :events_store,
        :normal,
        "O(bytes), at most 16 KB and 4 filters",
        fn -> [store(), row()] end,
        true
      ),
      entry(:events_store_batch, :dirty_cpu, "O(bytes), at most 1,000,000 events", fn ->
        [store(), [row()], false]
      end),
      entry(:events_store_durable, :dirty_io, "O(bytes) and the disk", fn -> [store(), [row()], false] end),
      entry(:events_prune, :dirty_io, "O(events removed)", fn -> [store(), 0] end),
      entry(:events_enforce, :dirty_io, "O(events removed)", fn -> [store(), 1_000_000, -1, -1] end)
    ]
  end

  defp reading do
    [
      entry(:events_get, :normal, "O(bytes), at most 16 KB", fn -> [filled(), 1] end, true),
      entry(:events_get_large, :dirty_cpu, "O(bytes)", fn -> [filled(), 1] end),
      entry(:events_by_correlation, :dirty_cpu, "O(events found)", fn -> [filled(), "story"] end),
      entry(:events_by_parent, :dirty_cpu, "O(events found)", fn -> [filled(), 1] end),
      entry(:events_recent, :dirty_cpu, "O(limit)", fn -> [filled(), 10] end),
      entry(:events_query, :dirty_cpu, "O(events in the range)", fn ->
        [filled(), {nil, nil, false, 0, 10}]
      end),
      entry(:events_search, :dirty_cpu, "O(events of the index), at most max_scanned", fn ->
        [filled(), search()]
      end)
    ]
  end

  defp subscribing do
    [
      entry(:events_subscribe, :dirty_cpu, "O(condition), at most 256 subscriptions", fn ->
        [store(), :erlang.term_to_binary(nil), {:drop_oldest, 10, 0}, self(), make_ref()]
      end),
      entry(:events_unsubscribe, :normal, "O(subscriptions)", fn -> [store(), 1] end),
      entry(:events_take, :dirty_cpu, "O(max), at most 10,000", fn -> [store(), 1, 10] end),
      entry(:events_await_room, :normal, "O(subscriptions)", fn -> [store(), 1, self(), make_ref()] end),
      entry(:events_cancel_room, :normal, "O(waiters)", fn -> [store(), 1, make_ref()] end)
    ]
  end

  defp entry(name, scheduler, bound, args, hot \\ false) do
    %{nif: {name, arity(name)}, scheduler: scheduler, bound: bound, args: args, hot: hot}
  end

  defp arity(name) do
    Native.__info__(:functions) |> Keyword.fetch!(name)
  end

  defp store do
    handle = Native.events_new()
    :ok = Native.events_attach(handle, self())
    handle
  end

  # Each call opens a log of its own; they go when the VM does.
  defp directory do
    parent = Path.join(System.tmp_dir!(), "foundation_events_catalog_#{System.pid()}")

    if not File.dir?(parent) do
      File.mkdir_p!(parent)
      # At the end of the tests, which are an exit handler themselves, or of whatever else runs this.
      if Application.get_env(:ex_unit, :after_suite), do: ExUnit.after_suite(fn _ -> File.rm_rf(parent) end)
      System.at_exit(fn _ -> File.rm_rf(parent) end)
    end

    Path.join(parent, Integer.to_string(System.unique_integer([:positive])))
  end

  defp filled do
    handle = store()
    :ok = Native.events_store(handle, row())
    handle
  end

  defp row,
    do: {1, :test, 1, {2026, 1, 2, 3, 4, 5, 6, 6, DateTime.utc_now()}, node(), self(), "story", nil, %{a: 1}}

  defp search, do: :erlang.term_to_binary({{:==, :event_type, :test}, [desc: :timestamp], 10, nil, 1000})
end
