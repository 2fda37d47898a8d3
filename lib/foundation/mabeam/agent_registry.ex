defmodule Foundation.MABEAM.AgentRegistry do
  @moduledoc """
  Keeps agents: registers, starts, watches, restarts, drains and finds them.

      :ok = AgentRegistry.register_agent(:ann, module: MyApp.Voter, args: :tea, capabilities: [:taste])
      :ok = AgentRegistry.start_agent(:ann)
      [:ann] = AgentRegistry.find_agents(capabilities: [:taste], status: :running)

  An agent runs on the node that it was registered on, under that node's supervisor; `place_agent/3` has it run somewhere in
  the cluster, once. One that ends is started again
  as its spec says (`Foundation.MABEAM.Types.AgentSpec`), after a time that doubles with each restart; after too many
  within the window it is `:failed` until `start_agent/1`. Every 200 ms the registry looks, without asking the agents,
  whether a callback runs for longer than it may, and ends that agent.

  Statuses: `:registered`, `:starting`, `:running`, `:draining`, `:stopping`, `:restarting` (waits for its next start),
  `:stopped`, `:failed`.

  Every function but those that only read answers `{:error, :not_running}` while MABEAM does not run here
  (`Foundation.MABEAM.start/1`).

  **Scheduling**: no function here calls the native library but for an event of the telemetry when an agent fails.
  """

  alias Foundation.MABEAM.AgentRegistry.{Entry, Placement, Server, Table}
  alias Foundation.MABEAM.{Comms, Types}
  alias Foundation.MABEAM.Types.AgentSpec
  alias Foundation.Peers

  @type agent_id :: Types.agent_id()
  @type status :: Entry.status()

  @start_ms 15_000
  @drain_ms 30_000
  @ask_ms 5_000

  @doc """
  Registers an agent of this node, which is not started by it.

  `attributes` are those of an `AgentSpec` without `id`, as a map or keyword list, or such a spec. Errors:
  `:already_registered`, `{:invalid, details}`. O(size of the spec).
  """
  @spec register_agent(agent_id, keyword | map | AgentSpec.t()) ::
          :ok | {:error, :already_registered | :not_running | {:invalid, map}}
  def register_agent(id, %AgentSpec{} = spec),
    do: register_agent(id, spec |> Map.from_struct() |> Map.delete(:id))

  def register_agent(id, attributes) when is_map(attributes) or is_list(attributes) do
    with {:ok, spec} <- AgentSpec.new(with_id(attributes, id)), :ok <- agent_module(spec.module) do
      Server.call({:register, spec})
    end
  end

  defp with_id(attributes, id) do
    if is_map(attributes), do: Map.put(attributes, :id, id), else: [{:id, id} | attributes]
  end

  defp agent_module(module) do
    if Code.ensure_loaded?(module) and function_exported?(module, :init, 1),
      do: :ok,
      else: {:error, {:invalid, %{field: :module, value: module, expected: "a module with init/1"}}}
  end

  @doc """
  Starts a registered agent and waits until its `init/1` is through.

  Options: `timeout:` 15,000 ms; the start goes on after it. Errors: `:not_found`, `:already_started`, `:timeout`,
  `{:start_failed, reason}`, `:stopping` or `:draining` while it does that. O(1), and its `init/1`.
  """
  @spec start_agent(agent_id, keyword) :: :ok | {:error, term}
  def start_agent(id, opts \\ []), do: Server.call({:start, id}, timeout!(opts, @start_ms))

  @doc """
  Ends an agent; it stays registered. Requests that wait are refused with `:stopping`, its `terminate/2` runs, and after 5 s
  it is killed. Errors: `:not_found`. Cost: what the present callback and `terminate/2` take.
  """
  @spec stop_agent(agent_id) :: :ok | {:error, :not_found | :not_running}
  def stop_agent(id), do: Server.call({:stop, id})

  @doc """
  Ends an agent and starts it anew from `init/1`; its snapshot is dropped, what it has spent is not forgotten. Errors:
  `:not_found`, `{:start_failed, reason}`.
  """
  @spec restart_agent(agent_id) :: :ok | {:error, term}
  def restart_agent(id), do: Server.call({:restart, id})

  @doc "Ends an agent and forgets it. Errors: `:not_found`."
  @spec deregister_agent(agent_id) :: :ok | {:error, :not_found | :not_running}
  def deregister_agent(id), do: Server.call({:deregister, id})

  @doc """
  Ends an agent after it has done what was asked of it so far: from now on it is asked nothing, and its snapshot is
  kept for its next start.

  Options: `timeout:` 30,000 ms, after which it is killed. Errors: `:not_found`, the status when it is on its way
  already. Cost: what the waiting requests take.
  """
  @spec drain(agent_id, keyword) :: :ok | {:error, :not_found | :not_running | status}
  def drain(id, opts \\ []), do: Server.call({:drain, id, timeout!(opts, @drain_ms)})

  @doc """
  Has an agent's `snapshot/1` kept, for the next life. Errors: `:no_snapshot` (it has no such function), `{:crashed,
  reason}`, `:timeout` (5,000 ms), and those of a request. Cost: the requests that wait before it.
  """
  @spec snapshot(agent_id) :: :ok | {:error, term}
  def snapshot(id) do
    with {:ok, pid, _gate, _limit} <- Table.live(id), do: ask(pid, :mabeam_snapshot, @ask_ms)
  end

  # As GenServer.call, of a message that is none of its calls.
  defp ask(pid, what, timeout) do
    tag = :erlang.monitor(:process, pid, alias: :reply_demonitor)
    send(pid, {what, {self(), [:alias | tag]}})

    receive do
      {[:alias | ^tag], answer} -> answer
      {:DOWN, ^tag, :process, _pid, _reason} -> {:error, :down}
    after
      timeout ->
        Process.demonitor(tag, [:flush])

        receive do
          {[:alias | ^tag], answer} -> answer
        after
          0 -> {:error, :timeout}
        end
    end
  end

  @doc """
  What is known of an agent of this node: `{:ok, map}` with `:id :node :module :type :capabilities :restart :resources
  :metadata :status :reason :since` (UTC) `:restarts`, and counted over all its lives `:handled` and `:failed` callbacks,
  `:busy_us`, `:spent`; `:waiting` requests and `:busy_ms` of the callback that runs now. `{:error, :not_found}`. O(1); the
  agent is not asked.
  """
  @spec get_agent_info(agent_id) :: {:ok, map} | {:error, :not_found | :not_running}
  def get_agent_info(id) do
    with {:ok, entry} <- Table.entry(id), do: {:ok, Entry.info(entry)}
  end

  # -- the cluster ----------------------------------------------------------------------------------------------------

  @doc """
  Registers and starts an agent somewhere in the cluster, where it runs once: `:ok` when it does.

  `attributes` as `register_agent/2`. Options: `nodes:` a list of those that it may run on; `needs:` capabilities (of
  `placement: [capabilities: […]]` there) that the node must have; `timeout:` 15,000 ms. It is placed by the supervisor's `placement:`, by a hash of
  its id or on the node with the fewest. When its node dies or is drained, or can no longer prove its right to run
  it, it runs on another, from its last snapshot (`snapshot_every`, `snapshot/1`), which more than half of the nodes had before the answer went out; see
  `Foundation.DistributedSupervisor` for what "once" means, and for how long it may take.

  Needs `config :foundation, mabeam: [placement: true]`, or a list of options of `Foundation.DistributedSupervisor.start_link/1`, on
  the nodes that run such agents, and the coordination group. Errors: `:no_placement` (it is not switched on here),
  `{:invalid, details}`, `{:start_failed, reason}`, `:timeout` (it will run), and those of
  `Foundation.DistributedSupervisor.start_child/3`. Two rounds to a majority, and the start.
  """
  @spec place_agent(agent_id, keyword | map, keyword) :: :ok | {:error, term}
  def place_agent(id, attributes, opts \\ []) do
    with {:ok, spec} <- attributes |> with_id(id) |> AgentSpec.new(),
         :ok <- agent_module(spec.module),
         do: Placement.start(%{spec | placement: :cluster}, opts, timeout!(opts, @start_ms))
  end

  @doc """
  Moves an agent that was placed to another node: `:ok` when it runs there.

  It does what was asked of it so far, its `snapshot/1` goes along, and `restore/2` begins its life there. Requests meanwhile
  are answered `:draining` or `:not_found`. Options: `timeout:` 15,000 ms. Errors: `:no_placement`, `:no_node` (it may not run
  there), `{:start_failed, reason}`, and those of `Foundation.DistributedSupervisor.migrate/3`. Three rounds to a majority, and what it
  still has to do.
  """
  @spec migrate(agent_id, node, keyword) :: :ok | {:error, term}
  def migrate(id, node, opts \\ []) when is_atom(node),
    do: Placement.migrate(id, node, timeout!(opts, @start_ms))

  @doc "Ends an agent that was placed, wherever it runs, and forgets it and its snapshot. Errors: `:not_found`, `:no_placement`, and others of the group."
  @spec remove_agent(agent_id) :: :ok | {:error, term}
  def remove_agent(id) do
    with :ok <- Placement.stop(id) do
      _ = Placement.forget(id)
      :ok
    end
  end

  @doc """
  Where an agent that was placed runs: `{:ok, %{node: node, fencing_token: token}}`. The token grows with every start elsewhere: send it along with what
  the agent writes, and have smaller ones refused. Errors: `:not_found` (it does not run now), `:no_placement`. O(1).
  """
  @spec where(agent_id) :: {:ok, %{node: node, fencing_token: non_neg_integer | nil}} | {:error, term}
  def where(id), do: Placement.where(id)

  @doc "The agents that were placed: `{:ok, [%{id: id, node: node, running: boolean}]}`. Errors: `:no_placement`, `:not_ready`. O(agents)."
  @spec placed_agents() :: {:ok, [map]} | {:error, term}
  def placed_agents, do: Placement.all()

  @doc "The ids of this node's agents, in order. O(agents)."
  @spec list_agents() :: [agent_id]
  def list_agents, do: list_agents(node())

  @doc "The ids of the agents of a node, or of `:all` nodes that answer within 5 s, in order. O(agents)."
  @spec list_agents(node | :all) :: [agent_id]
  def list_agents(where), do: find_agents(node: where)

  @doc """
  The ids of the agents that fit all criteria, in order.

  `capabilities:` a list, all of which they have; `type:`; `status:`; `node:`, a node or `:all` (this node). Nodes that do
  not answer within 5 s are left out. O(agents) on each node.
  """
  @spec find_agents(keyword) :: [agent_id]
  def find_agents(criteria) when is_list(criteria) do
    {where, criteria} = Keyword.pop(criteria, :node, node())
    criteria!(criteria)

    if where == node() do
      here(criteria)
    else
      nodes = if where == :all, do: Peers.nodes(), else: [where]
      {answers, _missing} = Peers.ask(nodes, {__MODULE__, :here, [criteria]}, @ask_ms)
      answers |> Enum.flat_map(&elem(&1, 1)) |> Enum.uniq() |> Enum.sort()
    end
  end

  @doc false
  def here(criteria),
    do: for(entry <- Table.entries(), fits?(entry, criteria), do: entry.spec.id) |> Enum.sort()

  defp fits?(entry, criteria) do
    Enum.all?(criteria, fn
      {:capabilities, wanted} -> Enum.all?(wanted, &(&1 in entry.spec.capabilities))
      {:type, type} -> entry.spec.type == type
      {:status, status} -> entry.status == status
    end)
  end

  @doc """
  Asks an agent whether it answers: `{:ok, %{status: status, latency_us: µs, waiting: n}}`, with `:healthy`, or
  `:overloaded` (its mailbox is full) and `:unresponsive` (no answer in time), which have a latency of nil.

  Options: `timeout:` 1,000 ms. Errors: `:not_found`, `:not_started`, `:draining`, `:down`. Cost: the requests that wait
  before it.
  """
  @spec health(agent_id, keyword) :: {:ok, map} | {:error, term}
  def health(id, opts \\ []) do
    timeout = timeout!(opts, 1_000)
    began = System.monotonic_time(:microsecond)

    case Comms.ping(id, timeout) do
      :ok -> healthy(id, :healthy, System.monotonic_time(:microsecond) - began)
      {:error, :busy} -> healthy(id, :overloaded, nil)
      {:error, :timeout} -> healthy(id, :unresponsive, nil)
      error -> error
    end
  end

  defp healthy(id, status, latency) do
    waiting =
      case get_agent_info(id) do
        {:ok, info} -> info.waiting
        _ -> nil
      end

    {:ok, %{status: status, latency_us: latency, waiting: waiting}}
  end

  defp timeout!(opts, default) do
    case Keyword.get(opts, :timeout, default) do
      :infinity ->
        :infinity

      ms when is_integer(ms) and ms >= 0 ->
        ms

      other ->
        raise ArgumentError, "timeout: must be a whole number of ms or :infinity, got: #{inspect(other)}"
    end
  end

  defp criteria!(criteria) do
    for {name, value} <- criteria do
      unless name in [:capabilities, :type, :status] and (name != :capabilities or is_list(value)),
        do:
          raise(
            ArgumentError,
            "criteria are capabilities: (a list), type:, status: and node:, got: #{inspect([{name, value}])}"
          )
    end
  end
end
