defmodule Foundation.DistributedSupervisor do
  @moduledoc """
  Runs each of its children once in the cluster, and elsewhere when the node that it ran on dies or is drained.

      # on every node, in the application's supervision tree
      {Foundation.DistributedSupervisor, name: MyApp.Importers}

      # on any of them
      {:ok, pid} = DistributedSupervisor.start_child(MyApp.Importers, {MyApp.Importer, "eu"}, name: {:importer, "eu"})
      DistributedSupervisor.whereis(MyApp.Importers, {:importer, "eu"})
      {:ok, pid} = DistributedSupervisor.migrate(MyApp.Importers, {:importer, "eu"}, :"b@host")

  The nodes that run a supervisor of one name share its children. A child is given to one of them by `placement:`:
  `:hash` (by a consistent hash of its name, with bounded load: a node has at most `load_factor:` times its share),
  or `:least_load` (the fewest children). It stays there until its node is lost for `down_after:` ms, is drained
  (`Foundation.Cluster.drain/1`), or `migrate/3`; nodes that come get new children only.

  ## Once

  With `consistency: :consensus` (the default) what is to run and where is a matter of the coordination group
  (`Foundation.Distributed.Coordination`), and a child runs only under the lease of its name. A node that cannot renew its leases
  kills its children before the group gives them to others, and a side without a majority starts nothing. A node whose
  processes were asleep meanwhile may write once more when it wakes: `fencing_token/2` grows with every start elsewhere; send it
  along, and refuse smaller ones. After the death of a node its children run again when its lease has ended: `session_ms` of
  `config :foundation, coordination:`, 5 s, and what `down_after:` adds.

  With `consistency: :crdt` each side of a split runs all children: at least once. When the sides meet, one of each is stopped.

  ## State

  A child started with `handoff: true` (or ms, 5,000) takes its state along when it is moved or drained: it is called with `:foundation_handoff`, answers
  its state, and is shut down; where it starts next it gets `{:foundation_handoff, state}` as its first message. One whose node dies has no time for that.

  A child that ends is started again on its node as its specification's `:restart` says; when it has failed four times in 5 s, after some time: 250 ms at
  first, then twice as long each time, up to 30 s. A `:temporary` child that ends, and a `:transient` one that ends well, is removed.

  No function here calls the native library but through the coordination group or the replicated state; see the **Scheduling** of
  `Foundation.Distributed.Consensus` and `Foundation.Distributed.State`.
  """

  use Supervisor

  alias Foundation.Distributed.Registry.Leases
  alias Foundation.DistributedSupervisor.{Child, Director, Move, Store}
  alias Foundation.ProcessRegistry.{Global, Via}

  @timeout 15_000
  @all __MODULE__
  @options [
    name: nil,
    consistency: :consensus,
    placement: :hash,
    load_factor: 1.25,
    down_after: 1_000,
    metadata: nil
  ]

  @type supervisor :: atom
  @type name :: term

  @doc """
  Starts this node's part of a supervisor. As a child: `{Foundation.DistributedSupervisor, options}`.

  Options: `:name` (an atom, required; the same on all nodes, as all but the last), `:consistency` (`:consensus` or `:crdt`), `:placement` (`:hash` or `:least_load`),
  `:load_factor` (1.25; at least 1), `:down_after` (1,000 ms), `:metadata` (nil; any term about this node, for the `:filter` of children).

  Raises ArgumentError for options that make no sense.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options), do: Supervisor.start_link(__MODULE__, options!(options), name: options[:name])

  @doc false
  def child_spec(options),
    do: %{
      id: Keyword.get(options, :name, __MODULE__),
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }

  @impl true
  def init(%{name: name, instances: instances} = options) do
    :persistent_term.put(@all, Enum.uniq([name | :persistent_term.get(@all, [])]))
    children = [{DynamicSupervisor, name: instances, max_restarts: 1_000}, {Director, options}]
    Supervisor.init(children, strategy: :one_for_all)
  end

  defp options!(options) do
    with [unknown | _] <- Keyword.keys(options) -- Keyword.keys(@options),
         do: raise(ArgumentError, "a distributed supervisor has no option #{inspect(unknown)}")

    options = @options |> Keyword.merge(options) |> Map.new()
    check!(:name, options.name, is_atom(options.name) and options.name not in [nil, true, false], "an atom")

    check!(
      :consistency,
      options.consistency,
      options.consistency in [:consensus, :crdt],
      ":consensus or :crdt"
    )

    check!(:placement, options.placement, options.placement in [:hash, :least_load], ":hash or :least_load")

    check!(
      :load_factor,
      options.load_factor,
      is_number(options.load_factor) and options.load_factor >= 1,
      "a number from 1"
    )

    check!(
      :down_after,
      options.down_after,
      is_integer(options.down_after) and options.down_after >= 0,
      "a number of ms"
    )

    placement = if options.placement == :hash, do: {:hash, options.load_factor}, else: :least_load
    Map.merge(options, %{placement: placement, instances: Module.concat(options.name, "Instances")})
  end

  defp check!(name, value, ok, expected),
    do: ok || raise(ArgumentError, "#{name}: is #{expected}, got: #{inspect(value)}")

  @doc """
  Starts a child somewhere: `{:ok, pid}`.

  `spec` is a child specification, `{module, argument}` or a module; its start must name a function that all nodes have. Options: `:name` (any term; the id of the
  specification), `:nodes` (`:any`, or a list of those it may run on), `:filter` (`&Module.function/2`, or `{module, function, arguments}`
  called with these after the first two: whether it may run on a node, of the node and its `:metadata`), `:metadata` (any term that the registry shows with it),
  `:handoff` (false).

  Errors: `{:already_started, pid}` (nil while it does not run), `:no_node` (none may run it), `{:start_failed, reason}`, after which it is not a child, `:timeout` (it is a
  child, and runs later), `:not_ready` (this node has not found the group yet), `:not_running`, and those of `Foundation.Distributed.Consensus.propose/3`.
  Two rounds to a majority, and the start.
  """
  @spec start_child(supervisor, term, keyword) :: {:ok, pid} | {:error, term}
  def start_child(supervisor, spec, options \\ []) do
    child = Child.new!(spec, options)

    with {:ok, store, settings} <- Director.store(supervisor),
         {:ok, children} <- Store.all(store),
         node when node != nil <- Director.place(settings, child, children, Director.nodes(supervisor)),
         child = %{child | node: node},
         {:ok, _child} <-
           Store.update_one(store, child.name, &if(&1, do: {:keep, :known}, else: {:put, child})) do
      supervisor |> Director.ensure(node, child.name, @timeout) |> begun(store, child)
    else
      nil -> {:error, :no_node}
      {:error, :known} -> {:error, {:already_started, whereis(supervisor, child.name)}}
      {:error, reason} -> {:error, reason}
    end
  end

  defp begun({:error, reason}, store, child) when elem(reason, 0) in [:start_failed, :too_many_restarts] do
    _ = Store.update_one(store, child.name, &if(&1 == child, do: :delete, else: {:keep, :changed}))
    {:error, reason}
  end

  defp begun({:error, :ended}, _store, _child), do: {:error, {:start_failed, :ended}}

  defp begun({:error, reason}, _store, _child) when reason in [:moved, :conflict, :lease_lost],
    do: {:error, :timeout}

  defp begun(answer, _store, _child), do: answer

  @doc """
  Ends a child, wherever it runs, and forgets it: `:ok` when it has ended.

  Errors: `:not_found`, `:not_ready`, `:not_running`, `:timeout` and `{:unreachable, node}` (it is no child any more, and ends when its node hears of that), and those of
  `Foundation.Distributed.Consensus.propose/3`.
  """
  @spec terminate_child(supervisor, name) :: :ok | {:error, term}
  def terminate_child(supervisor, name) do
    with {:ok, store, _settings} <- Director.store(supervisor),
         {:ok, %Child{node: node}} <- find(store, name),
         {:ok, nil} <- Store.update_one(store, name, &if(&1, do: :delete, else: {:keep, :not_found})) do
      if node, do: Director.await_gone(supervisor, node, name, @timeout), else: :ok
    end
  end

  defp find(store, name) do
    with {:ok, nil} <- Store.fetch(store, name), do: {:error, :not_found}
  end

  @doc """
  Moves a child to a node: `{:ok, pid}`, the process that it is there. With `handoff:` its state goes along.

  Errors: `:not_found`, `:no_node` (it may not run there, or the supervisor does not), `:not_running` (it does not run now), `{:unreachable, node}`, `:timeout`, and those of
  `Foundation.Distributed.Consensus.propose/3`; the child then runs where it was, or will run where it was to go. Three rounds to a majority, and the start.
  """
  @spec migrate(supervisor, name, node) :: {:ok, pid} | {:error, term}
  def migrate(supervisor, name, node) when is_atom(node) do
    with {:ok, store, _settings} <- Director.store(supervisor),
         {:ok, %Child{} = child} <- find(store, name),
         :ok <- allowed(child, node, Director.nodes(supervisor)) do
      if child.node == node,
        do: Director.ensure(supervisor, node, name, @timeout),
        else: move(child.node, [supervisor, name, node, @timeout])
    end
  end

  defp allowed(child, node, nodes) do
    case nodes do
      %{^node => metadata} -> if Child.eligible?(child, node, metadata), do: :ok, else: {:error, :no_node}
      _ -> {:error, :no_node}
    end
  end

  defp move(nil, _arguments), do: {:error, :not_running}
  defp move(node, arguments) when node == node(), do: apply(Move, :run, arguments)

  defp move(node, arguments) do
    :erpc.call(node, Move, :run, arguments, @timeout * 2)
  catch
    :error, {:erpc, :timeout} -> {:error, :timeout}
    :error, _ -> {:error, {:unreachable, node}}
    :exit, _ -> {:error, {:unreachable, node}}
  end

  @doc false
  # By whichever supervisor of this node has a child of that name.
  def migrate_any(name, node) do
    supervisors =
      for supervisor <- :persistent_term.get(@all, []), Process.whereis(supervisor), do: supervisor

    Enum.find_value(supervisors, {:error, :not_supervised}, fn supervisor ->
      case migrate(supervisor, name, node) do
        {:error, reason} when reason in [:not_found, :not_ready] -> nil
        answer -> answer
      end
    end)
  end

  @doc "The process of a child, or nil while it does not run. O(1), no message."
  @spec whereis(supervisor, name) :: pid | nil
  def whereis(supervisor, name), do: Global.whereis(name, scope: {:foundation_supervisor, supervisor})

  @doc "The name to call a child by. O(1)."
  @spec via(supervisor, name) :: {:via, module, term}
  def via(supervisor, name), do: {:via, Via, {:in, {:foundation_supervisor, supervisor}, name, []}}

  @doc """
  The fencing token under which a child runs (nil with `consistency: :crdt`, or when it does not run). Works within the child while it starts, too. O(1).
  """
  @spec fencing_token(supervisor, name) :: non_neg_integer | nil
  def fencing_token(supervisor, name) do
    scope = {:foundation_supervisor, supervisor}

    case Leases.token({scope, name}) do
      nil ->
        with({:ok, entry} <- Global.lookup(name, scope: scope), do: entry.fencing_token, else: (_ -> nil))

      token ->
        token
    end
  end

  @doc """
  All children: `{:ok, [%{name: n, node: node, pid: pid | nil, metadata: m, spec: spec}]}`, by name. `node` is where it is to run.

  Errors: `:not_ready`, `:not_running`. O(children), as this node knows them.
  """
  @spec list_children(supervisor) :: {:ok, [map]} | {:error, term}
  def list_children(supervisor) do
    with {:ok, store, _settings} <- Director.store(supervisor), {:ok, children} <- Store.all(store) do
      {:ok,
       for {name, child} <- Enum.sort(children) do
         %{
           name: name,
           node: child.node,
           pid: whereis(supervisor, name),
           metadata: child.metadata,
           spec: child.spec
         }
       end}
    end
  end

  @doc "All children as `Supervisor.which_children/1` gives them: `{name, pid | :restarting, type, modules}`. Empty when nothing is known. O(children)."
  @spec which_children(supervisor) :: [{name, pid | :restarting, :worker | :supervisor, [module]}]
  def which_children(supervisor) do
    case list_children(supervisor) do
      {:ok, children} ->
        for %{spec: %{start: {module, _, _}} = spec} = child <- children,
            do:
              {child.name, child.pid || :restarting, Map.get(spec, :type, :worker),
               Map.get(spec, :modules, [module])}

      {:error, _reason} ->
        []
    end
  end

  @doc "How many children there are, as `Supervisor.count_children/1` says: `:specs`, `:active`, `:supervisors`, `:workers`. O(children)."
  @spec count_children(supervisor) :: %{specs: n, active: n, supervisors: n, workers: n}
        when n: non_neg_integer
  def count_children(supervisor) do
    children = which_children(supervisor)
    supervisors = Enum.count(children, &(elem(&1, 2) == :supervisor))

    %{
      specs: length(children),
      active: Enum.count(children, &is_pid(elem(&1, 1))),
      supervisors: supervisors,
      workers: length(children) - supervisors
    }
  end

  @doc "The nodes that run the supervisor and take children, in order. O(nodes)."
  @spec nodes(supervisor) :: [node]
  def nodes(supervisor), do: supervisor |> Director.nodes() |> Map.keys() |> Enum.sort()
end
