defmodule Foundation.MABEAM.Coordination.TaskAssignment do
  @moduledoc """
  Asks agents what tasks cost them, gives the tasks out at the least sum, and has them done: the protocol `:assignment`.

      problem = %{tasks: %{parse: "a.ex", render: "b.svg"}, execute: true}
      {:ok, outcome} = Coordination.coordinate(:assignment, agents, problem)
      outcome.decision.pairs   # %{parse: :ann, render: :bob}

  The problem is a map: `tasks:`, a map from a task's name to what `handle_task/2` gets for it; `slots:` 1, how many tasks an agent takes; `goal:`
  `:least_cost` (the default) or `:most_worth`; `method:` as in `Foundation.MABEAM.Coordination.Assignment`; `execute:` false, whether the tasks are
  done.

  In the first round `handle_bid_request/2` of all gets `%{tasks: tasks, goal: goal}`. A bid is a map from task names to whole numbers (millionths, say), what
  each costs the agent, or is worth to it; a task that it leaves out it does not take. Then, with `execute: true`, each agent's
  tasks go to it one by one. A task whose agent fails, or does not answer, goes to the agents that bid for it and have slots
  left, again at the least sum; an agent that was only too slow may then have done it too.

  Decision: `%{pairs: %{task => agent}, cost: sum, unassigned: [task], results: %{task => result}}`; `results` only with `execute: true`, and pairs and cost are then of
  those that did them. `confidence` is the share of the tasks that have an agent, or are done. `detail`: `:bids` (agent to its bid), `:passed`, a
  list of `{task, agent, why}` of tasks that agents failed at. Fails with `:no_bids`, and `:none_done`.

  Properties: 2n messages, and 2 for each task done. As many tasks as can be are assigned, and the sum is the least for
  what the agents said, which need not be true: nothing is paid by it. Source: Kuhn, The Hungarian Method for the Assignment
  Problem, 1955; Gerkey and Matarić, A Formal Analysis and Taxonomy of Task Allocation in Multi-Robot Systems, 2004 (ST-SR-IA).

  **Scheduling**: dirty CPU, one solution a session, and one for each round with failures.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Assignment
  alias Foundation.MABEAM.Types.Fields

  @most 2 ** 53

  @impl true
  def defaults, do: [rounds: 100, slices: 4, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: :at_true_bids,
      budget_balanced: true,
      messages: "2n + 2 a task",
      source: "Kuhn 1955"
    }
  end

  @impl true
  def init(problem, _participants) do
    with {:ok, problem} <- read(problem) do
      {:ok,
       Map.merge(problem, %{
         phase: :bids,
         bids: %{},
         left: %{},
         queue: [],
         asked: %{},
         results: %{},
         passed: [],
         pairs: %{}
       })}
    end
  end

  defp read(%{tasks: tasks} = problem) when is_map(tasks) and map_size(tasks) > 0 and not is_struct(tasks) do
    fields = [
      {:slots, 1, &(&1 in 1..1_000), "a whole number from 1 to 1,000"},
      {:goal, :least_cost, &(&1 in [:least_cost, :most_worth]), ":least_cost or :most_worth"},
      {:method, :hungarian, &(&1 in [:hungarian, :auction]), ":hungarian or :auction"},
      {:execute, false, &is_boolean/1, "a boolean"}
    ]

    Enum.reduce_while(fields, {:ok, %{tasks: tasks}}, fn {field, default, fits?, expected}, {:ok, read} ->
      value = Map.get(problem, field, default)

      if fits?.(value),
        do: {:cont, {:ok, Map.put(read, field, value)}},
        else: {:halt, Fields.invalid(field, value, expected)}
    end)
  end

  defp read(other), do: Fields.invalid(:problem, other, "a map with :tasks, a map from names to tasks")

  @impl true
  def ask(%{phase: :bids} = state, _round),
    do: {[{:all, :bid, %{tasks: state.tasks, goal: state.goal}}], state}

  # Of each agent the first task that waits for it.
  def ask(%{phase: :work} = state, _round) do
    asked = state.queue |> Enum.reverse() |> Map.new(fn {task, id} -> {id, task} end)
    queue = Enum.reject(state.queue, fn {task, id} -> asked[id] == task end)
    {for({id, task} <- asked, do: {id, :task, state.tasks[task]}), %{state | asked: asked, queue: queue}}
  end

  @impl true
  def answer(id, {:bid, bid}, %{phase: :bids} = state) do
    if bid?(bid, state.tasks),
      do: {:ok, %{state | bids: Map.put(state.bids, id, bid), left: Map.put(state.left, id, state.slots)}},
      else: {:invalid, :not_a_bid, state}
  end

  def answer(id, {:done, result}, %{phase: :work} = state) do
    {task, asked} = Map.pop(state.asked, id)

    {:ok,
     %{
       state
       | asked: asked,
         results: Map.put(state.results, task, result),
         pairs: Map.put(state.pairs, task, id)
     }}
  end

  def answer(id, {:failed, reason}, %{phase: :work} = state), do: {:ok, passed(state, id, reason)}
  def answer(_id, _other, state), do: {:invalid, :not_an_answer, state}

  defp bid?(bid, tasks) when is_map(bid) and not is_struct(bid) do
    Enum.all?(bid, fn {task, cost} -> is_map_key(tasks, task) and is_integer(cost) and abs(cost) <= @most end)
  end

  defp bid?(_other, _tasks), do: false

  # The agent does not get this task again; the slot is used up.
  defp passed(state, id, why) do
    {task, asked} = Map.pop(state.asked, id)
    bids = Map.update(state.bids, id, %{}, &Map.delete(&1, task))
    %{state | asked: asked, bids: bids, passed: [{task, id, why} | state.passed]}
  end

  @impl true
  def decide(_report, %{phase: :bids} = state) do
    cond do
      Enum.all?(state.bids, fn {_id, bid} -> bid == %{} end) ->
        {:failed, :no_bids, %{bids: state.bids}, state}

      state.execute ->
        plan(%{state | phase: :work}, Map.keys(state.tasks))

      true ->
        planned(state)
    end
  end

  def decide(report, %{phase: :work} = state) do
    state = Enum.reduce(state.asked, state, fn {id, _task}, state -> passed(state, id, why(report, id)) end)
    known = Map.keys(state.results) ++ Enum.map(state.queue, &elem(&1, 0))

    cond do
      report.last -> done(state)
      state.queue != [] -> {:again, state}
      true -> plan(state, Map.keys(state.tasks) -- known)
    end
  end

  defp why(report, id), do: Map.get(report.failures, id, :abstained)

  # Nothing more can be given to anyone: it is over.
  defp plan(state, tasks) do
    case solve(state, tasks) do
      {:ok, %{pairs: pairs}} when pairs == %{} ->
        done(state)

      {:ok, %{pairs: pairs}} ->
        left = Enum.reduce(pairs, state.left, fn {_task, id}, left -> Map.update!(left, id, &(&1 - 1)) end)
        {:again, %{state | queue: Enum.sort(pairs), left: left}}

      {:error, reason} ->
        {:failed, reason, %{bids: state.bids}, state}
    end
  end

  defp planned(state) do
    case solve(state, Map.keys(state.tasks)) do
      {:ok, plan} ->
        detail = %{confidence: map_size(plan.pairs) / map_size(state.tasks), bids: state.bids, passed: []}

        {:decided, %{pairs: plan.pairs, cost: sum(state, plan.pairs), unassigned: plan.unassigned}, detail,
         state}

      {:error, reason} ->
        {:failed, reason, %{bids: state.bids}, state}
    end
  end

  defp done(%{results: results} = state) when results == %{},
    do: {:failed, :none_done, %{bids: state.bids, passed: Enum.reverse(state.passed)}, state}

  defp done(state) do
    decision = %{
      pairs: state.pairs,
      cost: sum(state, state.pairs),
      unassigned: Map.keys(state.tasks) -- Map.keys(state.results),
      results: state.results
    }

    confidence = map_size(state.results) / map_size(state.tasks)

    {:decided, decision, %{confidence: confidence, bids: state.bids, passed: Enum.reverse(state.passed)},
     state}
  end

  defp sum(state, pairs), do: Enum.sum(for {task, id} <- pairs, do: state.bids[id][task])

  # A slot is a column of its own.
  defp solve(_state, []), do: {:ok, %{pairs: %{}, unassigned: []}}

  defp solve(state, tasks) do
    sign = if state.goal == :least_cost, do: 1, else: -1

    costs =
      for task <- tasks, into: %{} do
        row =
          for {id, %{^task => cost}} <- state.bids,
              left = state.left[id],
              left > 0,
              slot <- 1..left,
              into: %{} do
            {{id, slot}, sign * cost}
          end

        {task, row}
      end

    with {:ok, plan} <- Assignment.solve(costs, method: state.method) do
      {:ok, %{plan | pairs: Map.new(plan.pairs, fn {task, {id, _slot}} -> {task, id} end)}}
    end
  end
end
