defmodule Foundation.DistributedSupervisor.PlacementTest do
  use ExUnit.Case, async: true
  alias Foundation.DistributedSupervisor.{Child, Placement}

  defp fill(how, names, nodes) do
    Enum.reduce(names, {%{}, Map.new(nodes, &{&1, 0})}, fn name, {placed, loads} ->
      node = Placement.choose(how, name, loads)
      {Map.put(placed, name, node), Map.update!(loads, node, &(&1 + 1))}
    end)
  end

  test "no node has more than its share times the factor" do
    nodes = for n <- 1..7, do: :"n#{n}@h"
    {_placed, loads} = fill({:hash, 1.25}, 1..1_000, nodes)
    assert Enum.sum(Map.values(loads)) == 1_000
    assert Enum.max(Map.values(loads)) <= ceil(1.25 * 1_000 / 7)
    {_placed, even} = fill(:least_load, 1..1_000, nodes)
    assert Enum.max(Map.values(even)) - Enum.min(Map.values(even)) <= 1
  end

  test "a node that goes moves little of what the others have" do
    nodes = for n <- 1..10, do: :"n#{n}@h"
    {before, _} = fill({:hash, 1.25}, 1..2_000, nodes)
    {later, _} = fill({:hash, 1.25}, 1..2_000, tl(nodes))
    stayed = for {name, node} <- before, node != hd(nodes), do: later[name] == node
    assert Enum.count(stayed, & &1) / length(stayed) > 0.7
  end

  test "what a child says of itself is checked" do
    child = Child.new!({Agent, fn -> 1 end}, name: {:any, 1}, nodes: [:a@h])
    assert %{name: {:any, 1}, nodes: [:a@h], spec: %{id: Agent}} = child
    assert Child.eligible?(child, :a@h, nil)
    refute Child.eligible?(child, :b@h, nil)
    gpu = Child.new!({Agent, fn -> 1 end}, filter: &Foundation.RegistryProbe.gpu?/2)
    assert Child.eligible?(gpu, :b@h, %{gpu: true})
    refute Child.eligible?(gpu, :b@h, %{})
    asked = Child.new!({Agent, fn -> 1 end}, filter: {Kernel, :==, []})
    assert Child.eligible?(asked, :b@h, :b@h)

    assert_raise ArgumentError, ~r/every node can call/, fn ->
      Child.new!(Agent, filter: fn _, _ -> true end)
    end

    assert_raise ArgumentError, ~r/nodes: is/, fn -> Child.new!({Agent, 1}, nodes: []) end
    assert_raise ArgumentError, ~r/handoff: is/, fn -> Child.new!({Agent, 1}, handoff: :yes) end
    assert_raise ArgumentError, ~r/no option :nam/, fn -> Child.new!({Agent, 1}, nam: 1) end
  end
end
