defmodule Foundation.MABEAM.Coordination do
  @moduledoc """
  Has agents come to a decision together, by a protocol, within a time and a budget, and tells what each answered.

      {:ok, outcome} =
        Coordination.coordinate(:majority, [:ann, :bob, :cec], %{question: "Lunch?", options: [:soup, :salad]})

      outcome.decision       # :soup
      outcome.answers        # %{ann: {:vote, :soup}, bob: {:vote, :salad}, cec: {:vote, :soup}}

  Each coordination is a session: a process of its own that sends the questions, collects the answers, and ends by its
  deadline. It waits for no agent longer than a round: those that do not answer, crash, or answer what the protocol
  cannot take are in the outcome's `failures`, each with the reason. Agents may be on any node that
  `Foundation.MABEAM.Comms` reaches.

  Built in: votes (`:majority`, `:weighted`, `:unanimity`, `:approval`, `:borda`, `:condorcet`, `:instant_runoff`, `:refinement`), votes of
  many or of some who lie (`:hierarchical`, `:sampled`, `:byzantine`), tasks (`:contract_net`, `:assignment`), deals (`:alternating_offers`,
  `:monotonic_concession`, `:multi_issue`), auctions (`:sealed_first_price`, `:vickrey`, `:english`, `:dutch`, `:multi_unit`,
  `:combinatorial`, `:double_auction`; see `Foundation.MABEAM.Coordination.Auction`); an average that all nodes are to know is `Foundation.MABEAM.Coordination.Averaging`'s; guides/protocols.md says which is for what, and
  each is a module below this one that says where it comes from and what it guarantees. `register_protocol/2` adds
  others (`Foundation.MABEAM.Protocol`).

  A session lives on the node where it was begun and ends with it, and when the process that waits for it ends.

  ## Sessions that outlive their node

  With `durable: true` a session runs once in the cluster, as agents do that are placed (`mabeam: [placement: …]`), and on another node when
  its own dies, until its deadline. There it begins anew; agents that have answered a round give the same answer, and do nothing twice
  (within a minute, while they live). What was decided is an entry of the coordination group, made once: whoever awaits the session, on any
  node, gets the same outcome, though two lives of it may have come to different ones. It is kept until `forget/1`. When the cluster is in
  two parts, the side with a majority goes on with it, and who is on the other side has not answered. Payments of an auction are made once:
  see `Foundation.MABEAM.Coordination.Auction.run_auction/3`.

  Telemetry: the histograms `[:foundation, :mabeam, :session, :duration]` (µs) and `:messages`, with `protocol` and `result`; an
  event `:mabeam_session` in `Foundation.Events` at the end of each.

  **Scheduling**: two records in histograms and one event a session, on normal schedulers.
  """

  alias Foundation.Distributed.Context
  alias Foundation.MABEAM.{Arguments, Types}
  alias Foundation.MABEAM.Coordination.{Conflict, Durable, Run, Session, Table}
  alias Foundation.MABEAM.Types.Outcome
  alias Foundation.Utils

  @sessions Foundation.MABEAM.Sessions
  @most 10_000
  @options [
    async: [true, false],
    durable: [true, false],
    timeout: [1..86_400_000],
    quorum: [nil, :majority, :all, {:from, 1}],
    rounds: [{:from, 1}],
    round_timeout: [1..86_400_000],
    tokens: [{:from, 0}],
    money: [{:from, 0}]
  ]

  @type result :: {:ok, Outcome.t()} | {:error, {reason, Outcome.t()} | term}
  @type reason ::
          :timeout
          | :no_quorum
          | :cancelled
          | :abandoned
          | {:guard, Foundation.MABEAM.Guards.what()}
          | {:protocol_crashed, term}
          | term

  @doc """
  Adds a protocol under a name.

  Errors: `:already_registered` (also for another module), `{:invalid, details}` when the module lacks a function of
  `Foundation.MABEAM.Protocol`, `:not_running`. O(1).
  """
  @spec register_protocol(atom, module) ::
          :ok | {:error, :already_registered | :not_running | {:invalid, map}}
  def register_protocol(name, module) when is_atom(name) and is_atom(module) do
    missing =
      for {function, arity} <- [init: 2, ask: 2, answer: 3, decide: 2],
          not Code.ensure_loaded?(module) or not function_exported?(module, function, arity),
          do: {function, arity}

    cond do
      missing != [] ->
        {:error, {:invalid, %{field: :module, value: module, expected: "a module with #{inspect(missing)}"}}}

      not Table.there?() ->
        {:error, :not_running}

      Table.add_protocol(name, module) ->
        :ok

      true ->
        {:error, :already_registered}
    end
  end

  @doc "The protocols: `%{name: atom, module: module, properties: map}`, by name. O(protocols)."
  @spec list_protocols() :: [%{name: atom, module: module, properties: map}]
  def list_protocols do
    if Table.there?() do
      for {name, module} <- Table.protocols(),
          do: %{name: name, module: module, properties: call(module, :properties, %{})}
    else
      []
    end
  end

  @doc """
  Runs a protocol with agents: `{:ok, outcome}` when there is a decision.

  `problem` is what the protocol takes. Options:

    * `timeout:` 5,000 ms for all of it;
    * `quorum:` how many must answer or abstain in a round in which all are asked: `:majority`, `:all` or a number (the
      protocol's);
    * `rounds:` at most (the protocol's); `round_timeout:` ms for each (nine tenths of `timeout:`, shared by the
      rounds that the protocol expects);
    * `tokens:`, `money:` that the agents may spend in all (`Foundation.MABEAM.Agent.spend/1`), hard: the session ends with the answer
      that goes beyond;
    * `async:` true answers `{:ok, session_id}` at once, for `await/2`;
    * `durable:` true has the session outlive this node, see below.

  Errors: `{reason, outcome}` with what was answered until then: `:timeout`, `:no_quorum`, `:cancelled`, `{:guard, what}`,
  `{:protocol_crashed, what}`, and reasons of the protocol. Before it begins: `{:unknown_protocol, name}`, `:busy` (10,000 sessions
  run), `:not_running`; of a durable one `:no_placement`, and `:no_replicas` (an auction with accounts, and no ledger that outlives the node). Raises ArgumentError for what is no list of agents or no option. One message to each agent in each round, and one
  back.
  """
  @spec coordinate(atom, [Types.agent_id()], term, keyword) :: result | {:ok, String.t()}
  def coordinate(protocol, agents, problem, opts \\ []) do
    agents = Arguments.agents!(agents)
    Arguments.options!(opts, @options)

    with :ok <- running(), {:ok, module} <- Table.protocol(protocol) do
      if opts[:durable],
        do: Durable.coordinate(protocol, agents, problem, opts),
        else: run(protocol, module, agents, problem, opts) |> coordinate_here(opts[:async])
    end
  end

  defp coordinate_here(start, true), do: in_background(start)
  defp coordinate_here(start, _waiting), do: in_foreground(start)

  @doc false
  # One life of a session that may have several.
  def live(id, protocol, agents, problem, opts) do
    with {:ok, module} <- Table.protocol(protocol) do
      protocol |> run(module, agents, problem, [{:lives, id} | opts]) |> in_foreground()
    end
  end

  defp run(protocol, module, agents, problem, opts) do
    defaults = call(module, :defaults, [])
    rounds = opts[:rounds] || defaults[:rounds] || 1
    timeout = Keyword.get(opts, :timeout, 5_000)
    limits = [rounds: rounds, wall_ms: timeout] ++ Keyword.take(opts, [:tokens, :money])
    {guards, deadline, chain} = Session.inherit(limits)

    run = %Run{
      id: Utils.generate_correlation_id(),
      protocol: protocol,
      module: module,
      problem: problem,
      participants: agents,
      guards: guards,
      deadline: deadline,
      round_ms: opts[:round_timeout] || max(div(timeout * 9, 10 * (defaults[:slices] || rounds)), 1),
      quorum: opts[:quorum] || defaults[:quorum] || 0,
      began: System.monotonic_time(:microsecond)
    }

    %{run: run, carrier: Context.carry(), caller: nil, chain: chain, lives: opts[:lives]}
  end

  defp in_background(%{run: run} = start) do
    with {:ok, _pid} <- begin(start), do: {:ok, run.id}
  end

  # The answer comes to an alias, so that none is left in the mailbox.
  defp in_foreground(%{run: run} = start) do
    alias = :erlang.alias([:reply])

    with {:ok, pid} <- begin(%{start | caller: {self(), alias}}) do
      monitor = Process.monitor(pid)
      wait = max(run.deadline - System.monotonic_time(:millisecond), 0) + 1_000

      receive do
        {^alias, answer} ->
          Process.demonitor(monitor, [:flush])
          answer

        {:DOWN, ^monitor, :process, _pid, _reason} ->
          :erlang.unalias(alias)
          {:error, :session_died}
      after
        wait ->
          :erlang.unalias(alias)
          Process.demonitor(monitor, [:flush])
          Process.exit(pid, :kill)
          {:error, :session_died}
      end
    end
  end

  defp begin(start) do
    case DynamicSupervisor.start_child(@sessions, {Session, start}) do
      {:ok, pid} -> {:ok, pid}
      {:error, :max_children} -> {:error, :busy}
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  @doc false
  def most, do: @most

  @doc """
  Waits for a session that was begun with `async: true`, and answers as `coordinate/4`; the result is kept for a minute.

  Errors besides: `:not_found`, `:timeout` (it goes on), `:session_died` (its protocol did not come back from a call), `:not_running`. O(1).
  """
  @spec await(String.t(), timeout) :: result
  def await(id, timeout \\ 5_000)
  def await("durable-" <> _ = id, timeout), do: Durable.await(id, timeout)

  def await(id, timeout) when is_binary(id) do
    case Table.session(id) do
      {:ended, result} -> result
      {:running, pid} -> GenServer.call(pid, :await, timeout)
      error -> error
    end
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {_reason, {GenServer, :call, _}} -> ended(id)
  end

  # It may have ended just now.
  defp ended(id) do
    case Table.result(id) do
      {:ended, result} -> result
      {:error, :not_found} -> {:error, :session_died}
    end
  end

  @doc """
  How far a session is: `{:ok, map}` with `:status` (`:running`, or `:ended` for a minute after an asynchronous one), and while it runs
  `:protocol :participants :round :waiting_for` (agents) `:answered :cost :left_ms`. Errors: `:not_found`, `:timeout`,
  `:not_running`. O(agents).
  """
  @spec status(String.t()) :: {:ok, map} | {:error, :not_found | :timeout | :not_running}
  def status("durable-" <> _ = id), do: Durable.status(id)

  def status(id) when is_binary(id) do
    case Table.session(id) do
      {:ended, _result} -> {:ok, %{status: :ended}}
      {:running, pid} -> GenServer.call(pid, :status, 1_000)
      error -> error
    end
  catch
    :exit, {:timeout, _} ->
      {:error, :timeout}

    :exit, _ ->
      if match?({:ended, _}, Table.result(id)), do: {:ok, %{status: :ended}}, else: {:error, :not_found}
  end

  @doc """
  Ends a session; who waits for it gets `{:error, {:cancelled, outcome}}`. Agents that were asked may still do their work; nobody
  hears of it. Errors: `:not_found` (also when it has ended, or is paid for), `:not_running`; of a durable one those of
  `Foundation.Distributed.Consensus.propose/3`. O(1); durable, one round to a majority, two where there are replicas.
  """
  @spec cancel(String.t()) :: :ok | {:error, :not_found | :not_running | term}
  def cancel("durable-" <> _ = id), do: Durable.cancel(id)

  def cancel(id) when is_binary(id) do
    case Table.session(id) do
      {:running, pid} -> GenServer.call(pid, :cancel, 1_000)
      {:ended, _result} -> {:error, :not_found}
      error -> error
    end
  catch
    :exit, _ -> {:error, :not_found}
  end

  @doc "Forgets the outcome of a session that was `durable:`. Errors: those of `Foundation.Distributed.Consensus.propose/3`. A round to a majority."
  @spec forget(String.t()) :: :ok | {:error, term}
  def forget("durable-" <> _ = id), do: Durable.forget(id)

  @doc """
  Makes one of several proposals: `{:ok, winner}`, the whole proposal.

  A proposal is a map with `:value`, and as the strategy needs it `:agent`, `:at` (any whole number that grows) and
  `:weight` (1). Strategies: `:last_write_wins`, `:first_write_wins` (ties by the order of agents and values), `{:priority, [agent]}`
  (who stands first; others last), `:majority` (more than half of the weight), `:median` (of numbers, the lower of two), `{:custom, module, function}` (called with the
  proposals, gives `{:ok, value}` or `{:error, reason}`).

  Errors: `:no_proposals`, `:no_majority`, `:not_numbers`, `{:unknown_strategy, term}`, those of the function and `{:crashed, what}`. O(n log n).

      iex> proposals = [%{agent: :a, value: 1, at: 5}, %{agent: :b, value: 2, at: 7}, %{agent: :c, value: 1, at: 6}]
      iex> {:ok, %{value: 2}} = Foundation.MABEAM.Coordination.resolve_conflict(proposals, :last_write_wins)
      iex> {:ok, %{value: 1}} = Foundation.MABEAM.Coordination.resolve_conflict(proposals, :majority)
  """
  @spec resolve_conflict([Conflict.proposal()], term) :: {:ok, Conflict.proposal()} | {:error, term}
  def resolve_conflict(proposals, strategy) when is_list(proposals) do
    unless Enum.all?(proposals, &match?(%{value: _}, &1)),
      do: raise(ArgumentError, "each proposal is a map with :value, got: #{inspect(proposals, limit: 5)}")

    Conflict.resolve(proposals, strategy)
  end

  @doc "How many sessions run on this node. O(1)."
  @spec running_sessions() :: non_neg_integer
  def running_sessions, do: if(Table.there?(), do: Table.running(), else: 0)

  defp running, do: if(Table.there?(), do: :ok, else: {:error, :not_running})

  defp call(module, function, default) do
    if Code.ensure_loaded?(module) and function_exported?(module, function, 0),
      do: apply(module, function, []),
      else: default
  end
end
