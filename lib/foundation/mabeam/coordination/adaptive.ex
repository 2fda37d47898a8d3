defmodule Foundation.MABEAM.Coordination.Adaptive do
  @moduledoc """
  Picks the protocol of a coordination, and its parameters, by what earlier rounds cost and gained.

      :ok =
        Adaptive.new(:reviews, %{
          quick: %{protocol: :majority, opts: [timeout: 200]},
          careful: %{protocol: :condorcet, opts: [timeout: 2_000]}
        }, price: %{messages: 0.001})

      {:ok, round} = Adaptive.coordinate(:reviews, agents, problem, utility: &judge/1)
      round.arm       # :quick
      round.outcome   # as that of Foundation.MABEAM.Coordination.coordinate/4

  Each arm is a protocol with options and, if it has `problem:`, a map that is put into the problem. A round runs one arm; its
  reward is the utility of the outcome, as the caller states it, less the cost at the stated prices: of each message, ms, token and
  millionth of money that the outcome says it took. A coordination that fails has the utility of failure (0), and its cost. A bandit
  (`:ucb1` unless told otherwise) chooses the arm of the next round.

  What was learnt is a variable (`Foundation.MABEAM.Core`) of the name, whose value is the best arm, with its optimiser
  (`Foundation.MABEAM.Core.Optimizer`); with `conflict: :consensus` all nodes that have it learn together. Sources: Auer, Cesa-Bianchi and Fischer, Finite-time Analysis
  of the Multiarmed Bandit Problem, 2002; Rice, The Algorithm Selection Problem, 1976.

  **Scheduling**: as `Foundation.MABEAM.Core.Optimizer`, two steps a round.
  """

  alias Foundation.MABEAM.{Arguments, Coordination, Core, Types}
  alias Foundation.MABEAM.Core.Optimizer
  alias Foundation.MABEAM.Core.Table
  alias Foundation.MABEAM.Types.{Fields, Outcome}

  @options [:method, :seed, :range, :price, :conflict, :access]
  @prices [:messages, :ms, :tokens, :money]

  @type name :: Core.name()
  @type arm :: %{required(:protocol) => atom, optional(:opts) => keyword, optional(:problem) => map}
  @type utility :: (Outcome.t() -> number) | {module, atom}

  @doc """
  Registers arms under a name, a variable of this node: `arms` is a map from an arm's name to the arm.

  Options: `price:` a map with what one of `:messages`, `:ms`, `:tokens`, `:money` (a millionth) costs, in units of utility (0); `range:` `{least, most}` reward, `{-1, 1}`: what
  lies outside counts as its bound; `method:` `:ucb1`, `:thompson`, `:exp3`; `seed:` 0; `conflict:` and `access:` of the variable.

  Errors: those of `Core.register_variable/1` and `Optimizer.attach/3`, `{:invalid, details}`.
  """
  @spec new(name, %{term => arm}, keyword) :: :ok | {:error, term}
  def new(name, arms, opts \\ []) do
    Arguments.known!(opts, @options)
    range = Keyword.get(opts, :range, {-1, 1})
    price = Keyword.get(opts, :price, %{})

    with :ok <- arms(arms), :ok <- price(price), :ok <- range(range) do
      metadata = %{adaptive: %{arms: arms, price: price, range: range}}
      variable = [name: name, type: :choice, options: arms |> Map.keys() |> Enum.sort(), metadata: metadata]

      with :ok <- Core.register_variable(variable ++ Keyword.take(opts, [:conflict, :access])),
           {:error, reason} <- attach(name, range, opts) do
        _ = Core.delete_variable(name, :system)
        {:error, reason}
      end
    end
  end

  defp attach(name, range, opts) do
    method = Keyword.get(opts, :method, :ucb1)
    Optimizer.attach(name, method, reward: range, seed: Keyword.get(opts, :seed, 0))
  end

  defp arms(%{} = arms) when map_size(arms) > 0 and not is_struct(arms) do
    arm? = fn {_name, arm} ->
      match?(%{protocol: protocol} when is_atom(protocol), arm) and Keyword.keyword?(Map.get(arm, :opts, [])) and
        is_map(Map.get(arm, :problem, %{}))
    end

    if Enum.all?(arms, arm?) and Types.serialisable?(arms), do: :ok, else: bad_arms(arms)
  end

  defp arms(other), do: bad_arms(other)

  defp bad_arms(arms),
    do: Fields.invalid(:arms, arms, "a map from names to %{protocol: name, opts: keyword, problem: map}")

  defp price(%{} = price) when not is_struct(price) do
    if Enum.all?(price, fn {what, each} -> what in @prices and is_number(each) and each >= 0 end),
      do: :ok,
      else: price(nil)
  end

  defp price(other), do: Fields.invalid(:price, other, "a map from #{inspect(@prices)} to numbers from 0")

  defp range({least, most}) when is_number(least) and is_number(most) and least < most, do: :ok
  defp range(other), do: Fields.invalid(:range, other, "{least, most}")

  @doc """
  Runs one round with the arm that the bandit names: `{:ok, %{arm: name, outcome: outcome, utility: u, cost: c, reward: r}}`.

  Options: `utility:`, required, a function of the outcome, or `{module, function}`, that gives a number; `failure:` 0, the utility of no decision; `by:` in whose
  name it is learnt (`:system`); others are those of `Coordination.coordinate/4` (but `async:`), below the arm's own.

  Errors: `{reason, %{arm: …, outcome: outcome, …}}` when the coordination fails after it began (it is learnt from); `:not_adaptive`; `{:bad_utility, value}`, what
  `coordinate/4` refuses, and errors of `Optimizer` (nothing is learnt).
  """
  @spec coordinate(name, [Types.agent_id()], term, keyword) :: {:ok, map} | {:error, {term, map} | term}
  def coordinate(name, agents, problem, opts) do
    {own, opts} = Keyword.split(opts, [:utility, :failure, :by])
    utility = utility!(own[:utility])
    failure = Keyword.get(own, :failure, 0)
    by = Keyword.get(own, :by, :system)

    with {:ok, learner} <- learner(name), {:ok, %{id: id, value: arm}} <- Optimizer.suggest(name, by) do
      chosen = learner.arms[arm]
      problem = if is_map(problem), do: Map.merge(problem, Map.get(chosen, :problem, %{})), else: problem
      opts = opts |> Keyword.merge(Map.get(chosen, :opts, [])) |> Keyword.delete(:async)

      try do
        Coordination.coordinate(chosen.protocol, agents, problem, opts)
        |> judged(arm, learner, utility, failure)
        |> learnt(name, id, by)
      catch
        kind, reason ->
          _ = Optimizer.abandon(name, id, by)
          :erlang.raise(kind, reason, __STACKTRACE__)
      end
    end
  end

  defp learner(name) do
    case Table.fetch(name) do
      {:ok, %{variable: %{metadata: %{adaptive: learner}}}} -> {:ok, learner}
      {:ok, _} -> {:error, :not_adaptive}
      error -> error
    end
  end

  defp utility!({module, function}) when is_atom(module) and is_atom(function),
    do: &apply(module, function, [&1])

  defp utility!(utility) when is_function(utility, 1), do: utility

  defp utility!(other),
    do: raise(ArgumentError, "utility: must be a function of the outcome, got: #{inspect(other, limit: 5)}")

  # {what to answer, the reward or nil when there is none}
  defp judged({:ok, outcome}, arm, learner, utility, _failure) do
    case utility.(outcome) do
      number when is_number(number) -> round({:ok, nil}, arm, outcome, number, learner)
      other -> {{:error, {:bad_utility, other}}, nil}
    end
  end

  defp judged({:error, {reason, %Outcome{} = outcome}}, arm, learner, _utility, failure),
    do: round({:error, reason}, arm, outcome, failure, learner)

  defp judged(refused, _arm, _learner, _utility, _failure), do: {refused, nil}

  defp round(how, arm, outcome, utility, %{range: {least, most}} = learner) do
    cost = cost(outcome, learner.price)
    reward = (utility - cost) |> max(least) |> min(most)
    round = %{arm: arm, outcome: outcome, utility: utility, cost: cost, reward: reward}

    case how do
      {:ok, nil} -> {{:ok, round}, reward}
      {:error, reason} -> {{:error, {reason, round}}, reward}
    end
  end

  defp cost(outcome, price) do
    used = %{
      messages: outcome.messages,
      ms: outcome.duration_us / 1_000,
      tokens: outcome.cost.tokens,
      money: outcome.cost.money
    }

    Enum.sum(for {what, each} <- price, do: each * used[what])
  end

  defp learnt({answer, nil}, name, id, by) do
    _ = Optimizer.abandon(name, id, by)
    answer
  end

  defp learnt({answer, reward}, name, id, by) do
    with {:ok, _entry} <- Optimizer.report(name, id, reward, by), do: answer
  end

  @doc """
  What was learnt: `{:ok, %{best: arm, told: rounds, arms: [%{value: arm, told: n, mean: reward | nil}]}}`, and more, as `Optimizer.status/1`. Why, round by
  round, says `Optimizer.history/2`. Errors: as `Optimizer.status/1`.
  """
  @spec status(name) :: {:ok, map} | {:error, term}
  def status(name) do
    with {:ok, status} <- Optimizer.status(name),
         do: {:ok, %{status | best: status.best && status.best.value}}
  end

  @doc "Forgets it all, in the name of `by`. Errors: as `Core.delete_variable/2`."
  @spec delete(name, Types.agent_id()) :: :ok | {:error, term}
  def delete(name, by), do: Core.delete_variable(name, by)
end
