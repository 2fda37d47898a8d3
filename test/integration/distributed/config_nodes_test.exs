defmodule Foundation.Distributed.ConfigNodesTest do
  # The cluster's configuration on real nodes that come late, die, and are split.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.Config
  alias Foundation.ConfigSchemas.{Numbers, PaymentsConfig}
  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.Distributed.{Consensus, Partitions}

  @moduletag timeout: 120_000
  @results [:interface, :max_results]
  @names for(n <- 1..3, do: :"n#{n}@127.0.0.1")

  defp start(options \\ []) do
    cluster = Nodes.start(3, [durable: false, coordination: [expect: 3, session_ms: 2_000]] ++ options)
    on_exit(fn -> Nodes.stop(cluster) end)
    assert Nodes.names(cluster) == @names

    for node <- @names,
        do:
          assert_eventually(
            Nodes.rpc(cluster, node, Consensus, :members, [:foundation]) == {:ok, @names},
            30_000
          )

    cluster
  end

  # Where a policy decides over splits, and a node has the cluster's configuration before its application has started.
  defp start_with_policy do
    cluster =
      start(
        env: [
          cluster: {:static, nodes: @names},
          cluster_options: [down_after: 1_000],
          partitions: [policy: :majority, confirm_after: 300],
          shared_config: [sync: true]
        ]
      )

    for node <- @names do
      # Of connections that are refused.
      :ok = Nodes.rpc(cluster, node, Logger, :configure, [[level: :critical]])
      assert_eventually(length(Nodes.rpc(cluster, node, Foundation.Cluster, :nodes, [])) == 3, 20_000)
      assert on(cluster, node, :cluster_status, []).synced
    end

    cluster
  end

  defp on(cluster, node, function, arguments), do: Nodes.rpc(cluster, node, Config, function, arguments)
  defp get(cluster, node, path \\ @results), do: on(cluster, node, :get, [path])
  defp sync(cluster, node), do: assert(on(cluster, node, :enable_cluster_wide_sync, []) == :ok)

  defp set(cluster, node, value, options \\ []),
    do: on(cluster, node, :set_cluster_wide, [@results, value, options])

  defp subscriber(cluster, node, subscribe) do
    {:ok, mailbag} = Nodes.rpc(cluster, node, Foundation.Mailbag, :start, [])
    :ok = Nodes.rpc(cluster, node, GenServer, :call, [mailbag, {:run, subscribe}])
    fn -> Nodes.rpc(cluster, node, GenServer, :call, [mailbag, :heard]) end
  end

  test "what one node sets is in force on all that follow, and a node that comes has it before it answers" do
    cluster = start()
    [a, b, c] = @names
    for node <- [a, b], do: sync(cluster, node)
    heard = subscriber(cluster, b, {Config, :subscribe, []})

    assert set(cluster, a, 42, author: "ann") == {:ok, 1}
    # At once where it was set, and soon elsewhere; asked for, it is what was agreed on.
    assert get(cluster, a) == {:ok, 42}
    assert on(cluster, c, :get_with_consensus, [@results]) == {:ok, 42}
    assert_eventually(get(cluster, b) == {:ok, 42})
    assert_eventually({:config_notification, {:config_updated, @results, 42}} in heard.())
    assert get(cluster, c) == {:ok, 1000}

    for n <- 43..60, do: assert({:ok, _} = set(cluster, Enum.at([a, b], rem(n, 2)), n))
    sync(cluster, c)
    assert get(cluster, c) == {:ok, 60}

    assert {:ok, history} = on(cluster, c, :history, [[scope: :cluster]])
    assert length(history) == 19
    assert List.last(history).author == "ann"
    assert on(cluster, c, :rollback, [1, [scope: :cluster]]) == {:ok, 20}
    for node <- @names, do: assert_eventually(get(cluster, node) == {:ok, 42})

    # A node that was killed, in memory, has forgotten everything.
    Nodes.kill(cluster, c)
    assert {:ok, 21} = set(cluster, a, 7)
    cluster = Nodes.restart(cluster, c)
    on_exit(fn -> Nodes.stop(cluster) end)
    sync(cluster, c)
    assert get(cluster, c) == {:ok, 7}
    assert on(cluster, c, :cluster_status, []).version == 21
  end

  test "a node whose schema refuses a value says so and keeps its own" do
    cluster = start()
    [a, b, c] = @names
    for node <- @names, do: sync(cluster, node)
    for node <- [a, b], do: :ok = on(cluster, node, :register_schema, [Numbers])
    assert on(cluster, c, :set_cluster_wide, [[:numbers, :a], 5]) |> elem(0) == :error
    assert on(cluster, a, :set_cluster_wide, [[:numbers, :a], 500]) |> elem(0) == :error
    assert on(cluster, a, :set_cluster_wide, [[:numbers, :a], 5]) == {:ok, 1}
    assert_eventually(get(cluster, b, [:numbers, :a]) == {:ok, 5})
    assert_eventually(Map.keys(on(cluster, c, :cluster_status, []).refused) == [[:numbers, :a]])
    assert {:error, _} = get(cluster, c, [:numbers, :a])
    :ok = on(cluster, c, :register_schema, [Numbers])
    assert get(cluster, c, [:numbers, :a]) == {:ok, 5}
    assert_eventually(on(cluster, c, :cluster_status, []).refused == %{})
  end

  test "a minority reads and refuses, and has what the others set when the split is over; a node that starts has it at once" do
    cluster = start_with_policy()
    [a, b, c] = @names
    heard = subscriber(cluster, a, {Partitions, :subscribe, []})
    {:ok, 1} = set(cluster, b, 1)
    for node <- @names, do: assert_eventually(get(cluster, node) == {:ok, 1})

    Nodes.split(cluster, [[a], [b, c]])
    # Until the policy has decided, the group refuses, or cannot tell.
    assert {:error, reason} = set(cluster, a, 2, timeout: 500)
    assert reason in [:no_leader, :unknown, :timeout, :minority]
    assert_eventually(set(cluster, a, 2, timeout: 500) == {:error, :minority}, 20_000)
    refute Nodes.rpc(cluster, a, Partitions, :writable?, [])
    assert on(cluster, a, :rollback, [0, [scope: :cluster]]) == {:error, :minority}
    assert get(cluster, a) == {:ok, 1}
    refute on(cluster, a, :cluster_status, []).writable
    assert_eventually(match?({:ok, _}, set(cluster, b, 3)), 20_000)

    assert_eventually(
      Enum.any?(heard.(), &match?({:foundation_partition, %{event: :split, state: :paused}}, &1))
    )

    Nodes.heal(cluster)
    assert_eventually(get(cluster, a) == {:ok, 3}, 30_000)
    assert_eventually(match?({:ok, _}, set(cluster, a, 4)), 30_000)

    assert_eventually(
      Enum.any?(heard.(), &match?({:foundation_partition, %{event: :healed, state: :active}}, &1))
    )

    for node <- @names, do: assert_eventually(get(cluster, node) == {:ok, 4})

    Nodes.kill(cluster, c)
    assert_eventually(match?({:ok, _}, set(cluster, b, 5)), 20_000)
    cluster = Nodes.restart(cluster, c)
    on_exit(fn -> Nodes.stop(cluster) end)
    assert get(cluster, c) == {:ok, 5}
  end

  test "available paths are set on both sides, the same is in force on all after, and a conflict is resolved once" do
    cluster = start_with_policy()
    [a, b, c] = @names
    for node <- @names, do: :ok = on(cluster, node, :register_schema, [PaymentsConfig])
    path = [:payments, :currencies]

    available = fn node, value ->
      on(cluster, node, :set_cluster_wide, [path, value, [consistency: :available]])
    end

    :ok = available.(a, ["EUR", "USD"])
    for node <- @names, do: assert_eventually(get(cluster, node, path) == {:ok, ["EUR", "USD"]})

    Nodes.split(cluster, [[a], [b, c]])
    assert_eventually(not Nodes.rpc(cluster, a, Partitions, :writable?, []), 20_000)
    :ok = available.(b, ["EUR", "USD", "GBP"])
    :ok = available.(a, ["EUR", "CHF"])
    assert get(cluster, a, path) == {:ok, ["EUR", "CHF"]}
    assert_eventually(get(cluster, c, path) == {:ok, ["EUR", "USD", "GBP"]})
    assert on(cluster, a, :resolve_config_conflicts, [:timestamp_wins]) == {:error, :minority}

    Nodes.heal(cluster)
    for node <- @names, do: assert_eventually(length(on(cluster, node, :config_conflicts, [])) == 1, 30_000)
    # The later one is in force everywhere.
    for node <- @names, do: assert_eventually(get(cluster, node, path) == {:ok, ["EUR", "CHF"]})
    assert [%{path: ^path, values: values}] = on(cluster, c, :config_conflicts, [])
    assert Enum.sort(Enum.map(values, & &1.node)) == [a, b]

    assert_eventually(Nodes.rpc(cluster, a, Partitions, :writable?, []), 20_000)
    resolve = fn node, strategy -> on(cluster, node, :resolve_config_conflicts, [strategy]) end
    both = for node <- [a, b], do: Task.async(fn -> resolve.(node, :intelligent_merge) end)
    assert [{:ok, _}, {:ok, _}] = Task.await_many(both, 30_000)

    for node <- @names do
      assert_eventually(get(cluster, node, path) == {:ok, ["EUR", "CHF", "GBP"]})
      assert_eventually(on(cluster, node, :config_conflicts, []) == [])
    end
  end
end
