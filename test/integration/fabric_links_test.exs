defmodule Foundation.FabricLinksTest do
  # Links that break, nodes that go and return, and nodes that know each other by nothing but the fabric.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed
  alias Foundation.Distributed.{Channels, Fabric}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor
  alias Foundation.Forwarder

  @moduletag timeout: 180_000

  setup_all do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    Forwarder.ready()
  end

  defp start(name, fabric \\ []) do
    peer = Peers.start(name, fabric: fabric)
    on_exit(fn -> Peers.stop(peer) end)
    peer
  end

  defp introduced(a, b) do
    :ok = Peers.introduce(a, b)
    assert_eventually(b.node in Peers.rpc(a, Fabric, :nodes, []))
  end

  defp free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1}, reuseaddr: true)
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end

  # A node that others reach through a forwarder only.
  defp behind(name) do
    [port, front] = [free_port(), free_port()]
    peer = start(name, port: port, bind: "127.0.0.1", advertise: {{127, 0, 0, 1}, front})
    {peer, Forwarder.start(port, listen: front), front}
  end

  test "nodes without Erlang distribution between them send and call" do
    [a, b] = [start(:fabric_alone_a), start(:fabric_alone_b)]
    introduced(a, b)
    pid = Peers.rpc(b, Visitor, :start, [:alone])
    assert Peers.rpc(a, Channels, :send_message, [:data, {:alone, b.node}, :hello, [ack: true]]) == :ok
    assert Peers.rpc(b, Visitor, :kept, [pid]) == [:hello]
    # One introduction is enough: the link said where its opener listens.
    Peers.rpc(a, Visitor, :start, [:back])
    assert Peers.rpc(b, Distributed, :call, [:coordination, {:back, a.node}, {:echo, 1}]) == {:ok, 1}
    assert Peers.rpc(a, Distributed, :call, [:coordination, {:alone, b.node}, {:echo, 1}]) == {:ok, 1}
    for peer <- [a, b], do: assert(Peers.rpc(peer, Node, :list, []) == [])
  end

  test "a node with another secret is refused, counted, and told nothing" do
    [a, b] = [
      start(:fabric_secret_a, secret: "one secret"),
      start(:fabric_secret_b, secret: "another secret")
    ]

    :ok = Peers.introduce(a, b)
    assert_eventually(b.node in Peers.rpc(a, Fabric, :nodes, []))

    send = fn ->
      Peers.rpc(a, Channels, :send_message, [:data, {:x, b.node}, :hello, [ack: true, timeout: 300]])
    end

    assert send.() == {:error, :timeout}

    assert_eventually(
      Enum.sum(for {_reason, n} <- elem(Peers.rpc(b, Fabric, :info, []), 1).refused, do: n) > 0
    )

    {:ok, info} = Peers.rpc(b, Fabric, :info, [])
    shown = inspect({info, Peers.rpc(b, :sys, :get_state, [Fabric])}, limit: :infinity)
    refute shown =~ "another secret"
  end

  test "what was acknowledged survives links that break again and again, and arrives once" do
    {b, forwarder, front} = behind(:fabric_broken_b)
    a = start(:fabric_broken_a, stall_ms: 500)
    :ok = Peers.rpc(a, Fabric, :add_peer, [b.node, {127, 0, 0, 1}, front])
    assert_eventually(b.node in Peers.rpc(a, Fabric, :nodes, []))
    pid = Peers.rpc(b, Visitor, :start, [:broken])
    stream = Peers.rpc(a, Visitor, :stream, [:data, {:broken, b.node}])

    for n <- 1..5 do
      assert_eventually(length(Peers.rpc(b, Visitor, :kept, [pid])) > n * 100, 20_000)
      before = links(a)
      Forwarder.cut(forwarder)
      # The link is given up with messages on it, and others wait for the next one, which waits for the path.
      assert_eventually(open_links(a) == 0, 10_000)
      Forwarder.heal(forwarder)
      assert_eventually(links(a) > before, 10_000)
    end

    count = Peers.rpc(a, Visitor, :stop_stream, [stream])
    assert_eventually(length(Peers.rpc(b, Visitor, :kept, [pid])) == count, 20_000)
    assert Peers.rpc(b, Visitor, :kept, [pid]) == Enum.to_list(1..count)
    assert links(a) > 5
  end

  defp links(peer), do: sum(peer, :links)
  defp open_links(peer), do: sum(peer, :linked)

  defp sum(peer, key) do
    {:ok, rows} = Peers.rpc(peer, Channels, :get_channel_metrics, [])
    Enum.sum(for row <- rows, row.channel == "data", do: Map.fetch!(row, key))
  end

  test "after a healed partition every channel delivers within two seconds, and nothing is lost" do
    {b, forwarder, front} = behind(:fabric_parted_b)
    a = start(:fabric_parted_a)
    :ok = Peers.rpc(a, Fabric, :add_peer, [b.node, {127, 0, 0, 1}, front])
    channels = [:coordination, :data, :events]

    pids =
      for channel <- channels do
        pid = Peers.rpc(b, Visitor, :start, [:"parted_#{channel}"])

        assert_eventually(
          Peers.rpc(a, Channels, :send_message, [channel, {:"parted_#{channel}", b.node}, 0, [ack: true]]) ==
            :ok
        )

        {channel, pid}
      end

    Forwarder.cut(forwarder)

    for n <- 1..3, channel <- channels do
      assert Peers.rpc(a, Channels, :send_message, [channel, {:"parted_#{channel}", b.node}, n]) == :ok
    end

    # Longer than a silent link is kept, so that links are given up and tried again meanwhile.
    wait_until = System.monotonic_time(:millisecond) + 5_000
    assert_eventually(System.monotonic_time(:millisecond) > wait_until, 6_000)
    for {_, pid} <- pids, do: assert(Peers.rpc(b, Visitor, :kept, [pid]) == [0])
    healed = System.monotonic_time(:millisecond)
    Forwarder.heal(forwarder)

    for {_, pid} <- pids,
        do: assert_eventually(Enum.sort(Peers.rpc(b, Visitor, :kept, [pid])) == [0, 1, 2, 3], 10_000)

    took = System.monotonic_time(:millisecond) - healed
    assert took <= 2_000, "recovered after #{took} ms"
  end

  test "a node that returns after kill -9 is spoken to in its new life" do
    port = free_port()
    a = start(:fabric_killed_a)
    b = Peers.start(:fabric_killed_b, fabric: [port: port, name: :fabric_killed])
    :ok = Peers.rpc(a, Fabric, :add_peer, [:fabric_killed, {127, 0, 0, 1}, port])
    Peers.rpc(b, Visitor, :start, [:lives])

    send = fn message, options ->
      Peers.rpc(a, Channels, :send_message, [:data, {:lives, :fabric_killed}, message, options])
    end

    assert_eventually(send.(:first, ack: true, timeout: 500) == :ok)
    pid = Peers.rpc(b, System, :pid, [])
    {_, 0} = System.cmd("kill", ["-9", pid])
    assert send.(:between, timeout: 1_000) == :ok

    b = Peers.start(:fabric_killed_c, fabric: [port: port, name: :fabric_killed])
    on_exit(fn -> Peers.stop(b) end)
    lives = Peers.rpc(b, Visitor, :start, [:lives])
    assert_eventually(send.(:second, ack: true, timeout: 500) == :ok, 10_000)
    assert List.last(Peers.rpc(b, Visitor, :kept, [lives])) == :second
  end

  test "links that are not used close, and open again" do
    [a, b] = [start(:fabric_idle_a, idle_ms: 100), start(:fabric_idle_b)]
    introduced(a, b)
    pid = Peers.rpc(b, Visitor, :start, [:idle])

    linked = fn ->
      Enum.sum(for row <- elem(Peers.rpc(a, Channels, :get_channel_metrics, []), 1), do: row.linked)
    end

    for n <- 1..3 do
      assert Peers.rpc(a, Channels, :send_message, [:events, {:idle, b.node}, n, [ack: true]]) == :ok
      assert_eventually(linked.() == 0)
    end

    assert Peers.rpc(b, Visitor, :kept, [pid]) == [1, 2, 3]
  end

  test "the fabric comes back by itself, with its subscribers" do
    [a, b] = [start(:fabric_crash_a), start(:fabric_crash_b)]
    true = Peers.connect(a, b)
    assert_eventually(b.node in Peers.rpc(a, Fabric, :nodes, []))
    pid = Peers.rpc(b, Visitor, :subscribe, [:events])
    old = Peers.rpc(b, Process, :whereis, [Fabric])
    true = Peers.rpc(b, Process, :exit, [old, :kill])
    assert_eventually(Peers.rpc(b, Process, :whereis, [Fabric]) not in [nil, old])
    # What was sent to the life that ended may be lost; what is acknowledged is not.
    assert_eventually(
      Peers.rpc(a, Channels, :send_message, [:events, b.node, :again, [ack: true, timeout: 500]]) == :ok
    )

    assert_eventually(Enum.any?(Peers.rpc(b, Visitor, :kept, [pid]), &match?({_, _, _, :again}, &1)))
  end

  @tag :slow
  test "1 GB arrives intact while small calls keep their latency" do
    options = [channels: [huge: [max_message: 2 * 1024 * 1024 * 1024, max_bytes: 4 * 1024 * 1024 * 1024]]]
    [a, b] = [start(:fabric_huge_a, options), start(:fabric_huge_b, options)]
    introduced(a, b)
    Peers.rpc(b, Visitor, :start, [:small])
    digest = Peers.rpc(b, Visitor, :digest, [:huge])

    {times, sent} =
      Peers.rpc(
        a,
        Visitor,
        :send_huge,
        [:huge, {:huge, b.node}, {:small, b.node}, 1024 * 1024 * 1024],
        120_000
      )

    assert Peers.rpc(b, Visitor, :digested, [digest], 60_000) == sent
    times = Enum.sort(times)
    assert length(times) > 50
    assert Enum.at(times, div(length(times), 2)) < 50_000
  end
end
