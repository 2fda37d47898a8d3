defmodule Foundation.Distributed.Coordination do
  @moduledoc """
  Locks, elections, barriers, semaphores, counters, sequences and queues that keep their promise while nodes die and
  networks split. Also known as `Foundation.Coordination`.

      {:ok, report} = Coordination.with_lock(:nightly_report, fn -> MyApp.Report.run() end)

      {:ok, lock} = Coordination.create_distributed_lock(:printer)
      {:ok, grant} = Coordination.acquire(lock, timeout: 2_000)
      :ok = MyApp.Printer.print(pages, grant.token)
      :ok = Coordination.release(grant)

  All of it is one replicated machine of a group (`Foundation.Distributed.Consensus`), by default the one that the
  configuration forms:

      config :foundation, coordination: [members: [:"a@h", :"b@h", :"c@h"]]

  `members:` are the nodes that the group begins with, the same on each; `expect: n` lets the first n nodes that see each
  other form it, and those that come later join (n must be more than half of all the nodes there can be at the start, for
  otherwise two groups could form). Without either, and without a cluster, it is a group of this node alone, made with the
  first use. A member that is not seen for `forget_ms:` (60,000) is taken out by the leader, and joins again when it is back.
  `session_ms:` (5,000) and `keep_ms:` (500) are told of below.

  ## What is promised

    * A lock has one holder, as the group sees it; a semaphore no more than its permits. Those who wait get it in the order
      they asked; a writer is not overtaken by readers.
    * A holder whose process ends gives everything back at once; a node that dies or is cut off, when its session ends:
      `session_ms` after the last sign of life that the group has had. The cut off node itself counts its holds as lost
      before that, and tells the holders: `{:foundation_lost, kind, name, token, reason}`, where `reason` is `:session` or
      `:lease`. `lease: ms` limits a hold by itself; `renew/2` makes it longer.
    * A process may be asleep while all that happens. The `token` of its grant is then smaller than the next holder's: send
      it with every write, and refuse smaller ones (see `Foundation.Distributed.Coordination.Grant`).
    * `{:error, :unknown}`: the group could not be asked whether something has happened. What was asked for under a hold is
      given back then; a counter may have been changed. A side without a majority changes nothing.

  A lock that was given back stays with its node for `keep_ms` unless another node asks for it, so that a node that takes
  the same lock again and again asks nobody. All that is promised holds for such a lock too: it is the node's until the
  group has it back or the node's session has ended, each grant of it has a higher token than the one before, and when the
  node dies it is free when the session ends. A `lease:` that is no shorter than `session_ms` makes no difference to that: the
  node ends it itself. With a shorter one the group does, and is asked each time.

  **Scheduling**: as `Foundation.Distributed.Consensus`.
  """

  import Foundation.Distributed.Coordination.Objects

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.{Ask, Codec, Names, Options, Roster}
  alias Foundation.Distributed.Coordination.{Formation, Grant, Holds, Keeper, Object, Once, Waiting}

  @timeout 5_000
  @writer 0xFFFFFFFF

  @type name :: term
  @type reason ::
          :timeout | :unknown | :no_leader | :busy | :no_group | :not_configured | :too_large | :stopped

  # -- locks

  @doc """
  Names a lock: `{:ok, lock}`. Creating takes nothing; the same name is the same lock on every node.

  Options: `:group` (the default group), `:lease` (0, as long as the session: ms that a grant lasts unless renewed).
  Errors: those of forming the default group: `:not_configured`, `:no_group`. O(1).
  """
  @spec create_distributed_lock(name, keyword) :: {:ok, Object.t()} | {:error, reason}
  def create_distributed_lock(name, options \\ []), do: object(:lock, name, options, [:lease])

  @doc "As `create_distributed_lock/2`, of a lock with many readers or one writer; see `acquire/2`."
  @spec create_rw_lock(name, keyword) :: {:ok, Object.t()} | {:error, reason}
  def create_rw_lock(name, options \\ []), do: object(:rw_lock, name, options, [:lease])

  @doc """
  Makes a semaphore of that many permits, or finds the one of that name: `{:ok, semaphore}`.

  `permits` is a number, or the option `:permits`; others as `create_distributed_lock/2`. Errors: also
  `{:mismatch, permits}` when it exists with another number, `:unknown`. One round to a majority.
  """
  @spec create_semaphore(name, pos_integer | keyword) :: {:ok, Object.t()} | {:error, term}
  def create_semaphore(name, permits) when is_integer(permits), do: create_semaphore(name, permits: permits)
  def create_semaphore(name, options), do: defined(:semaphore, name, options, :permits, [:lease])

  @doc """
  Takes a lock or permits: `{:ok, grant}`, for the calling process, until it is released, the process ends, or the session
  or lease does. A name stands for the lock of that name in the default group.

  Options: `:timeout` (5,000 ms), `:wait` (true; false: `{:error, :taken}` when it is held), `:lease` ms, `:mode` of a
  read-write lock (`:write` or `:read`), `:permits` of a semaphore (1).

  Errors: `:timeout` (it was not had, and will not be), `:taken`, `:already_held` (by this process; locks only),
  `{:mismatch, permits}` (the semaphore has fewer), `:undefined` (no such semaphore), and those of the module. One round to
  a majority; none for a lock that this node keeps.
  """
  @spec acquire(Object.t() | name, keyword) :: {:ok, Grant.t()} | {:error, term}
  def acquire(object, options \\ [])

  def acquire(%Object{kind: kind} = object, options) when kind in [:lock, :rw_lock, :semaphore] do
    Options.known!(options, [:timeout, :wait, :lease, :mode, :permits], "acquire")
    lease = lease!(Keyword.get(options, :lease, object.options[:lease] || 0))
    wait = Keyword.get(options, :wait, true)
    weight = weight!(kind, options)
    name = Codec.name(object.name)
    limit = Waiting.group_lease(lease: lease)
    settings = [timeout: timeout!(options), wait: wait, lease: lease, reuse: kind == :lock and limit == 0]
    Waiting.obtain(object, settings, &{:acquire, kind, name, &1, weight, limit, wait})
  end

  def acquire(%Object{kind: kind}, _options),
    do: raise(ArgumentError, "acquire takes a lock, a read-write lock or a semaphore, got: #{inspect(kind)}")

  def acquire(name, options),
    do: with({:ok, lock} <- create_distributed_lock(name), do: acquire(lock, options))

  defp weight!(:rw_lock, options) do
    case Keyword.get(options, :mode, :write) do
      :write -> @writer
      :read -> 1
      other -> raise ArgumentError, "mode: is :read or :write, got: #{inspect(other)}"
    end
  end

  defp weight!(:semaphore, options), do: Options.positive!(:permits, Keyword.get(options, :permits, 1))
  defp weight!(:lock, _options), do: 1

  @doc """
  Gives back what was granted: `:ok`. It is free when the group hears of it, which this does not wait for; it does hear of
  it, or the session ends. Errors: `:not_held` (any more), `:no_group`. O(1).
  """
  @spec release(Grant.t()) :: :ok | {:error, :not_held | :no_group}
  def release(%Grant{} = grant) do
    with {:ok, _kind, _handle, keeper} <- Roster.find(grant.group), do: Keeper.release(keeper, hold(grant))
  end

  @doc """
  Has a grant last `lease` ms from now (0: as long as the session): `:ok`.

  Errors: `:not_held`, and those of the module. One round to a majority.
  """
  @spec renew(Grant.t(), non_neg_integer) :: :ok | {:error, term}
  def renew(%Grant{kind: kind} = grant, lease) when kind in [:lock, :rw_lock, :semaphore] do
    lease = lease!(lease)
    sent = System.monotonic_time(:millisecond)

    with {:ok, _kind, _handle, keeper} <- Roster.find(grant.group),
         limit = Waiting.group_lease(lease: lease),
         {:granted, _token, _wanted} <- Ask.command(grant.group, {:renew, grant.hold, limit}, @timeout) do
      Keeper.renewed(keeper, grant.hold, Keeper.limit(lease, sent))
    end
  end

  @doc """
  Whether a grant is held still, as far as this node can tell without asking: its session and lease have time left. O(1).
  """
  @spec held?(Grant.t()) :: boolean
  def held?(%Grant{} = grant) do
    case Roster.find(grant.group) do
      {:ok, _kind, _handle, keeper} -> Keeper.held?(keeper, hold(grant))
      _ -> false
    end
  end

  @doc "As `with_lock/3`, without options."
  @spec with_lock(Object.t() | name, (() -> result) | (Grant.t() -> result)) :: {:ok, result} | {:error, term}
        when result: term
  def with_lock(lock, function), do: with_lock(lock, [], function)

  @doc """
  Runs a function while this process holds a lock (or permits): `{:ok, result}`. A function of one argument gets the grant.

  It is given back when the function returns, raises, throws or exits, and when the process is killed. Options and errors:
  those of `acquire/2`; an error says that the function was not run.
  """
  @spec with_lock(Object.t() | name, keyword, (() -> result) | (Grant.t() -> result)) ::
          {:ok, result} | {:error, term}
        when result: term
  def with_lock(lock, options, function) when is_function(function, 0) or is_function(function, 1) do
    with {:ok, grant} <- acquire(lock, options) do
      try do
        {:ok, if(is_function(function, 1), do: function.(grant), else: function.())}
      after
        release(grant)
      end
    end
  end

  @doc """
  Who holds a lock or permits: `{:ok, %{holders: [{node, token}], waiting: n}}`. Errors: those of `Consensus.query/3`.
  A round to a majority.
  """
  @spec holders(Object.t(), keyword) :: {:ok, map} | {:error, term}
  def holders(%Object{kind: kind} = object, options \\ []) when kind in [:lock, :rw_lock, :semaphore] do
    case ask(object, {:claim, kind, Codec.name(object.name)}, options) do
      {:ok, nil} ->
        {:ok, %{holders: [], waiting: 0}}

      {:ok, {_size, holders, waiting}} ->
        holders = for {member, _hold, token, _weight} <- holders, do: {node_of(member), Holds.token(token, 0)}
        {:ok, %{holders: holders, waiting: waiting}}

      error ->
        error
    end
  end

  # -- elections

  @doc """
  Makes the calling process a candidate: `{:ok, candidacy}`. It gets `{:foundation_election, name, {:elected, token}}` when
  it leads, and `{:foundation_election, name, {:deposed, reason}}` when it does no more; it stays a candidate until it
  calls `resign/1` or ends. When a leader goes, the best candidate follows: of the highest priority the one that came first.

  Options: `:priority` (0), `:preempt` (false: whether to depose a leader of lower priority), `:metadata` (nil, any term,
  that `leader/2` shows), `:group`. Errors: `:not_configured`, `:no_group`. O(1); the group is asked by and by.
  """
  @spec create_leader_election(name, keyword) :: {:ok, Grant.t()} | {:error, term}
  def create_leader_election(name, options \\ []) do
    Options.known!(options, [:priority, :preempt, :metadata, :group], "an election")
    priority = Keyword.get(options, :priority, 0)

    unless is_integer(priority) and priority in -0x80000000..0x7FFFFFFF,
      do: raise(ArgumentError, "priority: is an integer of 32 bits, got: #{inspect(priority)}")

    metadata = Codec.encode(Keyword.get(options, :metadata))
    campaign = {priority, Keyword.get(options, :preempt, false) == true, metadata}

    with {:ok, object} <- object(:election, name, Keyword.take(options, [:group]), []),
         {:ok, _kind, _handle, keeper} <- Roster.find(object.group),
         {:ok, number} <- Keeper.campaign(keeper, Codec.name(name), name, campaign),
         do: {:ok, %Grant{kind: :election, name: name, group: object.group, hold: number}}
  end

  @doc "Ends a candidacy. Errors: `:not_held`, `:no_group`. O(1)."
  @spec resign(Grant.t()) :: :ok | {:error, term}
  def resign(%Grant{kind: :election} = candidacy), do: release(candidacy)

  @doc """
  Who leads: `{:ok, %{node: node, token: token, metadata: term}}`, or `{:error, :no_leader}`.

  Options: `:group`, `:consistency`, `:timeout`. Errors: also those of `Consensus.query/3`. A round to a majority.
  """
  @spec leader(name, keyword) :: {:ok, map} | {:error, term}
  def leader(name, options \\ []) do
    {group, options} = Keyword.pop(options, :group, Consensus.default_group())

    with :ok <- Formation.ensure(group) do
      case ask(%Object{kind: :election, name: name, group: group}, {:leader, Codec.name(name)}, options) do
        {:ok, nil} -> {:error, :no_leader}
        {:ok, leader} -> {:ok, Keeper.leader(leader)}
        error -> error
      end
    end
  end

  @doc """
  Sends the calling process `{:foundation_leader, name, leader}` with each change, as this node learns of it: a map as
  `leader/2` answers, or nil. Options: `:group`. Errors: `:no_group`, `:not_configured`. O(1).
  """
  @spec observe_leader(name, keyword) :: :ok | {:error, term}
  def observe_leader(name, options \\ []) do
    group = Keyword.get(options, :group, Consensus.default_group())

    with :ok <- Formation.ensure(group),
         {:ok, _kind, _handle, keeper} <- Roster.find(group),
         do: Keeper.watch(keeper, :leader, Codec.name(name), name)
  end

  # -- barriers

  @doc """
  Makes a barrier for that many parties, or finds the one of that name: `{:ok, barrier}`.

  `parties` is a number, or the option `:parties`; `double: true` makes one that is also left together; `:group`. Errors: as
  `create_semaphore/2`. One round to a majority.
  """
  @spec create_barrier(name, pos_integer | keyword) :: {:ok, Object.t()} | {:error, term}
  def create_barrier(name, parties) when is_integer(parties), do: create_barrier(name, parties: parties)

  def create_barrier(name, options) do
    {double, options} = Keyword.pop(options, :double, false)
    defined(if(double, do: :double_barrier, else: :barrier), name, options, :parties, [])
  end

  @doc """
  Waits at a barrier until as many have arrived: `{:ok, grant}`, with how often the barrier has opened as its token. It is
  closed again at once; at a double one those inside leave with `leave_barrier/2` before others enter. Who ends or gives up
  while it waits is not counted.

  `timeout` in ms (5,000). Errors: `:timeout`, `:undefined`, and those of the module. One round, and the wait.
  """
  @spec await_barrier(Object.t(), pos_integer) :: {:ok, Grant.t()} | {:error, term}
  def await_barrier(%Object{kind: kind} = barrier, timeout \\ @timeout)
      when kind in [:barrier, :double_barrier] do
    name = Codec.name(barrier.name)
    settings = [timeout: Options.positive!(:timeout, timeout), wait: true]

    with {:ok, grant} <- Waiting.obtain(barrier, settings, &{:enter, kind, name, &1}) do
      if kind == :barrier, do: forget(grant)
      {:ok, %{grant | token: Bitwise.bsr(grant.token, 16)}}
    end
  end

  # Nothing is held at a barrier that has opened.
  defp forget(grant) do
    with {:ok, _kind, _handle, keeper} <- Roster.find(grant.group), do: Keeper.abandon(keeper, grant.hold)
  end

  @doc """
  Waits inside a double barrier until all have left it or are gone: `:ok`. Errors: `:not_held`, `:timeout` (it has left all
  the same), `{:lost, reason}`, and those of the module. One round, and the wait.
  """
  @spec leave_barrier(Grant.t(), pos_integer) :: :ok | {:error, term}
  def leave_barrier(%Grant{kind: :double_barrier} = grant, timeout \\ @timeout),
    do: Waiting.leave(grant, Options.positive!(:timeout, timeout))

  # -- counters and sequences

  @doc """
  Names a counter, a 64-bit integer that begins at 0: `{:ok, counter}`. Options: `:group`; `:initial`, which it is set to
  if it is 0. Errors: as `create_distributed_lock/2`, `:unknown`. O(1), or one round with `:initial`.
  """
  @spec create_distributed_counter(name, keyword) :: {:ok, Object.t()} | {:error, term}
  def create_distributed_counter(name, options \\ []) do
    {initial, options} = Keyword.pop(options, :initial, 0)

    with {:ok, counter} <- object(:counter, name, options, []) do
      case initial != 0 && compare_and_set(counter, 0, initial) do
        {:error, reason} when not is_tuple(reason) -> {:error, reason}
        _ -> {:ok, counter}
      end
    end
  end

  @doc """
  Adds to a counter: `{:ok, value}` after it. Counted once, however often it had to be sent. Errors: `:unknown` (it may
  have been added), `:overflow`, and those of the module. One round to a majority.
  """
  @spec add(Object.t(), integer) :: {:ok, integer} | {:error, term}
  def add(%Object{kind: :counter} = counter, by) do
    Ask.command(counter.group, {:add, Codec.name(counter.name), integer!(by)}, @timeout)
  end

  @doc "As `add/2`."
  @spec increment(Object.t(), integer) :: {:ok, integer} | {:error, term}
  def increment(counter, by \\ 1), do: add(counter, by)

  @doc "As `add/2` of the negative."
  @spec decrement(Object.t(), integer) :: {:ok, integer} | {:error, term}
  def decrement(counter, by \\ 1), do: add(counter, -by)

  @doc """
  Sets a counter that has the expected value: `{:ok, value}`. Errors: `{:unexpected, value}`, and as `add/2`. One round.
  """
  @spec compare_and_set(Object.t(), integer, integer) :: {:ok, integer} | {:error, term}
  def compare_and_set(%Object{kind: :counter} = counter, expected, value) do
    command = {:set_counter, Codec.name(counter.name), integer!(value), integer!(expected)}

    with {:unexpected, found} <- Ask.command(counter.group, command, @timeout),
         do: {:error, {:unexpected, found}}
  end

  @doc "A counter's value: `{:ok, value}`. Options and errors: those of `Consensus.query/3`. A round to a majority."
  @spec value(Object.t(), keyword) :: {:ok, integer} | {:error, term}
  def value(%Object{kind: :counter} = counter, options \\ []),
    do: ask(counter, {:counter, Codec.name(counter.name)}, options)

  @doc "Names a sequence, of numbers from 1: `{:ok, sequence}`. Options and errors: as `create_distributed_lock/2`. O(1)."
  @spec create_sequence(name, keyword) :: {:ok, Object.t()} | {:error, term}
  def create_sequence(name, options \\ []), do: object(:sequence, name, options, [])

  @doc """
  The next numbers of a sequence: `{:ok, first..last}`, given to nobody else. Errors: `:unknown` (numbers may be left out
  then), and those of the module. One round to a majority.
  """
  @spec next(Object.t(), pos_integer) :: {:ok, Range.t()} | {:error, term}
  def next(%Object{kind: :sequence} = sequence, count \\ 1) do
    count = Options.positive!(:count, count)

    with {:ok, first, count} <-
           Ask.command(sequence.group, {:next, Codec.name(sequence.name), count}, @timeout),
         do: {:ok, first..(first + count - 1)}
  end

  # -- queues

  @doc """
  Makes a queue of that capacity, or finds the one of that name: `{:ok, queue}`. `capacity` is a number, or the option
  `:capacity`; `:group`. Errors: as `create_semaphore/2`. One round to a majority.
  """
  @spec create_queue(name, pos_integer | keyword) :: {:ok, Object.t()} | {:error, term}
  def create_queue(name, capacity) when is_integer(capacity), do: create_queue(name, capacity: capacity)
  def create_queue(name, options), do: defined(:queue, name, options, :capacity, [])

  @doc """
  Appends a term of at most 1 MB: `:ok`. Errors: `:full` (those taken and not acknowledged count), `:unknown`,
  `:undefined`, and those of the module. One round to a majority.
  """
  @spec push(Object.t(), term) :: :ok | {:error, term}
  def push(%Object{kind: :queue} = queue, value),
    do: Ask.command(queue.group, {:push, Codec.name(queue.name), Codec.encode(value)}, @timeout)

  @doc """
  Takes the first term for the calling process: `{:ok, term, grant}`. It is out of the queue when `acknowledge/1` says so;
  when the process ends before, or releases the grant, it is back in its place.

  Options: `:timeout` (5,000 ms), `:wait` (true; false: `{:error, :empty}`). Errors: `:timeout`, `:empty`, `:undefined`, and
  those of the module. One round to a majority, and the wait.
  """
  @spec take(Object.t(), keyword) :: {:ok, term, Grant.t()} | {:error, term}
  def take(%Object{kind: :queue} = queue, options \\ []) do
    Options.known!(options, [:timeout, :wait], "take")
    wait = Keyword.get(options, :wait, true)
    name = Codec.name(queue.name)

    with {:ok, grant, value} <-
           Waiting.obtain(queue, [timeout: timeout!(options), wait: wait], &{:take, name, &1, wait}),
         do: {:ok, Codec.decode(value), grant}
  end

  @doc "What was taken is done with. Errors: `:not_held` (it is back in the queue), `:unknown`. One round to a majority."
  @spec acknowledge(Grant.t()) :: :ok | {:error, term}
  def acknowledge(%Grant{kind: :queue} = grant) do
    with :ok <- Ask.command(grant.group, {:acknowledge, grant.hold}, @timeout), do: forget(grant)
  end

  @doc "As `take/2` and `acknowledge/1`: `{:ok, term}`. Errors: of both. Two rounds to a majority, and the wait."
  @spec pop(Object.t(), keyword) :: {:ok, term} | {:error, term}
  def pop(queue, options \\ []) do
    with {:ok, value, grant} <- take(queue, options), :ok <- acknowledge(grant), do: {:ok, value}
  end

  @doc """
  How full a queue is: `{:ok, %{capacity: n, queued: n, taken: n, waiting: n}}`. Errors: `:undefined`, and those of
  `Consensus.query/3`. A round to a majority.
  """
  @spec queue_status(Object.t(), keyword) :: {:ok, map} | {:error, term}
  def queue_status(%Object{kind: :queue} = queue, options \\ []) do
    case ask(queue, {:queue, Codec.name(queue.name)}, options) do
      {:ok, nil} ->
        {:error, :undefined}

      {:ok, {capacity, queued, taken, waiting}} ->
        {:ok, %{capacity: capacity, queued: queued, taken: taken, waiting: waiting}}

      error ->
        error
    end
  end

  @doc """
  Forgets a semaphore, a barrier or a queue that nobody uses and that is empty: `:ok`. Errors: `:in_use`, `:undefined`,
  and those of the module. One round to a majority.
  """
  @spec delete(Object.t()) :: :ok | {:error, term}
  def delete(%Object{kind: kind} = object) when kind in [:semaphore, :barrier, :double_barrier, :queue],
    do: Ask.command(object.group, {:remove, kind, Codec.name(object.name)}, @timeout)

  # -- groups and tasks

  @doc """
  Starts a group on each of the nodes, as `Consensus.start_group/2` does on one: `{:ok, name}`. Options: those of it but
  `:members`.

  Errors: `{:failed, [{node, reason}]}`; on the others it runs then. Cost: that of the slowest node.
  """
  @spec create_consensus_group(name :: Consensus.group(), [node], keyword) ::
          {:ok, Consensus.group()} | {:error, term}
  def create_consensus_group(name, nodes, options \\ []) when is_list(nodes) do
    timeout = Options.positive!(:timeout, Keyword.get(options, :timeout, 30_000))
    arguments = [name, Keyword.put(options, :members, nodes)]

    nodes
    |> Enum.map(&Task.async(fn -> {&1, Names.on(&1, Consensus, :start_group, arguments, timeout)} end))
    |> Task.await_many(:infinity)
    |> Enum.reject(fn {_node, answer} -> answer == {:ok, name} end)
    |> case do
      [] -> {:ok, name}
      failed -> {:error, {:failed, for({node, {:error, reason}} <- failed, do: {node, reason})}}
    end
  end

  @doc """
  Runs a task once for all who ask, on any node: `{:ok, result}`, the same for each. Who comes first runs it; the others
  wait for what it has come to; a later one finds the result. When the process that runs it ends before the result is
  recorded, the next one runs it.

  A function of one argument gets the grant of the lock that it runs under: its token lets what it changes refuse one that
  was presumed dead. Options: `:timeout` (5,000 ms, for being first or for the wait), `:group`. Errors: `:unknown` (the
  result may not have been recorded), and those of `acquire/2`. Three rounds to a majority; one when there is a result.
  """
  @spec coordinate_distributed_task(name, (() -> result) | (Grant.t() -> result), keyword) ::
          {:ok, result} | {:error, term}
        when result: term
  def coordinate_distributed_task(id, function, options \\ [])
      when is_function(function, 0) or is_function(function, 1) do
    Options.known!(options, [:timeout, :group], "a task")
    group = Keyword.get(options, :group, Consensus.default_group())

    with :ok <- Formation.ensure(group) do
      lock = %Object{kind: :lock, name: {:task, id}, group: group}
      Once.run(lock, function, &with_lock(lock, Keyword.take(options, [:timeout]), &1))
    end
  end

  # -- within

  # A candidacy keeps its number through all sessions.
  defp hold(%Grant{kind: :election, hold: number}), do: {:any, number}
  defp hold(%Grant{hold: hold}), do: hold

  defp node_of(member), do: Foundation.Distributed.Consensus.Engine.node_of(member)
end
