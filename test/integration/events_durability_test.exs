defmodule Foundation.EventsDurabilityTest do
  use Foundation.EventCase, async: false

  alias Foundation.Events.{Durability, Store}
  alias Foundation.Native

  defp store!(handle, events), do: {:ok, _} = Store.store_batch(handle, events)

  defp reopen({handle, _}, dir, opts \\ []) do
    :ok = Native.events_close(handle)
    open!(dir, opts)
  end

  defp segments(dir),
    do: dir |> Path.join("*") |> Path.wildcard() |> Enum.filter(&(File.stat!(&1).size > 1_000)) |> Enum.sort()

  test "what is stored is there after closing and opening, whole, under each sync policy" do
    for sync <- [:always, {:interval, 50}, :os] do
      dir = tmp_dir("durable")
      {handle, report} = open!(dir, sync: sync)
      assert report.events == 0

      events =
        for i <- 1..300 do
          event(i,
            event_type: :"kind_#{rem(i, 3)}",
            correlation_id: "c#{rem(i, 10)}",
            parent_id: if(i > 1, do: i - 1),
            data: %{n: i, text: String.duplicate("x", rem(i, 50)), pid: self()}
          )
        end

      store!(handle, events)
      {handle, report} = reopen({handle, report}, dir, sync: sync)
      assert %{events: 300, records: 300, torn_bytes: 0, damage: [], lost: 0, unreadable: 0} = report
      assert {:ok, ^events} = Store.query(handle, %{order_by: :event_id})
      assert {:ok, [_ | _] = chain} = Store.by_correlation(handle, "c3")
      assert length(chain) == 30
      assert {:ok, [%Event{event_id: 8}]} = Store.by_parent(handle, 7)
      Native.events_close(handle)
      assert {:error, %Error{code: 3000}} = Store.store(handle, event(1))
      assert {:error, %Error{code: 3000}} = Store.get(handle, 1)
    end
  end

  test "overwrite, prune, bounds and reset are durable, and ids go on" do
    dir = tmp_dir("durable")
    {handle, _} = opened = open!(dir)
    store!(handle, for(i <- 1..20, do: event(i)))
    store!(handle, [event(5, data: :second)])
    assert {:ok, 2} = Store.prune_before(handle, 3)
    {handle, _} = opened = reopen(opened, dir)
    assert ids(handle) == Enum.to_list(3..20)
    assert {:ok, %Event{data: :second}} = Store.get(handle, 5)
    # 5 was stored again and is now the newest to arrive.
    assert 16 = Native.events_enforce(handle, 2, -1, -1)
    assert ids(handle) == [5, 20]
    {handle, _} = opened = reopen(opened, dir)
    assert ids(handle) == [5, 20]
    assert %{next_id: 22} = Native.events_stats(handle)
    assert 2 = Native.events_enforce(handle, 0, -1, -1)
    {handle, _} = opened = reopen(opened, dir)
    assert %{next_id: 22, events: 0} = Native.events_stats(handle)
    store!(handle, [event(1)])
    assert :ok = Store.reset(handle)
    {handle, _} = reopen(opened, dir)
    assert %{next_id: 1, events: 0} = Native.events_stats(handle)
    Native.events_close(handle)
  end

  test "bounds by age and by bytes" do
    dir = tmp_dir("durable")
    {handle, _} = opened = open!(dir)
    store!(handle, for(i <- 1..50, do: event(i, data: String.duplicate("x", 1_000))))
    assert 0 = Native.events_enforce(handle, -1, 60_000, -1)
    %{record_bytes: bytes} = Native.events_stats(handle)
    removed = Native.events_enforce(handle, -1, -1, div(bytes, 2))
    assert removed in 24..26
    assert hd(ids(handle)) == removed + 1
    eventually(fn -> Native.events_enforce(handle, -1, 1, -1) == 50 - removed end)
    {handle, _} = reopen(opened, dir)
    assert ids(handle) == []
    Native.events_close(handle)
  end

  test "compaction frees what is dead and loses nothing" do
    dir = tmp_dir("durable")
    {handle, _} = opened = open!(dir, sync: :os)

    for round <- 1..20,
        do: store!(handle, for(i <- 1..100, do: event(i, data: {round, String.duplicate("x", 200)})))

    store!(handle, [event(999)])
    Store.prune_before(handle, 11)
    %{disk_bytes: before} = Native.events_stats(handle)
    freed = Native.events_compact(handle, true)
    %{disk_bytes: now} = Native.events_stats(handle)
    assert freed > before / 2 and now < before / 2
    {handle, report} = reopen(opened, dir, sync: :os)
    assert report.records < 150
    assert ids(handle) == Enum.to_list(11..100) ++ [999]
    assert {:ok, %Event{data: {20, _}}} = Store.get(handle, 50)
    assert %{next_id: next} = Native.events_stats(handle)
    assert next > 999
    Native.events_close(handle)
  end

  test "retention frees whole segments" do
    dir = tmp_dir("durable")
    {handle, _} = open!(dir, sync: :os, segment_bytes: 16_384)
    for i <- 1..200, do: store!(handle, [event(i, data: String.duplicate("x", 500))])
    %{segments: before} = Native.events_stats(handle)
    assert before > 4
    assert 190 = Native.events_enforce(handle, 10, -1, -1)
    %{segments: now} = Native.events_stats(handle)
    assert now <= 2
    Native.events_close(handle)
  end

  test "a truncated segment: the records before the cut are kept, and the report says so" do
    dir = tmp_dir("durable")
    {handle, _} = open!(dir)
    for i <- 1..50, do: store!(handle, [event(i, data: String.duplicate("x", 300))])
    Native.events_close(handle)
    path = dir |> segments() |> List.last()
    bytes = File.read!(path)
    # The file may end in zeroes written ahead.
    used = byte_size(String.trim_trailing(bytes, <<0>>))
    File.write!(path, binary_part(bytes, 0, used - 1_000))
    {handle, report} = open!(dir)
    kept = ids(handle)
    assert length(kept) in 40..49
    assert kept == Enum.to_list(1..length(kept))
    assert report.torn_bytes > 0
    # The store goes on where it was cut.
    store!(handle, [event(1000)])
    {handle, report} = reopen({handle, report}, dir)
    assert report.torn_bytes == 0
    assert ids(handle) == kept ++ [1000]
    Native.events_close(handle)
  end

  test "a flipped bit in a full segment: one event is lost, the others are kept, and the report names the place" do
    dir = tmp_dir("durable")
    {handle, _} = open!(dir, segment_bytes: 16_384)
    for i <- 1..100, do: store!(handle, [event(i, data: String.duplicate("y", 500))])
    Native.events_close(handle)
    path = dir |> segments() |> hd()
    bytes = File.read!(path)
    {head, <<byte, tail::binary>>} = :erlang.split_binary(bytes, div(byte_size(bytes), 2))
    File.write!(path, <<head::binary, Bitwise.bxor(byte, 4), tail::binary>>)
    {handle, report} = open!(dir, segment_bytes: 16_384)
    assert length(ids(handle)) == 99
    assert report.lost >= 1
    assert [text] = report.damage
    assert text =~ Path.basename(path)
    Native.events_close(handle)
  end

  test "a directory that cannot be written, and one that is in use" do
    dir = tmp_dir("durable")
    {handle, _} = open!(dir)
    assert {:error, {:locked, text}} = open!(dir)
    assert text =~ dir and text =~ "in use"
    Native.events_close(handle)
    file = Path.join(dir, "a_file")
    File.write!(file, "")
    assert {:error, {kind, text}} = open!(Path.join(file, "below"))
    assert kind in [:io, :not_writable] and text =~ "a_file"
  end

  test "a read-only file system" do
    dir = tmp_dir("durable_ro")

    with_mount(dir, "ro,size=1m", fn ->
      assert {:error, {:not_writable, text}} = open!(Path.join(dir, "events"))
      assert text =~ "cannot be written" and text =~ dir
    end)
  end

  test "a full disk: the error says so, nothing acknowledged is lost, and the store goes on when there is room" do
    dir = tmp_dir("durable_full")

    with_mount(dir, "size=3m", fn ->
      log = Path.join(dir, "events")
      {handle, _} = opened = open!(log, segment_bytes: 262_144)
      acknowledged = fill(handle, 1, [])
      assert length(acknowledged) > 10

      assert {:error,
              %Error{error_type: :storage_failed, code: 3003, severity: :critical, context: context} = error} =
               Store.store_batch(
                 handle,
                 for(i <- 1..50, do: event(100_000 + i, data: String.duplicate("z", 40_000)))
               )

      assert context.reason == :no_space and error.message =~ "no space left"
      assert ids(handle) == Enum.sort(acknowledged)
      # Room again: the oldest half goes.
      assert Native.events_enforce(handle, div(length(acknowledged), 4), -1, -1) > 0
      assert {:ok, _} = Store.store(handle, event(200_000))
      kept = ids(handle)
      {handle, _} = reopen(opened, log, segment_bytes: 262_144)
      assert ids(handle) == kept
      Native.events_close(handle)
    end)
  end

  defp fill(handle, id, acknowledged) do
    case Store.store(handle, event(id, data: String.duplicate("z", 30_000))) do
      {:ok, ^id} -> fill(handle, id + 1, [id | acknowledged])
      {:error, %Error{context: %{reason: :no_space}}} -> acknowledged
    end
  end

  defp with_mount(dir, options, fun) do
    case System.cmd("mount", ["-t", "tmpfs", "-o", options, "tmpfs", dir], stderr_to_stdout: true) do
      {_, 0} ->
        try do
          fun.()
        after
          :erlang.garbage_collect()
          System.cmd("umount", ["-l", dir])
        end

      {text, _} ->
        IO.puts("\nSKIPPED, a tmpfs cannot be mounted here: #{String.trim(text)}")
    end
  rescue
    error in ErlangError -> IO.puts("\nSKIPPED, there is no mount command: #{inspect(error.original)}")
  end

  @tag timeout: 120_000
  test "kill -9 in a storm of writes: nothing acknowledged under :always is lost" do
    dir = tmp_dir("durable_kill")
    port = start_writer(dir)
    {acknowledged, os_pid} = read_until(port, "", [], nil, 400)
    {_, 0} = System.cmd("kill", ["-9", os_pid])
    rest = drain(port, "")
    acknowledged = acknowledged ++ rest
    {handle, report} = open!(dir)
    stored = MapSet.new(ids(handle))
    lost = Enum.reject(acknowledged, &MapSet.member?(stored, &1))
    assert lost == []
    assert length(acknowledged) >= 400
    assert report.damage == []
    Native.events_close(handle)
  end

  defp start_writer(dir) do
    script = """
    Logger.configure(level: :error)
    Application.put_env(:foundation, :events, path: #{inspect(dir)}, sync: :always)
    {:ok, _} = Application.ensure_all_started(:foundation)
    IO.puts("pid \#{System.pid()}")
    for w <- 1..4 do
      spawn(fn ->
        for i <- Stream.iterate(w, &(&1 + 4)) do
          {:ok, event} = Foundation.Events.new_event(:storm, %{i: i, pad: String.duplicate("x", 200)}, event_id: i)
          {:ok, ^i} = Foundation.Events.store(event)
          IO.puts("ok \#{i}")
        end
      end)
    end
    Process.sleep(:infinity)
    """

    paths =
      Enum.flat_map(:code.get_path(), fn path ->
        if to_string(path) =~ "foundation", do: ["-pa", to_string(path)], else: []
      end)

    Port.open({:spawn_executable, System.find_executable("elixir")}, [
      :binary,
      :exit_status,
      :stderr_to_stdout,
      args: paths ++ ["-e", script]
    ])
  end

  defp read_until(_port, _rest, ids, pid, wanted) when length(ids) >= wanted and pid != nil, do: {ids, pid}

  defp read_until(port, rest, ids, pid, wanted) do
    receive do
      {^port, {:data, data}} ->
        {lines, rest} = lines(rest <> data)
        new = for "ok " <> id <- lines, do: String.to_integer(id)

        pid =
          Enum.find_value(lines, pid, fn line ->
            if String.starts_with?(line, "pid "), do: String.slice(line, 4..-1//1)
          end)

        read_until(port, rest, new ++ ids, pid, wanted)

      {^port, {:exit_status, status}} ->
        flunk("the writer ended with #{status}: #{rest}")
    after
      60_000 -> flunk("the writer wrote #{length(ids)} events in a minute")
    end
  end

  defp drain(port, rest) do
    receive do
      {^port, {:data, data}} ->
        {lines, rest} = lines(rest <> data)
        for("ok " <> id <- lines, do: String.to_integer(id)) ++ drain(port, rest)

      {^port, {:exit_status, _}} ->
        []
    after
      10_000 -> []
    end
  end

  defp lines(text) do
    {lines, [rest]} = text |> String.split("\n") |> Enum.split(-1)
    {lines, rest}
  end

  describe "the application" do
    test "closes the store when it stops, and finds it when it starts again" do
      dir = tmp_dir("durable_app")
      Application.stop(:foundation)
      Application.put_env(:foundation, :events, path: dir, sync: :always)

      on_exit(fn ->
        Application.stop(:foundation)
        Application.delete_env(:foundation, :events)
        {:ok, _} = Application.ensure_all_started(:foundation)
      end)

      {:ok, _} = Application.ensure_all_started(:foundation)
      assert {:ok, %{durable: true, event_count: 0, recovery: %{events: 0}}} = Events.status()
      {:ok, 7} = Events.store(event(7, data: "kept"))
      {:ok, pid} = Foundation.ProcessRegistry.lookup(:production, :event_store)
      Process.exit(pid, :kill)
      eventually(fn -> match?({:ok, %{durable: true, event_count: 1}}, Events.status()) end)
      assert :ok = Events.sync()
      Application.stop(:foundation)
      assert {:error, %Error{code: 3000}} = Events.store(event(8))
      assert {:error, :not_running} = Events.search([])
      # Closed: somebody else can have it.
      {handle, report} = open!(dir)
      assert report.events == 1
      Native.events_close(handle)
      {:ok, _} = Application.ensure_all_started(:foundation)
      assert {:ok, %Event{data: "kept"}} = Events.get(7)
      assert {:ok, %{recovery: %{events: 1}}} = Events.status()
      assert {:ok, freed} = Events.compact()
      assert is_integer(freed)
    end
  end

  test "a configuration that makes no sense" do
    assert {:ok, nil} = Durability.parse([])
    assert {:ok, nil} = Durability.parse(path: nil)

    assert {:ok, %Durability{path: "d", sync: :os, retention: [max_events: 5]}} =
             Durability.parse(path: "d", sync: :os, retention: [max_events: 5])

    for {config, text} <- [
          {[path: 5], "path:"},
          {[path: "d", sync: :never], "sync:"},
          {[path: "d", sync: {:interval, 0}], "sync:"},
          {[path: "d", segment_bytes: 1], "segment_bytes:"},
          {[path: "d", retention: [max_event: 1]], "retention:"},
          {[path: "d", retention: [max_events: 0]], "retention:"},
          {[pth: "d"], "no option :pth"},
          {:no, "expected options"}
        ] do
      assert {:error, {:invalid_config, message}} = Durability.parse(config)
      assert message =~ text
    end
  end
end
