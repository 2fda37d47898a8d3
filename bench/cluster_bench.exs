# How long five nodes on one host take to be a cluster: from the start of the last node's applications, in a VM that has
# booted and (but for one line) has its modules loaded as a release has, until each of the five sees all five.
#
# The others run already. Each round starts a last node anew and ends it. The baseline, in the same round, is what plain
# distribution takes when it is told everything: a node that is given a name and the names of the four others, and
# connects to each, measured until all see all.
#
# Then, how long a frozen node (kill -STOP) is taken for alive, under the default settings: until none of the others counts
# it as one that messages can be sent to. Plain distribution needs its net_ticktime and up to a quarter more for that, 60 to
# 75 s, which is not waited for. CLUSTER_BENCH=frozen measures this alone.

Code.require_file("support.exs", __DIR__)

defmodule Foundation.ClusterBench do
  alias Foundation.Bench
  alias Foundation.ClusterNodes, as: Nodes
  alias Foundation.Distributed.{Fabric, Topology}
  alias Foundation.{FabricPeers, RealNode}

  @rounds 11

  def run do
    unless System.get_env("CLUSTER_BENCH") == "frozen", do: formation()
    frozen()
  end

  defp formation do
    strategies = [
      {"cluster: true", true, :loaded, 150},
      {"cluster: true, code loaded on the way (mix)", true, :not_loaded, 150},
      {"local epmd alone", :local_epmd, :loaded, nil},
      {"gossip alone", :gossip, :loaded, nil},
      {"mDNS alone", :mdns, :loaded, 1_000}
    ]

    IO.puts("Formation: the last of five nodes, boot to all see all (median of #{@rounds})")
    for strategy <- strategies, do: formation(strategy)
    plain()
    alone()
  end

  defp formation({name, spec, code, wanted}) do
    with_four([cluster: own_port(spec)], fn group, first ->
      samples = for _ <- 1..@rounds, do: round(group, first, code, cluster: own_port(spec))
      report(name, samples, wanted)
    end)
  end

  # What listens to the network beside us is none of ours.
  defp own_port(:gossip), do: {:gossip, port: port()}
  defp own_port(:mdns), do: {:mdns, port: port()}
  defp own_port(spec), do: spec

  defp port, do: 20_000 + rem(String.to_integer(System.pid()), 20_000)

  defp with_four(env, fun) do
    group = Nodes.group()

    try do
      first = Nodes.boot_all(group, 4, env: env)
      await(fn -> Nodes.all_see_all?(first) end)
      fun.(group, first)
      Enum.each(first, &Nodes.stop/1)
    after
      Nodes.stop_group(group)
    end
  end

  defp round(group, first, code, env) do
    last = booted(group, code, env)
    all = [last | first]
    started = System.os_time(:millisecond)
    {:ok, _} = Nodes.call(last, Application, :ensure_all_started, [:foundation])
    await(fn -> Nodes.all_see_all?(all) end)
    took = all |> Enum.map(&complete_at/1) |> Enum.max() |> Kernel.-(started)
    Nodes.stop(last)
    await(fn -> Nodes.all_see_all?(first) end)
    took
  end

  # When the last member came, by the clock that all nodes of a host share.
  defp complete_at(peer) do
    %{members: members} = Nodes.call(peer, Foundation.Cluster, :info, [])
    now = System.os_time(:millisecond)
    members |> Enum.map(fn {_, %{since: ago}} -> now - ago end) |> Enum.max()
  end

  defp plain do
    group = Nodes.group()
    first = Nodes.boot_all(group, 4, env: [cluster: {:static, nodes: []}])
    names = Enum.map(first, &Nodes.name/1)
    for peer <- first, name <- names, do: Nodes.call(peer, Node, :connect, [name])

    samples =
      for _ <- 1..@rounds do
        last = booted(group, :loaded, cluster: false)
        started = now()
        {:ok, _} = Nodes.call(last, Node, :start, [:"plain#{Nodes.unique()}", :shortnames])
        for name <- names, do: true = Nodes.call(last, Node, :connect, [name])
        await(fn -> Enum.all?([last | first], &(length(Nodes.call(&1, Node, :list, [])) == 4)) end)
        took = now() - started
        Nodes.stop(last)
        await(fn -> Enum.all?(first, &(length(Nodes.call(&1, Node, :list, [])) == 3)) end)
        took
      end

    report("plain distribution, told all names", samples, nil)
    Enum.each(first, &Nodes.stop/1)
    Nodes.stop_group(group)
  end

  # How much of it is the start of everything else.
  defp alone do
    group = Nodes.group()

    samples =
      for _ <- 1..@rounds do
        peer = booted(group, :loaded, cluster: false)
        started = now()
        {:ok, _} = Nodes.call(peer, Application, :ensure_all_started, [:foundation])
        took = now() - started
        Nodes.stop(peer)
        took
      end

    report("the application without a cluster", samples, nil)
    Nodes.stop_group(group)
  end

  @freezes 5

  defp frozen do
    {_, 0} = System.cmd("epmd", ["-daemon"])

    IO.puts(
      "A frozen node among five, default settings, all connected by distribution too (median of #{@freezes})"
    )

    nodes = for n <- 1..5, do: FabricPeers.start("frozen#{n}", fabric: [])

    try do
      for one <- nodes, other <- nodes, one != other, do: true = FabricPeers.connect(one, other)

      report(
        "a frozen node is declared gone by all others",
        for(n <- 1..@freezes, do: freeze(nodes, n)),
        2_000
      )
    after
      Enum.each(nodes, &FabricPeers.stop/1)
    end
  end

  defp freeze(nodes, n) do
    await(fn -> Enum.all?(nodes, &(length(reachable(&1)) == 4 and length(members(&1)) == 4)) end)
    # A node that was frozen itself distrusts its own clockwork for a while, and gives others more time.
    await(fn -> Enum.all?(nodes, &(health(&1) == 0)) end)
    {frozen, others} = List.pop_at(nodes, rem(n, 5))
    os_pid = RealNode.os_pid(frozen)
    started = now()
    :ok = RealNode.signal(os_pid, "STOP")
    await(fn -> Enum.all?(others, &(frozen.node not in reachable(&1))) end)
    took = now() - started
    # It is not for want of a connection.
    true = Enum.all?(others, &(frozen.node in FabricPeers.rpc(&1, Node, :list, [])))
    true = Enum.all?(others, &(length(reachable(&1)) == 3))
    :ok = RealNode.signal(os_pid, "CONT")
    took
  end

  defp reachable(node), do: FabricPeers.rpc(node, Fabric, :nodes, [])
  defp health(node), do: elem(FabricPeers.rpc(node, Topology, :info, []), 1).health
  defp members(node), do: FabricPeers.rpc(node, Topology, :members, [])

  defp booted(group, code, env) do
    peer = Nodes.boot(group, start: false, env: env)
    for app <- [:inets, :ssl], do: {:ok, _} = Nodes.call(peer, Application, :ensure_all_started, [app])

    if code == :loaded,
      do: for(app <- ~w(kernel stdlib crypto elixir logger foundation)a, do: load(peer, app))

    peer
  end

  defp load(peer, app) do
    Nodes.call(peer, Application, :load, [app])
    {:ok, modules} = Nodes.call(peer, :application, :get_key, [app, :modules])
    Nodes.call(peer, :code, :ensure_modules_loaded, [modules])
  end

  defp report(name, samples, wanted) do
    ms = Float.round(Bench.median(samples) / 1, 1)
    range = "#{Float.round(Enum.min(samples) / 1, 1)} to #{Float.round(Enum.max(samples) / 1, 1)}"
    verdict = if wanted, do: "#{if(ms <= wanted, do: "met", else: "MISSED")} (at most #{wanted} ms)", else: ""
    Bench.figure(name, "#{ms} ms (#{range})", verdict)
  end

  defp await(fun, deadline \\ System.monotonic_time(:millisecond) + 30_000) do
    cond do
      fun.() -> :ok
      System.monotonic_time(:millisecond) > deadline -> raise "the nodes did not form a cluster within 30 s"
      true -> Process.sleep(2) && await(fun, deadline)
    end
  end

  defp now, do: System.monotonic_time(:microsecond) / 1_000
end

Foundation.ClusterBench.run()
