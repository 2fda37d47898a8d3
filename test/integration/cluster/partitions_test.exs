defmodule Foundation.Cluster.PartitionsTest do
  # Real nodes on a network of their own, whose cables are pulled.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Distributed.Partitions
  alias Foundation.Lan

  @lan Lan.available?()
  unless @lan, do: @moduletag(skip: "network namespaces are not permitted here")

  defp boot(lan, count, partitions) do
    names = for n <- 1..count, do: :"n#{n}@#{lan.prefix}#{n}"

    nodes =
      names
      |> Enum.zip(lan.hosts)
      |> Task.async_stream(fn {name, host} -> boot_one(host, name, names, partitions) end,
        timeout: 60_000,
        ordered: true
      )
      |> Enum.map(fn {:ok, node} -> node end)

    assert_eventually(Enum.all?(nodes, &(call(&1, Foundation.Cluster, :nodes, []) == names)), 30_000)
    nodes
  end

  defp boot_one(host, name, names, partitions) do
    node = Lan.node(host, name)
    env = [cluster: {:static, nodes: names}, partitions: partitions, cluster_options: [down_after: 1_000]]
    for {key, value} <- env, do: call(node, Application, :put_env, [:foundation, key, value])
    # A cut cable is noticed after 1 s, not after 60.
    call(node, :net_kernel, :set_net_ticktime, [1, 0])
    {:ok, _} = call(node, Application, :ensure_all_started, [:foundation])
    node
  end

  defp call(%{peer: peer}, module, function, arguments),
    do: :peer.call(peer, module, function, arguments, 20_000)

  defp status(node), do: node |> call(Partitions, :status, []) |> elem(1)
  defp active?(node), do: call(node, Partitions, :active?, [])

  defp cut(lan, n), do: Lan.ip(lan.switch, "link set port#{n} down")
  defp mend(lan, n), do: Lan.ip(lan.switch, "link set port#{n} up")

  test "the majority works on, the others pause, and all come together again" do
    lan = Lan.start(4)
    on_exit(fn -> Lan.stop(lan) end)
    [a, b, c, d] = nodes = boot(lan, 4, policy: :majority, confirm_after: 300)
    assert Enum.all?(nodes, &active?/1)
    assert %{state: :active, reason: :whole, lost: [], policy: :majority} = status(a)

    cut(lan, 4)
    assert_eventually(not active?(d), 20_000)
    assert_eventually(Enum.all?([a, b, c], &(status(&1).lost == [d.node])), 20_000)
    assert Enum.all?([a, b, c], &active?/1)
    assert_eventually(match?(%{state: :paused, reason: {:majority, 1, 4}}, status(d)), 20_000)
    # It stays so when the cluster has forgotten the members.
    assert_eventually(call(d, Foundation.Cluster, :info, []).members == %{}, 10_000)
    refute active?(d)
    assert call(d, Partitions, :writable, []) == {:error, :minority}
    assert call(a, Partitions, :writable, []) == :ok
    assert call(a, Partitions, :forget, [:nobody@nowhere]) == {:error, :not_lost}

    mend(lan, 4)
    assert_eventually(Enum.all?(nodes, &(status(&1).lost == [])), 30_000)
    assert Enum.all?(nodes, &active?/1)
  end

  test "a node that is dead for good can be forgotten, and one that says goodbye is not lost" do
    lan = Lan.start(3)
    on_exit(fn -> Lan.stop(lan) end)
    [a, b, c] = boot(lan, 3, policy: :quorum, quorum: 2, confirm_after: 200)
    :ok = call(c, Foundation.Cluster, :drain, [[]])
    assert_eventually(c.node not in call(a, Foundation.Cluster, :nodes, []))
    assert status(a).lost == []

    cut(lan, 2)
    assert_eventually(not active?(a), 20_000)
    assert %{reason: {:quorum, 1, 2}, lost: lost} = status(a)
    assert lost == [b.node]
    # No one else can know that it is not coming back.
    assert :ok = call(a, Partitions, :forget, [b.node])
    assert active?(a)
    assert status(a).lost == []
  end
end
