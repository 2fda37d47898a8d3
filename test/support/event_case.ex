defmodule Foundation.EventCase do
  @moduledoc false
  # What the event tests share: an empty production store before each test, and stores and directories of their own.

  use ExUnit.CaseTemplate

  using do
    quote do
      import Foundation.EventCase
      alias Foundation.Events
      alias Foundation.Types.{Error, Event}
    end
  end

  setup do
    Application.put_env(:foundation, :test_mode, true)
    :ok = Foundation.Events.initialize()
    :ok = Foundation.Services.EventStore.reset_state()
    :ok
  end

  @doc "An event with an id and a timestamp."
  def event(id, fields \\ []) do
    struct!(
      %Foundation.Types.Event{event_id: id, event_type: :test, timestamp: id},
      [wall_time: DateTime.utc_now(), node: node(), pid: self()] ++ fields
    )
  end

  @doc "Waits until the function answers true; fails after the timeout."
  def eventually(fun, timeout \\ 15_000) do
    deadline = System.monotonic_time(:millisecond) + timeout
    eventually_until(fun, deadline)
  end

  defp eventually_until(fun, deadline) do
    cond do
      fun.() ->
        true

      System.monotonic_time(:millisecond) > deadline ->
        raise ExUnit.AssertionError, message: "it did not come true"

      true ->
        receive do
        after
          10 -> eventually_until(fun, deadline)
        end
    end
  end

  @doc "A fresh directory, removed after the test."
  def tmp_dir(name) do
    dir =
      Path.join(System.tmp_dir!(), "foundation_#{name}_#{System.pid()}_#{System.unique_integer([:positive])}")

    File.mkdir_p!(dir)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(dir) end)
    dir
  end

  @doc "A durable store on a directory, run by the test process."
  def open!(dir, opts \\ []) do
    handle = Foundation.Native.events_new()

    case Foundation.Native.events_open(handle, dir, opts[:sync] || :always, opts[:segment_bytes] || 65_536) do
      %{} = report ->
        :ok = Foundation.Native.events_attach(handle, self())
        {handle, report}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @doc "All ids in a store, ascending."
  def ids(handle) do
    {:ok, events} = Foundation.Events.Store.query(handle, %{order_by: :event_id})
    Enum.map(events, & &1.event_id)
  end
end
