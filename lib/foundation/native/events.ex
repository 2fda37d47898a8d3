defmodule Foundation.Native.Events do
  @moduledoc false
  # The functions of the domain `events`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type events :: reference
      @type events_failure :: {:error, :not_running | {atom, term}}
      @type events_row :: tuple

      @spec events_new() :: events
      def events_new, do: missing()

      @spec events_open(events, String.t(), :always | :os | {:interval, pos_integer}, pos_integer) ::
              map | nil | events_failure
      def events_open(_handle, _path, _sync, _segment_bytes), do: missing()

      @spec events_close(events) :: :ok | events_failure
      def events_close(_handle), do: missing()

      @spec events_attach(events, pid) :: :ok | events_failure
      def events_attach(_handle, _pid), do: missing()

      @spec events_detach(events) :: :ok
      def events_detach(_handle), do: missing()

      @spec events_running(events) :: :memory | :durable | nil
      def events_running(_handle), do: missing()

      @spec events_store(events, events_row) ::
              :ok | :dirty | {:full, pos_integer, non_neg_integer} | events_failure
      def events_store(_handle, _row), do: missing()

      @spec events_store_batch(events, [events_row], boolean) ::
              :ok | :dirty | {:full, pos_integer, non_neg_integer} | events_failure
      def events_store_batch(_handle, _rows, _force), do: missing()

      @spec events_store_durable(events, [events_row], boolean) ::
              :ok | {:full, pos_integer, non_neg_integer} | events_failure
      def events_store_durable(_handle, _rows, _force), do: missing()

      @spec events_get(events, pos_integer) :: Foundation.Types.Event.t() | nil | :dirty | events_failure
      def events_get(_handle, _id), do: missing()

      @spec events_get_large(events, pos_integer) :: Foundation.Types.Event.t() | nil | events_failure
      def events_get_large(_handle, _id), do: missing()

      @spec events_by_correlation(events, String.t()) :: [Foundation.Types.Event.t()] | events_failure
      def events_by_correlation(_handle, _correlation), do: missing()

      @spec events_by_parent(events, pos_integer) :: [Foundation.Types.Event.t()] | events_failure
      def events_by_parent(_handle, _parent), do: missing()

      @spec events_recent(events, non_neg_integer) :: [Foundation.Types.Event.t()] | events_failure
      def events_recent(_handle, _limit), do: missing()

      @spec events_query(events, tuple) :: [Foundation.Types.Event.t()] | events_failure
      def events_query(_handle, _query), do: missing()

      @spec events_search(events, binary) ::
              {:ok, [Foundation.Types.Event.t()], binary | nil, non_neg_integer, String.t()} | events_failure
      def events_search(_handle, _query), do: missing()

      @spec events_prune(events, integer) :: non_neg_integer | events_failure
      def events_prune(_handle, _timestamp), do: missing()

      @spec events_enforce(events, integer, integer, integer) :: non_neg_integer | events_failure
      def events_enforce(_handle, _max_events, _max_age_ms, _max_bytes), do: missing()

      @spec events_reset(events) :: :ok | events_failure
      def events_reset(_handle), do: missing()

      @spec events_compact(events, boolean) :: non_neg_integer | events_failure
      def events_compact(_handle, _force), do: missing()

      @spec events_sync(events) :: :ok | events_failure
      def events_sync(_handle), do: missing()

      @spec events_stats(events) :: map
      def events_stats(_handle), do: missing()

      @spec events_subscribe(events, binary, {atom, pos_integer, non_neg_integer}, pid, reference) ::
              pos_integer | events_failure
      def events_subscribe(_handle, _filter, _options, _pid, _reference), do: missing()

      @spec events_unsubscribe(events, pos_integer) :: boolean
      def events_unsubscribe(_handle, _id), do: missing()

      @spec events_take(events, pos_integer, non_neg_integer) ::
              {:ok, [Foundation.Types.Event.t()], non_neg_integer} | nil
      def events_take(_handle, _id, _max), do: missing()

      @spec events_await_room(events, pos_integer, pid, reference) :: :ok | :room | events_failure
      def events_await_room(_handle, _id, _pid, _reference), do: missing()

      @spec events_cancel_room(events, pos_integer, reference) :: :ok
      def events_cancel_room(_handle, _id, _reference), do: missing()
    end
  end
end
