defmodule Foundation.ServiceMeshTest do
  # The services are those of the application.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  require Foundation.Distributed.Context, as: Context
  alias Foundation.Distributed.Discovery
  alias Foundation.{HealthCheck, MeshEcho, ServiceMesh, ServiceRegistry, Telemetry}

  setup do
    service = {:mesh_test, System.unique_integer([:positive])}
    on_exit(fn -> for %{pid: pid} <- Discovery.discover_services(), do: Process.exit(pid, :kill) end)
    {:ok, service: service}
  end

  defp provide(service, count, options \\ []),
    do: for(n <- 1..count, do: MeshEcho.provide(service, options, n))

  defp picks(target, policy, n) do
    for _ <- 1..n do
      {:ok, %{pid: pid}} = ServiceRegistry.route_to_best_instance(target, policy: policy)
      pid
    end
    |> Enum.frequencies()
  end

  defp view(service, pid) do
    {:ok, %{providers: providers}} = ServiceMesh.status(service)
    Enum.find(providers, &(&1.pid == pid))
  end

  describe "registering and finding" do
    test "by name, capability, node, zone and health", %{service: service} do
      assert ServiceRegistry.discover_services(name: service) == []
      assert ServiceRegistry.route_to_best_instance(service) == {:error, :no_provider}

      a =
        MeshEcho.provide(service,
          capabilities: [:fuzzy, {:lang, "de"}],
          metadata: %{v: 1},
          zone: "a",
          weight: 3
        )

      assert :ok = ServiceRegistry.register_mesh_service(service, capabilities: [:fuzzy])

      assert [
               %{pid: ^a, capabilities: [:fuzzy, {:lang, "de"}], metadata: %{v: 1}, zone: "a", weight: 3} =
                 found
             ] = ServiceRegistry.discover_services(name: service, capability: {:lang, "de"})

      assert found.node == node() and found.status == :up
      assert length(ServiceRegistry.discover_services(service)) == 2
      assert length(ServiceRegistry.discover_services(capability: :fuzzy, health: :healthy)) == 2
      assert [%{pid: ^a}] = ServiceRegistry.discover_services(capability: [:fuzzy, {:lang, "de"}])
      assert [%{pid: ^a}] = ServiceRegistry.discover_services(name: service, zone: "a")
      assert ServiceRegistry.discover_services(name: service, node: :no@where) == []
      assert {:ok, %{pid: ^a}} = ServiceRegistry.route_to_best_instance({:capability, {:lang, "de"}})
      assert {:ok, %{pid: ^a}} = ServiceRegistry.route_to_best_instance({:lang, "de"})
      assert {:ok, %{pid: ^a}} = ServiceRegistry.route_to_best_instance(service, exclude: [self()])

      assert :ok = ServiceRegistry.unregister_mesh_service(service)
      assert [%{pid: ^a}] = ServiceRegistry.discover_services(service)
      Process.exit(a, :kill)
      assert_eventually(ServiceRegistry.discover_services(service) == [])
      assert_eventually(ServiceRegistry.route_to_best_instance(service) == {:error, :no_provider})
    end

    test "names that are patterns of ETS mean themselves", %{service: service} do
      for name <- [:_, :"$1", {service, :_}, {service, :x}], do: MeshEcho.provide(name, [], name)

      for name <- [:_, :"$1", {service, :_}, {service, :x}] do
        assert [%{service: ^name}] = ServiceRegistry.discover_services(name: name)
        assert ServiceMesh.call({:service, name}, :who) == {:ok, name}
      end
    end

    test "arguments that make no sense are said to be so", %{service: service} do
      for options <- [
            [weight: 0],
            [weight: 1.5],
            [capabilities: :x],
            [metadata: []],
            [colour: 1],
            [health_check: 1],
            [health_check: [interval_ms: 5]]
          ],
          do:
            assert_raise(ArgumentError, fn ->
              ServiceRegistry.register_mesh_service(service, self(), options)
            end)

      for options <- [
            [policy: :best],
            [timeout: -1],
            [retries: -1],
            [hedge: 10],
            [failure?: 1],
            [spill_over: 0],
            [nothing: 1],
            :x
          ],
          do: assert_raise(ArgumentError, fn -> ServiceMesh.call(service, :who, options) end)

      assert_raise ArgumentError, fn -> ServiceMesh.configure(service, outlier: [max_percent: 101]) end
      assert_raise ArgumentError, fn -> ServiceRegistry.discover_services(health: :fine) end
      assert_raise ArgumentError, fn -> ServiceRegistry.discover_services(colour: :red) end
    end
  end

  describe "policies" do
    test ":round_robin takes turns", %{service: service} do
      pids = provide(service, 3)
      assert picks(service, :round_robin, 30) == Map.new(pids, &{&1, 10})
    end

    test ":weighted goes by weight", %{service: service} do
      [a] = provide(service, 1, weight: 1)
      [b] = provide(service, 1, weight: 4)
      counts = picks(service, :weighted, 2_000)
      assert_in_delta counts[a] / 2_000, 0.2, 0.05
      assert_in_delta counts[b] / 2_000, 0.8, 0.05
    end

    test ":least_loaded avoids who is busy, :p2c_ewma who is slow", %{service: service} do
      [a, b] = provide(service, 2)
      MeshEcho.mode(a, {:sleep, 1_500})
      :ok = Discovery.set_status(service, b, :draining)
      busy = Task.async(fn -> ServiceMesh.call(service, :who) end)
      assert_eventually(view(service, a).in_flight == 1)
      :ok = Discovery.set_status(service, b, :up)
      assert picks(service, :least_loaded, 20) == %{b => 20}
      Task.await(busy)
      :ok = Discovery.set_status(service, a, :draining)
      assert ServiceMesh.call(service, :who) == {:ok, 2}
      :ok = Discovery.set_status(service, a, :up)
      # One call of 1.5 s against one of some µs.
      assert picks(service, :p2c_ewma, 20) == %{b => 20}
    end

    test ":health_based prefers whose calls end well", %{service: service} do
      [a, b] = provide(service, 2)

      ServiceMesh.configure(service,
        outlier: [consecutive: :infinity],
        failure?: &match?({:error, _}, &1),
        retries: 0
      )

      MeshEcho.mode(a, :refuse)
      for _ <- 1..5, do: assert({:ok, _} = ServiceMesh.call(service, :who, policy: :round_robin))
      assert picks(service, :health_based, 20) == %{b => 20}
      assert view(service, a).failing > 0.0
    end

    test ":locality_aware stays here until it spills over", %{service: service} do
      [a] = provide(service, 1)
      assert picks(service, :locality_aware, 5) == %{a => 5}
      MeshEcho.mode(a, {:sleep, 1_500})
      busy = Task.async(fn -> ServiceMesh.call(service, :who) end)
      assert_eventually(view(service, a).in_flight == 1)

      # Nobody is further away: it has to take it.
      assert {:ok, %{pid: ^a}} =
               ServiceRegistry.route_to_best_instance(service, policy: :locality_aware, spill_over: 1)

      Task.await(busy)
    end
  end

  describe "calls" do
    test "are answered, with every way to fail", %{service: service} do
      assert ServiceMesh.call(service, :who) == {:error, :no_provider}
      a = MeshEcho.provide(service)
      assert ServiceMesh.call(service, {:echo, 1}) == {:ok, 1}
      assert ServiceMesh.call(service, {:echo, 2}, 1_000, retries: 0) == {:ok, 2}
      MeshEcho.mode(a, {:sleep, 1_000})
      assert ServiceMesh.call(service, :who, timeout: 50) == {:error, :timeout}
      :ok = Discovery.set_status(service, a, :draining)
      assert ServiceMesh.call(service, :who) == {:error, :none_healthy}
      :ok = Discovery.set_status(service, a, :up)

      :ok = MeshEcho.mode(a, :ok)
      assert ServiceMesh.call(service, :crash, retries: 0) == {:error, {:exit, {:shutdown, :told_to}}}

      assert_eventually(ServiceMesh.call(service, :who) == {:error, :no_provider})
    end

    test "go on to another when the first was never reached, to any when they are idempotent", %{
      service: service
    } do
      [a, b] = provide(service, 2)
      ServiceMesh.configure(service, failure?: &match?({:error, _}, &1), policy: :round_robin)
      MeshEcho.mode(a, :refuse)
      answers = for _ <- 1..4, do: ServiceMesh.call(service, :who)

      assert Enum.sort(answers) ==
               Enum.sort([{:ok, 2}, {:ok, 2}, {:ok, {:error, :overloaded}}, {:ok, {:error, :overloaded}}])

      for _ <- 1..4, do: assert(ServiceMesh.call(service, :who, idempotent: true) == {:ok, 2})

      # Gone without a word: its entry is still there, because the directory is held up.
      :sys.suspend(Discovery)

      try do
        Process.exit(a, :kill)
        for _ <- 1..4, do: assert(ServiceMesh.call(service, :who) == {:ok, 2})
      after
        :sys.resume(Discovery)
      end

      assert MeshEcho.calls(b) > 8
    end

    test "that crash a provider are not repeated unless idempotent", %{service: service} do
      pids = provide(service, 3)
      assert {:error, {:exit, _}} = ServiceMesh.call(service, :crash)
      assert Enum.count(pids, &Process.alive?/1) == 2
      assert {:error, {:exit, _}} = ServiceMesh.call(service, :crash, idempotent: true, retries: 1)
      assert Enum.count(pids, &Process.alive?/1) == 0
    end

    test "retry within the budget", %{service: service} do
      provide(service, 2) |> Enum.each(&MeshEcho.mode(&1, :refuse))

      ServiceMesh.configure(service,
        failure?: &match?({:error, _}, &1),
        idempotent: true,
        outlier: [consecutive: :infinity],
        backoff_ms: 0,
        retry_ratio: 0.1,
        retries_per_second: 0,
        retry_burst: 10
      )

      for _ <- 1..100, do: assert({:ok, {:error, :overloaded}} = ServiceMesh.call(service, :who))
      {:ok, %{budget: budget, providers: providers}} = ServiceMesh.status(service)
      calls = Enum.sum(for p <- providers, do: p.calls)
      # 100 calls, the burst of 10, and a tenth of the calls, where the bucket was not full.
      assert calls in 110..120
      assert budget.allowed == calls - 100
    end

    test "of a caller that is killed no longer count", %{service: service} do
      [a] = provide(service, 1)
      MeshEcho.mode(a, {:sleep, 2_000})
      caller = spawn(fn -> ServiceMesh.call(service, :who) end)
      assert_eventually(view(service, a).in_flight == 1)
      Process.exit(caller, :kill)
      assert_eventually(view(service, a).in_flight == 0, 5_000)
    end

    test "may be made by a function", %{service: service} do
      a = MeshEcho.provide(service, metadata: %{url: "http://there"})

      assert ServiceMesh.run(service, fn %{metadata: %{url: url}}, left -> {:ok, {url, left}} end,
               timeout: 1_000
             )
             |> elem(1)
             |> elem(0) == "http://there"

      assert ServiceMesh.run(service, fn _, _ -> {:error, :bad} end) == {:error, :bad}
      attempts = :counters.new(1, [])

      unsent = fn _, _ ->
        :counters.add(attempts, 1, 1)
        {:error, {:unsent, :no_connection}}
      end

      assert ServiceMesh.run(service, unsent, retries: 2) == {:error, :no_connection}
      assert :counters.get(attempts, 1) == 3
      assert_raise RuntimeError, fn -> ServiceMesh.run(service, fn _, _ -> raise "there" end) end
      assert catch_throw(ServiceMesh.run(service, fn _, _ -> throw(:up) end)) == :up
      assert %{in_flight: 0} = view(service, a)
    end

    test "carry their deadline along in a context", %{service: service} do
      provide(service, 1)
      assert ServiceMesh.time_left() == :infinity
      assert ServiceMesh.call(service, :time_left, timeout: 1_000) == {:ok, :infinity}

      Context.with_global_context %{user: 1} do
        assert {:ok, left} = ServiceMesh.call(service, :time_left, timeout: 15_000)
        assert left in 4_001..15_000
        # The nearer of two counts.
        Context.put(deadline: System.system_time(:millisecond) + 4_000)
        assert {:ok, left} = ServiceMesh.call(service, :time_left, timeout: 15_000)
        assert left in 0..4_000
        Context.put(deadline: System.system_time(:millisecond) - 1)
        assert ServiceMesh.call(service, :who) == {:error, :timeout}
      end
    end
  end

  describe "hedging" do
    test "asks a second one when the first is late; the first answer counts", %{service: service} do
      [a, b] = provide(service, 2)
      MeshEcho.mode(a, {:sleep, 20_000})
      options = [policy: :round_robin, idempotent: true, hedge: 20, timeout: 30_000]
      before = Telemetry.value([:foundation, :mesh, :hedges], %{target: {:service, service}})
      {took, answers} = :timer.tc(fn -> for _ <- 1..2, do: ServiceMesh.call(service, :who, options) end)
      assert answers == [{:ok, 2}, {:ok, 2}]
      assert took < 18_000_000
      assert before != Telemetry.value([:foundation, :mesh, :hedges], %{target: {:service, service}})
      # The attempt that lost does not count as under way.
      assert view(service, a).in_flight == 0 and view(service, b).in_flight == 0
    end

    test "by a percentile begins when there are enough calls", %{service: service} do
      [a | _] = provide(service, 2)
      options = [idempotent: true, hedge: {:percentile, 90}, policy: :round_robin]
      for _ <- 1..40, do: assert({:ok, _} = ServiceMesh.call(service, :who, options))
      key = {:hedge, {{:service, service}, 90}}
      assert_eventually(is_integer(Foundation.ServiceMesh.Tables.get(key)), 5_000)
      MeshEcho.mode(a, {:sleep, 20_000})
      {took, answers} = :timer.tc(fn -> for _ <- 1..2, do: ServiceMesh.call(service, :who, options) end)
      assert answers == [{:ok, 2}, {:ok, 2}]
      assert took < 18_000_000
    end

    test "passes on what is raised, and an error of both", %{service: service} do
      provide(service, 2)
      options = [idempotent: true, hedge: 5, retries: 0]

      late_error = fn _, _ ->
        receive do
        after
          30 -> {:error, :bad}
        end
      end

      assert ServiceMesh.run(service, late_error, options) == {:error, :bad}
      assert_raise RuntimeError, fn -> ServiceMesh.run(service, fn _, _ -> raise "there" end, options) end
    end
  end

  describe "health" do
    test "who fails again and again is set aside for a while that grows, but not all of them", %{
      service: service
    } do
      [a, b] = provide(service, 2)
      :ok = ServiceMesh.subscribe(service)

      ServiceMesh.configure(service,
        failure?: &match?({:error, _}, &1),
        policy: :round_robin,
        retries: 0,
        outlier: [consecutive: 3, base_ms: 1_500]
      )

      for pid <- [a, b], do: MeshEcho.mode(pid, :refuse)
      for _ <- 1..12, do: ServiceMesh.call(service, :who)
      assert_receive {:foundation_mesh, {:service, ^service}, {:ejected, 1_500, :consecutive}, %{pid: out}}
      # At most half of two.
      refute_received {:foundation_mesh, _, {:ejected, _, _}, _}
      [other] = [a, b] -- [out]
      assert picks(service, :round_robin, 4) == %{other => 4}
      assert_receive {:foundation_mesh, _, :returned, %{pid: ^out}}
      MeshEcho.mode(other, :ok)
      for _ <- 1..8, do: ServiceMesh.call(service, :who)
      assert_receive {:foundation_mesh, _, {:ejected, 3_000, :consecutive}, %{pid: ^out}}
      assert view(service, out).ejected and view(service, out).ejections == 2
      :ok = ServiceMesh.unsubscribe(service)
    end

    test "who fails more often than the others is set aside", %{service: service} do
      [bad | _] = provide(service, 6)
      :ok = ServiceMesh.subscribe(service)

      ServiceMesh.configure(service,
        policy: :round_robin,
        retries: 0,
        outlier: [consecutive: :infinity, interval_ms: 500, base_ms: 60_000]
      )

      fails = fn %{pid: pid}, _ ->
        if pid == bad and :rand.uniform() < 0.5, do: {:error, :bad}, else: {:ok, pid}
      end

      assert_eventually(
        (
          for _ <- 1..200, do: ServiceMesh.run(service, fails)
          view(service, bad).ejected
        ),
        10_000
      )

      assert_receive {:foundation_mesh, _, {:ejected, 60_000, :success_rate}, %{pid: ^bad}}
    end

    test "a check takes a provider out and in again", %{service: service} do
      :ok = ServiceMesh.subscribe({:capability, service})

      check = [
        check: {MeshEcho, :well?, []},
        interval_ms: 20,
        deadline_ms: 1_000,
        unhealthy_after: 2,
        healthy_after: 2
      ]

      a = MeshEcho.provide(:checked, capabilities: [service], health_check: check)
      assert_receive {:foundation_mesh, _, :up, %{pid: ^a}}
      MeshEcho.mode(a, :refuse)
      assert_receive {:foundation_mesh, _, :changed, %{pid: ^a, status: :unhealthy}}
      assert_eventually(ServiceMesh.call({:capability, service}, :who) == {:error, :none_healthy})
      assert [%{pid: ^a}] = ServiceRegistry.discover_services(capability: service, health: :unhealthy)
      MeshEcho.mode(a, :ok)
      assert_receive {:foundation_mesh, _, :changed, %{pid: ^a, status: :up}}
      assert_eventually(match?({:ok, _}, ServiceMesh.call({:capability, service}, :who)))

      # One that does not answer in time has failed too.
      :sys.suspend(a)
      assert_receive {:foundation_mesh, _, :changed, %{pid: ^a, status: :unhealthy}}
      Process.exit(a, :kill)
      assert_receive {:foundation_mesh, _, :down, %{pid: ^a}}
    end

    test "a node that drains gets no more calls", %{service: service} do
      provide(service, 2)
      on_exit(fn -> HealthCheck.drain(false) end)
      HealthCheck.drain(true)
      assert_eventually(ServiceMesh.call(service, :who) == {:error, :none_healthy})
      late = MeshEcho.provide(service)

      assert [%{pid: ^late, status: :draining} | _] =
               Enum.filter(ServiceRegistry.discover_services(service), &(&1.pid == late))

      HealthCheck.drain(false)
      assert_eventually(match?({:ok, _}, ServiceMesh.call(service, :who)))
    end
  end

  test "the directory and the process that watches may be killed", %{service: service} do
    check = [check: {MeshEcho, :well?, []}, interval_ms: 20, unhealthy_after: 1, healthy_after: 1]
    [first | _] = pids = provide(service, 2, health_check: check)
    :ok = ServiceMesh.subscribe(service)
    MeshEcho.mode(first, :refuse)
    assert_receive {:foundation_mesh, _, :changed, %{pid: ^first, status: :unhealthy}}

    for name <- [Discovery, Foundation.ServiceMesh.Outliers, Foundation.ServiceMesh.Checks] do
      pid = Process.whereis(name)
      Process.exit(pid, :kill)
      assert_eventually(Process.whereis(name) not in [nil, pid])
    end

    assert_eventually(match?({:ok, _}, ServiceMesh.call(service, :who)))
    assert ServiceRegistry.discover_services(service) |> Enum.map(& &1.pid) |> Enum.sort() == Enum.sort(pids)
    # It is still checked, still subscribed to once the directory is listened to again, and not forgotten.
    MeshEcho.mode(first, :ok)
    assert_eventually(length(ServiceRegistry.discover_services(name: service, health: :healthy)) == 2)

    assert_eventually(
      :sys.get_state(Foundation.ServiceMesh.Outliers).directory == Process.whereis(Discovery),
      5_000
    )

    Process.exit(first, :kill)
    assert_receive {:foundation_mesh, _, :down, %{pid: ^first}}
    assert_eventually(length(ServiceRegistry.discover_services(service)) == 1)
  end

  test "many changes at once leave a pool that is whole", %{service: service} do
    pids = provide(service, 200)
    assert map_size(picks(service, :round_robin, 200)) == 200
    {gone, kept} = Enum.split(pids, 100)
    for pid <- gone, do: Process.exit(pid, :kill)
    assert_eventually(length(ServiceRegistry.discover_services(service)) == 100)
    assert picks(service, :round_robin, 100) == Map.new(kept, &{&1, 1})
  end
end
