defmodule Foundation.Infrastructure.Limits.Cluster.Group do
  @moduledoc false
  # The group that leases: how this node comes to be in it, and what is proposed to it.

  alias Foundation.Distributed.Consensus
  alias Foundation.Infrastructure.Limits.Cluster.Ledger
  alias Foundation.Peers

  @group :foundation_limits
  @ask_ms 1_000
  @join_ms 15_000

  @doc "Sees to it that this node is in the group. Some rounds the first time, else O(1)."
  @spec ensure() :: :ok | {:error, term}
  def ensure do
    case Consensus.status(@group) do
      {:ok, _} -> :ok
      {:error, :no_group} -> enter(configured())
    end
  end

  defp configured do
    case Application.get_env(:foundation, :shared_limits, [])[:members] do
      nil -> nil
      [_ | _] = nodes -> nodes
      other -> raise ArgumentError, "shared_limits: takes members: nodes, got: #{inspect(other)}"
    end
  end

  defp enter(nil) do
    case member() do
      nil -> begin()
      node -> start(join: node)
    end
  end

  defp enter(members), do: if(node() in members, do: start(members: members), else: start(join: hd(members)))

  # A node that is in it.
  defp member do
    {answers, _missing} = Peers.ask(Peers.nodes() -- [node()], {Consensus, :members, [@group]}, @ask_ms)
    Enum.find_value(answers, fn {node, answer} -> if match?({:ok, [_ | _]}, answer), do: node end)
  end

  # One beginning: the default group says whose.
  defp begin do
    case Consensus.reach_consensus(@group, node(), timeout: @ask_ms * 3) do
      {:ok, founder} when founder == node() -> start(members: [node()])
      {:ok, founder} -> start(join: founder)
      {:error, reason} -> {:error, reason}
    end
  end

  defp start(options) do
    case Consensus.start_group(@group, [machine: Ledger, timeout: @join_ms] ++ options) do
      {:ok, _} -> :ok
      {:error, :already_started} -> :ok
      {:error, reason} -> {:error, reason}
    end
  end

  @doc "Has the group agree on a command."
  @spec propose(term, pos_integer) :: {:ok, term} | {:error, term}
  def propose(command, timeout), do: Consensus.propose(@group, command, timeout: timeout)

  @doc "What it knows of a key."
  @spec status(term, keyword) :: {:ok, map} | {:error, term}
  def status(key, options), do: Consensus.query(@group, {:view, key}, options)
end
