defmodule Foundation.Integration.ClusterMetricsTest do
  # Real nodes, and the telemetry of this one.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.{PeerNodes, Telemetry}

  setup_all do
    peers = PeerNodes.start(2)
    on_exit(fn -> PeerNodes.leave(peers) end)
    %{peers: peers, others: Enum.map(peers, & &1.node)}
  end

  setup do
    on_exit(fn -> for name <- [:latency, :requests, :queue], do: Telemetry.forget([:cm, name]) end)
  end

  defp record(node, values) do
    for value <- values,
        do: :ok = :erpc.call(node, Telemetry, :record, [[:cm, :latency], value, %{route: "/"}])

    :ok = :erpc.call(node, Telemetry, :counter_add, [[:cm, :requests], length(values), %{route: "/"}])
    :ok = :erpc.call(node, Telemetry, :gauge_set, [[:cm, :queue], hd(values), %{}])
  end

  defp named(found, name), do: Enum.find(found.metrics, &(&1.name == [:cm, name]))

  defp fill(others) do
    parts =
      [node() | others]
      |> Enum.with_index()
      |> Enum.map(fn {n, i} -> {n, Enum.to_list((i * 300 + 1)..(i * 300 + 300))} end)

    for {node, values} <- parts, do: record(node, values)

    on_exit(fn ->
      for node <- others,
          name <- [:latency, :requests, :queue],
          do: :erpc.call(node, Telemetry, :forget, [[:cm, name]])
    end)

    parts
  end

  test "counters add up, histograms merge as if one had recorded all, gauges stay apart", %{others: others} do
    parts = fill(others)
    {:ok, found} = Telemetry.get_cluster_metrics()
    assert Enum.sort(found.nodes) == Enum.sort([node() | others])
    assert found.missing == []
    assert %{kind: :counter, value: 900, tags: %{route: "/"}} = named(found, :requests)

    # The same values in one histogram of this node.
    for n <- 1..900, do: Telemetry.record([:cm, :all], n)
    {:ok, one} = Telemetry.summary([:cm, :all])
    Telemetry.forget([:cm, :all])
    assert Map.take(named(found, :latency), Map.keys(one)) == one

    queue = named(found, :queue)
    assert queue.by_node == Map.new(parts, fn {node, [first | _]} -> {node, first} end)
    assert {queue.value, queue.min, queue.max, queue.mean} == {903, 1, 601, 301.0}
  end

  test "by node, with an aggregation of gauges, and of some names", %{others: others} do
    fill(others)
    {:ok, found} = Telemetry.get_cluster_metrics(aggregation: :by_node, names: [[:cm, :requests]])

    assert Enum.map(found.metrics, &{&1.node, &1.value}) |> Enum.sort() ==
             Enum.sort(for(n <- [node() | others], do: {n, 300}))

    {:ok, found} = Telemetry.get_cluster_metrics(aggregation: :max, time_window: 30_000)
    assert named(found, :queue).value == 601
    assert named(found, :latency).count == 900
  end

  test "what 1.x counts is among them", %{others: others} do
    for node <- [node() | others], do: :erpc.call(node, Telemetry, :emit_counter, [[:cm, :old], %{}])
    {:ok, found} = Telemetry.get_cluster_metrics(names: [[:cm, :old]])
    assert [%{kind: :counter, value: 3, tags: %{}}] = found.metrics
  end

  test "a name of two kinds is disputed, and the others are there all the same", %{others: [other | _]} do
    Telemetry.counter_add([:cm, :odd])
    :erpc.call(other, Telemetry, :gauge_set, [[:cm, :odd], 1])
    {:ok, found} = Telemetry.get_cluster_metrics(nodes: [node(), other])
    assert found.disputed == [[:cm, :odd]]
    assert %{kind: :counter, value: 1} = named(found, :odd)
    Telemetry.forget([:cm, :odd])
    :erpc.call(other, Telemetry, :forget, [[:cm, :odd]])
  end

  test "a node that cannot answer is named, and the deadline holds", %{others: [other | _]} do
    :ok = :erpc.call(other, Application, :stop, [:foundation])
    {:ok, found} = Telemetry.get_cluster_metrics(nodes: [node(), other, :"nobody@127.0.0.1"])
    assert found.nodes == [node()]
    assert found.missing == [{other, :not_running}, {:"nobody@127.0.0.1", :noconnection}]
    {:ok, _} = :erpc.call(other, Application, :ensure_all_started, [:foundation])

    {_, os_pid} = {other, :erpc.call(other, System, :pid, [])}
    {_, 0} = System.cmd("kill", ["-STOP", os_pid])
    began = System.monotonic_time(:millisecond)
    {:ok, found} = Telemetry.get_cluster_metrics(timeout: 300)
    took = System.monotonic_time(:millisecond) - began
    {_, 0} = System.cmd("kill", ["-CONT", os_pid])
    assert {other, :timeout} in found.missing
    assert took < 3_000
  end

  test "as text for a scraper, gauges by node", %{others: others} do
    fill(others)
    {:ok, text} = Telemetry.prometheus(scope: :cluster)
    assert text =~ ~s(cm_requests_total{route="/"} 900) or text =~ ~s(cm_requests{route="/"} 900)
    assert text =~ "cm_latency_count{route=\"/\"} 900"
    for node <- others, do: assert(text =~ "node=\"#{node}\"")
  end

  test "gathered again and again, for who is content with that", %{others: others} do
    fill(others)
    assert :ok = Telemetry.enable_cluster_aggregation(interval: 100)
    assert :ok = Telemetry.enable_cluster_aggregation(interval: 100)

    assert_eventually(
      match?({:ok, %{metrics: [_ | _]}}, Telemetry.get_cluster_metrics(max_age: 60_000, timeout: 1))
    )

    {:ok, found} = Telemetry.get_cluster_metrics(max_age: 60_000)
    assert named(found, :requests).value == 900
    assert :ok = Telemetry.disable_cluster_aggregation()
    assert :ok = Telemetry.disable_cluster_aggregation()
  end

  test "arguments that cannot be right are named" do
    for {opts, text} <- [
          {[aggregation: :most], "aggregation"},
          {[time_window: :year], "time_window"},
          {[time_window: 7_200_000], "time_window"},
          {[nodes: :all], "nodes"},
          {[timeout: 0], "timeout"},
          {[surprise: 1], "surprise"}
        ],
        do: assert_raise(ArgumentError, ~r/#{text}/, fn -> Telemetry.get_cluster_metrics(opts) end)

    assert_raise ArgumentError, ~r/scope/, fn -> Telemetry.prometheus(scope: :world) end
  end
end
