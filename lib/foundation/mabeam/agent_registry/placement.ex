defmodule Foundation.MABEAM.AgentRegistry.Placement do
  @moduledoc false
  # Agents that run once in the cluster. Where, and that it is once, is the affair of a Foundation.DistributedSupervisor,
  # whose child is not the agent but its anchor: a process that has the agent registered and started on its node, takes
  # its snapshot along when it moves, and with which the agent ends.
  #
  # Snapshots of such agents are in a replicated state, on more than half of the nodes before what they hold is answered,
  # for the node that has to begin the next life.

  alias Foundation.Distributed.State
  alias Foundation.DistributedSupervisor
  alias Foundation.MABEAM.AgentRegistry.Anchor
  alias Foundation.MABEAM.Types.AgentSpec

  @supervisor Foundation.MABEAM.Placed
  @snapshots :foundation_mabeam_snapshots
  @handoff_ms 10_000
  @share_ms 1_000

  @doc "The children of MABEAM's supervisor for it, none when it is not switched on."
  @spec children(keyword) :: [tuple]
  def children(opts) do
    case Keyword.get(opts, :placement, false) do
      off when off in [false, nil] ->
        []

      on ->
        given = if is_list(on), do: on, else: []
        {capabilities, given} = Keyword.pop(given, :capabilities, [])

        [
          {State, {@snapshots, :lww_map, []}},
          {DistributedSupervisor, [name: @supervisor, metadata: %{capabilities: capabilities}] ++ given}
        ]
    end
  end

  @spec start(AgentSpec.t(), keyword, timeout) :: :ok | {:error, term}
  def start(%AgentSpec{id: id} = spec, opts, timeout) do
    where = if opts[:nodes], do: [nodes: opts[:nodes]], else: []

    options =
      [
        name: {:agent, id},
        handoff: @handoff_ms,
        filter: {__MODULE__, :fits?, [Keyword.get(opts, :needs, [])]}
      ] ++
        where

    with {:ok, pid} <-
           running(fn -> DistributedSupervisor.start_child(@supervisor, {Anchor, spec}, options) end),
         {:error, reason} <- Anchor.await(pid, timeout) do
      if reason != :timeout, do: stop(id)
      {:error, reason}
    end
  end

  @doc "Whether a node has what an agent needs."
  def fits?(_node, %{capabilities: capabilities}, needs), do: needs -- capabilities == []
  def fits?(_node, _metadata, needs), do: needs == []

  @spec stop(term) :: :ok | {:error, term}
  def stop(id), do: running(fn -> DistributedSupervisor.terminate_child(@supervisor, {:agent, id}) end)

  @spec migrate(term, node, timeout) :: :ok | {:error, term}
  def migrate(id, node, timeout) do
    with {:ok, pid} <- running(fn -> DistributedSupervisor.migrate(@supervisor, {:agent, id}, node) end),
         do: Anchor.await(pid, timeout)
  end

  @spec where(term) :: {:ok, %{node: node, fencing_token: non_neg_integer | nil}} | {:error, term}
  def where(id) do
    running(fn ->
      case DistributedSupervisor.whereis(@supervisor, {:agent, id}) do
        nil ->
          {:error, :not_found}

        pid ->
          token = DistributedSupervisor.fencing_token(@supervisor, {:agent, id})
          {:ok, %{node: node(pid), fencing_token: token}}
      end
    end)
  end

  @spec all() :: {:ok, [map]} | {:error, term}
  def all do
    with {:ok, children} <- running(fn -> DistributedSupervisor.list_children(@supervisor) end) do
      {:ok,
       for(
         %{name: {:agent, id}} = child <- children,
         do: %{id: id, node: child.node, running: child.pid != nil}
       )}
    end
  end

  defp running(function) do
    if Process.whereis(@supervisor), do: function.(), else: {:error, :no_placement}
  catch
    :exit, _ -> {:error, :no_placement}
  end

  # -- snapshots ------------------------------------------------------------------------------------------------------

  @doc "Gives a snapshot to the other nodes; when more than half of them have it this returns `:ok`."
  @spec share(term, term) :: :ok | {:error, term}
  def share(id, kept), do: State.mutate(@snapshots, {:put, id, kept}, level: :majority, timeout: @share_ms)

  @doc "The last snapshot that this node knows."
  @spec shared(term) :: {:snapshot, term} | nil
  def shared(id) do
    case State.read(@snapshots, [id]) do
      {:ok, kept} when kept != nil -> {:snapshot, kept}
      _ -> nil
    end
  end

  @spec forget(term) :: :ok | {:error, term}
  def forget(id), do: State.mutate(@snapshots, {:remove, id})
end
