defmodule Foundation.MABEAM.Coordination.Averaging do
  @moduledoc """
  Comes to the average of what many agents say, or to the shares of their votes, by gossip between their nodes: no node
  counts for the others, and each knows the result.

      {:ok, result} = Averaging.average(agents, %{question: "How full is your queue?"})
      result.average     # 41.3
      result.error       # 2.1e-9

      {:ok, result} = Averaging.vote(agents, %{question: "Lunch?", options: [:soup, :salad]})
      result.decision    # :soup
      result.shares      # %{soup: 0.62, salad: 0.38}

  Each node asks its own agents once, in `handle_proposal/2` as `Foundation.MABEAM.Coordination.Refinement` does
  (`{:counter, number}` counts, within `min:` and `max:` of the problem), and brings their sum and number. At each step
  it exchanges with another node, chosen at random: both have the mean of what the two had. What two have between them
  stays the same, so all of it does, and every node comes near the average of all who answered (Kempe, Dobra and Gehrke,
  Gossip-Based Computation of Aggregate Information, 2003; of pairs that average, the variance falls to 0.3 of itself a
  step: Jelasity, Montresor and Babaoglu, Gossip-based Aggregation in Large Dynamic Networks, 2005).

  Nodes tell each other how much has flowed between them in all (Jesus, Baquero and Almeida, Fault-Tolerant Aggregation
  by Flow Updating, 2009): a message that is lost or comes twice costs time and no mass, and a node that dies takes along
  what its agents had said and nothing else. A split leaves each side with the average of its own.

  `error` is how far apart the nodes' results are. The average of those who answered lies between the least and the
  largest of them, when no exchange was under way at the end.

  One vote decides more when everything is exact and in one place: `Foundation.MABEAM.Coordination.Hierarchical`. This is
  for results that all nodes need, and that no node's death may take away: the one that asked may die too, and the others
  still have it (`result/1`).

  Properties: agents may lie, and an average bears no liars (`:refinement` takes the median). Two messages an agent, two a
  node and step.

  **Scheduling**: no function here calls the native library.
  """

  alias Foundation.MABEAM.Arguments
  alias Foundation.MABEAM.Comms.Directory
  alias Foundation.MABEAM.Coordination.Averaging.Server
  alias Foundation.MABEAM.Coordination.Ballot
  alias Foundation.MABEAM.Coordination.Refinement
  alias Foundation.MABEAM.Types
  alias Foundation.Utils

  @defaults [timeout: 5_000, steps: 40, step_ms: 10]
  @options Enum.map(@defaults, fn {name, _} -> {name, [1..86_400_000]} end)
  @grace_ms 2_000

  @type result :: %{
          id: String.t(),
          average: float,
          error: float,
          count: non_neg_integer,
          failed: %{term => pos_integer},
          nodes: pos_integer,
          missing: [node],
          messages: non_neg_integer,
          duration_us: non_neg_integer
        }

  @typedoc "As of an average, with `decision` and `shares` in the place of `average`."
  @type elected :: map

  @doc """
  The average of what these agents say, on whatever nodes they are: `{:ok, result}`.

  `problem` is that of `Foundation.MABEAM.Coordination.Refinement`. Options: `timeout:` 5,000 ms for the agents' answers;
  `steps:` 40 after the last of them, and `step_ms:` 10 for each. `count` is how many numbers there were, `failed` how many
  agents had none, by reason, `missing` are nodes that were lost on the way: what their agents said is in neither.

  Errors: `{:no_numbers, failed}`, `{:invalid, details}`, `:not_running`. Raises ArgumentError for what is no list of agents
  or no option. O(agents + nodes · steps) messages.
  """
  @spec average([Types.agent_id()], map, keyword) :: {:ok, result} | {:error, term}
  def average(agents, problem, opts \\ []) do
    with {:ok, _state} <- Refinement.init(problem, agents),
         {:ok, [average], result} <- run(agents, problem, nil, opts),
         do: {:ok, Map.put(result, :average, average)}
  end

  @doc """
  The shares of the options in the votes of these agents, and the option with the greatest: `{:ok, result}`.

  `problem` is that of `Foundation.MABEAM.Coordination.Majority`, of which `question:`, `options:` and `data:` are used;
  agents answer in `handle_vote/2`. Options as of `average/3`. `count` is how many votes were cast; who abstained is in
  neither. Every node comes to the same decision, or to none.

  Errors: those of `average/3`, and `{:undecided, result}` when the two greatest shares are no further apart than twice
  `error` and 1.0e-9, as of equal votes: more steps part them if they differ, and one place that counts exactly does
  (`Foundation.MABEAM.Coordination.Hierarchical`).
  """
  @spec vote([Types.agent_id()], map, keyword) :: {:ok, elected} | {:error, term}
  def vote(agents, problem, opts \\ []) do
    with {:ok, ballot} <- Ballot.new(problem),
         shown = ballot |> Ballot.shown() |> Map.put(:threshold, {0, 1}),
         {:ok, shares, result} <- run(agents, shown, ballot.options, opts),
         do: elected(Enum.zip(ballot.options, shares), result)
  end

  defp elected(shares, result) do
    result = Map.put(result, :shares, Map.new(shares))

    case Enum.sort_by(shares, fn {_, share} -> -share end) do
      [{_, first}, {_, second} | _] when first - second <= 2 * result.error + 1.0e-9 ->
        {:error, {:undecided, result}}

      [{winner, _} | _] ->
        {:ok, Map.put(result, :decision, winner)}
    end
  end

  defp run(agents, problem, options, opts) do
    opts = Map.new(Keyword.merge(@defaults, Arguments.options!(opts, @options)))
    agents = Arguments.agents!(agents)
    began = System.monotonic_time(:microsecond)

    with :ok <- running() do
      places = places(agents, opts.timeout)
      nodes = places |> Map.keys() |> Enum.sort()
      own = %{id: Utils.generate_correlation_id(), problem: problem, options: options, nodes: nodes}
      run = Map.merge(opts, own)

      begun =
        on_all(nodes, fn node ->
          ask(node, :begin, [run, places[node], opts.timeout + @grace_ms], opts.timeout + 2 * @grace_ms)
        end)

      left = opts.steps * opts.step_ms + @grace_ms
      ended = on_all(nodes, fn node -> ask(node, :finish, [run.id, left], left + @grace_ms) end)
      run.id |> result(begun, ended, places) |> timed(began)
    end
  end

  @doc """
  What this node has come to, or has so far: `{:ok, map}` with `:average` or `:shares` (nil while nothing is known), `:done`,
  `:messages`. For a minute after the end. Errors: `:not_found` (no agent of this node was asked), `:not_running`. O(1).
  """
  @spec result(String.t()) :: {:ok, map} | {:error, :not_found | :not_running | :timeout}
  def result(id) when is_binary(id) do
    with {:ok, seen} <- Server.result(id) do
      came_to =
        case seen do
          %{options: nil, averages: averages} -> %{average: averages && hd(averages)}
          %{options: options, averages: shares} -> %{shares: shares && Map.new(Enum.zip(options, shares))}
        end

      {:ok, Map.merge(came_to, Map.take(seen, [:done, :messages]))}
    end
  end

  defp running, do: if(Foundation.MABEAM.running?(), do: :ok, else: {:error, :not_running})

  # Those that cannot be found are asked from here, which says why they fail.
  defp places(agents, timeout) do
    found = Directory.find_all(agents, max(div(timeout, 4), 1))

    Enum.group_by(agents, fn id ->
      case found[id] do
        {:node, node} -> node
        _here_or_nowhere -> node()
      end
    end)
  end

  defp on_all(nodes, function) do
    nodes
    |> Enum.map(&{&1, Task.async(fn -> function.(&1) end)})
    |> Map.new(fn {node, task} -> {node, Task.await(task, :infinity)} end)
  end

  defp ask(node, function, arguments, _timeout) when node == node(), do: apply(Server, function, arguments)

  defp ask(node, function, arguments, timeout) do
    :erpc.call(node, Server, function, arguments, timeout)
  catch
    _kind, _reason -> {:error, :node_failed}
  end

  defp result(id, begun, ended, places) do
    known = for {node, {:ok, %{averages: _} = seen}} <- ended, into: %{}, do: {node, seen}
    there = Map.keys(known)

    failed =
      begun
      |> Enum.map(&failures(&1, there, places))
      |> Enum.reduce(%{}, &Map.merge(&1, &2, fn _, a, b -> a + b end))

    case for {_node, %{averages: [_ | _] = averages}} <- known, do: averages do
      [] ->
        {:error, {:no_numbers, failed}}

      [first | _] = all ->
        own = if known[node()], do: known[node()].averages

        {:ok, own || first,
         %{
           id: id,
           error: all |> Enum.zip_with(&(Enum.max(&1) - Enum.min(&1))) |> Enum.max(),
           count: Enum.sum(for {node, {:ok, %{votes: votes}}} <- begun, node in there, do: votes),
           failed: failed,
           nodes: length(there),
           missing: Map.keys(places) -- there,
           messages: Enum.sum(for {_node, seen} <- known, do: seen.messages)
         }}
    end
  end

  defp failures({node, {:ok, %{failed: failed}}}, there, places),
    do: if(node in there, do: failed, else: %{node_failed: length(places[node])})

  defp failures({node, {:error, reason}}, _there, places), do: %{reason => length(places[node])}

  defp timed({:ok, averages, result}, began),
    do: {:ok, averages, Map.put(result, :duration_us, System.monotonic_time(:microsecond) - began)}

  defp timed(error, _began), do: error
end
