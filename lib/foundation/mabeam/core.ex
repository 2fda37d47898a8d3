defmodule Foundation.MABEAM.Core do
  @moduledoc """
  Keeps variables that agents share: named decisions with a type, a history, rules for conflict and for who may decide.

      :ok = Core.register_variable(name: :batch_size, type: :numeric, min: 1, max: 1_000, value: 10)
      {:ok, 2} = Core.update_variable(:batch_size, 50, :ann)
      {:ok, 50} = Core.get_variable(:batch_size)

  `Foundation.MABEAM.Types.Variable` says what a variable may be. Each change has a version that is one more than the last.

  ## Conflicts

  What happens when two want different values is the variable's `conflict:`:

    * `:last_write_wins`: the later write is the value. One node's variable: other nodes do not have it;
    * `{:priority, [agent]}`: the same, but a write by who stands later in the list than the writer of the present value is
      `{:error, {:outranked, agent}}`;
    * `{:custom, module, function}`: the same, but the function gets both as `[%{agent:, value:, at:}]`, the present first, and gives
      `{:ok, value}` or `{:error, reason}`. It runs in the caller, again when somebody else was faster;
    * `:consensus`: the value is an entry of the Raft group of `Foundation.Distributed.Coordination`, one for the whole cluster;
      reads and writes ask a majority. Versions grow, but not by one;
    * `:crdt`: the value is in a `Foundation.Distributed.State`, changed here at once and merged with other nodes' changes:
      of an allocation or topology by parts, of anything else the last write. `expected_version:` is of this node. An allocation with a `total:` cannot be `:crdt`, for
      what is merged may be more.

  A variable of the latter two is registered, with the same attributes, on each node that uses it.

  ## Optimisers

  `Foundation.MABEAM.Core.Optimizer.attach/3` has a variable find its own value by the rewards that agents report.

  ## Access

  `access:` says who may change a variable; reading is free. Each change names who makes it. In an agent's callback that
  has to be the agent itself (`{:error, :not_yourself}`); other processes are trusted.

  **Scheduling**: one event of the telemetry a change; `:consensus` and `:crdt` as `Foundation.Distributed.Consensus` and
  `Foundation.Distributed.State`.
  """

  alias Foundation.Distributed.Consensus
  alias Foundation.MABEAM.Agent.Account
  alias Foundation.MABEAM.{AgentRegistry, Coordination, Types}
  alias Foundation.MABEAM.Core.{Optimizer, Server, Shared, Table}
  alias Foundation.MABEAM.Types.Variable

  @type name :: Variable.name()
  @type by :: Types.agent_id()
  @type change :: %{
          name: name,
          version: pos_integer,
          value: term,
          by: by | nil,
          at: integer,
          how: :registered | :updated | :deleted
        }

  @group :foundation
  @attempts 20

  @doc """
  Registers a variable of this node: attributes of a `Variable`, or one.

  Errors: `:already_registered`, `{:invalid, details}`, `:not_running`, for `:consensus` and `:crdt` those of the first write.
  O(size of the value).
  """
  @spec register_variable(Variable.t() | keyword | map) :: :ok | {:error, term}
  def register_variable(%Variable{} = variable),
    do: variable |> Map.from_struct() |> register_variable()

  def register_variable(attributes) do
    with {:ok, variable} <- Variable.new(attributes),
         :ok <- mergeable(variable),
         {:error, :not_found} <- known(Table.fetch(variable.name)),
         {:ok, version, value} <- first(variable),
         do: Server.call({:register, variable, version, value, nil})
  end

  defp known({:ok, _entry}), do: {:error, :already_registered}
  defp known(error), do: error

  defp mergeable(%{conflict: :crdt, type: :allocation, total: total}) when total != nil,
    do:
      {:error,
       {:invalid, %{field: :conflict, value: :crdt, expected: "another for an allocation with a total"}}}

  defp mergeable(_variable), do: :ok

  # Another node may have been first; then its value is the variable's.
  defp first(%{conflict: :consensus, value: value} = variable) do
    case Consensus.propose({:put, key(variable), value, :absent}) do
      {:ok, version} -> {:ok, version, value}
      {:error, {:conflict, version, there}} -> {:ok, version, there}
      error -> error
    end
  end

  defp first(%{conflict: :crdt} = variable) do
    with :ok <- Shared.ensure(), :ok <- Server.call(:share) do
      case Shared.read(variable) do
        {:ok, value} -> {:ok, 1, value}
        :none -> with :ok <- Shared.write(variable, variable.value), do: {:ok, 1, variable.value}
        error -> error
      end
    end
  end

  defp first(variable), do: {:ok, 1, variable.value}

  @doc """
  The value: `{:ok, value}`. Errors: `:not_found`, `:not_running`; of a `:consensus` variable those of
  `Foundation.Distributed.Consensus.get_value/3`. O(size of the value), of `:consensus` a round to a majority.
  """
  @spec get_variable(name) :: {:ok, term} | {:error, term}
  def get_variable(name) do
    with {:ok, value, _version} <- read(name), do: {:ok, value}
  end

  @doc "As `get_variable/1`, with its version: `{:ok, value, version}`."
  @spec get_version(name) :: {:ok, term, pos_integer} | {:error, term}
  def get_version(name), do: read(name)

  defp read(name) do
    with {:ok, entry} <- Table.fetch(name), do: read(entry.variable.conflict, entry)
  end

  defp read(:consensus, entry), do: Consensus.get_value(@group, key(entry.variable), version: true)

  defp read(:crdt, entry) do
    case Shared.read(entry.variable) do
      {:ok, value} -> {:ok, value, entry.version}
      :none -> {:ok, entry.value, entry.version}
      error -> error
    end
  end

  defp read(_here, entry), do: {:ok, entry.value, entry.version}

  @doc """
  Changes the value, in the name of `by`, an agent or any id: `{:ok, version}`.

  Options: `expected_version:`: only if the variable still has that version.

  Errors: `:not_found`, `{:invalid, details}` (it may not hold that), `:forbidden`, `:not_yourself`, `{:conflict, %{version: n, value: term}}`,
  `{:outranked, agent}`, `:contended` (a `:custom` one, after 20 others were faster), of a `:consensus` variable those of
  `Foundation.Distributed.Consensus.propose/3`. O(size of the value); `:consensus` one round to a majority.
  """
  @spec update_variable(name, term, by, keyword) :: {:ok, pos_integer} | {:error, term}
  def update_variable(name, value, by, opts \\ []) do
    expected = expected!(Keyword.get(opts, :expected_version, :any))

    with {:ok, entry} <- Table.fetch(name),
         :ok <- allowed(entry.variable, by),
         :ok <- Variable.check(entry.variable, value),
         do: update(entry.variable.conflict, entry, value, by, expected)
  end

  defp update(:consensus, %{variable: variable}, value, by, expected) do
    case Consensus.propose({:put, key(variable), value, expected}) do
      {:ok, version} ->
        Server.seen(variable.name, version, value, by)
        {:ok, version}

      {:error, {:conflict, version, there}} ->
        {:error, {:conflict, %{version: version, value: there}}}

      error ->
        error
    end
  end

  defp update(:crdt, %{variable: variable}, value, by, expected) do
    with {:ok, version} <- Server.call({:update, variable.name, value, by, expected}),
         :ok <- Shared.write(variable, value),
         do: {:ok, version}
  end

  defp update({:custom, _, _}, entry, value, by, :any), do: custom(entry, value, by, @attempts)

  defp update(_here, entry, value, by, expected),
    do: Server.call({:update, entry.variable.name, value, by, expected})

  defp custom(_entry, _value, _by, 0), do: {:error, :contended}

  defp custom(%{variable: variable} = entry, value, by, attempts) do
    present = %{agent: entry.by, value: entry.value, at: entry.at}
    wish = %{agent: by, value: value, at: System.system_time(:millisecond)}

    with {:ok, %{value: merged}} <- Coordination.resolve_conflict([present, wish], variable.conflict),
         :ok <- Variable.check(variable, merged),
         {:error, {:conflict, _}} <- Server.call({:update, variable.name, merged, by, entry.version}),
         {:ok, entry} <- Table.fetch(variable.name),
         do: custom(entry, value, by, attempts - 1)
  end

  @doc """
  Changes the value by a function of it, in the name of `by`: `{:ok, version}`.

      {:ok, _version} = Core.change_variable(:shares, &Map.put(&1, :ann, 3), :ann)

  Nothing that others change meanwhile is undone: of a `:crdt` allocation or topology only the parts that the function
  changes are written; otherwise the function, which runs in the caller, runs again when somebody else was faster.

  Errors: those of `update_variable/4`, but for a conflict; `:contended`, after 20 others were faster. What the function raises
  is raised.
  """
  @spec change_variable(name, (term -> term), by) :: {:ok, pos_integer} | {:error, term}
  def change_variable(name, fun, by) when is_function(fun, 1) do
    with {:ok, %{variable: variable}} <- Table.fetch(name),
         :ok <- allowed(variable, by),
         do: change(variable, fun, by, @attempts)
  end

  defp change(_variable, _fun, _by, 0), do: {:error, :contended}

  defp change(%{conflict: :crdt, name: name} = variable, fun, by, _attempts) do
    with {:ok, entry} <- Table.fetch(name),
         {:ok, parts} <- Shared.parts(variable),
         value = fun.(Shared.value(variable, parts, entry.value)),
         :ok <- Variable.check(variable, value),
         {:ok, version} <- Server.call({:update, name, value, by, :any}),
         :ok <- Shared.write(variable, parts, value),
         do: {:ok, version}
  end

  defp change(%{name: name} = variable, fun, by, attempts) do
    with {:ok, before, version} <- get_version(name),
         {:error, {:conflict, _}} <- update_variable(name, fun.(before), by, expected_version: version),
         do: change(variable, fun, by, attempts - 1)
  end

  @doc """
  Deletes a variable, of this node, and where it is shared its value, in the name of `by`; an optimiser that it has goes with
  it. Errors: as `update_variable/4`.
  """
  @spec delete_variable(name, by) :: :ok | {:error, term}
  def delete_variable(name, by) do
    with {:ok, %{variable: variable}} <- Table.fetch(name),
         :ok <- allowed(variable, by),
         :ok <- drop(variable),
         :ok <- Server.call({:delete, name, by}) do
      case Table.fetch(Optimizer.name(name)) do
        {:ok, _entry} -> delete_variable(Optimizer.name(name), by)
        _none -> :ok
      end
    end
  end

  defp drop(%{conflict: :consensus} = variable) do
    with {:ok, _} <- Consensus.propose({:delete, key(variable)}), do: :ok
  end

  defp drop(%{conflict: :crdt} = variable), do: Shared.delete(variable)
  defp drop(_variable), do: :ok

  @doc """
  Has the calling process told of each change from now on: `{:mabeam_variable, name, change}`. Ends with the process.
  Errors: `:not_found`, `:not_running`. O(1).
  """
  @spec subscribe(name) :: :ok | {:error, :not_found | :not_running}
  def subscribe(name) do
    with {:ok, _entry} <- Table.fetch(name), do: Server.call({:subscribe, name, self()})
  end

  @doc """
  The last changes that this node saw, newest first: `{:ok, [change]}`. Options: `limit:` 100. As many are kept as the variable's
  `history:` says. Errors: `:not_found`, `:not_running`. O(limit).
  """
  @spec history(name, keyword) :: {:ok, [change]} | {:error, :not_found | :not_running}
  def history(name, opts \\ []) do
    with {:ok, _entry} <- Table.fetch(name),
         do: Server.call({:history, name, Keyword.get(opts, :limit, 100)})
  end

  @doc """
  Asks the variable's agents what it should be, makes one value of what they say, and sets it: `{:ok, %{value: term, version: n,
  outcome: outcome}}`.

  Each agent's `handle_variable/3` is content or proposes a value. Of several wishes one is made by the variable's `conflict:`:
  the one that came last, the one of the agent that stands first, what the function says; of `:consensus` the one that more
  than half want, of `:crdt` the median of numbers and else that of more than half. It is set as `:system` does it, and only if nobody has changed the variable meanwhile.

  Options: `agents:` others than the variable's; those of `Foundation.MABEAM.Coordination.coordinate/4` but `async:`.

  Errors: `:no_agents`, `:no_majority`, those of `update_variable/4`, `coordinate/4`, and a `:custom` function.
  """
  @spec coordinate(name, keyword) :: {:ok, map} | {:error, term}
  def coordinate(name, opts \\ []) do
    {agents, opts} = Keyword.pop(opts, :agents)

    with {:ok, %{variable: variable}} <- Table.fetch(name),
         {:ok, agents} <- agents(agents || variable.agents),
         {:ok, value, version} <- read(name),
         {:ok, outcome} <-
           Coordination.coordinate(:wishes, agents, %{variable: variable, value: value}, opts),
         {:ok, wish} <- Coordination.resolve_conflict(outcome.decision, rule(variable)),
         {:ok, version} <- settle(variable, wish, version) do
      {:ok, %{value: wish.value, version: version, outcome: outcome}}
    end
  end

  defp agents([]), do: {:error, :no_agents}
  defp agents(agents), do: {:ok, agents}

  defp rule(%{conflict: :consensus}), do: :majority
  defp rule(%{conflict: :crdt, type: :numeric}), do: :median
  defp rule(%{conflict: :crdt}), do: :majority
  defp rule(%{conflict: conflict}), do: conflict

  # In the name of whose wish it is, so that a variable with priorities knows who stands behind it.
  defp settle(%{conflict: {:custom, _, _}} = variable, wish, version) do
    with :ok <- Variable.check(variable, wish.value),
         do: Server.call({:update, variable.name, wish.value, :system, version})
  end

  defp settle(%{conflict: {:priority, _}} = variable, wish, version),
    do: Server.call({:update, variable.name, wish.value, wish.agent, version})

  defp settle(variable, wish, version) do
    with {:ok, entry} <- Table.fetch(variable.name),
         do: update(variable.conflict, entry, wish.value, :system, version)
  end

  @doc """
  Does `coordinate/2` for every variable that has agents, at the same time: `{:ok, %{name => result}}`. Options: those of
  `coordinate/2`.
  """
  @spec coordinate_system(keyword) :: {:ok, %{name => {:ok, map} | {:error, term}}}
  def coordinate_system(opts \\ []) do
    names = for %{variable: %{agents: [_ | _], name: name}} <- Table.all(), do: name

    results =
      names
      |> Task.async_stream(&{&1, coordinate(&1, opts)}, timeout: :infinity, max_concurrency: 64)
      |> Map.new(fn {:ok, pair} -> pair end)

    {:ok, results}
  end

  @doc """
  What there is on this node: `{:ok, map}` with `:agents`, how many in each status; `:variables`, how many of each type; `:sessions` that run.
  Errors: `:not_running`. O(agents and variables).
  """
  @spec system_status() :: {:ok, map} | {:error, :not_running}
  def system_status do
    if AgentRegistry.Table.there?() do
      {:ok,
       %{
         node: node(),
         agents: Enum.frequencies_by(AgentRegistry.Table.entries(), & &1.status),
         variables: Enum.frequencies_by(Table.all(), & &1.variable.type),
         sessions: Coordination.running_sessions()
       }}
    else
      {:error, :not_running}
    end
  end

  # -- access ---------------------------------------------------------------------------------------------------------

  defp allowed(variable, by) do
    unless Types.agent_id?(by),
      do: raise(ArgumentError, "who changes a variable is an agent id, got: #{inspect(by)}")

    own = Account.agent()
    if own != nil and own != by, do: {:error, :not_yourself}, else: access(variable.access, by)
  end

  defp access(:public, _by), do: :ok
  defp access({:agents, ids}, by), do: if(by in ids, do: :ok, else: {:error, :forbidden})

  defp access({:capabilities, wanted}, by),
    do: if(AgentRegistry.Table.capable?(by, wanted), do: :ok, else: {:error, :forbidden})

  defp key(%{name: name}), do: {:mabeam_variable, name}

  defp expected!(:any), do: :any
  defp expected!(version) when is_integer(version) and version > 0, do: version

  defp expected!(other),
    do: raise(ArgumentError, "expected_version: must be a whole number from 1, got: #{inspect(other)}")
end
