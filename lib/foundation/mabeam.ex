defmodule Foundation.MABEAM do
  @moduledoc """
  Runs agents on this node and has them coordinate: registry, messages, sessions, money, shared variables.

      {:ok, _} = Foundation.MABEAM.start()

  It is off unless `config :foundation, mabeam: true` or `start/1` switches it on. The rooms:

    * `Foundation.MABEAM.Agent` and `Foundation.MABEAM.AgentRegistry`: what agents are, and their lives;
    * `Foundation.MABEAM.Comms`: requests and events to agents, on any node;
    * `Foundation.MABEAM.Coordination`: votes, negotiations and calls for tenders, as sessions with a deadline and a budget;
      `Foundation.MABEAM.Protocol` to write your own;
    * `Foundation.MABEAM.Core`: variables that agents share, and `Foundation.MABEAM.Core.Optimizer` that finds their values;
    * `Foundation.MABEAM.Coordination.Games`, `Foundation.MABEAM.Coordination.Assignment`: what game theory and optimisation say, without
      asking anybody; `Foundation.MABEAM.Coordination.Adaptive` picks protocols by what they gained;
    * `Foundation.MABEAM.LoadBalancer`, `Foundation.MABEAM.Blackboard`, `Foundation.MABEAM.Telemetry`;
    * `Foundation.MABEAM.Economics` and `Foundation.MABEAM.Guards`: who owns what, and what a run may cost;
    * `Foundation.MABEAM.Types`: the data of all this.

  guides/mabeam.md is the way in.

  **Scheduling**: no function here calls the native library.
  """

  alias Foundation.MABEAM.Replicas

  @supervisor Foundation.Supervisor

  @doc """
  Switches MABEAM on, on this node: `{:ok, pid}` of its supervisor, also when it runs already.

  Options, also in `config :foundation, mabeam: [...]`: `placement:` (false), true or the options of
  `Foundation.DistributedSupervisor.start_link/1` but `:name` and `:metadata`, and `capabilities:` of this node, a list: whether agents can be placed
  here (`Foundation.MABEAM.AgentRegistry.place_agent/3`), and sessions outlive their node. `replicas:` (none), one to seven nodes, the
  same list on every node of the cluster: they keep the ledger (`Foundation.MABEAM.Economics`) and durable markets for all; a node of them
  goes on keeping its part when MABEAM is switched off there. Raises ArgumentError for what is no such list.

  Errors: `:not_running` (Foundation does not). O(1).
  """
  @spec start(keyword) :: {:ok, pid} | {:error, term}
  def start(opts \\ []) do
    if is_list(opts), do: Replicas.nodes!(opts[:replicas])

    case Supervisor.start_child(@supervisor, {Foundation.MABEAM.Supervisor, opts}) do
      {:ok, pid} -> {:ok, pid}
      {:error, {:already_started, pid}} -> {:ok, pid}
      {:error, :already_present} -> Supervisor.restart_child(@supervisor, Foundation.MABEAM.Supervisor)
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  @doc """
  Switches MABEAM off: agents end, with 5 s for what they do, and what was registered is forgotten. `:ok` also when it
  did not run.
  """
  @spec stop() :: :ok
  def stop do
    _ = Supervisor.terminate_child(@supervisor, Foundation.MABEAM.Supervisor)
    _ = Supervisor.delete_child(@supervisor, Foundation.MABEAM.Supervisor)
    :ok
  catch
    :exit, _ -> :ok
  end

  @doc "Whether MABEAM runs on this node. O(1)."
  @spec running?() :: boolean
  def running?, do: Process.whereis(Foundation.MABEAM.Supervisor) != nil
end
