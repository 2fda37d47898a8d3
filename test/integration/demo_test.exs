defmodule Foundation.DemoTest do
  # The event store's directory is the application's: it is restarted around each test.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Foundation.{Demo, Events}

  setup do
    directory = Path.join(System.tmp_dir!(), "foundation_demo_#{System.unique_integer([:positive])}")
    beams = Path.join(directory, "sample-1.2/ebin")
    File.mkdir_p!(beams)
    before = Application.get_env(:foundation, :events)
    alive = Node.alive?()
    stop()

    on_exit(fn ->
      stop()
      # The demo made this node a distributed one.
      unless alive, do: Node.stop()

      if before,
        do: Application.put_env(:foundation, :events, before),
        else: Application.delete_env(:foundation, :events)

      {:ok, _} = Application.ensure_all_started(:foundation)
      File.rm_rf!(directory)
    end)

    for module <- [:lists, :maps, Enum, Keyword] do
      File.cp!(:code.which(module), Path.join(beams, "#{module}.beam"))
    end

    {:ok, out: Path.join(directory, "out"), beams: beams, path: Path.join(beams, "*.beam")}
  end

  # A test that failed half way may have left it stopped.
  defp stop, do: assert(Application.stop(:foundation) in [:ok, {:error, {:not_started, :foundation}}])

  defp run(context, options \\ []) do
    {:ok, _} = Demo.open(context.out)
    options = Keyword.merge([out: context.out, path: context.path, quiet: true], options)
    result = Demo.run(options)
    stop()
    result
  end

  test "a first run reads everything, a second nothing, and both tell the same", context do
    assert {:ok, first} = run(context)
    assert %{done: 4, kept: 0, failed: []} = first
    assert first.summary.modules == 4
    assert Enum.map(first.summary.applications, & &1.name) == ["sample"]

    assert {:ok, second} = run(context)
    assert %{done: 0, kept: 4, failed: []} = second
    assert second.summary == first.summary
    assert second.percentiles == first.percentiles
    assert second.limiter == first.limiter
    assert File.read!(second.report) =~ "Nothing had changed"
  end

  test "a changed file is read again and its facts replace the old ones", context do
    assert {:ok, %{done: 4}} = run(context)
    file = Path.join(context.beams, "maps.beam")
    File.cp!(:code.which(:ordsets), file)
    File.touch!(file, System.os_time(:second) + 5)

    assert {:ok, %{done: 1, kept: 3} = result} = run(context)
    modules = for {_bytes, _us, module} <- result.summary.points, do: module
    assert Enum.sort(modules) == [":lists", ":ordsets", "Enum", "Keyword"]
  end

  test "an unreadable file is an event, is not tried again until it changes, and then counts", context do
    broken = Path.join(context.beams, "broken.beam")
    File.write!(broken, "FOR1 and nothing else")

    assert {:ok, %{done: 4, failed: [%{path: ^broken, reason: reason}]} = result} = run(context)
    assert reason =~ "beam"
    assert File.read!(result.report) =~ "Not readable"

    assert {:ok, %{done: 0, kept: 5, failed: [%{path: ^broken}]}} = run(context)

    File.cp!(:code.which(:sets), broken)
    assert {:ok, %{done: 1, kept: 4, failed: []}} = run(context)
  end

  test "events follow from each other: run, application, module", context do
    {:ok, _} = Demo.open(context.out)
    assert {:ok, result} = Demo.run(out: context.out, path: context.path, quiet: true)

    assert {:ok, %{events: modules}} = Events.search(where: {:==, :event_type, :demo_module})
    assert length(modules) == 4
    assert {:ok, application} = Events.get(hd(modules).parent_id)
    assert application.event_type == :demo_application
    assert application.data == %{application: "sample", files: 4}
    assert {:ok, run} = Events.get(application.parent_id)
    assert %{event_type: :demo_run, parent_id: nil, data: %{files: 4}} = run

    assert Enum.all?(
             modules,
             &(&1.correlation_id == run.correlation_id and &1.parent_id == application.event_id)
           )

    assert {:ok, finished} = Foundation.Demo.Journal.last_finished()
    assert %{parent_id: parent, data: %{files: 4}} = finished
    assert parent == run.event_id

    assert result.trace =~ "demo_run 4 files"
    assert result.trace =~ "└─ demo_application sample, 4 files"
    assert result.trace =~ "demo_module Enum, read in"
    assert result.search.events == 7
    assert Enum.any?(result.search.hits, &(&1.module == "Enum"))
  end

  test "histograms hold one value a module", context do
    {:ok, _} = Demo.open(context.out)
    assert {:ok, result} = Demo.run(out: context.out, path: context.path, quiet: true)

    assert {:ok, %{count: 4, max: most}} =
             Foundation.Telemetry.summary([:foundation_demo, :parse_time], tags: :all)

    assert Enum.all?(result.percentiles, &(&1.count == 4))
    assert_in_delta most, hd(result.summary.slowest).parse_us, hd(result.summary.slowest).parse_us * 0.001 + 1
  end

  test "limit reads that many", context do
    assert {:ok, %{done: 2, kept: 0}} = run(context, limit: 2)
    assert {:ok, %{done: 2, kept: 2}} = run(context)
  end

  test "the task prints what it found and writes the report", context do
    output =
      capture_io(fn ->
        Mix.Tasks.Foundation.Demo.run(["--out", context.out, "--path", context.path, "--nodes", "1"])
      end)

    assert output =~ "100%  4/4 files"
    assert output =~ ~r/modules +4/
    assert output =~ "Most called functions"
    assert output =~ "A causal trace"
    assert output =~ "Report: #{Path.join(context.out, "report.html")}"
    page = File.read!(Path.join(context.out, "report.html"))
    assert page =~ "Most called functions"
    refute page =~ "<script"
  end

  test "the task refuses what it does not know, and a store in use", context do
    assert_raise Mix.Error, ~r/unknown or invalid option --bogus/, fn ->
      Mix.Tasks.Foundation.Demo.run(["--bogus"])
    end

    assert_raise Mix.Error, ~r/unknown argument "x"/, fn -> Mix.Tasks.Foundation.Demo.run(["x"]) end
    assert_raise Mix.Error, ~r/at least 1/, fn -> Mix.Tasks.Foundation.Demo.run(["--limit", "0"]) end

    assert_raise Mix.Error, ~r/--nodes must be at least 1/, fn ->
      Mix.Tasks.Foundation.Demo.run(["--nodes", "0"])
    end

    assert_raise Mix.Error, ~r/no BEAM file found/, fn ->
      Mix.Tasks.Foundation.Demo.run(["--out", context.out, "--path", "/nowhere/*.beam"])
    end

    assert_raise Mix.Error, ~r/already_started/, fn ->
      Mix.Tasks.Foundation.Demo.run(["--out", context.out])
    end
  end

  @tag timeout: 120_000
  test "three nodes find each other, one is killed half-way, and every file counts once", context do
    path = :stdlib |> :code.lib_dir() |> Path.join("ebin/*.beam")
    files = Path.wildcard(path)
    {:ok, _} = Demo.open(context.out)
    assert {:ok, result} = Demo.run(out: context.out, path: path, quiet: true, nodes: 3, market: false)
    assert %{done: done, kept: 0, failed: []} = result
    assert done == length(files)

    assert {:ok, %{events: events}} = Events.search(where: {:==, :event_type, :demo_module}, limit: 10_000)
    assert Enum.sort(Enum.map(events, & &1.data.path)) == Enum.sort(files)
    assert events |> Enum.map(& &1.event_id) |> Enum.uniq() |> length() == length(files)

    assert %{nodes: [_, _, _] = nodes, moments: moments} = result.cluster
    assert nodes |> Enum.map(& &1.files) |> Enum.sum() == length(files)
    counts = Enum.frequencies_by(events, & &1.node)
    for node <- nodes, do: assert(Map.get(counts, node.node, 0) == node.files)

    told = Enum.map(moments, &{&1.what, &1.node})
    assert {:joined, "node 2"} in told and {:joined, "node 3"} in told
    assert {:killed, "node 3"} in told and {:unreachable, "node 3"} in told
    assert File.read!(result.report) =~ "cluster&#39;s life"
    # The other nodes have gone with the run, and the cluster with them.
    refute Foundation.Cluster.running?()
    assert Node.list() == []

    stop()
    assert {:ok, %{done: 0, kept: kept, cluster: cluster}} = run(context, path: path)
    assert kept == length(files)
    assert cluster == result.cluster
  end

  @tag :slow
  @tag timeout: 120_000
  test "kill -9 in the middle leaves a store that opens, and the next run reads the rest", context do
    arguments = ["foundation.demo", "--out", context.out]
    port = start_mix(arguments)
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    assert wait_for(port, ~r/\b20%/, "") == :seen
    {_, 0} = System.cmd("kill", ["-9", to_string(os_pid)])
    assert_receive {^port, {:exit_status, status}} when status != 0, 10_000

    {:ok, _} = Demo.open(context.out)
    assert {:ok, %{events: events}} = Events.search(where: {:==, :event_type, :demo_module}, limit: 10_000)
    assert length(events) >= 64
    paths = Enum.map(events, & &1.data.path)
    [first | _] = Enum.sort(paths)
    assert {:ok, %{done: 0, kept: 1}} = Demo.run(out: context.out, path: first, quiet: true)
  end

  # The shell replaces itself by mix, and mix by the VM: the id of the port is the VM's.
  defp start_mix(arguments) do
    options = [:binary, :exit_status, :stderr_to_stdout, args: arguments, env: [{~c"MIX_ENV", ~c"test"}]]
    Port.open({:spawn_executable, System.find_executable("mix")}, options)
  end

  defp wait_for(port, pattern, text) do
    if text =~ pattern do
      :seen
    else
      receive do
        {^port, {:data, data}} -> wait_for(port, pattern, text <> data)
        {^port, {:exit_status, status}} -> {:exited, status, text}
      after
        60_000 -> {:silent, text}
      end
    end
  end
end
