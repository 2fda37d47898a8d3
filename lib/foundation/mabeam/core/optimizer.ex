defmodule Foundation.MABEAM.Core.Optimizer do
  @moduledoc """
  Lets a shared variable find its own value: agents try what it suggests and report rewards, and it moves to what is best.

      :ok = Core.register_variable(name: :batch, type: :choice, options: [8, 32, 128])
      :ok = Optimizer.attach(:batch, :ucb1, seed: 1)
      {:ok, try} = Optimizer.suggest(:batch, :ann)
      {:ok, _} = Optimizer.report(:batch, try.id, 0.7, :ann)
      {:ok, [%{why: :best_mean}]} = Optimizer.history(:batch)

  | method | what it chooses from | rewards | source |
  |---|---|---|---|
  | `:thompson` | values | within `reward:` | Thompson 1933; Agrawal and Goyal 2012 |
  | `:ucb1` | values | within `reward:` | Auer, Cesa-Bianchi and Fischer 2002 |
  | `:exp3`, `{:exp3, gamma}` (0.1) | values, whose rewards an adversary may choose | within `reward:` | Auer et al. 2002 |
  | `:halving` | values, each with more of a budget when it does well | any | Jamieson and Talwalkar 2016 |
  | `:tpe` | numbers and choices | any | Bergstra et al. 2011 |
  | `:cma_es` | numbers | any | Hansen 2016 |

  The variable's value is what the search considers best: of a bandit the value with the best mean reward, of a halving the
  best of the last complete rung, else the value with the best reward.

  What the search knows is itself a variable, `name/1` of the variable, of the same kind: one node's, or an entry of the Raft
  group for a `:consensus` variable, so that it is there as long as the variable is, on all nodes that attach to it, and goes with it. The same
  seed and the same reports in the same order give the same suggestions, wherever they are asked for.

  Who may change the variable may ask for suggestions and report; each suggestion's reward is told by who got it, once.
  What agents report is believed.

  **Scheduling**: dirty CPU, three calls or four a step; the search is read from its state each time, O(what was told), below
  1 ms for a bandit.
  """

  alias Foundation.MABEAM.{Arguments, Coordination, Core, Types}
  alias Foundation.MABEAM.Core.Optimizer.Search
  alias Foundation.MABEAM.Core.Table
  alias Foundation.MABEAM.Types.Fields

  @options [:seed, :values, :arms, :steps, :space, :reward, :goal, :eta, :budget]
  @defaults %{
    seed: 0,
    values: nil,
    arms: 10,
    steps: :real,
    space: nil,
    reward: {0, 1},
    goal: :maximise,
    eta: 3,
    budget: 1
  }
  @attempts 1_000

  @type method :: :thompson | :ucb1 | :exp3 | {:exp3, number} | :halving | :tpe | :cma_es
  @type suggestion :: %{id: pos_integer, value: term, budget: pos_integer, probability: float}

  @doc "The name of the variable that holds what the search of a variable knows. O(1)."
  @spec name(Core.name()) :: String.t()
  def name(variable), do: "optimizer of " <> inspect(variable)

  @doc """
  Gives a variable of this node an optimiser. On another node that has the same `:consensus` variable it joins the search that
  there is.

  Options: `seed:` 0; `goal:` `:maximise` or `:minimise`; `reward:` `{least, most}`, `{0, 1}` (bandits). Bandits and halving choose from
  `values:`, or the options of a `:choice`, or `arms:` (10) values of a `:numeric`, in steps that are `steps:` `:real`, `:log` or `:integer`.
  Halving: `eta:` 3, of which one goes on; `budget:` 1, of the first rung. The others search between `min` and `max` of a `:numeric`
  (`steps:` says how), `:tpe` also the options of a `:choice`, or, of a `:value`, a `space:`, a list such as
  `[rate: {:log, 1.0e-4, 1}, batch: {:integer, 1, 64}, mode: {:choice, [:a, :b]}]` (no choices for `:cma_es`); the value is then a map.

  Errors: `:not_found`, `:already_registered`, `{:invalid, details}`, `:not_running`; those of `Core.register_variable/1`. Only variables with the
  conflict rules `:last_write_wins` and `:consensus` take one: what others make of a value is theirs.
  """
  @spec attach(Core.name(), method, keyword) :: :ok | {:error, term}
  def attach(variable, method, opts \\ []) do
    opts = options!(opts)

    with {:ok, %{variable: variable}} <- Table.fetch(variable),
         :ok <- plain(variable),
         {:ok, search} <- Search.new(method, opts, variable) do
      Core.register_variable(
        name: name(variable.name),
        type: :value,
        value: search,
        conflict: variable.conflict,
        access: variable.access,
        history: 0
      )
    end
  end

  defp plain(%{conflict: conflict}) when conflict in [:last_write_wins, :consensus], do: :ok
  defp plain(%{conflict: other}), do: Fields.invalid(:conflict, other, ":last_write_wins or :consensus")

  @doc "Takes the optimiser away, in the name of `by`; the variable keeps its value. Errors: as `Core.delete_variable/2`."
  @spec detach(Core.name(), Types.agent_id()) :: :ok | {:error, term}
  def detach(variable, by), do: variable |> name() |> Core.delete_variable(by)

  @doc """
  What `by` should try next: `{:ok, %{id: n, value: value, budget: n, probability: p}}`.

  `budget` is what a trial of a halving may cost, in units of that of the first rung; `probability` how likely it was, for EXP3. At most
  1,000 suggestions wait for their reward: of more the oldest is given up.

  Errors: `:waiting` (a halving needs the rewards of its rung first), `:done` (it has one value left), `:not_found`, those of
  `Core.update_variable/4`, `:malformed` (somebody wrote something else there), `:contended` (1,000 others were faster).
  """
  @spec suggest(Core.name(), Types.agent_id()) :: {:ok, suggestion} | {:error, term}
  def suggest(variable, by), do: change(variable, by, &Search.suggest(&1, by))

  @doc """
  Tells what the suggestion with that id was worth, and moves the variable to what is best now: `{:ok, entry}`, an entry of the
  `history/2`.

  Errors: `:not_found` (no such suggestion waits: it had its reward, or was given up), `:not_yours` (another got it), `{:invalid, details}` (a reward
  out of its bounds: the suggestion still waits), and as `suggest/2`.
  """
  @spec report(Core.name(), pos_integer, number, Types.agent_id()) :: {:ok, map} | {:error, term}
  def report(variable, id, reward, by) do
    unless is_number(reward),
      do: raise(ArgumentError, "a reward is a number, got: #{inspect(reward, limit: 5)}")

    at = System.system_time(:millisecond)

    with {:ok, entry} <- change(variable, by, &Search.report(&1, id, reward, by, at)),
         :ok <- move(variable, by),
         do: {:ok, entry}
  end

  @doc "Gives a suggestion up, because nobody will know its reward: `:ok`. Errors: as `report/4`."
  @spec abandon(Core.name(), pos_integer, Types.agent_id()) :: :ok | {:error, term}
  def abandon(variable, id, by) do
    with {:ok, :ok} <- change(variable, by, &Search.abandon(&1, id, by)), do: :ok
  end

  @doc """
  How far it is: `{:ok, %{method: m, told: n, open: n, done: boolean, best: %{value: v, reward: r} | nil, arms: list | nil}}`; of a bandit `arms` has of each
  value `%{value: v, told: n, mean: r | nil}`. Errors: `:not_found`, `:not_running`, of a `:consensus` variable those of its group.
  """
  @spec status(Core.name()) :: {:ok, map} | {:error, term}
  def status(variable) do
    with {:ok, search, _version} <- variable |> name() |> read(), do: {:ok, Search.status(search)}
  end

  @doc """
  Why the variable is what it is: the last 100 rewards, newest first, each `%{at: ms, by: agent, id: n, tried: value, reward: r, best: value, mean: r,
  told: n, moved: boolean, why: reason}`; `best` is what was best after it, with the reward `mean` (the mean of a bandit's), `why` is `:best_mean`,
  `:best_reward`, `:best_of_rung` or `:rung_not_complete`. Options: `limit:`. Errors: as `status/1`.
  """
  @spec history(Core.name(), keyword) :: {:ok, [map]} | {:error, term}
  def history(variable, opts \\ []) do
    with {:ok, search, _version} <- variable |> name() |> read(),
         do: {:ok, Enum.take(search.log, Keyword.get(opts, :limit, 100))}
  end

  @doc """
  Tries values with agents, round by round: each round suggests one, asks the agents what it is worth to them (`utility/2`), and
  reports the mean. `{:ok, status}` after `rounds:`, or when the search is done.

  Options: `rounds:` 20; `agents:` (those of the variable); `by:` in whose name (`:system`); `timeout:` 5,000 ms a round. A round in which no agent
  answers is given up. Errors: `:no_agents`, and those of `suggest/2` and `report/4`.
  """
  @spec tune(Core.name(), keyword) :: {:ok, map} | {:error, term}
  def tune(variable, opts \\ []) do
    with {:ok, %{variable: described}} <- Table.fetch(variable),
         {:ok, agents} <- agents(opts[:agents] || described.agents) do
      rounds(variable, agents, Keyword.get(opts, :by, :system), opts, Keyword.get(opts, :rounds, 20))
    end
  end

  defp agents([]), do: {:error, :no_agents}
  defp agents(agents), do: {:ok, agents}

  defp rounds(variable, _agents, _by, _opts, 0), do: status(variable)

  defp rounds(variable, agents, by, opts, left) do
    with {:ok, %{id: id, value: value}} <- suggest(variable, by),
         :ok <- tried(variable, id, worth(agents, value, opts), by) do
      rounds(variable, agents, by, opts, left - 1)
    else
      {:error, :done} -> status(variable)
      error -> error
    end
  end

  defp worth(agents, value, opts) do
    case Coordination.coordinate(:worths, agents, value, Keyword.take(opts, [:timeout])) do
      {:ok, %{decision: worths}} -> Enum.sum(Map.values(worths)) / map_size(worths)
      {:error, _reason} -> nil
    end
  end

  defp tried(variable, id, nil, by), do: abandon(variable, id, by)

  defp tried(variable, id, reward, by) do
    with {:ok, _entry} <- report(variable, id, reward, by), do: :ok
  end

  # Who may change the variable may also have written something else there.
  defp read(name) do
    case Core.get_version(name) do
      {:ok, %Search{} = search, version} -> {:ok, search, version}
      {:ok, _other, _version} -> {:error, :malformed}
      error -> error
    end
  end

  # -- changes --------------------------------------------------------------------------------------------------------

  # Who is too late does it again with what is there now; one always gets through.
  defp change(variable, by, step), do: change(name(variable), by, step, 1)

  defp change(_name, _by, _step, attempt) when attempt > @attempts, do: {:error, :contended}

  defp change(name, by, step, attempt) do
    with {:ok, search, version} <- read(name),
         {:ok, search, answer} <- step.(search),
         {:ok, _version} <- Core.update_variable(name, search, by, expected_version: version) do
      {:ok, answer}
    else
      {:error, {:conflict, _}} ->
        pause(:rand.uniform(min(attempt, 10)) - 1)
        change(name, by, step, attempt + 1)

      error ->
        error
    end
  end

  defp pause(0), do: :ok

  defp pause(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  # Until the variable is what the search says at that time: of two who report at once the slower one may know less.
  defp move(variable, by) do
    with {:ok, search, _version} <- read(name(variable)), {:ok, value} <- Core.get_variable(variable) do
      case search.best do
        %{value: best, reward: reward} when reward != nil and best !== value -> moved(variable, best, by)
        _ -> :ok
      end
    end
  end

  defp moved(variable, best, by) do
    with {:ok, _version} <- Core.update_variable(variable, best, by), do: move(variable, by)
  end

  defp options!(opts) do
    Arguments.known!(opts, @options)
    opts = Map.merge(@defaults, Map.new(opts))

    for {name, range} <- [seed: 0..0xFFFFFFFFFFFFFFFF, eta: 2..100, budget: 1..0xFFFFFFFF],
        value <- [Map.fetch!(opts, name)],
        not (is_integer(value) and value in range) do
      raise ArgumentError,
            "#{name} must be a whole number in #{inspect(range)}, got: #{inspect(value, limit: 5)}"
    end

    opts
  end
end
