defmodule Foundation.OperatingGuideTest do
  # What the guide of operating says is run on a node of its own, and the lines that it lists are lines of this code.
  use ExUnit.Case, async: false

  alias Foundation.ClusterNodes, as: Nodes

  @guide "guides/operating.md"

  test "the guide's code does what the guide says" do
    group = Nodes.group()
    fabric = [bind: {127, 0, 0, 1}, secret: "the secret until today"]
    peer = Nodes.boot(group, name: :app, env: [cluster: {:static, nodes: []}, fabric: fabric])

    on_exit(fn ->
      Nodes.stop(peer)
      Nodes.stop_group(group)
    end)

    assert Nodes.call(peer, Foundation.Guide, :run, [Path.expand(@guide)], 60_000) >= 12
  end

  test "every log line that the guide explains is logged somewhere" do
    source =
      ["lib/**/*.ex", "native/*/src/**/*.rs"]
      |> Enum.flat_map(&Path.wildcard/1)
      |> Enum.map_join(&File.read!/1)

    [_, table] = String.split(File.read!(@guide), "## What the log says")

    lines =
      for [first] <-
            Regex.scan(~r/^\| (`.*?) \| (?:info|notice|warning|error) \|/m, table, capture: :all_but_first),
          [line] <- Regex.scan(~r/`([^`]+)`/, first, capture: :all_but_first),
          do: line

    assert length(lines) >= 20
    events = ~w(joined left unreachable reachable draining resumed split)

    # What stands between the names and values that a line has in their places.
    for line <- lines,
        part <- String.split(line, ~r/…|NODE|NAME|MODULE|\bN\b|[;:,] |\[\w+:?/, trim: true),
        part = String.trim(part, " "),
        byte_size(part) > 8,
        String.trim_leading(part, "] ") not in events do
      assert source =~ String.trim_leading(part, "] "), "nothing logs #{inspect(part)} of #{inspect(line)}"
    end
  end

  test "what is to be watched is there" do
    [_, table] = String.split(File.read!(@guide), "## What to watch")
    [table | _] = String.split(table, "Those that are read")

    source =
      ["lib/**/*.ex", "native/*/src/**/*.rs"]
      |> Enum.flat_map(&Path.wildcard/1)
      |> Enum.map_join(&File.read!/1)

    for [name] <- Regex.scan(~r/`([a-z_]{4,})`/, table, capture: :all_but_first),
        do: assert(source =~ ~r/\b#{name}\b/, "#{name} is nowhere")
  end
end
