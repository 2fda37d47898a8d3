defmodule Foundation.Distributed.TopologyTest do
  # What the functions say without a fabric, and which options they take.
  use ExUnit.Case, async: true

  alias Foundation.Distributed.{Broadcast, Routing, Topology}
  alias Foundation.Distributed.Overlay
  alias Foundation.Distributed.Overlay.Options

  @fabric [name: :a@b, secret: "secret"]

  defp options(topology), do: Options.new([topology: topology] ++ @fabric)

  test "without a fabric everything says so" do
    not_running = {:error, :not_running}
    assert Topology.switch_topology(:hyparview) == not_running
    assert Topology.switch_topology(:full_mesh, :hyparview) == not_running
    assert Topology.switch_topology(:hyparview, settled: true, timeout: 10) == not_running
    assert Foundation.Distributed.switch_topology(:pub_sub) == not_running
    assert Foundation.BEAM.Distribution.switch_topology(:pub_sub) == not_running
    assert Topology.optimize_for_workload(:broadcast) == not_running
    assert Topology.recommend(:scale) == not_running
    assert Topology.automatic() == not_running
    assert Topology.analyze_performance() == not_running
    assert Topology.info() == not_running
    assert Topology.subscribe() == not_running
    assert Topology.current_topology() == nil
    assert Topology.members() == [] and Topology.links() == []
    assert Routing.route(:a@b) == not_running
    assert Routing.rank([:a@b]) == not_running
    assert Broadcast.publish(:topic, :message) == not_running
    assert Broadcast.subscribe(:topic) == not_running
  end

  test "what is no topology, workload, order or urgency is refused by name" do
    assert_raise ArgumentError, ~r/topology is one of .*, got: :ring/, fn ->
      Topology.switch_topology(:ring)
    end

    assert_raise ArgumentError, ~r/topology is one of/, fn -> Topology.switch_topology(:full_mesh, :ring) end

    assert_raise ArgumentError, ~r/no option :from/, fn ->
      Topology.switch_topology(:full_mesh, from: :ring)
    end

    assert_raise ArgumentError, ~r/timeout is milliseconds/, fn ->
      Topology.switch_topology(:full_mesh, timeout: -1)
    end

    assert_raise ArgumentError, ~r/workload is one of/, fn -> Topology.recommend(:gaming) end
    assert_raise ArgumentError, ~r/workload is one of/, fn -> Topology.automatic(:gaming) end
    assert_raise ArgumentError, ~r/by is :latency or :load/, fn -> Routing.rank([], by: :name) end
    assert_raise ArgumentError, ~r/urgency is one of/, fn -> Broadcast.publish(:a, :b, urgency: :now) end
  end

  test "options are completed" do
    assert options(false) == nil
    assert %{topology: :full_mesh, role: :peer, profile: :lan, active: nil} = options(:full_mesh)

    assert %{topology: :client_server, role: :server, meta: "eu", active: 5, probe_ms: 300} =
             options(start: :client_server, role: :server, meta: "eu", active: 5, probe_ms: 300)

    assert %{address: "10.1.2.3:44"} = Options.new([advertise: {{10, 1, 2, 3}, 44}] ++ @fabric)
    assert %{address: nil} = Options.new([bind: {127, 0, 0, 1}] ++ @fabric)
    assert %{address: address} = options(:hyparview)
    assert address =~ ~r/^\d+\.\d+\.\d+\.\d+:0$/
    refute address =~ "0.0.0.0"
  end

  test "options out of range are refused by name" do
    for {bad, message} <- [
          {[start: :ring], ~r/start is one of/},
          {[role: :boss], ~r/role is one of/},
          {[profile: :moon], ~r/profile is one of/},
          {[meta: String.duplicate("x", 513)], ~r/at most 512 bytes/},
          {[active: 1], ~r/active is an integer from 2 to 64/},
          {[passive: 5.0], ~r/passive is an integer/},
          {[suspicion_ms: 0], ~r/suspicion_ms is an integer/},
          {[speed: 3], ~r/no option :speed/},
          {:ring, ~r/false, one of/}
        ] do
      assert_raise ArgumentError, message, fn -> options(bad) end
    end
  end

  test "the secret is not shown" do
    refute inspect(catch_error(options(start: :ring))) =~ "secret"
  end

  test "topics of any kind have a number that is not everyone's" do
    for topic <- [:a, "b", {1, 2}, 0, %{x: 1}], do: assert(Overlay.number(topic) in 1..0xFFFFFFFF)
  end
end
