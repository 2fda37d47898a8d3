defmodule Foundation.Demo.Market.Hops do
  @moduledoc false
  # Where one session went: the hops of its trace, gathered from the nodes, drawn as the tree that they are.

  alias Foundation.Demo.Format
  alias Foundation.Distributed.Context

  @doc "The tree as text, how many hops it has, and on how many nodes; `labels` names the nodes."
  @spec draw(String.t() | nil, %{node => String.t()}) :: %{
          text: String.t(),
          hops: non_neg_integer,
          nodes: non_neg_integer
        }
  def draw(nil, _labels), do: %{text: "", hops: 0, nodes: 0}

  def draw(trace_id, labels) do
    {:ok, %{hops: hops}} = Context.hops(trace_id)
    spans = MapSet.new(hops, & &1.span_id)
    {roots, below} = Enum.split_with(hops, &(&1.parent_span_id not in spans))
    children = Enum.group_by(below, & &1.parent_span_id)
    start = hops |> Enum.map(& &1.at) |> Enum.min(fn -> 0 end)
    lines = Enum.flat_map(roots, &branch(&1, children, {start, labels}, 0))
    nodes = hops |> Enum.uniq_by(& &1.node) |> length()
    %{text: Enum.join(["trace #{trace_id}" | lines], "\n"), hops: length(hops), nodes: nodes}
  end

  defp branch(hop, children, {start, labels} = context, depth) do
    below = children |> Map.get(hop.span_id, []) |> Enum.flat_map(&branch(&1, children, context, depth + 1))
    node = Map.get(labels, hop.node, to_string(hop.node))
    line = "#{String.duplicate("   ", depth)}└─ #{name(hop)} on #{node}  +#{Format.time(hop.at - start)}"
    [line | below]
  end

  defp name(%{kind: :begin}), do: "begins"
  defp name(%{kind: :session, name: protocol}), do: "session of #{inspect(protocol)}"
  defp name(%{kind: :agent, name: id}), do: "agent #{id}"
  defp name(%{kind: kind}), do: to_string(kind)
end
