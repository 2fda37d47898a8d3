defmodule Foundation.ProcessRegistry.Global do
  @moduledoc """
  Gives processes names that every node of the cluster knows, each with the consistency that it needs.

      :ok = ProcessRegistry.register_global(:importer, self())
      {:ok, %{pid: pid}} = ProcessRegistry.lookup_global(:importer)          # on any node

      :ok = ProcessRegistry.register_global(:ledger, self(), consistency: :consensus)
      {:ok, %{fencing_token: token}} = ProcessRegistry.lookup_global(:ledger)

  A name is any term, in a scope, which is any term too (`:default`). Every node keeps all names of the nodes that it is
  connected to by Erlang distribution; looking up reads a table here and asks nobody. A name belongs to its process: it
  goes when the process ends, when its node is lost, and comes again with the node.

  ## `consistency: :crdt` (the default)

  Registering is done here at once and told to the others within milliseconds. It always works, on each side of a split
  too. When the sides meet and both have a process of that name, that of the older registration (by hybrid logical clock) keeps
  it on every node; with `resolve: {module, function}` the older registration's function decides, once, called as
  `function(name, older, newer)` with two entries: it answers the pid that stays, or `:none`. Until then the older one is found.

  ## `consistency: :consensus`

  The coordination group (`Foundation.Distributed.Coordination`) gives the name to one process. Registering takes a round
  to a majority, and a side without one refuses: `{:error, :no_leader}` or `{:error, :unknown}`. Each
  registration has a fencing token, greater than those before: send it along with what the process
  writes, and refuse smaller ones. The name is leased to this node, which renews the leases of all its names by one message.
  When it cannot, the names are lost here before the group gives them to others. A connected node that has been
  told of the old holder may find it for the time of a message; `lookup_global(name, consistency: :linearizable)` asks the group.

  ## Losing a name

  Who loses a conflict or a lease gets `{:foundation_lost, :name, {scope, name}, token, reason}`, with the reason `{:conflict, pid}`
  (the process that has it now, or nil) or `:session` (the lease could not be renewed). With `on_lost: :kill` it is killed as well.

  No function here calls the native library, but for `:consensus`, whose **Scheduling** is that of `Foundation.Distributed.Consensus`.
  """

  alias Foundation.ProcessRegistry.Global.{Claims, Server, Table}

  @timeout 5_000
  @scope :default
  @authority {__MODULE__, :authority}
  @options [:scope, :metadata, :consistency, :resolve, :on_lost, :timeout]

  @type name :: term
  @type scope :: term
  @type entry :: %{
          scope: scope,
          name: name,
          pid: pid,
          node: node,
          metadata: term,
          consistency: :crdt | :consensus,
          fencing_token: non_neg_integer | nil,
          registered_at: integer
        }

  @doc """
  Names a process: `:ok`, also when it has that name already, whose metadata is replaced when some are given.

  Options: `:scope` (`:default`), `:metadata` (nil; any term), `:consistency` (`:crdt` or `:consensus`), `:resolve`, a `{module, function}` for
  conflicts (`:crdt` only), `:on_lost` (`:tell`, or `:kill`: the process is killed too), `:timeout` (5,000 ms).
  A process of another node is registered there.

  Errors: `{:already_registered, pid}`, `:noproc` (the process does not live), `:not_running`, `{:unreachable, node}`, `:timeout`; with
  `:consensus` also `:no_leader`, `:busy`, `:too_large`, `:not_configured`, `:no_group`, and `:unknown`: it is not registered, and others
  may have to wait for the end of this node's lease. ArgumentError for options that do not exist. O(log names of this node), one call
  to a process; or a round to a majority.
  """
  @spec register(name, pid, keyword) :: :ok | {:error, term}
  def register(name, pid, options \\ []) when is_pid(pid) do
    settings = settings!(options)
    key = {settings.scope, name}

    if node(pid) == node(),
      do: register_here(key, pid, settings),
      else: there(node(pid), :register_here, [key, pid, settings], settings.timeout)
  end

  @doc false
  def register_here(key, pid, %{consistency: :crdt} = settings),
    do: Server.claim(key, pid, settings.metadata, resolver: settings.resolve, on_lost: settings.on_lost)

  def register_here(key, pid, %{consistency: :consensus} = settings) do
    case found(key) do
      {:ok, %{pid: other, consistency: :crdt}} when other != pid -> {:error, {:already_registered, other}}
      {:error, :not_running} -> {:error, :not_running}
      _ -> with_authority(& &1.register(key, pid, settings))
    end
  end

  @doc """
  Takes a name away from whichever process has it: `:ok`. The options `:scope` and `:timeout`.

  A `:consensus` name is free for others when this returns `:ok`.
  Errors: `:not_found`, `:not_running`, `{:unreachable, node}`; of `:consensus` names `:unknown` (it will be free, at the latest when the lease ends).
  """
  @spec unregister(name, keyword) :: :ok | {:error, term}
  def unregister(name, options \\ []) do
    key = key(name, options, [:scope, :timeout])

    with {:ok, entry} <- found(key) do
      if entry.node == node(),
        do: unregister_here(key, entry.pid, timeout(options)),
        else: there(entry.node, :unregister_here, [key, entry.pid, timeout(options)], timeout(options))
    end
  end

  @doc false
  def unregister_here(key, pid, timeout) do
    case Server.release(key, pid) do
      :ok -> released(key, pid, timeout)
      error -> error
    end
  end

  # Whether there was a lease to it, only the authority knows.
  defp released(key, pid, timeout) do
    case :persistent_term.get(@authority, nil) do
      nil -> :ok
      authority -> authority.unregister(key, pid, timeout)
    end
  end

  @doc """
  What is known of a name: `{:ok, entry}`, a map of `:pid`, `:node`, `:metadata`, `:consistency`, `:fencing_token` (nil for `:crdt`), `:registered_at` (µs since 1970, of
  the hybrid clock), `:scope` and `:name`.

  Options: `:scope`; `:consistency`: `:local` (the default: this node's table), or `:linearizable`: the coordination group is asked, for names registered with `:consensus`; `:timeout`.

  Errors: `:not_found`, `:not_running`; with `:linearizable` those of `Foundation.Distributed.Consensus.query/3`. O(1), no message; or a round to a majority.
  """
  @spec lookup(name, keyword) :: {:ok, entry} | {:error, term}
  def lookup(name, options \\ [])
  def lookup(name, []), do: found({@scope, name})

  def lookup(name, options) do
    key = key(name, options, [:scope, :consistency, :timeout])

    case Keyword.get(options, :consistency, :local) do
      :local -> found(key)
      :linearizable -> with_authority(& &1.lookup(key, timeout(options)))
      other -> raise ArgumentError, "consistency: is :local or :linearizable, got: #{inspect(other)}"
    end
  end

  defp found(key) do
    case Table.row(key) do
      {_key, pid, _, _, _} = row when node(pid) != node() -> {:ok, Claims.entry(row)}
      nil -> {:error, :not_found}
      row -> if(Process.alive?(elem(row, 1)), do: {:ok, Claims.entry(row)}, else: {:error, :not_found})
    end
  rescue
    ArgumentError -> {:error, :not_running}
  end

  # The end of a process here may not have been noticed yet.
  defp alive?(pid), do: node(pid) != node() or Process.alive?(pid)

  @doc "The process of a name, or nil. Options: `:scope`. O(1), no message; it copies no metadata."
  @spec whereis(name, keyword) :: pid | nil
  def whereis(name, options \\ []) do
    pid = Table.pid({Keyword.get(options, :scope, @scope), name})
    if alive?(pid), do: pid
  rescue
    ArgumentError -> nil
  end

  @doc """
  Whether a process of this node has the name for certain: of a `:consensus` name, whether its lease has time left. Options: `:scope`. A call to a process of
  this node.
  """
  @spec held?(name, keyword) :: boolean
  def held?(name, options \\ []) do
    key = key(name, options, [:scope])

    case found(key) do
      {:ok, %{consistency: :crdt, node: node}} ->
        node == node()

      {:ok, %{fencing_token: token, node: node}} when node == node() ->
        with_authority(& &1.held?(key, token)) == true

      _ ->
        false
    end
  end

  @doc """
  Changes the metadata of a name by a function, which its node runs: `{:ok, metadata}`. For a value in place of a function give `fn _ -> value end`.

  Options: `:scope`, `:timeout`. Errors: `:not_found`, `:not_running`, `{:unreachable, node}`, `{kind, reason}` when the function fails.
  One call to the name's node.
  """
  @spec update(name, (term -> term), keyword) :: {:ok, term} | {:error, term}
  def update(name, function, options \\ []) when is_function(function, 1) do
    key = key(name, options, [:scope, :timeout])

    with {:ok, entry} <- found(key) do
      if entry.node == node(),
        do: Server.update(key, function),
        else: there(entry.node, :update_here, [key, function], timeout(options))
    end
  end

  @doc false
  def update_here(key, function), do: Server.update(key, function)

  @doc "All names of a scope, as entries, in no order. Options: `:scope`. O(all names)."
  @spec list(keyword) :: [entry]
  def list(options \\ []) do
    scope = scope(options, [:scope])
    rows = if_running([], fn -> Table.rows(scope) end)
    for {_, pid, _, _, _} = row <- rows, alive?(pid), do: Claims.entry(row)
  end

  @doc "How many names a scope has. Options: `:scope`. O(all names)."
  @spec count(keyword) :: non_neg_integer
  def count(options \\ []) do
    scope = scope(options, [:scope])
    if_running(0, fn -> Table.count(scope) end)
  end

  # There is no table without the application.
  defp if_running(otherwise, read) do
    read.()
  rescue
    ArgumentError -> otherwise
  end

  @doc """
  Tells the calling process of changes to a name, or with `:all` to any of the scope: `{:foundation_registry, news}`, where `news` is an
  entry with an `:event`: `:registered` (also by another process), `:updated` (other metadata), `:unregistered`, or `:conflict`, which has the
  entry that lost for now under `:other`. As this node learns of it; ends with the process.

  Options: `:scope`. Errors: `:not_running`. To monitor the name `:all` itself give `{:name, :all}`, as may be done with every name.
  """
  @spec monitor(name | :all | {:name, name}, keyword) :: :ok | {:error, term}
  def monitor(what, options \\ []), do: Server.watch(watched(what, options), self())

  @doc "Ends that."
  @spec demonitor(name | :all | {:name, name}, keyword) :: :ok | {:error, term}
  def demonitor(what, options \\ []), do: Server.unwatch(watched(what, options), self())

  defp watched(:all, options), do: {:scope, scope(options, [:scope])}
  defp watched({:name, name}, options), do: {:name, key(name, options, [:scope])}
  defp watched(name, options), do: {:name, key(name, options, [:scope])}

  @doc """
  Waits until this node knows what the nodes that it is connected to had registered when this was called: `:ok`. In ms.

  Errors: `:timeout`, `:not_running`. A message to each node and back.
  """
  @spec sync(pos_integer) :: :ok | {:error, :timeout | :not_running}
  def sync(timeout \\ @timeout), do: Server.sync(timeout)

  @doc """
  How this node's names are known elsewhere: `{:ok, %{number: n, peers: %{node => %{behind: changes, names: n}}, contested: keys}}`.
  `behind` counts the changes that the node has not confirmed, `names` those it has told of. O(nodes).
  """
  @spec status() :: {:ok, map} | {:error, term}
  def status, do: Server.status()

  @doc """
  Moves what runs under a name to another node; see `Foundation.DistributedSupervisor.migrate/3`, which started it.

  Errors: `:not_supervised`, and those of that function.
  """
  @spec migrate(name, node) :: {:ok, pid} | {:error, term}
  def migrate(name, node) when is_atom(node), do: with_authority(& &1.migrate(name, node))

  @doc false
  # The module of a higher floor that knows of leases.
  @spec put_authority(module | nil) :: :ok
  def put_authority(nil), do: :persistent_term.erase(@authority) && :ok
  def put_authority(module), do: :persistent_term.put(@authority, module)

  defp with_authority(function) do
    case :persistent_term.get(@authority, nil) do
      nil -> {:error, :not_running}
      authority -> function.(authority)
    end
  end

  defp there(node, function, arguments, timeout) do
    :erpc.call(node, __MODULE__, function, arguments, timeout)
  catch
    :error, {:erpc, :timeout} -> {:error, :timeout}
    :error, _ -> {:error, {:unreachable, node}}
    :exit, _ -> {:error, {:unreachable, node}}
  end

  # -- options

  defp settings!(options) do
    known!(options, @options)

    settings = %{
      scope: Keyword.get(options, :scope, @scope),
      metadata: options[:metadata],
      consistency: Keyword.get(options, :consistency, :crdt),
      resolve: options[:resolve],
      on_lost: Keyword.get(options, :on_lost, :tell),
      timeout: timeout(options)
    }

    one_of!(:consistency, settings.consistency, [:crdt, :consensus])
    one_of!(:on_lost, settings.on_lost, [:tell, :kill])

    unless settings.resolve == nil or match?({m, f} when is_atom(m) and is_atom(f), settings.resolve),
      do: raise(ArgumentError, "resolve: is {module, function}, got: #{inspect(settings.resolve)}")

    settings
  end

  defp one_of!(name, value, allowed) do
    unless value in allowed,
      do:
        raise(
          ArgumentError,
          "#{name}: is #{Enum.map_join(allowed, " or ", &inspect/1)}, got: #{inspect(value)}"
        )
  end

  defp timeout(options) do
    case Keyword.get(options, :timeout, @timeout) do
      ms when is_integer(ms) and ms > 0 -> ms
      other -> raise ArgumentError, "timeout: is a number of ms above 0, got: #{inspect(other)}"
    end
  end

  defp key(name, options, known), do: {scope(options, known), name}

  defp scope(options, known) do
    known!(options, known)
    Keyword.get(options, :scope, @scope)
  end

  defp known!(options, known) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "options are a keyword list, got: #{inspect(options)}")

    case Keyword.keys(options) -- known do
      [] -> :ok
      [name | _] -> raise ArgumentError, "there is no option #{inspect(name)}; there are #{inspect(known)}"
    end
  end
end
