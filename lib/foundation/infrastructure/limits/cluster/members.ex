defmodule Foundation.Infrastructure.Limits.Cluster.Members do
  @moduledoc false
  # Keeps the members of the group those nodes that there are: the leader takes out who was not seen for forget_ms; who comes
  # back and finds itself out joins again.

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.Names
  alias Foundation.Infrastructure.Limits.Cluster.Group
  alias Foundation.Peers

  @forget_ms 60_000
  @ask_ms 1_000
  @fresh_ms 1_000
  @join_ms 15_000

  @type gone :: %{node => integer}

  @doc "Looks once; since when members are not seen, for the next time. Some rounds when there is something to do."
  @spec tend(gone) :: gone
  def tend(gone) do
    case Consensus.status(Group.name()) do
      # One that leads a side without a majority still thinks so, and misses the others.
      {:ok, %{role: :leader, quorum_ms: ms} = status} when is_integer(ms) and ms < @fresh_ms ->
        forget(status, gone)

      {:ok, %{role: :leader}} ->
        %{}

      {:ok, %{leader: leader}} ->
        rejoin(leader)

      {:error, :no_group} ->
        %{}
    end
  end

  defp forget(status, gone) do
    now = System.monotonic_time(:millisecond)
    missing = (status.members ++ status.learners) -- Peers.nodes()
    gone = Map.new(missing, &{&1, Map.get(gone, &1, now)})

    # By this node and no other: a leader that is not one any more would have its successor do it.
    with {node, since} <- Enum.min_by(gone, &elem(&1, 1), fn -> nil end),
         true <- now - since > forget_ms(),
         do: Consensus.change_members(Group.name(), {:remove, node}, @ask_ms)

    gone
  end

  defp forget_ms do
    case Application.get_env(:foundation, :shared_limits, [])[:forget_ms] do
      nil -> @forget_ms
      ms when is_integer(ms) and ms > 0 -> ms
      other -> raise ArgumentError, "shared_limits: takes forget_ms: milliseconds, got: #{inspect(other)}"
    end
  end

  # By the leader, or another member that knows one, when it does not count this node among the members.
  defp rejoin(leader) do
    others = Peers.nodes() -- [node()]
    asked = if leader in others, do: [leader], else: others
    {answers, _} = Peers.ask(asked, {Consensus, :status, [Group.name()]}, @ask_ms)

    member =
      Enum.find_value(answers, fn
        {node, {:ok, %{leader: leader, members: members, learners: learners}}} when leader != nil ->
          if node in members and node() not in (members ++ learners), do: node

        _ ->
          nil
      end)

    if member,
      do: Names.on(member, Consensus, :add_member, [Group.name(), node(), @join_ms], @join_ms)

    %{}
  end
end
