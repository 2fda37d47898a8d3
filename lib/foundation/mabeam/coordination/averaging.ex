defmodule Foundation.MABEAM.Coordination.Averaging do
  @moduledoc """
  Comes to the average of what many agents say by gossip between their nodes: no node counts for the others, and each
  knows the result.

      {:ok, result} = Averaging.average(agents, %{question: "How full is your queue?"})
      result.average     # 41.3
      result.error       # 2.1e-9

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

  alias Foundation.MABEAM.Comms.Directory
  alias Foundation.MABEAM.Coordination.Averaging.Server
  alias Foundation.MABEAM.Coordination.Refinement
  alias Foundation.MABEAM.Types
  alias Foundation.Utils

  @options [timeout: 5_000, steps: 40, step_ms: 10]
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
    opts = options!(opts)
    agents = agents!(agents)
    began = System.monotonic_time(:microsecond)

    with {:ok, _state} <- Refinement.init(problem, agents), :ok <- running() do
      places = places(agents, opts.timeout)
      nodes = places |> Map.keys() |> Enum.sort()
      run = Map.merge(opts, %{id: Utils.generate_correlation_id(), problem: problem, nodes: nodes})

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
  What this node has come to, or has so far: `{:ok, map}` with `:average` (nil while nothing is known), `:done`, `:messages`. For a minute after the
  end. Errors: `:not_found` (no agent of this node was asked), `:not_running`. O(1).
  """
  @spec result(String.t()) :: {:ok, map} | {:error, :not_found | :not_running | :timeout}
  def result(id) when is_binary(id) do
    with {:ok, seen} <- Server.result(id), do: {:ok, Map.take(seen, [:average, :done, :messages])}
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
    known = for {node, {:ok, %{average: average} = seen}} <- ended, do: {node, average, seen}
    averages = for {_node, average, _seen} <- known, average != nil, do: average
    there = for {node, _average, _seen} <- known, do: node

    failed =
      begun
      |> Enum.map(&failures(&1, there, places))
      |> Enum.reduce(%{}, &Map.merge(&1, &2, fn _, a, b -> a + b end))

    count = Enum.sum(for {node, {:ok, %{votes: votes}}} <- begun, node in there, do: votes)

    if averages == [] do
      {:error, {:no_numbers, failed}}
    else
      own =
        Enum.find_value(known, hd(averages), fn {node, average, _seen} -> if node == node(), do: average end)

      {:ok,
       %{
         id: id,
         average: own,
         error: Enum.max(averages) - Enum.min(averages),
         count: count,
         failed: failed,
         nodes: length(there),
         missing: Map.keys(places) -- there,
         messages: Enum.sum(for {_node, _average, seen} <- known, do: seen.messages)
       }}
    end
  end

  defp failures({node, {:ok, %{failed: failed}}}, there, places),
    do: if(node in there, do: failed, else: %{node_failed: length(places[node])})

  defp failures({node, {:error, reason}}, _there, places), do: %{reason => length(places[node])}

  defp timed({:ok, result}, began),
    do: {:ok, Map.put(result, :duration_us, System.monotonic_time(:microsecond) - began)}

  defp timed(error, _began), do: error

  defp agents!([_ | _] = agents) do
    if not List.improper?(agents) and Enum.all?(agents, &Types.agent_id?/1),
      do: Enum.uniq(agents),
      else: bad_agents(agents)
  end

  defp agents!(other), do: bad_agents(other)

  defp bad_agents(other) do
    raise ArgumentError, "agents must be a list of at least one agent id, got: #{inspect(other, limit: 10)}"
  end

  defp options!(opts) do
    for {name, value} <- opts do
      unless Keyword.has_key?(@options, name),
        do:
          raise(
            ArgumentError,
            "unknown option #{inspect(name)}, known are #{inspect(Keyword.keys(@options))}"
          )

      unless is_integer(value) and value in 1..86_400_000,
        do: raise(ArgumentError, "#{name}: must be a whole number from 1, got: #{inspect(value)}")
    end

    @options |> Keyword.merge(opts) |> Map.new()
  end
end
