defmodule Foundation.Cluster.Strategy do
  @moduledoc """
  Finds the nodes of a cluster and asks for them to be connected: the behaviour of a strategy, call for call that of
  libcluster's `Cluster.Strategy`.

      defmodule MyApp.FromMyDatabase do
        use Foundation.Cluster.Strategy.Poll

        @impl true
        def discover(%{config: config}), do: MyApp.Database.nodes(config[:table])
      end

      config :foundation, cluster: {MyApp.FromMyDatabase, table: "nodes"}

  A strategy is started by `start_link/1` with a list of one `Foundation.Cluster.Strategy.State`. It calls
  `connect_nodes/4` with the nodes it found and `disconnect_nodes/4` with those that are gone, and says with `report/2`
  how its last round went. `Foundation.Cluster.Strategy.Poll` does all of this for a strategy that asks someone, again
  and again. Modules written for libcluster are used as they stand; they get libcluster's own struct.

  A strategy only proposes: a node that several strategies want stays until the last of them gives it up and
  `leave_after` has passed, and a draining node is not connected, whoever asks (see `Foundation.Cluster`).
  """

  alias Foundation.Cluster.{Membership, Table}
  alias Foundation.Cluster.Strategy.State

  require Logger

  @parallel 32
  # Longer than the distribution's own limit for a connection attempt.
  @attempt_ms 20_000

  @type topology :: atom
  @type mfa_tuple :: {module, atom, [term]}
  @type bad_nodes :: [{node, reason :: term}]
  @type strategy_args :: [State.t()]

  @typedoc "How a strategy's last round went; `nodes` are those of its last good answer."
  @type report :: %{
          nodes: [node],
          error: term | nil,
          failures: non_neg_integer,
          rounds: pos_integer,
          at: integer
        }

  @doc "How a supervisor starts the strategy."
  @callback child_spec(strategy_args) :: Supervisor.child_spec()

  @doc "Starts the strategy; `:ignore` when it has done all it will ever do."
  @callback start_link(strategy_args) :: {:ok, pid} | :ignore | {:error, reason :: term}

  @doc false
  defmacro __using__(_opts) do
    quote do
      @behaviour Foundation.Cluster.Strategy

      @impl Foundation.Cluster.Strategy
      def child_spec(args), do: %{id: __MODULE__, type: :worker, start: {__MODULE__, :start_link, [args]}}

      defoverridable child_spec: 1
    end
  end

  @doc """
  Connects to the nodes that are not yet connected: `:ok` when all could be, else `{:error, [{node, reason}]}`.

  `connect` is called with the node at the end of its arguments and answers `true`, `false`, or `:ignored` when this node
  is not alive or the node is not wanted (it is draining). `list_nodes` gives the connected nodes. Unlike
  libcluster's, the attempts run side by side, at most #{@parallel} at a time, so that one host that does not answer holds up
  no other. Blocks until the last attempt is over, at most 20 s each.
  """
  @spec connect_nodes(topology, mfa_tuple, mfa_tuple, [node]) :: :ok | {:error, bad_nodes}
  def connect_nodes(topology, {_, _, _} = connect, {_, _, _} = list_nodes, nodes) when is_list(nodes) do
    (Enum.uniq(nodes) -- [node() | call(list_nodes, [])])
    |> attempt(connect)
    |> Enum.flat_map(fn
      {node, true} ->
        Logger.info("[cluster:#{topology}] connected to #{node}")
        []

      {node, :ignored} ->
        Logger.debug("[cluster:#{topology}] #{node} is not to be connected")
        [{node, :ignored}]

      {node, reason} ->
        Logger.debug("[cluster:#{topology}] no connection to #{node}: #{inspect(reason)}")
        [{node, reason}]
    end)
    |> result()
  end

  @doc """
  Gives the nodes up: `:ok`, or `{:error, [{node, reason}]}` for those of which `disconnect` answers other than `true`,
  `false` or `:ignored`.

  Nodes that are not in the answer of `list_nodes` are passed over, as libcluster does.
  """
  @spec disconnect_nodes(topology, mfa_tuple, mfa_tuple, [node]) :: :ok | {:error, bad_nodes}
  def disconnect_nodes(topology, {_, _, _} = disconnect, {_, _, _} = list_nodes, nodes) when is_list(nodes) do
    present = call(list_nodes, [])

    for(node <- Enum.uniq(nodes), node != node(), node in present, do: {node, call(disconnect, [node])})
    |> Enum.reject(fn {node, answer} ->
      Logger.debug("[cluster:#{topology}] gives up #{node}: #{inspect(answer)}")
      answer in [true, false, :ignored]
    end)
    |> result()
  end

  @doc """
  Says how a round went: what was found, or why nothing could be.

  The nodes of the last good answer are kept when an error is reported. Membership waits of
  `Foundation.Cluster.await_ready/1` look at it, as do `Foundation.Cluster.info/0` and the doctor.
  """
  @spec report(State.t() | struct, {:ok, [node]} | {:error, term}) :: :ok
  def report(%{topology: topology}, result) do
    old = Table.get({:report, topology}, %{nodes: [], error: nil, failures: 0, rounds: 0, at: 0})
    new = %{noted(old, result) | rounds: old.rounds + 1, at: System.system_time(:millisecond)}
    Table.put({:report, topology}, new)
    if old.rounds == 0 or old.nodes != new.nodes, do: Membership.look()
    :ok
  end

  @doc "What each strategy reported last, by topology. O(strategies)."
  @spec reports() :: %{topology => report}
  def reports, do: Map.new(Table.all(:report))

  @doc false
  # What the strategy wants no longer, without asking for it to be disconnected: it found it by a way that says nothing
  # of its end.
  @spec release(State.t() | struct, [node]) :: :ok
  def release(%{topology: topology}, nodes), do: Enum.each(nodes, &Table.release(&1, topology))

  defp noted(old, {:ok, nodes}), do: %{old | nodes: Enum.sort(nodes), error: nil, failures: 0}
  defp noted(old, {:error, reason}), do: %{old | error: reason, failures: old.failures + 1}

  defp attempt([], _connect), do: []
  defp attempt([node], connect), do: [{node, call(connect, [node])}]

  defp attempt(nodes, connect) do
    nodes
    |> Task.async_stream(&call(connect, [&1]),
      max_concurrency: @parallel,
      timeout: @attempt_ms,
      on_timeout: :kill_task
    )
    |> Enum.zip(nodes)
    |> Enum.map(fn
      {{:ok, answer}, node} -> {node, answer}
      {{:exit, reason}, node} -> {node, reason}
    end)
  end

  defp call({module, function, arguments}, more), do: apply(module, function, arguments ++ more)

  defp result([]), do: :ok
  defp result(bad), do: {:error, bad}
end
