defmodule Foundation.Distributed.Consensus do
  @moduledoc """
  Agrees on one order of commands between nodes: what is answered is on a majority and survives the death of the rest.

      {:ok, :ledger} = Consensus.start_group(:ledger, machine: MyApp.Ledger, members: [:"a@h", :"b@h", :"c@h"])
      {:ok, 10} = Consensus.propose(:ledger, {:deposit, :alice, 10})
      {:ok, 10} = Consensus.query(:ledger, {:balance, :alice})

  A group is a Raft: one leader at a time, a log on each member, and a machine (`Foundation.Distributed.Machine`) that
  each member runs. Proposals go to the leader, from any member. Without `machine:` a group has the coordination machine:
  values with versions, locks, elections and the rest of `Foundation.Distributed.Coordination`.

  ## What is promised

    * A proposal that was answered is never lost while a majority of the members keep their disks, and was applied once,
      however often it had to be sent.
    * `{:error, :unknown}`: it may have been applied, or may yet be. `{:error, :no_leader}` and `{:error, :busy}`: it was
      not, and will not be. A side without a majority answers one of these.
    * A query sees everything that was answered before it began. `consistency: :linearizable`, the default: the leader
      asks a majority whether it still leads, for all queries that wait at once (`:quorum` is another name of it); who asks
      from another member is counted as one that agrees, which of three members makes a majority. With
      `:lease` the leader answers by its lease, and asks a majority when it has none. Members promise a leader to elect no
      other for so long after each sign of life, and it trusts that for half of the time: true as long as no node's
      clock runs half as fast again as another's, and none stands still while its machine goes on (as in a virtual
      machine that was stopped and goes on later; clocks set forward or back do no harm). `:local` answers from this
      member, which may be behind.

  ## Disk and memory

      config :foundation, consensus: [dir: "/var/lib/my_app/consensus"]

  keeps log and vote on disk; `sync: false` leaves it to the system when they get there. Without `dir:` all is in memory:
  a member that starts again is another member then, for it has forgotten its votes; it joins again with `add_member/2`,
  and what a group knew is gone when a majority of it is.
  Other options: `heartbeat_ms:` (75), `election_ms:` (400, at least four heartbeats: for so long after a leader's sign of
  life no member votes for another, and one that goes on hearing nothing stands for election after half as long to as long
  again).

  Groups of a node share one log, one connection to each other node and one tick. Frames go over the fabric's channel
  `:coordination` when the fabric is on, else over Distributed Erlang.

  **Scheduling**: calls are handed to the library's own threads from a normal scheduler, in some microseconds, those of
  more than 64 KB from a dirty one; the answer is a message. Starting opens files on a dirty IO scheduler.
  """

  alias Foundation.Distributed.Consensus.{Ask, Codec, Engine, Group, Names, Options, Roster, Supervisor}
  alias Foundation.Distributed.Coordination.{Formation, Keeper}
  alias Foundation.Native

  @default :foundation
  @timeout 5_000
  @start_ms 30_000
  @poll_ms 5
  @max_voters 7

  @type group :: atom | String.t()
  @type reason ::
          :no_group | :no_leader | :busy | :unknown | :too_large | :stale | :stopped | :not_running | :timeout

  @doc "The name of the group that `Foundation.Distributed.Coordination` uses."
  @spec default_group() :: group
  def default_group, do: @default

  @doc """
  Starts a group, or this node's member of it: `{:ok, name}`.

  Options: `:machine`, a module or `{module, argument}` (the coordination machine); `:members`, the nodes that it begins
  with, the same list on each of them (this node alone); `:join`, a node that has the group, in place of `:members`, to
  become a member of it; `:max_in_flight` (16,384 proposals of this node; then `:busy`), `:max_command` (4 MB),
  `:snapshot_entries` (50,000: how often the log is cut); `:timeout` (30,000 ms for reading the log and joining).

  What the log of this node knows of the group counts more than `:members`. A group with one member answers by itself.

  Errors: `{:error, :already_started}`; `{:error, {:unreachable, node}}`; `{:error, {:log, text}}` when the log is
  damaged, and other reasons of the disk; those of `add_member/2` with `:join`. Raises ArgumentError for options that make
  no sense. Cost: reading the log.
  """
  @spec start_group(group, keyword) :: {:ok, group} | {:error, term}
  def start_group(name, options \\ []) do
    Codec.group(name)
    Options.known!(options, [:machine, :members, :join, :timeout | Options.group_names()], "a group")
    _ = Options.group(options)
    timeout = Options.positive!(:timeout, Keyword.get(options, :timeout, @start_ms))

    with :ok <- Supervisor.ensure(),
         {:ok, members} <- members_of(options, timeout),
         spec = spec(name, members, options),
         :ok <- start(name, spec, timeout),
         :ok <- join(name, options[:join], timeout),
         do: {:ok, name}
  end

  defp members_of(options, timeout) do
    case {Keyword.get(options, :join), Keyword.get(options, :members, [node()])} do
      {nil, [_ | _] = nodes} -> Names.of(nodes, timeout)
      {nil, other} -> raise ArgumentError, "members: is a list of nodes, got: #{inspect(other)}"
      {node, _} when is_atom(node) -> {:ok, []}
      {other, _} -> raise ArgumentError, "join: is a node, got: #{inspect(other)}"
    end
  end

  defp spec(name, members, options) do
    {process, machine} = process(Keyword.get(options, :machine))
    argument = %{name: name, members: members, machine: machine, options: Keyword.drop(options, [:machine])}
    %{id: name, start: {process, :start_link, [argument]}, restart: :permanent, shutdown: 10_000}
  end

  defp process(nil), do: {Keeper, nil}
  defp process({module, argument}) when is_atom(module), do: {Group, {module, argument}}
  defp process(module) when is_atom(module), do: {Group, {module, nil}}

  defp process(other),
    do: raise(ArgumentError, "machine: is a module or {module, argument}, got: #{inspect(other)}")

  defp start(name, spec, timeout) do
    kind = if match?({Keeper, _, _}, spec.start), do: :coordination, else: :process

    if Roster.enter(name, kind, spec) do
      with {:error, reason} <- started(Supervisor.start_group(spec), timeout) do
        Roster.leave(name)
        {:error, reason}
      end
    else
      {:error, :already_started}
    end
  end

  defp started({:ok, pid}, timeout) do
    with {:error, reason} <- GenServer.call(pid, :started, timeout) do
      Supervisor.stop_group(pid)
      {:error, reason}
    end
  catch
    :exit, {:timeout, _} ->
      Supervisor.stop_group(pid)
      {:error, :timeout}

    :exit, {reason, _} ->
      {:error, reason}
  end

  defp started({:error, reason}, _timeout), do: {:error, reason}

  defp join(_name, nil, _timeout), do: :ok

  defp join(name, node, timeout) do
    with {:error, reason} <- Names.on(node, __MODULE__, :add_member, [name, node(), timeout], timeout) do
      stop_group(name)
      {:error, reason}
    end
  end

  @doc "Stops this node's member of a group; what is on disk stays. Errors: `{:error, :no_group}`."
  @spec stop_group(group) :: :ok | {:error, :no_group}
  def stop_group(name) do
    with {:ok, _kind, _handle, pid} <- Roster.find(name) do
      Supervisor.stop_group(pid)
      Roster.leave(name)
      :ok
    end
  end

  @doc "As `propose/3`, to the group of `Foundation.Distributed.Coordination`."
  @spec propose(term) :: {:ok, term} | {:error, term}
  def propose(command) do
    Formation.ensure(@default)
    propose(@default, command, [])
  end

  @doc """
  Has the members agree on a command, and answers what the machine of the leader's log has replied: `{:ok, reply}`.

  A group without a machine of its own takes `{:put, key, value}`, `{:put, key, value, expect}`, `{:delete, key}`,
  `{:delete, key, expect}`, where `expect` is `:any`, `:absent` or a version; `{:add, counter, integer}`;
  `{:next, sequence, count}`.

  Options: `:timeout` (5,000 ms); `:id`, `{client, number}`, made by `session/0`, under which a command that is proposed
  again after `:unknown` counts once; its numbers grow by one with each new command.

  Errors: `:unknown`, `:no_leader`, `:busy`, `:too_large`, `:stale` (the `:id` is too old for its reply to be known),
  `:stopped`, `:no_group`; `{:conflict, version, value}` when `expect` was not so; `{:raised, exception}` of the machine.
  One round to a majority.
  """
  @spec propose(group, term, keyword) :: {:ok, term} | {:error, term}
  def propose(group, command, options \\ []) do
    Options.known!(options, [:timeout, :id], "a proposal")
    timeout = timeout!(options)
    id = id!(Keyword.get(options, :id))

    case Roster.find(group) do
      {:ok, :coordination, _handle, _pid} ->
        group |> Ask.command(Names.command!(command), timeout, id) |> reply()

      {:ok, :process, _handle, _pid} ->
        Ask.propose(group, command, timeout, id)

      error ->
        error
    end
  end

  defp reply({:ok, value}), do: {:ok, value}
  defp reply({:ok, first, count}), do: {:ok, first..(first + count - 1)}
  defp reply({:conflict, version, value}), do: {:error, {:conflict, version, value && Codec.decode(value)}}
  defp reply({:error, reason}), do: {:error, reason}

  @doc "A client for the option `:id` of `propose/3`: 16 random bytes. Its numbers are yours to count, from 0."
  @spec session() :: <<_::128>>
  def session, do: :crypto.strong_rand_bytes(16)

  @doc """
  Asks the machine of a group: `{:ok, answer}`.

  Options: `:consistency` (`:linearizable`, `:lease` or `:local`), `:timeout` (5,000 ms).

  Errors: `:no_leader`, `:timeout`, `:busy`, `:too_large`, `:stopped`, `:no_group`, `{:raised, exception}`. On the leader a
  round to the quickest of a majority. Elsewhere a round to the leader, and among more than three members one from there to a
  majority; with `:lease` only the first.
  """
  @spec query(group, term, keyword) :: {:ok, term} | {:error, term}
  def query(group, query, options \\ []) do
    Options.known!(options, [:timeout, :consistency], "a query")
    Ask.read(group, query, consistency!(options), timeout!(options))
  end

  @doc """
  Has the nodes decide on one value for a topic: the first that is proposed, for all and for ever: `{:ok, decided}`,
  which may be another one's value.

  Options: `:quorum`, how many members must have it before this answers: `:majority` (the default, and the least),
  `:all`, or a number; `:timeout` (5,000 ms); `:group`.

  Errors: as `propose/3`; `{:decided, value, members}` when it is decided and after the time fewer than `:quorum` members
  are known to have it. One round to a majority, and more until the quorum has it.
  """
  @spec reach_consensus(term, term, keyword) :: {:ok, term} | {:error, term}
  def reach_consensus(topic, value, options \\ []) do
    Formation.ensure(Keyword.get(options, :group, @default))
    Options.known!(options, [:timeout, :quorum, :group], "reach_consensus")
    quorum = quorum!(Keyword.get(options, :quorum, :majority))
    group = Keyword.get(options, :group, @default)
    timeout = timeout!(options)
    deadline = now() + timeout
    command = {:put, Codec.name({:topic, topic}), Codec.encode(value), :absent, nil}

    case Ask.command(group, command, timeout) do
      {:ok, version} -> confirm(group, version, value, quorum, deadline)
      {:conflict, version, decided} -> confirm(group, version, Codec.decode(decided), quorum, deadline)
      {:error, reason} -> {:error, reason}
    end
  end

  defp quorum!(quorum) when quorum in [:majority, :all] or (is_integer(quorum) and quorum > 0), do: quorum

  defp quorum!(other),
    do: raise(ArgumentError, "quorum: is :majority, :all or a number of members, got: #{inspect(other)}")

  defp confirm(_group, _version, value, :majority, _deadline), do: {:ok, value}

  defp confirm(group, version, value, quorum, deadline) do
    {having, members} = spread(group, version)

    cond do
      members > 0 and having >= if(quorum == :all, do: members, else: quorum) ->
        {:ok, value}

      now() >= deadline ->
        {:error, {:decided, value, having}}

      true ->
        receive do
        after
          @poll_ms -> confirm(group, version, value, quorum, deadline)
        end
    end
  end

  # How many members have an entry, and of how many; the leader knows.
  defp spread(group, index) do
    with {:ok, leader} <- leader(group),
         {:ok, status} <- Names.on(leader, __MODULE__, :status, [group], 1_000) do
      others = Enum.count(status.replication, fn {_node, last} -> last != nil and last >= index end)
      {1 + others, length(status.members)}
    else
      _ -> {0, 0}
    end
  end

  @doc """
  The value of a topic, or of a key: `{:ok, value}`, or `{:error, :not_found}`.

  `get_value(topic)` finds what `reach_consensus/3` has decided; `get_value(group, key, options)` what
  `propose(group, {:put, key, value})` has set. Options: `:consistency`, `:timeout`, as `query/3`; `:version` (false),
  whether to answer `{:ok, value, version}`. Errors: as `query/3`.
  """
  @spec get_value(term) :: {:ok, term} | {:error, term}
  def get_value(topic), do: value(@default, {:topic, topic}, [])

  @doc "As `get_value/1`, with the option `:group` beside those of `get_value/3`."
  @spec get_value(term, keyword) :: {:ok, term} | {:ok, term, pos_integer} | {:error, term}
  def get_value(topic, options) do
    {group, options} = Keyword.pop(options, :group, @default)
    value(group, {:topic, topic}, options)
  end

  @doc "See `get_value/1`."
  @spec get_value(group, term, keyword) :: {:ok, term} | {:ok, term, pos_integer} | {:error, term}
  def get_value(group, key, options), do: value(group, {:key, key}, options)

  defp value(group, key, options) do
    Formation.ensure(group)
    Options.known!(options, [:timeout, :consistency, :version], "get_value")

    case Ask.query(group, {:value, Codec.name(key)}, consistency!(options), timeout!(options)) do
      {:ok, nil} ->
        {:error, :not_found}

      {:ok, {version, value}} ->
        if options[:version], do: {:ok, Codec.decode(value), version}, else: {:ok, Codec.decode(value)}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @doc "The node that leads a group, as far as this one knows. Errors: `:no_leader`, `:no_group`. O(members)."
  @spec leader(group) :: {:ok, node} | {:error, :no_leader | :no_group}
  def leader(group) do
    with {:ok, status} <- status(group) do
      case status.leader do
        nil -> {:error, :no_leader}
        node -> {:ok, node}
      end
    end
  end

  @doc "The nodes that vote in a group, in order, as far as this one knows. Errors: `:no_group`. O(members)."
  @spec members(group) :: {:ok, [node]} | {:error, :no_group}
  def members(group), do: with({:ok, status} <- status(group), do: {:ok, status.members})

  @doc """
  Makes a node a voter of a group; it must have been started there with `start_group(name, join: node)`, which calls this.

  It gets the log first, without a vote, and stays so when there are seven voters. An earlier life of the node that has
  forgotten its votes is taken out.

  Errors: `:no_leader`, `:unknown` (see `status/1`), `:in_progress` (another change is under way),
  `{:invalid, text}`, `{:unreachable, node}`, `:no_group`. Cost: copying the log, or a snapshot.
  """
  @spec add_member(group, node, pos_integer) :: :ok | {:error, term}
  def add_member(group, node, timeout \\ @start_ms) when is_atom(node) do
    with {:ok, [name]} <- Names.of([node], timeout), do: on_leader(group, {:add, node, name}, timeout)
  end

  @doc "Takes a node out of a group. Errors: as `add_member/2`. Two rounds to a majority."
  @spec remove_member(group, node, pos_integer) :: :ok | {:error, term}
  def remove_member(group, node, timeout \\ @timeout) when is_atom(node),
    do: on_leader(group, {:remove, node}, timeout)

  # Where the members are known for certain, and one change after the other.
  defp on_leader(group, change, timeout) do
    with {:ok, leader} <- leader(group),
         do: Names.on(leader, __MODULE__, :change_members, [group, change, timeout], timeout)
  end

  @doc false
  def change_members(group, change, timeout) do
    :global.trans({{__MODULE__, group}, self()}, fn -> change(group, change, timeout) end, [node()])
  end

  defp change(group, change, timeout) do
    with {:ok, %{voters: voters}} <- raw_status(group) do
      case change do
        {:remove, node} -> Ask.change(group, {:members, Names.without(voters, node)}, timeout)
        {:add, node, name} -> add(group, name, Names.without(voters, node), timeout)
      end
    end
  end

  defp add(group, name, voters, timeout) when length(voters) < @max_voters,
    do: Ask.change(group, {:members, [name | voters]}, timeout)

  defp add(group, name, _voters, timeout), do: Ask.change(group, {:add_learner, name}, timeout)

  @doc """
  Has another member lead: `:ok` once it does.

  Errors: `:no_leader`, `:unknown`, `{:invalid, text}` when it is no member, `:no_group`. Some rounds.
  """
  @spec transfer_leadership(group, node, pos_integer) :: :ok | {:error, term}
  def transfer_leadership(group, node, timeout \\ @timeout) when is_atom(node) do
    with {:ok, status} <- raw_status(group) do
      case Enum.find(status.voters, &(Engine.node_of(&1) == node)) do
        nil -> {:error, {:invalid, "#{node} is not a member"}}
        name -> Ask.change(group, {:transfer, name}, timeout)
      end
    end
  end

  @doc "Takes a snapshot of this member's machine and cuts its log there. Errors: `:no_group`. O(state)."
  @spec snapshot(group) :: :ok | {:error, term}
  def snapshot(group), do: Ask.change(group, :snapshot, @start_ms)

  @doc """
  How a group is doing, seen from this node: `:role`, `:leader`, `:term`, `:members` (voters), `:learners`, `:joint`
  (a change is under way), `:last_index`, `:committed`, `:applied`, `:snapshot` (places in the log), `:replication` (on the
  leader: the last entry that each other member has), `:quorum_ms` (on the leader: since a majority has answered),
  `:in_flight`, `:sessions`, `:log_bytes`, `:error` (why this member has stopped).

  Errors: `:no_group`. O(members).
  """
  @spec status(group) :: {:ok, map} | {:error, :no_group}
  def status(group) do
    with {:ok, status} <- raw_status(group) do
      {voters, status} = Map.pop!(status, :voters)

      {:ok,
       Map.merge(status, %{
         me: Engine.node_of(status.me),
         leader: status.leader && Engine.node_of(status.leader),
         members: Names.nodes(voters),
         learners: Names.nodes(status.learners),
         replication:
           for({name, last} <- status.replication, name != status.me, do: {Engine.node_of(name), last})
       })}
    end
  end

  defp raw_status(group) do
    with {:ok, handle} <- Roster.handle(group) do
      case Native.consensus_status(handle) do
        nil -> {:error, :no_group}
        status -> {:ok, status}
      end
    end
  end

  @doc false
  # The members by the names that they have in this life of their nodes, and whether any leads: for who decides whether to
  # begin a group or to join it.
  def lives(group) do
    with {:ok, %{voters: voters, learners: learners, leader: leader}} <- raw_status(group),
         do: {:ok, %{members: voters ++ learners, led: leader != nil}}
  end

  @doc "The groups of this node."
  @spec groups() :: [group]
  def groups, do: for({name, _spec} <- Roster.all(), do: name)

  defp timeout!(options), do: Options.positive!(:timeout, Keyword.get(options, :timeout, @timeout))

  defp consistency!(options) do
    case Keyword.get(options, :consistency, :linearizable) do
      level when level in [:linearizable, :lease, :quorum, :local] ->
        level

      other ->
        raise ArgumentError, "consistency: is :linearizable, :lease or :local, got: #{inspect(other)}"
    end
  end

  defp id!(nil), do: nil

  defp id!({client, number})
       when is_binary(client) and byte_size(client) == 16 and is_integer(number) and
              number in 0..0xFFFFFFFFFFFFFFFF,
       do: {client, number}

  defp id!(other),
    do: raise(ArgumentError, "id: is {16 bytes, a number from 0}, see session/0, got: #{inspect(other)}")

  defp now, do: System.monotonic_time(:millisecond)
end
