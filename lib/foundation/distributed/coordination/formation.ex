defmodule Foundation.Distributed.Coordination.Formation do
  @moduledoc false
  # Forms the default group, once in the life of a cluster, and keeps it complete.
  #
  # With members: [...] each of them starts the group with that list. With expect: n the nodes tell each other every 200 ms
  # whether they have it. Who sees one that does joins there; otherwise, when n nodes see each other, the one whose name
  # sorts first begins it, and the others join it. What the log on disk knows counts before all that.
  #
  # The leader takes out members that nobody has seen for forget_ms; who comes back and finds itself out joins again.

  use GenServer
  require Logger

  alias Foundation.Cluster
  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.{Engine, Names, Roster, Supervisor}
  alias Foundation.Distributed.Fabric
  alias Foundation.Native

  @hello_ms 200
  @fresh_ms 1_000
  @forget_ms 60_000
  @join_ms 30_000
  @keys [:members, :expect, :session_ms, :keep_ms, :forget_ms]

  @type settings :: :alone | {:members, [node]} | {:expect, pos_integer}

  def child_spec(settings), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [settings]}}
  def start_link(settings), do: GenServer.start_link(__MODULE__, settings, name: __MODULE__)

  @doc "What `config :foundation, coordination:` asks for; nil when nothing."
  @spec settings(term) :: settings | nil
  def settings(off) when off in [nil, false], do: nil
  def settings(true), do: :alone

  def settings(options) when is_list(options) do
    Consensus.Options.known!(options, @keys, "config :foundation, coordination:")

    case {options[:members], options[:expect]} do
      {nil, nil} ->
        :alone

      {nil, n} when is_integer(n) and n > 0 ->
        {:expect, n}

      {[_ | _] = nodes, nil} ->
        {:members, nodes}

      {nodes, n} ->
        raise ArgumentError, "coordination: takes members: nodes or expect: n, got: #{inspect({nodes, n})}"
    end
  end

  def settings(other),
    do: raise(ArgumentError, "coordination: is true, false or a keyword list, got: #{inspect(other)}")

  @doc """
  Sees to it that a group can be used: the default one is made here when nothing is configured and this node is alone.
  """
  @spec ensure(Consensus.group()) :: :ok | {:error, :no_group | :not_configured | term}
  def ensure(group) do
    case Roster.handle(group) do
      {:ok, _handle} -> :ok
      error -> if group == Consensus.default_group(), do: make(), else: error
    end
  end

  defp make do
    cond do
      Process.whereis(__MODULE__) != nil -> {:error, :no_group}
      settings(Application.get_env(:foundation, :coordination)) not in [nil, :alone] -> {:error, :no_group}
      Cluster.running?() or Node.list() != [] -> {:error, :not_configured}
      true -> alone()
    end
  end

  defp alone do
    case Consensus.start_group(Consensus.default_group()) do
      {:ok, _name} -> :ok
      {:error, :already_started} -> started_by_another(200)
      {:error, reason} -> {:error, reason}
    end
  end

  defp started_by_another(0), do: {:error, :no_group}

  defp started_by_another(left) do
    case Roster.handle(Consensus.default_group()) do
      {:ok, _handle} ->
        :ok

      _ ->
        receive do
        after
          10 -> started_by_another(left - 1)
        end
    end
  end

  # -- the process

  @impl true
  def init(settings) do
    send(self(), :hello)
    given = Application.get_env(:foundation, :coordination)
    forget = if is_list(given), do: Keyword.get(given, :forget_ms, @forget_ms), else: @forget_ms
    {:ok, %{settings: settings, peers: %{}, task: nil, gone: %{}, forget_ms: forget}}
  end

  @impl true
  def handle_info(:hello, state) do
    Process.send_after(self(), :hello, @hello_ms)
    state = %{state | peers: fresh(state.peers)}
    hello(state.settings)
    state = watch(state)
    {:noreply, if(state.task, do: state, else: act(state))}
  end

  def handle_info({:foundation_coordination_hello, node, members, expect}, state) do
    {:noreply, %{state | peers: Map.put(state.peers, node, {members, expect, now()})}}
  end

  def handle_info({reference, answer}, %{task: %Task{ref: reference}} = state) do
    Process.demonitor(reference, [:flush])
    with {:error, reason} <- answer, do: Logger.debug("the coordination group: #{inspect(reason)}")
    {:noreply, %{state | task: nil}}
  end

  def handle_info({:DOWN, reference, :process, _pid, reason}, %{task: %Task{ref: reference}} = state) do
    Logger.warning("the coordination group could not be formed: #{inspect(reason)}")
    {:noreply, %{state | task: nil}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp hello({:expect, n}) do
    message = {:foundation_coordination_hello, node(), known(), n}
    for node <- Node.list(), do: :erlang.send({__MODULE__, node}, message, [:noconnect, :nosuspend])
  end

  defp hello(_settings), do: :ok

  defp fresh(peers), do: Map.filter(peers, fn {_node, {_members, _expect, at}} -> now() - at <= @fresh_ms end)

  # The members, with those that have no vote, when this node is a voter.
  defp known do
    with {:ok, status} <- Consensus.status(Consensus.default_group()),
         true <- node() in status.members,
         do: status.members ++ status.learners,
         else: (_ -> nil)
  end

  # Since when members are not seen; by their leader.
  defp watch(state) do
    gone =
      case Consensus.status(Consensus.default_group()) do
        # One that leads a side without a majority still thinks so, and misses the others.
        {:ok, %{role: :leader, quorum_ms: ms} = status} when is_integer(ms) and ms < @fresh_ms ->
          (status.members ++ status.learners) -- [node() | Node.list() ++ Fabric.nodes()]

        _ ->
          []
      end

    %{state | gone: Map.new(gone, &{&1, Map.get(state.gone, &1, now())})}
  end

  defp act(state) do
    case Roster.handle(Consensus.default_group()) do
      {:ok, _handle} -> tend(state)
      _ -> begin(state, how(state))
    end
  end

  defp tend(state) do
    forget = now() - state.forget_ms
    lost = Enum.find_value(state.gone, fn {node, since} -> if since < forget, do: node end)

    member =
      Enum.find_value(state.peers, fn {node, {members, _, _}} ->
        if members && node() not in members, do: node
      end)

    group = Consensus.default_group()

    cond do
      lost != nil ->
        # By this node and no other: a leader that is not one any more would have its successor do it.
        run(state, fn -> Consensus.change_members(group, {:remove, lost}, @fresh_ms) end)

      member != nil ->
        run(state, fn -> Names.on(member, Consensus, :add_member, [group, node(), @join_ms], @join_ms) end)

      true ->
        state
    end
  end

  defp begin(state, :wait), do: state

  defp begin(state, options),
    do: run(state, fn -> Consensus.start_group(Consensus.default_group(), options) end)

  defp run(state, function),
    do: %{state | task: Task.Supervisor.async_nolink(Foundation.TaskSupervisor, function)}

  defp how(%{settings: :alone}), do: []
  defp how(%{settings: {:members, nodes}}), do: [members: nodes]

  defp how(%{settings: {:expect, n}} = state) do
    member = Enum.find_value(state.peers, fn {node, {members, _expect, _at}} -> if members, do: node end)
    waiting = for {node, {nil, ^n, _at}} <- state.peers, do: node

    cond do
      stored?() -> [members: [node()]]
      member != nil -> [join: member]
      length(waiting) + 1 < n -> :wait
      # It begins alone: those that join get everything from it, so that there is one beginning.
      node() == Enum.min([node() | waiting]) -> [members: [node()]]
      true -> :wait
    end
  end

  # The log on disk knows the group, and its members count more than what start_group is told.
  defp stored? do
    with :ok <- Supervisor.ensure(),
         engine when engine != nil <- Engine.handle(),
         do: Atom.to_string(Consensus.default_group()) in Native.consensus_stored(engine),
         else: (_ -> false)
  end

  defp now, do: System.monotonic_time(:millisecond)
end
