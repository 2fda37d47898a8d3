defmodule Foundation.MABEAM.Coordination.Assignment do
  @moduledoc """
  Gives tasks to agents, one each or as many as an agent has slots for, so that the sum of the costs is as small as it can be.

      costs = %{report: %{ann: 9, bob: 2}, index: %{ann: 4, bob: 3}}
      {:ok, plan} = Assignment.solve(costs)
      plan.pairs   # %{report: :bob, index: :ann}
      plan.cost    # 6

  First as many tasks are assigned as can be, and of all ways to do so the cheapest is chosen. Costs are whole numbers, such
  as millionths of a unit of money (`Foundation.MABEAM.Economics`), and may be negative: to make a sum of worths as large as
  it can be, give each with a minus.

  Methods: `:hungarian` (Kuhn 1955, with shortest augmenting paths, Jonker and Volgenant 1987), exact, O(n³); `:auction`
  (Bertsekas 1988, with scaling), exact for whole numbers, faster where many tasks want different agents.

  The protocol `:assignment` (`Foundation.MABEAM.Coordination.TaskAssignment`) asks agents for their costs.

  **Scheduling**: dirty CPU, one call; at most 10^8 pairs, and `timeout:` ms.
  """

  alias Foundation.MABEAM.{AgentRegistry, Arguments, Types}
  alias Foundation.Native

  @options [method: [:hungarian, :auction], timeout: [1..600_000]]
  @capabilities 128

  @type plan :: %{
          pairs: %{term => term},
          unassigned: [term],
          cost: integer,
          gap: non_neg_integer
        }
  @type error :: {:error, :stopped | :overflow | {:invalid | :too_large, atom}}

  @doc """
  Assigns the rows of `costs`, a map from task to a map from agent to cost; an agent that is not in a task's map cannot do it.

  Answers `{:ok, plan}`: `:pairs` from task to agent, `:unassigned` the tasks without, `:cost` the sum, `:gap` by how much it may be above
  the least (0 for `:hungarian`).

  Options: `method:` `:hungarian` (the default) or `:auction`; `timeout:` 10,000 ms. Errors: `:stopped` (out of time), `:overflow` (costs
  whose sums leave 62 bits), `{:too_large, what}`. Raises ArgumentError for what is no such map.
  """
  @spec solve(%{term => %{term => integer}}, keyword) :: {:ok, plan} | error
  def solve(costs, opts \\ []) do
    opts = options!(opts)
    unless costs?(costs), do: bad!(:costs, costs, "a map from task to a map from agent to a whole number")
    agents = costs |> Map.values() |> Enum.flat_map(&Map.keys/1) |> Enum.uniq() |> Enum.sort()
    tasks = costs |> Map.keys() |> Enum.sort()
    rows = Enum.map(tasks, fn task -> Enum.map(agents, &Map.get(costs[task], &1)) end)

    with {:ok, found} <- matrix(rows, opts), do: {:ok, plan(tasks, agents, found)}
  end

  @doc """
  As `solve/2`, of a list of rows of the same length, nil where it cannot be: `{:ok, %{columns: [column | nil], cost: n, gap: n}}`, of each row
  the number of its column, from 0. What `solve/2` costs besides is the names.
  """
  @spec matrix([[integer | nil]], keyword) ::
          {:ok, %{columns: [non_neg_integer | nil], cost: integer, gap: non_neg_integer}} | error
  def matrix(rows, opts \\ []) do
    opts = options!(opts)

    cond do
      not list?(rows) or not Enum.all?(rows, &list?/1) or not even?(rows) ->
        bad!(:rows, rows, "a list of lists of the same length")

      rows == [] or hd(rows) == [] ->
        {:ok, %{columns: Enum.map(rows, fn _ -> nil end), cost: 0, gap: 0}}

      true ->
        with {:ok, found} <-
               native(fn -> Native.market_assign(opts.method, rows, opts.limits) end, :rows, rows),
             do: {:ok, Map.take(found, [:columns, :cost, :gap])}
    end
  end

  @doc """
  Assigns tasks to agents that have the capabilities for them: `{:ok, plan}`, `pairs` from task to agent.

  `tasks`: a map from task to `%{needs: [capability], work: n}` (both may be left out: nothing, 1). `agents`: a map from agent to
  `%{capabilities: [capability], rate: cost of a unit of work, slots: how many tasks}` (none, 1, 1), or a list of agents, whose capabilities
  are those in `Foundation.MABEAM.AgentRegistry`. A task costs its work times the agent's rate.

  Options and errors: as `solve/2`; `{:too_large, :capabilities}` for more than 128 different ones, and `{:not_found, agent}`. O(tasks · slots)
  and the method.

      iex> tasks = %{parse: %{needs: [:elixir], work: 3}, draw: %{needs: [:svg]}}
      iex> agents = %{ann: %{capabilities: [:elixir, :svg], rate: 2}, bob: %{capabilities: [:elixir], rate: 3}}
      iex> {:ok, plan} = Foundation.MABEAM.Coordination.Assignment.allocate(tasks, agents)
      iex> {plan.pairs, plan.cost}
      {%{draw: :ann, parse: :bob}, 11}
  """
  @spec allocate(%{term => map}, %{term => map} | [Types.agent_id()], keyword) ::
          {:ok, plan} | error | {:error, {:not_found, term} | :not_running}
  def allocate(tasks, agents, opts \\ []) do
    opts = options!(opts)

    with {:ok, agents} <- described(agents) do
      agents = sorted!(agents, :agents, &agent/1)
      tasks = sorted!(tasks, :tasks, &task/1)
      known = known(tasks)

      if map_size(known) > @capabilities,
        do: {:error, {:too_large, :capabilities}},
        else: allocated(tasks, agents, known, opts)
    end
  end

  # Capabilities that no task needs make no difference.
  defp known(tasks) do
    tasks |> Enum.flat_map(fn {_, {needs, _}} -> needs end) |> Enum.uniq() |> Enum.with_index() |> Map.new()
  end

  defp allocated(tasks, agents, known, opts) do
    numbers = fn list -> for name <- list, number = known[name], do: number end
    needed = for {_, {needs, work}} <- tasks, do: {numbers.(needs), work}
    able = for {_, {can, rate, slots}} <- agents, do: {numbers.(can), rate, slots}
    solve = fn -> Native.market_assign_tasks(opts.method, needed, able, opts.limits) end

    cond do
      tasks == [] or Enum.all?(able, fn {_, _, slots} -> slots == 0 end) ->
        none = %{columns: Enum.map(tasks, fn _ -> nil end), cost: 0, gap: 0}
        {:ok, plan(names(tasks), names(agents), none)}

      true ->
        with {:ok, found} <- native(solve, :tasks, tasks), do: {:ok, plan(names(tasks), names(agents), found)}
    end
  end

  defp names(pairs), do: Enum.map(pairs, &elem(&1, 0))

  defp plan(tasks, agents, found) do
    agents = List.to_tuple(agents)

    {assigned, without} =
      tasks |> Enum.zip(found.columns) |> Enum.split_with(fn {_, column} -> column != nil end)

    %{
      pairs: Map.new(assigned, fn {task, column} -> {task, elem(agents, column)} end),
      unassigned: names(without),
      cost: found.cost,
      gap: found.gap
    }
  end

  # -- what was given -------------------------------------------------------------------------------------------------

  defp described(%{} = agents) when not is_struct(agents), do: {:ok, agents}

  defp described(agents) do
    unless list?(agents), do: bad!(:agents, agents, "a map, or a list of agent ids")

    Enum.reduce_while(agents, {:ok, %{}}, fn id, {:ok, found} ->
      case AgentRegistry.get_agent_info(id) do
        {:ok, info} -> {:cont, {:ok, Map.put(found, id, %{capabilities: info.capabilities})}}
        {:error, :not_found} -> {:halt, {:error, {:not_found, id}}}
        error -> {:halt, error}
      end
    end)
  end

  defp sorted!(%{} = map, what, read) when not is_struct(map) do
    for {name, described} <- Enum.sort(map) do
      {name, read.(described) || bad!(what, {name, described}, "a map as the documentation says")}
    end
  end

  defp sorted!(other, what, _read), do: bad!(what, other, "a map")

  defp task(%{} = task) do
    {needs, work} = {Map.get(task, :needs, []), Map.get(task, :work, 1)}
    if list?(needs) and whole?(work), do: {needs, work}
  end

  defp task(_other), do: nil

  defp agent(%{} = agent) do
    {can, rate, slots} =
      {Map.get(agent, :capabilities, []), Map.get(agent, :rate, 1), Map.get(agent, :slots, 1)}

    if list?(can) and whole?(rate) and is_integer(slots) and slots in 0..1_000_000, do: {can, rate, slots}
  end

  defp agent(_other), do: nil

  defp costs?(%{} = costs) when not is_struct(costs), do: Enum.all?(costs, fn {_task, row} -> row?(row) end)
  defp costs?(_other), do: false

  defp row?(%{} = row) when not is_struct(row), do: Enum.all?(row, fn {_agent, cost} -> whole?(cost) end)
  defp row?(_other), do: false

  defp even?([]), do: true

  defp even?([first | rest]) do
    length = length(first)
    Enum.all?(rest, &(length(&1) == length))
  end

  defp list?(term), do: is_list(term) and not List.improper?(term)
  defp whole?(term), do: is_integer(term) and abs(term) < 2 ** 62

  # Cells that are no numbers are found by the native library, which reads them anyway.
  defp native(solve, what, value) do
    solve.()
  rescue
    ArgumentError -> bad!(what, value, "whole numbers, or nil")
  end

  defp options!(%{limits: _} = read), do: read

  defp options!(opts) do
    Arguments.options!(opts, @options)
    {method, timeout} = {Keyword.get(opts, :method, :hungarian), Keyword.get(opts, :timeout, 10_000)}
    %{method: method, limits: {0xFFFFFFFFFFFFFFFF, timeout}}
  end

  defp bad!(what, value, expected),
    do: raise(ArgumentError, "#{what} must be #{expected}, got: #{inspect(value, limit: 10)}")
end
