defmodule Foundation.RegistryConvergenceTest do
  # Names that are registered and lost at random, on nodes that are split and healed at random: whoever believes to have a
  # name has it on every node, and nobody else. FOUNDATION_REGISTRY_SEED repeats a run.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  alias Foundation.ConsensusNodes, as: Nodes
  alias Foundation.ProcessRegistry.Global
  alias Foundation.RegistryProbe

  @moduletag :slow
  @moduletag timeout: 120_000
  @rounds 8
  @steps 40
  @names 25

  test "nothing is lost and nothing is doubled after a heal" do
    seed = System.get_env("FOUNDATION_REGISTRY_SEED", "#{:rand.uniform(1_000_000)}") |> String.to_integer()
    :rand.seed(:exsss, {seed, 0, 0})
    cluster = Nodes.start(4, durable: false)
    on_exit(fn -> Nodes.stop(cluster) end)
    names = Nodes.names(cluster)
    together(cluster, names)

    Enum.reduce(1..@rounds, [], fn _round, named ->
      Nodes.split(cluster, split(names))
      named = Enum.reduce(1..@steps, named, fn _, named -> step(cluster, Enum.random(names), named) end)
      Nodes.heal(cluster)
      together(cluster, names)
      settled(cluster, names, named, seed)
    end)
  end

  # Two parts or three.
  defp split(names) do
    names |> Enum.shuffle() |> Enum.chunk_every(Enum.random([2, 3])) |> Enum.map(&Enum.sort/1)
  end

  defp step(cluster, node, named) do
    case :rand.uniform(10) do
      n when n <= 8 ->
        name = :rand.uniform(@names)

        case Nodes.rpc(cluster, node, RegistryProbe, :name, [name, options(n)]) do
          {pid, :ok} -> [{name, pid} | named]
          {_pid, {:error, {:already_registered, _}}} -> named
        end

      _ when named == [] ->
        named

      _ ->
        {_name, pid} = victim = Enum.random(named)
        Nodes.rpc(cluster, node(pid), Process, :exit, [pid, :kill])
        List.delete(named, victim)
    end
  end

  defp options(n) when n <= 2, do: [resolve: {RegistryProbe, :newer}]
  defp options(_n), do: []

  defp together(cluster, names) do
    for node <- names do
      assert_eventually(
        match?(
          {:ok, %{peers: peers}} when map_size(peers) == 3,
          Nodes.rpc(cluster, node, Global, :status, [])
        ),
        20_000
      )
    end
  end

  # Those who were not told of a loss have their names, on all nodes; they go on with these.
  defp settled(cluster, names, named, seed) do
    try do
      assert_eventually(agreed(cluster, names, named) != nil, 15_000)
    rescue
      error ->
        IO.puts(
          "seed #{seed}: #{inspect({holders(cluster, named), Enum.map(names, &found(cluster, &1))}, limit: :infinity)}"
        )

        reraise error, __STACKTRACE__
    end

    holders(cluster, named)
  end

  defp agreed(cluster, names, named) do
    holders = holders(cluster, named)
    if Enum.all?(names, &(found(cluster, &1) == Enum.sort(holders))), do: holders
  end

  defp holders(cluster, named) do
    for {name, pid} <- named,
        lost(Nodes.rpc(cluster, node(pid), RegistryProbe, :messages, [pid]), name) == 0,
        do: {name, pid}
  end

  defp lost(messages, name) do
    count =
      Enum.count(messages, &match?({:foundation_lost, :name, {:default, ^name}, nil, {:conflict, _}}, &1))

    assert count <= 1, "told twice of one loss: #{inspect(messages)}"
    count
  end

  defp found(cluster, node),
    do: Enum.sort(for entry <- Nodes.rpc(cluster, node, Global, :list, []), do: {entry.name, entry.pid})
end
