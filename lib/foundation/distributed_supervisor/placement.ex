defmodule Foundation.DistributedSupervisor.Placement do
  @moduledoc false
  # Which node a child is to run on. Pure: everybody who knows the same children and nodes decides the same.

  @type loads :: %{node => non_neg_integer}

  @doc """
  One of the nodes, which may not be empty. `{:hash, factor}`: the first of the child's own order of nodes (by hash, so that a node
  that comes or goes moves few children) that has less than `factor` times its share; `:least_load`: one with the fewest
  children, of several the first in that order.
  """
  @spec choose({:hash, number} | :least_load, term, loads) :: node
  def choose(:least_load, name, loads),
    do: loads |> Enum.min_by(fn {node, load} -> {load, weight(name, node)} end) |> elem(0)

  def choose({:hash, factor}, name, loads) do
    order = loads |> Map.keys() |> Enum.sort_by(&weight(name, &1))
    room = ceil(factor * (Enum.sum(Map.values(loads)) + 1) / map_size(loads))
    Enum.find(order, hd(order), &(loads[&1] < room))
  end

  defp weight(name, node), do: :erlang.phash2({name, node}, 0x100000000)
end
