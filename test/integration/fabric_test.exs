defmodule Foundation.FabricTest do
  # Channels between real nodes: who gets what, in which order, and what is said when it does not arrive.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed
  alias Foundation.Distributed.{Channels, Discovery, Fabric, Via}
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.FabricVisitor, as: Visitor

  @moduletag timeout: 120_000

  setup_all do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    options = [fabric: [channels: [strict: [reliability: :ordered], packed: [compress_above: 128]]]]
    [a, b] = [Peers.start(:fabric_a, options), Peers.start(:fabric_b, options)]
    true = Peers.connect(a, b)

    for {one, other} <- [{a, b}, {b, a}],
        do: assert_eventually(other.node in Peers.rpc(one, Fabric, :nodes, []))

    on_exit(fn -> Enum.each([a, b], &Peers.stop/1) end)
    %{a: a, b: b}
  end

  # A process on that node that keeps what it gets.
  defp keeper(peer, name \\ nil), do: Peers.rpc(peer, Visitor, :start, [name])
  defp kept(peer, pid), do: Peers.rpc(peer, Visitor, :kept, [pid])
  defp send_from(peer, arguments), do: Peers.rpc(peer, Channels, :send_message, arguments)

  describe "a destination" do
    test "is a registered process", %{a: a, b: b} do
      pid = keeper(b, :by_name)
      assert send_from(a, [:data, {:by_name, b.node}, {:hello, "you"}]) == :ok
      assert_eventually(kept(b, pid) == [{:hello, "you"}])
    end

    test "is a pid", %{a: a, b: b} do
      pid = keeper(b)
      assert send_from(a, [:data, pid, :hello, [ack: true]]) == :ok
      assert kept(b, pid) == [:hello]
    end

    test "is a node: the subscribers of the channel there", %{a: a, b: b} do
      [one, two, other] =
        for channel <- [:events, :events, :gossip], do: Peers.rpc(b, Visitor, :subscribe, [channel])

      assert send_from(a, [:events, b.node, {:news, 1}, [ack: true]]) == :ok
      message = {:foundation_channel, :events, a.node, {:news, 1}}
      assert kept(b, one) == [message]
      assert kept(b, two) == [message]
      assert kept(b, other) == []
      for pid <- [one, two, other], do: Peers.rpc(b, Visitor, :stop, [pid])
      assert_eventually(send_from(a, [:events, b.node, :nobody, [ack: true]]) == :ok)
    end

    test "is :all, this node included", %{a: a, b: b} do
      [here, there] = for peer <- [a, b], do: Peers.rpc(peer, Visitor, :subscribe, [:events])
      assert send_from(a, [:events, :all, :news]) == :ok
      message = {:foundation_channel, :events, a.node, :news}
      assert_eventually(kept(a, here) == [message])
      assert_eventually(kept(b, there) == [message])

      for via <- [:direct, :staged, :auto],
          do: assert(Peers.rpc(a, Channels, :broadcast, [:events, via, [via: via]]) == :ok)

      assert_eventually(length(kept(b, there)) == 4)
      assert for({_, _, _, via} <- kept(a, here), do: via) |> Enum.sort() == [:auto, :direct, :news, :staged]
      assert Enum.all?(kept(b, there), &(elem(&1, 2) == a.node))
      Peers.rpc(a, Visitor, :stop, [here])
      Peers.rpc(b, Visitor, :stop, [there])
    end

    test "is a service or a capability, and its health is asked there", %{a: a, b: b} do
      pid = keeper(b)

      assert Peers.rpc(b, Discovery, :register_service, [
               :store,
               pid,
               [capabilities: [:fast], metadata: %{zone: 1}]
             ]) == :ok

      assert_eventually(match?([_], Peers.rpc(a, Discovery, :discover_services, [[service: :store]])))

      assert [%{service: :store, pid: ^pid, capabilities: [:fast], metadata: %{zone: 1}} = found] =
               Peers.rpc(a, Discovery, :discover_services, [[capability: :fast]])

      assert found.node == b.node
      assert send_from(a, [:data, {:service, :store}, :by_service, [ack: true]]) == :ok
      assert send_from(a, [:data, {:capability, :fast}, :by_capability, [ack: true]]) == :ok
      assert kept(b, pid) == [:by_service, :by_capability]

      assert {:ok, [%{status: :up, mailbox: 0, pid: ^pid}]} =
               Peers.rpc(a, Discovery, :get_service_health, [:store])

      Peers.rpc(b, Visitor, :stop, [pid])
      assert_eventually(Peers.rpc(a, Discovery, :discover_services, [[]]) == [])
      assert send_from(a, [:data, {:service, :store}, :nobody]) == {:error, :no_provider}
      assert Peers.rpc(a, Discovery, :get_service_health, [:store]) == {:error, :unknown_service}
    end

    test "is a channel found by the kind of message", %{a: a, b: b} do
      pid = keeper(b, :routed)
      :ok = Peers.rpc(a, Channels, :configure_routing, [[urgent: :coordination]])
      before = sent(a, b, :coordination)
      assert send_from(a, [:auto, {:routed, b.node}, {:urgent, 1}, [ack: true]]) == :ok
      assert send_from(a, [:auto, {:routed, b.node}, {:other, 1}, [ack: true]]) == :ok
      assert kept(b, pid) == [{:urgent, 1}, {:other, 1}]
      assert sent(a, b, :coordination) == before + 1
    end
  end

  describe "terms" do
    test "of every kind arrive as they were", %{a: a, b: b} do
      for channel <- [:data, :packed] do
        pid = keeper(b, :terms)
        assert Peers.rpc(a, Visitor, :send_terms, [channel, {:terms, b.node}]) == length(Visitor.terms())
        # Large maps are handed to a process that decodes them, which may take a moment longer.
        assert_eventually(Peers.rpc(b, Visitor, :same_terms, [pid]) == length(Visitor.terms()), 20_000)
      end
    end

    test "that come thick and fast, of all kinds, keep their order", %{a: a, b: b} do
      for channel <- [:data, :strict, :packed] do
        calm = Task.async(fn -> Peers.rpc(b, Visitor, :calm, [:storm, 4, 3_000], 100_000) end)
        assert_eventually(Peers.rpc(b, Process, :whereis, [:storm]) != nil)
        assert Peers.rpc(a, Visitor, :storm, [channel, {:storm, b.node}, 4, 3_000], 100_000) == :ok
        assert Task.await(calm, 100_000) == :ok
        assert_eventually(Peers.rpc(b, Process, :whereis, [:storm]) == nil)
      end
    end

    test "that only a scheduler can build keep their place among others", %{a: a, b: b} do
      pid = keeper(b, :in_place)
      large = Map.new(1..1_000, &{&1, "value"})

      numbers =
        for n <- 1..200 do
          message = if rem(n, 7) == 0, do: {n, large}, else: n
          :ok = send_from(a, [:strict, {:in_place, b.node}, message])
          n
        end

      assert_eventually(length(kept(b, pid)) == 200)

      assert for(message <- kept(b, pid), do: if(is_tuple(message), do: elem(message, 0), else: message)) ==
               numbers

      assert {:ok, ^large} = Peers.rpc(a, Distributed, :call, [:data, {:in_place, b.node}, {:echo, large}])
    end
  end

  describe "order" do
    test "of one sender is kept, with large messages among small ones", %{a: a, b: b} do
      pid = keeper(b, :ordered)
      assert Peers.rpc(a, Visitor, :send_mixed, [:data, {:ordered, b.node}, 300]) == :ok
      assert_eventually(length(kept(b, pid)) == 300, 20_000)
      assert Enum.map(kept(b, pid), &elem(&1, 0)) == Enum.to_list(1..300)
      assert Enum.all?(kept(b, pid), fn {n, body} -> body == Visitor.body(n) end)
    end

    test "of each of many senders is kept, on all lanes of a channel", %{a: a, b: b} do
      pid = keeper(b, :bursts)
      assert Peers.rpc(a, Visitor, :send_in_bursts, [:data, {:bursts, b.node}, 24, 30], 90_000) == :ok
      assert_eventually(length(kept(b, pid)) == 24 * 600, 30_000)

      for {_sender, messages} <- Enum.group_by(kept(b, pid), &elem(&1, 0), &elem(&1, 1)),
          do: assert(messages == Enum.to_list(0..599))
    end

    test "of a cast and a call through Via is that of the caller", %{a: a, b: b} do
      pid = keeper(b, :via_order)

      for n <- 1..50,
          do: assert(Peers.rpc(a, Visitor, :cast_and_call, [{:via_order, b.node, channel: :data}, n]) == n)

      assert Enum.count(kept(b, pid)) == 50
    end
  end

  describe "calls" do
    test "are answered by an unmodified GenServer", %{a: a, b: b} do
      keeper(b, :server)
      assert Peers.rpc(a, Distributed, :call, [:coordination, {:server, b.node}, {:echo, :hi}]) == {:ok, :hi}
      name = {:via, Via, {:server, b.node}}
      assert Peers.rpc(a, GenServer, :call, [name, {:echo, :hi}]) == :hi
      assert Peers.rpc(a, GenServer, :call, [{:via, Via, {:server, b.node, channel: :data}}, {:echo, 1}]) == 1
    end

    test "say why there is no answer", %{a: a, b: b} do
      pid = keeper(b, :failing)

      call = fn request, options ->
        Peers.rpc(a, Distributed, :call, [:coordination, {:failing, b.node}, request, options])
      end

      assert call.(:silence, timeout: 50) == {:error, :timeout}
      assert Peers.rpc(a, Distributed, :call, [:coordination, {:nobody, b.node}, :hi]) == {:error, :noproc}

      assert Peers.rpc(a, Distributed, :call, [:coordination, {:x, :"nowhere@127.0.0.1"}, :hi]) ==
               {:error, :unreachable}

      assert Peers.rpc(a, Distributed, :call, [:no_channel, {:failing, b.node}, :hi]) ==
               {:error, :unknown_channel}

      assert call.({:exit, :oops}, []) == {:error, {:exit, :oops}}
      assert_eventually(not Peers.rpc(b, Process, :alive?, [pid]))
      assert {:noproc, _} = Peers.rpc(a, Visitor, :exit_of_call, [{:via, Via, {:failing, b.node}}])
    end

    test "whose caller is gone leave nothing behind, on either side", %{a: a, b: b} do
      keeper(b, :patient)
      callers = for _ <- 1..20, do: Peers.rpc(a, Visitor, :call_in_vain, [:coordination, {:patient, b.node}])
      assert_eventually(Peers.rpc(b, Visitor, :open_calls, []) == 20)
      for pid <- callers, do: Peers.rpc(a, Process, :exit, [pid, :kill])
      assert_eventually(Peers.rpc(b, Visitor, :open_calls, []) == 0)
      assert_eventually(match?({:ok, %{waiting: 0}}, Peers.rpc(a, Fabric, :info, [])))
    end

    test "that time out leave nothing behind, on either side", %{a: a, b: b} do
      keeper(b, :patient)
      pids = for _ <- 1..20, do: Peers.rpc(a, Visitor, :timed_out, [:coordination, {:patient, b.node}])
      assert Enum.all?(pids, &(&1 == {:error, :timeout, 0}))
      assert {:ok, %{waiting: 0}} = Peers.rpc(a, Fabric, :info, [])
      assert_eventually(Peers.rpc(b, Visitor, :open_calls, []) == 0)
    end
  end

  describe "a queue" do
    test "that is full refuses at once, or lets wait until a deadline", %{a: a, b: b} do
      subscriber = Peers.rpc(b, Visitor, :subscribe_slowly, [:narrow, 5])
      options = [max_messages: 50, window_messages: 16]
      for peer <- [a, b], do: :ok = Peers.rpc(peer, Channels, :open, [:narrow, options])
      fast = keeper(b, :fast)
      assert {:error, :busy} = Peers.rpc(a, Visitor, :send_until_refused, [:narrow, b.node, 10_000])
      # The credit that was given before the subscriber was seen to be slow is used up first.
      assert_eventually(send_from(a, [:narrow, b.node, :late, [timeout: 50]]) == {:error, :busy})
      # Other channels go on.
      assert send_from(a, [:data, {:fast, b.node}, :other, [ack: true]]) == :ok
      assert kept(b, fast) == [:other]
      assert Enum.any?(metrics(a, b, :narrow), &(&1.busy > 0))
      Peers.rpc(b, Visitor, :resume, [subscriber])
      assert send_from(a, [:narrow, b.node, :last, [timeout: 10_000, ack: true]]) == :ok
      assert Peers.rpc(b, Visitor, :is_gapless, [subscriber])
    end

    test "keeps only the latest of monotonic messages", %{a: a, b: b} do
      pid = keeper(b, :latest)
      for peer <- [a, b], do: :ok = Peers.rpc(peer, Channels, :open, [:mono, [window_messages: 16]])
      :ok = Peers.rpc(b, Visitor, :pause, [:mono, true])
      assert Peers.rpc(a, Visitor, :send_monotonic, [:mono, {:latest, b.node}, 1_000]) == :ok
      :ok = Peers.rpc(b, Visitor, :pause, [:mono, false])
      assert_eventually({:b, 1_000} in kept(b, pid) and {:a, 1_000} in kept(b, pid))
      got = kept(b, pid)
      assert length(got) < 1_000
      for key <- [:a, :b], do: assert(for({^key, n} <- got, do: n) == Enum.sort(for({^key, n} <- got, do: n)))
      assert [%{superseded: superseded}] = metrics(a, b, :mono)
      assert superseded + length(got) == 2_000
    end
  end

  test "a message above the bound is refused, and says so", %{a: a, b: b} do
    keeper(b, :bounded)
    for peer <- [a, b], do: :ok = Peers.rpc(peer, Channels, :open, [:bounded, [max_message: 100_000]])
    assert send_from(a, [:bounded, {:bounded, b.node}, :binary.copy("x", 100_001)]) == {:error, :too_large}
    assert send_from(a, [:bounded, {:bounded, b.node}, Enum.to_list(1..100_000)]) == {:error, :too_large}
    :ok = Peers.rpc(a, Channels, :open, [:generous, []])
    :ok = Peers.rpc(b, Channels, :open, [:generous, [max_message: 100_000]])
    body = :binary.copy("x", 1_000_000)
    assert send_from(a, [:generous, {:bounded, b.node}, body, [ack: true]]) == {:error, :too_large}
    assert send_from(a, [:generous, {:bounded, b.node}, :small, [ack: true]]) == :ok
  end

  test "what is wrong is said before anything is sent", %{a: a, b: b} do
    assert send_from(a, [:no_channel, {:x, b.node}, 1]) == {:error, :unknown_channel}
    assert send_from(a, [:data, {:x, :"nowhere@127.0.0.1"}, 1]) == {:error, :unreachable}
    assert Peers.rpc(a, Channels, :open, [:data, [lanes: 7]]) == {:error, :settings}
    assert Channels.send_message(:data, {:x, :"b@127.0.0.1"}, 1) == {:error, :not_running}
    assert Channels.get_channel_metrics() == {:error, :not_running}
    assert_raise ArgumentError, ~r/a destination is/, fn -> Channels.send_message(:data, "b", 1) end
    assert_raise ArgumentError, ~r/no option :acks/, fn -> Channels.send_message(:data, :b, 1, acks: true) end

    assert_raise ArgumentError, ~r/lanes is an integer from 1 to 64, got: 0/, fn ->
      Channels.open(:x, lanes: 0)
    end

    assert_raise ArgumentError, ~r/via is/, fn -> Channels.broadcast(:data, 1, via: :pigeon) end
    assert_raise ArgumentError, ~r/a routing rule is/, fn -> Channels.configure_routing([1]) end
  end

  test "what is measured is what happened", %{a: a, b: b} do
    pid = keeper(b, :measured)
    :ok = Peers.rpc(a, Channels, :open, [:measured, []])
    for n <- 1..100, do: :ok = send_from(a, [:measured, {:measured, b.node}, n, [ack: true]])
    assert length(kept(b, pid)) == 100

    assert [%{sent: 100, queued: 0, lost: 0, resent: 0, linked: 1, links: 1, latency_us: latency}] =
             metrics(a, b, :measured)

    assert latency.count >= 100 and latency.p50 > 0 and latency.p99 >= latency.p50 and
             latency.max >= latency.p99

    assert_eventually(match?([%{received: 100, duplicates: 0, nobody: 0}], metrics(b, a, :measured)))
    :ok = send_from(a, [:measured, {:nobody, b.node}, 1, [ack: true]])
    assert_eventually(match?([%{nobody: 1}], metrics(b, a, :measured)))
  end

  defp metrics(from, to, channel) do
    {:ok, rows} = Peers.rpc(from, Channels, :get_channel_metrics, [])
    for row <- rows, row.node == to_string(to.node), row.channel == to_string(channel), do: row
  end

  defp sent(from, to, channel), do: Enum.sum(for row <- metrics(from, to, channel), do: row.sent)
end
