defmodule Foundation.Distributed.State do
  @moduledoc """
  Keeps a value on several nodes that each may change at any time, alone or not, and that becomes the same everywhere.

      {:ok, _} = State.new(:carts, {:or_map, :or_set})
      :ok = State.mutate(:carts, {:update, "user-1", {:add, "apple"}})
      {:ok, %{"user-1" => apples}} = State.read(:carts)

  Each node that calls `new/3` with the same name and type has a replica: a whole copy. A change is made here at once,
  without asking anyone, and sent to the other replicas within milliseconds; what two nodes did without knowing of each
  other is merged by rules that belong to the type. Nodes that were apart, or missed something, compare digests and
  exchange what they differ in. There is no leader and nothing to wait for; what needs one order for all needs a
  consensus instead.

  ## Types

  | type | holds | at concurrent changes |
  |---|---|---|
  | `:g_counter`, `:pn_counter` | an integer; the first only grows | every step counts |
  | `:g_set` | a MapSet that only grows | all elements |
  | `:or_set` | a MapSet | an add wins over a removal |
  | `:rw_set` | a MapSet | a removal wins over an add |
  | `:lww_register` | a value, nil at first | the last write wins, by a hybrid logical clock |
  | `:mv_register` | a list of values, empty at first | all that were written |
  | `:ew_flag`, `:dw_flag` | a boolean, false at first | on wins; off wins |
  | `:lww_map` | a map | the last write or removal of a key wins |
  | `{:or_map, type}` | a map of values of that type | a change of a value wins over the removal of its key |
  | `{:record, %{field => type}}` | a map of these fields | each as its type says |

  `:or_map` is `{:or_map, :lww_register}`. Types nest up to 8 levels. Keys, elements and values are any terms; two are the
  same when `===` says so.

  A removal takes away what this node has seen, and nothing else. A counter below a key of an `{:or_map, _}` that is
  removed while another node counts comes back with all that the other node had counted. Removals leave nothing behind
  but in `:rw_set`, `:dw_flag` and `:lww_map`, where a mark stays until every replica has confirmed it; a replica that
  was away for longer than `:forget_after` and comes back with a durable copy may bring back what was removed meanwhile.

  ## What is promised

  - Replicas that have seen the same changes are equal, in whatever order and however often they came.
  - A change that was made is not lost while one replica that has it lives, or its durable copy is on a disk. `:local`
    changes, of a node that dies within the next milliseconds, may be: `level: :majority` waits.
  - Reads see what this node has seen, one shard after the other: a read of all is no snapshot of one moment.
  - A write time more than `:max_drift` ahead of this node's clock is not taken until the clock has come so far.

  **Scheduling**: a change and the read of a single value run on the caller's normal scheduler, below 100 µs; what is
  large (32 KB, 2,000 terms) or removes a key with parts, and reads of whole values, on dirty CPU schedulers; with a
  durable copy changes run on dirty IO schedulers. Merging is done by one process a state on dirty schedulers, in messages
  of at most about 512 KB.
  """

  alias Foundation.Distributed.State.{Operation, Options, Replica, Structure, Type, Wire}
  alias Foundation.Native

  @type name :: atom
  @type type ::
          :g_counter
          | :pn_counter
          | :g_set
          | :or_set
          | :rw_set
          | :lww_register
          | :mv_register
          | :ew_flag
          | :dw_flag
          | :lww_map
          | :or_map
          | {:or_map, type}
          | {:record, %{term => type} | [{term, type}]}
  @type change ::
          {:put, key :: term, value :: term}
          | {:set, value :: term}
          | {:add, element :: term}
          | {:remove, key_or_element :: term}
          | :increment
          | :decrement
          | {:increment, non_neg_integer}
          | {:decrement, non_neg_integer}
          | :enable
          | :disable
          | {:update, key :: term, change}
  @type diff ::
          {:put, path :: [term], value :: term}
          | {:delete, path :: [term]}
          | {:add, path :: [term], element :: term}
          | {:remove, path :: [term], element :: term}
  @type reason ::
          :not_running
          | :wrong_operation
          | :wrong_path
          | :grow_only
          | :overflow
          | :full
          | :too_large
          | :unconfirmed
          | {:timeout, %{confirmed: pos_integer, needed: pos_integer}}
          | {atom | non_neg_integer, term}

  @doc """
  Starts this node's replica of a state: `{:ok, pid}`, also when it runs already with that type.

  The other replicas are found by themselves, now and later. Options, the same on all nodes where they say so:

    * `:level` (`:local`): the level of `mutate/3` unless it is given one;
    * `:replicas` (1): how many replicas there are to be at least; majorities are counted of that many or of those known,
      whichever is more, and marks of removals are collected when so many have confirmed them;
    * `:nodes` (`:cluster`): a list of the nodes that may have a replica, instead of all;
    * `:shards` (32; the same on all nodes): parts with a lock each, a power of two up to 1,024;
    * `:max_keys` (10,000,000) and `:max_bytes` (4 GB): a change that adds beyond is refused; what other replicas send is
      taken up to twice the bytes;
    * `:max_drift` (60,000 ms): see above;
    * `:push_after` (5 ms): changes within that time are sent together;
    * `:sync_interval` (1,000 ms): how often one of the other replicas is compared with;
    * `:forget_after` (86,400,000 ms): a replica that cannot be reached for so long is no longer counted;
    * `:durable` (nil): `[dir: path, sync: :os | :always | {:interval, ms}]`, a directory for a durable copy. A change is
      in it when `mutate/3` returns: safe from the death of the process and of the VM, and under `:always` from a power
      cut. It is read when the replica starts.

  The replica runs under Foundation's supervisor; to run it under one of yours, use
  `{Foundation.Distributed.State, {name, type, opts}}` there. Raises ArgumentError for what is no type or option.

  Errors: `{:error, {:already_started, type}}` with another type, `{:error, :mismatch}` (the directory holds another
  state), `{:error, {reason, text}}` with `:locked`, `:not_writable`, `:no_space`, `:version`, `:damaged` or `:io`, what
  `File.mkdir_p/1` says of the directory, `{:error, :not_running}`. O(1), or O(bytes) of the durable copy.
  """
  @spec new(name, type, keyword) :: {:ok, pid} | {:error, term}
  def new(name, type, opts \\ []) do
    checked = Type.check!(type)
    _ = Options.name!(name)
    _ = Options.new!(opts)

    case DynamicSupervisor.start_child(Foundation.ProcessSupervisor, {Replica, {name, type, opts}}) do
      {:ok, pid} -> {:ok, pid}
      {:error, {:already_started, pid}} -> same(name, checked, pid)
      {:error, {:shutdown, reason}} -> {:error, reason}
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, {:noproc, _} -> {:error, :not_running}
  end

  defp same(name, type, pid) do
    case Structure.reference(name) do
      %{type: ^type} -> {:ok, pid}
      %{type: other} -> {:error, {:already_started, other}}
      nil -> {:error, :not_running}
    end
  end

  @doc false
  def child_spec({name, type, opts}), do: Replica.child_spec({name, type, opts})
  def child_spec({name, type}), do: child_spec({name, type, []})

  @doc """
  Ends this node's replica and tells the others, which no longer count it. Its durable copy stays.

  Errors: `{:error, :not_running}`.
  """
  @spec stop(name) :: :ok | {:error, :not_running}
  def stop(name) do
    with pid when is_pid(pid) <- Process.whereis(Wire.process(Options.name!(name))) do
      case DynamicSupervisor.terminate_child(Foundation.ProcessSupervisor, pid) do
        :ok -> :ok
        {:error, :not_found} -> GenServer.stop(pid)
      end
    else
      nil -> {:error, :not_running}
    end
  end

  @doc """
  Changes the state: one change, or a list of changes that are made one after the other.

      :ok = State.mutate(:hits, :increment)
      :ok = State.mutate(:carts, {:update, "user-1", {:remove, "apple"}}, level: :majority)

  | change | of |
  |---|---|
  | `{:put, key, value}`, `{:remove, key}` | maps of registers |
  | `{:update, key, change}`, `{:remove, key}` | maps of other types |
  | `{:update, field, change}` | records |
  | `{:add, element}`, `{:remove, element}` | sets |
  | `{:set, value}` | registers |
  | `:increment`, `{:increment, n}`, `:decrement`, `{:decrement, n}` | counters |
  | `:enable`, `:disable` | flags |

  Options: `:level`, `:local` returns when the change is made here, `:majority` when more than half of the replicas have it,
  `:all` when each known one does; `:timeout` (5,000 ms) for that.

  Errors: `:not_running`, `:wrong_operation`, `:wrong_path`, `:grow_only`, `:overflow` (2^62 of one replica), `:full`,
  `:too_large` (keys of 64 KB, values of 8 MB): nothing was changed, or of a list what stood before: `{n, reason}` when the
  change after `n` was refused. `{:timeout, %{confirmed: n, needed: m}}`: the change is made and will spread, but not as many
  have confirmed it. `:unconfirmed`: the same, and the replica's process ended meanwhile. `{reason, text}`: it is made, but could not be written to the durable copy. Raises ArgumentError for
  what is no change. O(1), removing a key with parts O(parts).
  """
  @spec mutate(name, change | [change], keyword) :: :ok | {:error, reason}
  def mutate(name, change, opts \\ [])

  def mutate(name, change, opts) do
    case Structure.reference(name) do
      nil ->
        _ = Options.name!(name)
        {:error, :not_running}

      reference ->
        with :ok <- change(reference, change), do: confirm(reference, opts)
    end
  end

  defp change(reference, changes) when is_list(changes) do
    reference.handle |> Native.crdt_mutate_all(Enum.map(changes, &Operation.compile/1)) |> woken(reference)
  end

  defp change(%{handle: handle} = reference, change) do
    {path, operation} = Operation.compile(change)

    case Native.crdt_mutate(handle, path, operation) do
      :ok -> :ok
      :dirty -> reference |> dirty(path, operation) |> woken(reference)
      other -> woken(other, reference)
    end
  end

  defp dirty(%{durable: nil, handle: handle}, path, operation),
    do: Native.crdt_mutate_large(handle, path, operation)

  defp dirty(%{handle: handle}, path, operation), do: Native.crdt_mutate_durable(handle, path, operation)

  # The process may be about to start again; it looks for itself then.
  defp woken(:wake, reference) do
    with pid when is_pid(pid) <- Process.whereis(reference.process), do: send(pid, :changed)
    :ok
  end

  defp woken(other, _reference), do: other

  defp confirm(%{level: :local}, []), do: :ok

  defp confirm(reference, opts) do
    for {key, _} <- opts,
        key not in [:level, :timeout],
        do: raise(ArgumentError, "a change has the options :level and :timeout, got: #{inspect(key)}")

    level = Options.level!(Keyword.get(opts, :level, reference.level))
    timeout = Options.timeout!(Keyword.get(opts, :timeout, 5_000))
    if level == :local, do: :ok, else: commit(reference.process, level, timeout)
  end

  defp commit(process, level, timeout) do
    GenServer.call(process, {:commit, level, timeout}, :infinity)
  catch
    :exit, _ -> {:error, :unconfirmed}
  end

  @doc """
  What the state is, or what is at a path of keys, fields and elements in it: `{:ok, value}`.

      {:ok, carts} = State.read(:carts)
      {:ok, apples} = State.read(:carts, ["user-1"])
      {:ok, true} = State.read(:carts, ["user-1", "apple"])

  The path of an element answers whether it is in its set.

  Errors: `:not_found` (a map has no such key), `:wrong_path` (the type has no such path), `:not_running`. O(what is read).
  """
  @spec read(name, [term]) :: {:ok, term} | {:error, :not_found | :wrong_path | :not_running}
  def read(name, path \\ []) when is_list(path) do
    with %{type: type} = reference <- Structure.reference(name) || {:error, :not_running},
         {at, role} <- Type.at(type, path) do
      case fetch(reference, type, at, path) do
        {:ok, raw} -> {:ok, Type.value(at, raw)}
        :none when role == :key -> {:error, :not_found}
        :none -> {:ok, Type.empty(at)}
        {:error, reason} -> {:error, reason}
      end
    else
      :error -> {:error, :wrong_path}
      {:error, reason} -> {:error, reason}
    end
  end

  defp fetch(%{handle: handle} = reference, type, at, path) do
    cond do
      Type.leaf?(at) -> leaf(handle, path)
      Type.spread?(type, path) -> spread(reference, type, at, path)
      true -> Native.crdt_read(handle, path, 0)
    end
  end

  defp leaf(handle, path) do
    with :dirty <- Native.crdt_read_leaf(handle, path), do: Native.crdt_read(handle, path, 0)
  end

  defp spread(reference, type, {:record, fields}, path) do
    values =
      for {name, inner} <- fields,
          {:ok, raw} <- [fetch(reference, type, inner, path ++ [name])],
          do: {name, raw}

    {:ok, values}
  end

  defp spread(%{handle: handle, shards: shards}, _type, _at, path) do
    parts = for shard <- 0..(shards - 1), {:ok, part} <- [Native.crdt_read(handle, path, shard)], do: part
    {:ok, Enum.concat(parts)}
  end

  @doc """
  Tells the caller, or `pid`, of what changes from now on: `{:foundation_state, name, diffs}`, of changes made here and
  elsewhere, together where they came together.

  A diff is `{:put, path, value}`, `{:delete, path}` (a key is gone), `{:add, path, element}` or
  `{:remove, path, element}`. The values are those of that moment: of several changes in between only the last is told.
  When more than 16,384 places of a shard change at a time the message is `{:foundation_state, name, :reset}`: read again.
  It ends with the subscriber. Errors: `{:error, :not_running}`. O(1).
  """
  @spec subscribe(name, pid) :: :ok | {:error, :not_running}
  def subscribe(name, pid \\ self()) when is_pid(pid), do: ask(name, {:subscribe, pid})

  @doc "Ends a subscription of the caller, or of `pid`. Errors: `{:error, :not_running}`. O(1)."
  @spec unsubscribe(name, pid) :: :ok | {:error, :not_running}
  def unsubscribe(name, pid \\ self()) when is_pid(pid), do: ask(name, {:unsubscribe, pid})

  @doc """
  How the replica is: `{:ok, map}`.

    * `:keys`, `:bytes`: entries (keys, elements, or the one value), and the bytes of keys and values;
    * `:root`: a hash of all; equal on replicas that are the same;
    * `:peers`: the other replicas, each with `:node`, `:up`, `:lag_ms` (for how long it has lacked something of ours, as
      far as it has confirmed; 0 when nothing), `:equal_ms_ago` (when it was last found to be the same; nil: never),
      `:refused` (why its messages are not taken, such as `:clock_drift`; nil);
    * `:lag_ms`: the longest of those;
    * `:marks`: removals whose marks wait to be collected; `:waiting`: entries for the next push; `:gaps`: runs of changes
      that came before others;
    * `:changes`, `:joined`, `:redundant`: changes made here, messages merged, and those of them that brought nothing;
    * `:replicas`: lives of replicas that have changed something (about 100 bytes each and shard are kept of one that
      is gone);
    * `:subscribers`, `:durable`, `:recovered`, `:journal_bytes`, `:name`, `:type`, `:id`.

  Errors: `{:error, :not_running}`. O(shards × replicas), on dirty CPU schedulers.
  """
  @spec status(name) :: {:ok, map} | {:error, :not_running}
  def status(name), do: ask(name, :status)

  @doc """
  No longer counts the replica of a node that cannot be reached, as `:forget_after` does in time.

  Errors: `:unknown_node`, `:connected`, `:not_running`.
  """
  @spec forget(name, node) :: :ok | {:error, :unknown_node | :connected | :not_running}
  def forget(name, node) when is_atom(node), do: ask(name, {:forget, node})

  @doc """
  Compares with every other replica now, instead of with one at the next `:sync_interval`. Returns at once.

  Errors: `{:error, :not_running}`.
  """
  @spec sync(name) :: :ok | {:error, :not_running}
  def sync(name), do: ask(name, :sync)

  defp ask(name, request), do: call(Wire.process(Options.name!(name)), request)

  defp call(process, request) do
    GenServer.call(process, request, :infinity)
  catch
    :exit, _ -> {:error, :not_running}
  end
end
