defmodule Foundation.ProcessRegistry do
  @moduledoc """
  Finds a service's process by namespace and name.

  A namespace is `:production`, or `{:test, reference}` for a set of services that a test starts for itself.

  Two tables stand behind it. A process started under `via_tuple/2` is kept in an Elixir `Registry` and leaves it when it
  dies. A process given to `register/3` is kept in the public ETS table `:process_registry_backup`; it is not monitored,
  and its row goes when somebody looks it up after its death. As in 1.x, that table belongs to the process that first
  needs it and goes with it, names and all, until the next process makes it anew: let a process that stays be the
  first, or start under `via_tuple/2`. `lookup/2` asks the `Registry` first: a name held there hides one given to
  `register/3`.

  With the application stopped, the functions that read the `Registry` raise `ArgumentError`.

  Names that the whole cluster knows are another matter: `register_global/3`, `lookup_global/2` and the other `_global`
  functions, of which `Foundation.ProcessRegistry.Global` tells.
  """

  alias Foundation.ProcessRegistry.{Global, Via}

  require Logger

  @backup :process_registry_backup
  @shutdown_ms 100
  @settle_ms 200

  @type namespace :: :production | {:test, reference}
  @type service_name :: :config_server | :event_store | :telemetry_service | :test_supervisor
  @type registry_key :: {namespace, service_name}

  @doc false
  def child_spec(_opts) do
    %{
      id: Registry,
      start: {Registry, :start_link, [[keys: :unique, name: __MODULE__, partitions: partitions()]]},
      type: :supervisor,
      restart: :permanent,
      shutdown: :infinity
    }
  end

  # Calls `fun` with the table there. Its owner may end at any time, and the table with it; then there is another turn.
  defp with_backup(fun) do
    make_backup()
    table = :ets.whereis(@backup)

    try do
      fun.()
    rescue
      error in ArgumentError ->
        if table != :undefined and :ets.whereis(@backup) == table,
          do: reraise(error, __STACKTRACE__),
          else: with_backup(fun)
    end
  end

  defp make_backup do
    if :ets.whereis(@backup) == :undefined do
      :ets.new(@backup, [:named_table, :public, :set, read_concurrency: true, write_concurrency: true])
    end
  rescue
    # Somebody else made it in between.
    ArgumentError -> @backup
  end

  @doc """
  Gives a process a name in a namespace: `:ok`, also when it has that name already.

  A live owner keeps the name and `{:error, {:already_registered, pid}}` says who it is; a dead one is replaced. Of
  several callers at once exactly one wins. Any process can be registered, not only the caller. O(1).
  """
  @spec register(namespace, service_name, pid) :: :ok | {:error, {:already_registered, pid}}
  def register(namespace, service, pid) when is_pid(pid) do
    with_backup(fn -> claim({namespace, service}, pid) end)
  end

  defp claim(key, pid) do
    if :ets.insert_new(@backup, {key, pid}) do
      debug("registered", key, pid)
      :ok
    else
      contest(key, pid, :ets.lookup(@backup, key))
    end
  end

  defp contest(_key, pid, [{_, pid}]), do: :ok
  defp contest(key, pid, []), do: claim(key, pid)

  defp contest(key, pid, [{_, owner} = row]) do
    if live?(owner) do
      {:error, {:already_registered, owner}}
    else
      :ets.delete_object(@backup, row)
      claim(key, pid)
    end
  end

  @doc "The live process of a service, or `:error`. O(1)."
  @spec lookup(namespace, service_name) :: {:ok, pid} | :error
  def lookup(namespace, service) do
    key = {namespace, service}

    case Registry.lookup(__MODULE__, key) do
      [{pid, _}] -> if live?(pid), do: {:ok, pid}, else: :error
      [] -> lookup_backup(key)
    end
  end

  defp lookup_backup(key) do
    case backup_rows(key) do
      [{_, pid} = row] ->
        if live?(pid) do
          {:ok, pid}
        else
          with_backup(fn -> :ets.delete_object(@backup, row) end)
          debug("dropped the dead", key, pid)
          :error
        end

      [] ->
        :error
    end
  end

  @doc """
  Takes a name away: `:ok`, also when nobody has it. A name in the `Registry` is taken away only from the caller. O(1).
  """
  @spec unregister(namespace, service_name) :: :ok
  def unregister(namespace, service) do
    key = {namespace, service}
    with_backup(fn -> :ets.delete(@backup, key) end)
    Registry.unregister(__MODULE__, key)
    debug("unregistered", key, self())
    :ok
  end

  @doc "The names of a namespace's live services, in no order. O(registered services)."
  @spec list_services(namespace) :: [service_name]
  def list_services(namespace), do: namespace |> get_all_services() |> Map.keys()

  @doc "A namespace's live services and their processes. O(registered services)."
  @spec get_all_services(namespace) :: %{service_name => pid}
  def get_all_services(namespace) do
    in_registry = Registry.select(__MODULE__, [{{{namespace, :"$1"}, :"$2", :_}, [], [{{:"$1", :"$2"}}]}])

    for {service, pid} <- in_backup(namespace) ++ in_registry, live?(pid), into: %{}, do: {service, pid}
  end

  @doc "Whether a live process has that name. O(1)."
  @spec registered?(namespace, service_name) :: boolean
  def registered?(namespace, service), do: match?({:ok, _}, lookup(namespace, service))

  @doc "How many live services a namespace has. O(registered services)."
  @spec count_services(namespace) :: non_neg_integer
  def count_services(namespace), do: namespace |> get_all_services() |> map_size()

  @doc """
  The name to start or call a service by. O(1).

      iex> Foundation.ProcessRegistry.via_tuple(:production, :config_server)
      {:via, Registry, {Foundation.ProcessRegistry, {:production, :config_server}}}
  """
  @spec via_tuple(namespace, service_name) :: {:via, Registry, {atom, registry_key}}
  def via_tuple(namespace, service), do: {:via, Registry, {__MODULE__, {namespace, service}}}

  @doc """
  Stops every process given to `register/3` under `{:test, reference}` and forgets its name.

  Each is asked to shut down and killed if it has not after 100 ms; all are gone when this returns. The caller itself
  only loses its name. Processes registered through `via_tuple/2` are left alone. As in 1.x it takes another 200 ms, for
  those that watch the processes to notice.
  """
  @spec cleanup_test_namespace(reference) :: :ok
  def cleanup_test_namespace(reference) do
    namespace = {:test, reference}
    pids = for {_, pid} <- in_backup(namespace), pid != self(), uniq: true, do: pid
    monitors = for pid <- pids, do: {pid, Process.monitor(pid)}

    for pid <- pids, do: Process.exit(pid, :shutdown)
    deadline = System.monotonic_time(:millisecond) + @shutdown_ms
    for {pid, monitor} <- monitors, do: await_exit(pid, monitor, deadline)

    with_backup(fn -> :ets.match_delete(@backup, {{namespace, :_}, :_}) end)
    Process.sleep(@settle_ms)
  end

  defp await_exit(pid, monitor, deadline) do
    receive do
      {:DOWN, ^monitor, :process, _, _} -> :ok
    after
      max(deadline - System.monotonic_time(:millisecond), 0) ->
        Process.exit(pid, :kill)

        receive do
          {:DOWN, ^monitor, :process, _, _} -> :ok
        end
    end
  end

  # -- names of the cluster

  @doc """
  Gives a process a name that every node knows: `:ok`. Options, among them `consistency: :crdt | :consensus`, errors and
  cost: `Foundation.ProcessRegistry.Global.register/3`.

      iex> Foundation.ProcessRegistry.register_global(:documented, self())
      iex> Foundation.ProcessRegistry.whereis_global(:documented) == self()
      true
  """
  @spec register_global(Global.name(), pid, keyword) :: :ok | {:error, term}
  defdelegate register_global(name, pid, options \\ []), to: Global, as: :register

  @doc "Takes a name of the cluster away: `Foundation.ProcessRegistry.Global.unregister/2`."
  @spec unregister_global(Global.name(), keyword) :: :ok | {:error, term}
  defdelegate unregister_global(name, options \\ []), to: Global, as: :unregister

  @doc "What is known of a name of the cluster: `Foundation.ProcessRegistry.Global.lookup/2`. O(1), no message."
  @spec lookup_global(Global.name(), keyword) :: {:ok, Global.entry()} | {:error, term}
  defdelegate lookup_global(name, options \\ []), to: Global, as: :lookup

  @doc "The process of a name of the cluster, or nil. Options: `:scope`. O(1), no message."
  @spec whereis_global(Global.name(), keyword) :: pid | nil
  defdelegate whereis_global(name, options \\ []), to: Global, as: :whereis

  @doc "Whether a process of this node has a name for certain: `Foundation.ProcessRegistry.Global.held?/2`."
  @spec held_global?(Global.name(), keyword) :: boolean
  defdelegate held_global?(name, options \\ []), to: Global, as: :held?

  @doc "Changes the metadata of a name of the cluster: `Foundation.ProcessRegistry.Global.update/3`."
  @spec update_global(Global.name(), (term -> term), keyword) :: {:ok, term} | {:error, term}
  defdelegate update_global(name, function, options \\ []), to: Global, as: :update

  @doc "All names of a scope: `Foundation.ProcessRegistry.Global.list/1`."
  @spec list_global(keyword) :: [Global.entry()]
  defdelegate list_global(options \\ []), to: Global, as: :list

  @doc "How many names a scope has. Options: `:scope`. O(all names)."
  @spec count_global(keyword) :: non_neg_integer
  defdelegate count_global(options \\ []), to: Global, as: :count

  @doc "Tells the calling process of changes to names: `Foundation.ProcessRegistry.Global.monitor/2`."
  @spec monitor_global(Global.name() | :all | {:name, Global.name()}, keyword) :: :ok | {:error, term}
  defdelegate monitor_global(what, options \\ []), to: Global, as: :monitor

  @doc "Ends that: `Foundation.ProcessRegistry.Global.demonitor/2`."
  @spec demonitor_global(Global.name() | :all | {:name, Global.name()}, keyword) :: :ok | {:error, term}
  defdelegate demonitor_global(what, options \\ []), to: Global, as: :demonitor

  @doc "Waits until this node knows all names that the others have registered by now: `Foundation.ProcessRegistry.Global.sync/1`."
  @spec sync_global(pos_integer) :: :ok | {:error, :timeout | :not_running}
  defdelegate sync_global(timeout \\ 5_000), to: Global, as: :sync

  @doc "Moves what a distributed supervisor runs under a name to another node: `Foundation.ProcessRegistry.Global.migrate/2`."
  @spec migrate(Global.name(), node) :: {:ok, pid} | {:error, term}
  defdelegate migrate(name, node), to: Global

  @doc """
  A cluster-wide name to start or call a process by; options as `register_global/3`. O(1).

      iex> Foundation.ProcessRegistry.via_global(:ledger)
      {:via, Foundation.ProcessRegistry.Via, {:in, :default, :ledger, []}}
  """
  @spec via_global(Global.name(), keyword) :: {:via, module, {:in, term, term, keyword}}
  def via_global(name, options \\ []) do
    {scope, options} = Keyword.pop(options, :scope, :default)
    {:via, Via, {:in, scope, name, options}}
  end

  @doc """
  Counts: services in all namespaces and in `:production`, test namespaces, `Registry` partitions, bytes of memory used
  by all tables, and what is known about the backup table. O(registered services).
  """
  @spec stats() :: %{
          total_services: non_neg_integer,
          production_services: non_neg_integer,
          test_namespaces: non_neg_integer,
          partitions: pos_integer,
          partition_count: pos_integer,
          memory_usage_bytes: non_neg_integer,
          ets_table_info: map
        }
  def stats do
    owners =
      Map.new(in_backup() ++ Registry.select(__MODULE__, [{{:"$1", :"$2", :_}, [], [{{:"$1", :"$2"}}]}]))

    kinds = for {{namespace, _}, pid} <- owners, live?(pid), do: kind(namespace)

    %{
      total_services: length(kinds),
      production_services: Enum.count(kinds, &(&1 == :production)),
      test_namespaces: kinds |> Enum.uniq() |> List.delete(:production) |> length(),
      partitions: partitions(),
      partition_count: partitions(),
      memory_usage_bytes: memory_words() * :erlang.system_info(:wordsize),
      ets_table_info: backup_info()
    }
  end

  defp kind(:production), do: :production
  defp kind({:test, reference}), do: reference

  defp backup_info do
    case :ets.whereis(@backup) do
      :undefined ->
        %{backup_table_exists: false, table_size: 0, memory_words: 0}

      table ->
        %{
          backup_table_exists: true,
          table_size: :ets.info(table, :size),
          memory_words: :ets.info(table, :memory)
        }
    end
  end

  # The Registry's tables carry its name as a prefix of theirs.
  defp memory_words do
    prefix = Atom.to_string(__MODULE__)

    for table <- :ets.all(),
        is_atom(table),
        table == @backup or String.starts_with?(Atom.to_string(table), prefix),
        words = :ets.info(table, :memory),
        is_integer(words),
        reduce: 0,
        do: (sum -> sum + words)
  end

  defp in_backup, do: backup_select([{{:"$1", :"$2"}, [], [{{:"$1", :"$2"}}]}])
  defp in_backup(namespace), do: backup_select([{{{namespace, :"$1"}, :"$2"}, [], [{{:"$1", :"$2"}}]}])

  defp backup_select(spec), do: with_backup(fn -> :ets.select(@backup, spec) end)
  defp backup_rows(key), do: with_backup(fn -> :ets.lookup(@backup, key) end)

  defp live?(pid) when node(pid) == node(), do: Process.alive?(pid)
  defp live?(pid), do: node(pid) in Node.list()

  defp partitions, do: System.schedulers_online()

  defp debug(what, {namespace, service}, pid) do
    if Application.get_env(:foundation, :debug_registry, false) do
      Logger.debug("ProcessRegistry: #{what} #{inspect(service)} in #{inspect(namespace)}: #{inspect(pid)}")
    end
  end
end
