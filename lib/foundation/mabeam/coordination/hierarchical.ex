defmodule Foundation.MABEAM.Coordination.Hierarchical do
  @moduledoc """
  Decides by most votes among thousands of agents, in a tree: groups count, nodes add up, the root decides.

      {:ok, vote} = Hierarchical.vote(agents, %{question: "Roll out?", options: [:yes, :no]})
      vote.decision   # :yes
      vote.tally      # %{yes: 7200, no: 2800}

  `vote/3` asks agents where they are: each node that has some counts its own, in groups that are sessions of their own, and sends
  the root a tally, not the votes. The result is that of one vote of all, exactly, for what is added up are tallies and not the
  groups' decisions; a node that is lost in the middle takes its agents' votes with it, and they are counted as failed.

  The protocol `:hierarchical` is what a group runs. `Coordination.coordinate(:hierarchical, agents, problem)` runs it for all agents in one session
  on this node, and `detail.groups` has a tally for each `group:` of them (100 unless the problem says otherwise), in their order. Otherwise
  problem, decision and failures are those of `Foundation.MABEAM.Coordination.Majority`.

  Properties: two messages an agent, of which those between nodes are two a node; truthful as majority is (May 1952).
  Counts in a tree: Lynch, Distributed Algorithms, 1996, 4.2 (convergecast).

  **Scheduling**: no function here calls the native library.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.Distributed.Context
  alias Foundation.MABEAM.Arguments
  alias Foundation.MABEAM.Comms.Directory
  alias Foundation.MABEAM.Coordination
  alias Foundation.MABEAM.Coordination.{Ballot, Majority}
  alias Foundation.MABEAM.Types.Fields

  @branch 500
  @at_once 4
  @defaults [timeout: 30_000, group: @branch, quorum: :majority]
  @options [timeout: [1..86_400_000], group: [1..86_400_000], quorum: [:majority, :all, 1..86_400_000]]

  @type vote :: %{
          decision: term,
          confidence: float,
          tally: %{term => non_neg_integer},
          votes: non_neg_integer,
          abstained: non_neg_integer,
          failed: %{term => pos_integer},
          groups: pos_integer,
          nodes: pos_integer,
          messages: non_neg_integer,
          cost: Foundation.MABEAM.Types.cost(),
          duration_us: non_neg_integer
        }

  @doc """
  The vote of all these agents, on whatever nodes they are: `{:ok, vote}`, or `{:error, {reason, vote}}` with `decision` nil.

  `problem` is that of `Foundation.MABEAM.Coordination.Majority`. Options: `timeout:` 30,000 ms for all of it; `group:` 500, agents to a session; `quorum:` how many
  must vote or abstain, `:majority`, `:all` or a number (`:majority`). `failed` has how many did not answer, by reason.

  Reasons: `:no_quorum`, `:no_majority`, `:no_votes`. Before it begins: `{:invalid, details}`, `:not_running`. Raises ArgumentError for
  what is no list of agents or no option. O(agents); the answers of at most four groups of a node are held at once.
  """
  @spec vote([Foundation.MABEAM.Types.agent_id()], map, keyword) ::
          {:ok, vote} | {:error, {:no_quorum | :no_majority | :no_votes, vote}} | {:error, term}
  def vote(agents, problem, opts \\ []) do
    opts = Map.new(Keyword.merge(@defaults, Arguments.options!(opts, @options)))
    agents = Arguments.agents!(agents)
    began = System.monotonic_time(:microsecond)

    with {:ok, _} <- Majority.init(problem, agents), :ok <- running() do
      due = System.monotonic_time(:millisecond) + opts.timeout

      found =
        agents
        |> places(max(div(opts.timeout, 4), 1))
        |> Enum.map(&send_out(&1, problem, opts, due))
        |> Enum.map(&gather(&1, due))

      total = Enum.reduce(found, none(), &add/2)
      total = Map.put(total, :duration_us, System.monotonic_time(:microsecond) - began)
      decide_all(%{total | nodes: length(found)}, length(agents), problem, opts)
    end
  end

  defp running, do: if(Foundation.MABEAM.running?(), do: :ok, else: {:error, :not_running})

  # {node, agents}; those that cannot be found are asked from here, which says why they fail.
  defp places(agents, timeout) do
    places = Directory.find_all(agents, timeout)

    Enum.group_by(agents, fn id ->
      case places[id] do
        {:node, node} -> node
        _here_or_nowhere -> node()
      end
    end)
  end

  defp send_out({node, agents}, problem, opts, due) do
    carrier = Context.carry()
    here = node()

    task =
      Task.async(fn ->
        Context.attach(carrier, {:branch, node})
        left = max(due - System.monotonic_time(:millisecond), 1)

        if node == here,
          do: near(agents, problem, opts.group, left),
          else: far(node, agents, problem, opts.group, left)
      end)

    {task, agents}
  end

  # The application may stop in the middle.
  defp near(agents, problem, group, left) do
    branch(agents, problem, group, left)
  catch
    _kind, _reason -> lost(agents, :node_failed)
  end

  defp far(node, agents, problem, group, left) do
    :erpc.call(node, __MODULE__, :branch, [agents, problem, group, max(div(left * 9, 10), 1)], left)
  catch
    _kind, _reason -> lost(agents, :node_failed)
  end

  defp gather({task, agents}, due) do
    left = max(due - System.monotonic_time(:millisecond), 0) + 500

    case Task.yield(task, left) || Task.shutdown(task, :brutal_kill) do
      {:ok, %{tally: _} = found} -> found
      _ -> lost(agents, :timeout)
    end
  end

  @doc false
  # What a node's own agents say, group by group, within that many ms.
  def branch(agents, problem, group, timeout) do
    due = System.monotonic_time(:millisecond) + timeout
    carrier = Context.carry()

    agents
    |> Enum.chunk_every(group)
    |> Task.async_stream(
      fn some ->
        Context.attach(carrier, {:group, length(some)})
        group(some, problem, max(due - System.monotonic_time(:millisecond), 1))
      end,
      max_concurrency: @at_once,
      timeout: :infinity,
      ordered: false
    )
    |> Enum.reduce(none(), fn {:ok, found}, total -> add(found, total) end)
  end

  defp group(agents, problem, timeout) do
    problem = Map.merge(problem, %{part: true, group: length(agents)})

    case Coordination.coordinate(:hierarchical, agents, problem, timeout: timeout, quorum: 1) do
      {:ok, outcome} -> counted(outcome, outcome.decision)
      {:error, {_reason, %{detail: detail} = outcome}} -> counted(outcome, Map.get(detail, :tally, %{}))
      {:error, reason} -> lost(agents, reason)
    end
  end

  defp counted(outcome, tally) do
    %{
      none()
      | tally: tally,
        votes: tally |> Map.values() |> Enum.sum(),
        abstained: length(outcome.abstentions),
        failed: outcome.failures |> Map.values() |> Enum.frequencies(),
        groups: 1,
        messages: outcome.messages,
        cost: outcome.cost
    }
  end

  defp lost(agents, reason), do: %{none() | failed: %{reason => length(agents)}, groups: 1}

  defp none do
    %{
      decision: nil,
      confidence: 0.0,
      tally: %{},
      votes: 0,
      abstained: 0,
      failed: %{},
      groups: 0,
      nodes: 0,
      messages: 0,
      cost: %{tokens: 0, money: 0},
      duration_us: 0
    }
  end

  defp add(one, other) do
    sums =
      for field <- [:votes, :abstained, :groups, :messages], into: %{}, do: {field, one[field] + other[field]}

    maps = for field <- [:tally, :failed, :cost], into: %{}, do: {field, merged(one[field], other[field])}
    other |> Map.merge(sums) |> Map.merge(maps)
  end

  defp merged(one, other), do: Map.merge(one, other, fn _key, a, b -> a + b end)

  defp decide_all(total, count, problem, opts) do
    {:ok, state} = Majority.init(problem, [])
    needed = needed(opts.quorum, count)

    if total.votes + total.abstained < needed do
      {:error, {:no_quorum, total}}
    else
      case Majority.decide(%{}, %{state | tally: total.tally, votes: total.votes}) do
        {:decided, decision, %{confidence: confidence}, _} ->
          {:ok, %{total | decision: decision, confidence: confidence}}

        {:failed, reason, _detail, _state} ->
          {:error, {reason, total}}
      end
    end
  end

  defp needed(:all, count), do: count
  defp needed(:majority, count), do: div(count, 2) + 1
  defp needed(number, count), do: min(number, count)

  # -- the protocol of a group ----------------------------------------------------------------------------------------

  @impl true
  def defaults, do: Majority.defaults()

  @impl true
  def properties,
    do: %{Majority.properties() | messages: "2n, between nodes 2 a node", source: "May 1952, Lynch 1996"}

  @impl true
  def init(problem, participants) do
    with {:ok, state} <- Majority.init(problem, participants),
         {:ok, size} <- size(Map.get(problem, :group, 100)) do
      groups = participants |> Enum.with_index() |> Map.new(fn {id, at} -> {id, div(at, size)} end)
      count = div(length(participants) - 1, size) + 1
      {:ok, Map.merge(state, %{group_of: groups, groups: Map.new(0..(count - 1), &{&1, %{}})})}
    end
  end

  defp size(size) when is_integer(size) and size > 0, do: {:ok, size}
  defp size(other), do: Fields.invalid(:group, other, "a whole number from 1")

  @impl true
  defdelegate ask(state, round), to: Majority

  @impl true
  def answer(id, answer, state) do
    case Majority.answer(id, answer, state) do
      {:ok, next} ->
        {:vote, choice} = answer
        {:ok, update_in(next.groups[state.group_of[id]], &Ballot.count(&1, choice, 1))}

      invalid ->
        invalid
    end
  end

  @impl true
  def decide(_report, %{ballot: %{part: true}} = state), do: {:decided, state.tally, %{}, state}

  def decide(report, state) do
    groups = for {_number, tally} <- Enum.sort(state.groups), do: tally

    case Majority.decide(report, state) do
      {:decided, decision, detail, state} -> {:decided, decision, Map.put(detail, :groups, groups), state}
      {:failed, reason, detail, state} -> {:failed, reason, Map.put(detail, :groups, groups), state}
    end
  end
end
