defmodule Foundation.MABEAM.Replicas do
  @moduledoc false
  # What MABEAM keeps on several nodes at once, for all of the cluster: the ledger and the durable markets, in a machine
  # (Foundation.MABEAM.Machine) of one consensus group, whose members are the nodes of `mabeam: [replicas: nodes]`. Any
  # node may ask; one that is no member asks one that is.
  #
  # Each command has an id, under which it counts once however often it is sent: so it is sent again until its time is
  # over when it is not known whether it was applied, or when nobody leads.

  alias Foundation.Distributed.Consensus
  alias Foundation.Peers

  @group :foundation_mabeam
  @key {__MODULE__, :nodes}
  @timeout_ms 5_000
  @attempt_ms 2_500
  @pause_ms 25
  # What passes: another leader, another member, another time.
  @passing [:no_leader, :busy, :unknown, :stopped, :no_group, :not_running, :unreachable, :timeout]
  # Here is no member, or none yet.
  @absent [:no_group, :not_running, :unreachable, :stopped]
  @most 7

  @spec group() :: Consensus.group()
  def group, do: @group

  @doc "The nodes that keep it, nil when nothing is kept on several nodes. O(1)."
  @spec nodes() :: [node] | nil
  def nodes, do: :persistent_term.get(@key, nil)

  @spec switch([node] | nil) :: :ok
  def switch(nil) do
    :persistent_term.erase(@key)
    :ok
  end

  def switch(nodes), do: :persistent_term.put(@key, nodes)

  @doc "The nodes of `replicas:`; raises ArgumentError for what is none."
  @spec nodes!(term) :: [node] | nil
  def nodes!(nil), do: nil

  def nodes!([_ | _] = nodes) do
    if not List.improper?(nodes) and length(nodes) <= @most and Enum.all?(nodes, &node?/1),
      do: nodes |> Enum.uniq() |> Enum.sort(),
      else: bad_nodes(nodes)
  end

  def nodes!(other), do: bad_nodes(other)

  defp node?(node), do: is_atom(node) and node not in [nil, true, false]

  defp bad_nodes(other),
    do: raise(ArgumentError, "replicas: is a list of one to seven nodes, got: #{inspect(other, limit: 10)}")

  @doc """
  Has a room of the machine do something, once: what it answers. Errors: `:unknown` (it may have been done, or may yet
  be), and where it was not and will not be: `:no_leader`, `:busy`, `:unreachable` (none of the replicas), `:too_large`.
  """
  @spec command(atom, term, term) :: term | {:error, term}
  def command(room, command, id) do
    id = id || :crypto.strong_rand_bytes(12)
    patient({:propose, {id, room, command}}, now() + @timeout_ms, false)
  end

  @doc "Asks a room of the machine, which sees all that was answered before. Errors: `:no_leader`, `:unreachable`, `:timeout`, `:busy`."
  @spec query(atom, term) :: term | {:error, term}
  def query(room, question), do: patient({:query, {room, question}}, now() + @timeout_ms, false)

  defp patient(ask, deadline, doubt) do
    case ask(places(), ask, min(deadline - now(), @attempt_ms)) do
      {:ok, answer} -> answer
      {:error, reason} when reason in @passing -> again(ask, deadline, doubt or reason == :unknown, reason)
      {:error, reason} -> {:error, reason}
    end
  end

  defp again(ask, deadline, doubt, reason) do
    if now() + @pause_ms < deadline do
      receive do
      after
        @pause_ms -> patient(ask, deadline, doubt)
      end
    else
      {:error, if(doubt, do: :unknown, else: told(reason))}
    end
  end

  defp told(reason) when reason in [:no_group, :not_running, :stopped], do: :unreachable
  defp told(reason), do: reason

  # This node first, the others in any order.
  defp places do
    nodes = nodes() || []
    reached = Peers.nodes()
    {here, others} = Enum.split_with(nodes, &(&1 == node()))
    here ++ (others |> Enum.filter(&(&1 in reached)) |> Enum.shuffle())
  end

  defp ask([], _ask, _left), do: {:error, :unreachable}

  defp ask([place | others], ask, left) do
    case at(place, ask, max(left, 1)) do
      {:error, reason} when reason in @absent and others != [] -> ask(others, ask, left)
      answer -> answer
    end
  end

  defp at(place, ask, left) when place == node(), do: here(ask, left)

  defp at(place, {kind, _} = ask, left) do
    case Peers.ask([place], {__MODULE__, :here, [ask, left]}, left + 500) do
      {[{_node, answer}], _} -> answer
      {[], [{_node, :not_running} | _]} -> {:error, :not_running}
      # It may have got there.
      {[], _missing} -> {:error, if(kind == :propose, do: :unknown, else: :unreachable)}
    end
  end

  @doc false
  # Asked by nodes that are no replicas, too.
  def here({:propose, command}, left), do: Consensus.propose(@group, command, timeout: left)
  def here({:query, query}, left), do: Consensus.query(@group, query, timeout: left)

  defp now, do: System.monotonic_time(:millisecond)
end
