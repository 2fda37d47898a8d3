defmodule Foundation.Distributed.StateNodesTest do
  # Replicas on real nodes, which are cut off, killed, and come late.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.State
  alias Foundation.FabricPeers, as: Peers

  @moduletag timeout: 120_000
  @type_of {:or_map, :or_set}
  @fast [sync_interval: 100, push_after: 1]

  defp start(count, fabric \\ false) do
    peers =
      1..count
      |> Enum.map(fn _ -> Task.async(fn -> unlinked(fn -> Peers.start("state", fabric: fabric) end) end) end)
      |> Task.await_many(60_000)

    on_exit(fn -> Enum.each(peers, &Peers.stop/1) end)
    peers
  end

  # A peer belongs to the process that started it.
  defp unlinked(start) do
    peer = start.()
    Process.unlink(peer.peer)
    peer
  end

  defp state(peer, function, arguments), do: Peers.rpc(peer, State, function, arguments)
  defp new(peer, type \\ @type_of, opts \\ @fast), do: {:ok, _} = state(peer, :new, [:shared, type, opts])
  defp mutate(peer, change, opts \\ []), do: state(peer, :mutate, [:shared, change, opts])
  defp read(peer), do: state(peer, :read, [:shared])

  defp status(peer) do
    {:ok, status} = state(peer, :status, [:shared])
    status
  end

  defp same?(peers), do: peers |> Enum.map(&status(&1).root) |> Enum.uniq() |> length() == 1
  defp mesh(peers), do: for(a <- peers, b <- peers, a.node < b.node, do: true = Peers.connect(a, b))

  # Were it one cookie on both sides, the next message would connect them again.
  defp cut(ones, others) do
    for a <- ones, b <- others do
      Peers.rpc(a, :erlang, :set_cookie, [b.node, :unknown_there])
      Peers.rpc(b, :erlang, :set_cookie, [a.node, :unknown_here])
      Peers.rpc(a, :erlang, :disconnect_node, [b.node])
    end

    for a <- ones, b <- others do
      assert_eventually(b.node not in Peers.rpc(a, Node, :list, []))
      assert_eventually(a.node not in Peers.rpc(b, Node, :list, []))
    end
  end

  defp heal(ones, others) do
    for a <- ones, b <- others do
      Peers.rpc(a, :erlang, :set_cookie, [b.node, :fabric_peers])
      Peers.rpc(b, :erlang, :set_cookie, [a.node, :fabric_peers])
      true = Peers.connect(a, b)
    end
  end

  test "a change is everywhere soon, on a node that comes late too, and subscribers hear of it" do
    [a, b, late] = peers = start(3)
    mesh(peers)
    for peer <- [a, b], do: new(peer)
    :ok = Peers.rpc(b, State, :subscribe, [:shared, subscriber(b)])
    :ok = mutate(a, {:update, :cart, {:add, "apple"}})
    assert_eventually(read(b) == {:ok, %{cart: MapSet.new(["apple"])}})
    assert_eventually({:shared, [{:add, [:cart], "apple"}]} in told(b))

    for n <- 1..500, do: :ok = mutate(a, {:update, n, {:add, n}})
    new(late)
    assert_eventually(same?(peers), 10_000)
    assert {:ok, map} = read(late)
    assert map_size(map) == 501
    assert_eventually(status(a).lag_ms == 0)
    assert Enum.map(status(a).peers, & &1.node) == Enum.sort([b.node, late.node])
  end

  # A process there that keeps what it is told.
  defp subscriber(peer) do
    {:ok, agent} = Peers.rpc(peer, :gen_event, :start, [{:local, :told}])
    :ok = Peers.rpc(peer, :gen_event, :add_handler, [agent, Foundation.StateListener, []])
    agent
  end

  defp told(peer), do: Peers.rpc(peer, :gen_event, :call, [:told, Foundation.StateListener, :all])

  test "both sides of a split go on, a majority confirms and a minority does not, and all is one after the heal" do
    [a, b, c] = peers = start(3)
    mesh(peers)
    for peer <- peers, do: new(peer, @type_of, [replicas: 3] ++ @fast)
    :ok = mutate(a, {:update, :both, {:add, 0}}, level: :all)
    :ok = mutate(a, {:update, :gone, {:add, 0}}, level: :all)

    cut([a], [b, c])

    assert {:error, {:timeout, %{confirmed: 1, needed: 2}}} =
             mutate(a, {:update, :both, {:add, 1}}, level: :majority, timeout: 200)

    assert :ok = mutate(b, {:update, :both, {:add, 2}}, level: :majority)

    assert {:error, {:timeout, %{confirmed: 2, needed: 3}}} =
             mutate(c, {:update, :both, {:add, 3}}, level: :all, timeout: 3_000)

    # Removed on one side, changed on the other; and removed where nobody changes it.
    :ok = mutate(b, {:remove, :both})
    :ok = mutate(b, {:remove, :gone})
    assert status(a).lag_ms > 0

    heal([a], [b, c])
    assert_eventually(same?(peers), 10_000)
    assert read(c) == {:ok, %{both: MapSet.new([1])}}
    assert_eventually(Enum.all?(peers, &(status(&1).lag_ms == 0)))
    assert :ok = mutate(a, {:update, :both, {:add, 4}}, level: :all)
  end

  test "a durable replica that is killed has all it had acknowledged, and what was changed meanwhile" do
    [a, b] = peers = start(2)
    dir = Path.join(System.tmp_dir!(), "foundation_state_#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    mesh(peers)
    new(a)
    new(b, @type_of, [durable: [dir: dir]] ++ @fast)
    cut([a], [b])
    for n <- 1..300, do: :ok = mutate(b, {:update, n, {:add, n}})
    :ok = mutate(b, {:remove, 300})
    os_pid = Peers.rpc(b, System, :pid, [])
    System.cmd("kill", ["-9", os_pid])
    for n <- 1..10, do: :ok = mutate(a, {:update, :meanwhile, {:add, n}})

    [again] = start(1)
    new(again, @type_of, [durable: [dir: dir]] ++ @fast)
    assert {:ok, map} = read(again)
    assert map == Map.new(1..299, &{&1, MapSet.new([&1])})
    true = Peers.connect(a, again)
    assert_eventually(same?([a, again]), 10_000)
    assert {:ok, %{meanwhile: ten} = map} = read(a)
    assert map_size(map) == 300 and MapSet.size(ten) == 10
  end

  test "writers on every node lose nothing, while one is killed and its place is taken" do
    [a, b, c] = peers = start(3)
    mesh(peers)
    for peer <- peers, do: new(peer, :or_set, [replicas: 3] ++ @fast)

    writers =
      for peer <- [a, b] do
        Task.async(fn -> for n <- 1..400, do: :ok = mutate(peer, {:add, {peer.node, n}}) end)
      end

    confirmed = for n <- 1..20, do: {mutate(c, {:add, {:c, n}}, level: :majority), {:c, n}}
    os_pid = Peers.rpc(c, System, :pid, [])
    System.cmd("kill", ["-9", os_pid])
    Task.await_many(writers, 60_000)
    [d] = start(1)
    for peer <- [a, b], do: true = Peers.connect(peer, d)
    new(d, :or_set)
    assert_eventually(same?([a, b, d]), 15_000)
    {:ok, set} = read(d)
    for peer <- [a, b], n <- 1..400, do: assert(MapSet.member?(set, {peer.node, n}))
    for {:ok, element} <- confirmed, do: assert(MapSet.member?(set, element))
    assert length(for {:ok, _} <- confirmed, do: 1) == 20
    assert :ok = state(a, :forget, [:shared, c.node])
    assert_eventually(length(status(a).peers) == 2)
  end

  test "marks of removals are collected when all have confirmed them" do
    peers = [a, b] = start(2)
    mesh(peers)
    for peer <- peers, do: new(peer, :rw_set, [replicas: 2, sync_interval: 30] ++ [push_after: 1])
    for n <- 1..20, do: :ok = mutate(a, {:add, n})
    assert_eventually(same?(peers))
    for n <- 1..15, do: :ok = mutate(b, {:remove, n})
    assert_eventually(Enum.all?(peers, &(status(&1).marks == 0 and status(&1).keys == 5)), 15_000)
    assert read(a) == {:ok, MapSet.new(16..20)}
  end

  test "another type on another node is refused, and a replica that stops is no longer counted" do
    peers = [a, b] = start(2)
    mesh(peers)
    new(a)
    new(b, :or_set)
    :ok = state(a, :sync, [:shared])
    :ok = mutate(a, {:update, :k, {:add, 1}}, level: :all)
    assert status(a).peers == [] and status(b).peers == []
    :ok = state(b, :stop, [:shared])
    new(b)
    assert_eventually(length(status(a).peers) == 1)
    :ok = state(b, :stop, [:shared])
    assert_eventually(status(a).peers == [])
  end

  test "over the fabric alone, without distribution" do
    peers = [a, b] = start(2, [])
    for peer <- peers, do: new(peer)
    for {x, y} <- [{a, b}, {b, a}], do: :ok = Peers.introduce(x, y)
    :ok = mutate(a, {:update, :k, {:add, 1}})
    assert_eventually(read(b) == {:ok, %{k: MapSet.new([1])}}, 15_000)
    assert :ok = mutate(b, {:update, :k, {:add, 2}}, level: :all)
    assert read(a) == {:ok, %{k: MapSet.new([1, 2])}}
    assert Peers.rpc(a, Node, :list, []) == []
  end
end
