defmodule Foundation.MabeamAgents do
  @moduledoc false
  # Agents for tests of MABEAM: one that does as its arguments say, well or badly, and what tests need to run it.

  alias Foundation.ConsensusNodes
  alias Foundation.MABEAM.{AgentRegistry, Comms}

  defmodule Scripted do
    @moduledoc false
    # `args` is a map from a kind of request to what the agent does: {:say, reply}, {:return, term}, {:raise, text}, {:exit, reason},
    # {:throw, term}, :die, {:stall, ms}, {:spend, cost, reply}, {:ask, agent, request}, {:tell, name} to a registered process.
    use Foundation.MABEAM.Agent

    alias Foundation.MABEAM.Agent

    @impl true
    def init(%{init: {:error, reason}}), do: {:error, reason}
    def init(%{init: {:stall, ms}} = script), do: wait(ms, {:ok, script})
    def init(%{init: {:raise, text}}), do: raise(text)

    def init(script), do: {:ok, Map.put_new(script, :count, 0)}

    @impl true
    def handle_vote(ballot, script), do: act(:vote, ballot, script, &{:vote, &1, script}, {:abstain, script})

    @impl true
    def handle_bid_request(request, script),
      do: act(:bid, request, script, &{:bid, &1, script}, {:no_bid, script})

    @impl true
    def handle_proposal(proposal, script) do
      act(
        :proposal,
        proposal,
        script,
        fn
          :accept -> {:accept, script}
          :reject -> {:reject, :no, script}
          counter -> {:counter, counter, script}
        end,
        {:accept, script}
      )
    end

    @impl true
    def handle_task(task, script) do
      script = Map.update!(script, :count, &(&1 + 1))
      act(:task, task, script, &{:ok, &1, script}, {:ok, {script.count, task}, script})
    end

    @impl true
    def handle_variable(name, value, script),
      do: act(:variable, {name, value}, script, &{:propose, &1, script}, {:ok, script})

    @impl true
    def handle_event(event, script) do
      with {:tell, name} <- script[:event], do: send(name, {:heard, Agent.current(), event})
      act(:event, event, script, fn _ -> {:ok, script} end, {:ok, script})
    end

    @impl true
    def utility(outcome, script), do: act(:utility, outcome, script, & &1, 0)

    @impl true
    def snapshot(script), do: script.count

    @impl true
    def restore(count, script) do
      key = {Foundation.MabeamAgents, :held, script[:restore]}

      wait(
        if(:persistent_term.get(key, false), do: :infinity, else: 0),
        {:ok, Map.put(script, :count, count)}
      )
    end

    @impl true
    def terminate(reason, script) do
      with {:tell, name} <- script[:terminate], do: send(name, {:terminated, reason})
      with {:stall, ms} <- script[:terminate], do: wait(ms, :ok)
    end

    defp act(kind, input, script, reply, default) do
      case script[kind] do
        nil -> default
        {:say, function} when is_tuple(function) -> reply.(call(function, input))
        {:say, value} -> reply.(value)
        {:return, value} -> value
        {:raise, text} -> raise text
        {:exit, reason} -> exit(reason)
        {:throw, value} -> throw(value)
        :die -> Process.exit(self(), :kill)
        {:stall, ms} -> wait(ms, default)
        {:spend, cost, value} -> with :ok <- Agent.spend(cost), do: reply.(value)
        {:ask, id, request} -> reply.(Comms.request(id, request))
        {:tell, _name} -> default
      end
    end

    defp call({module, function, arguments}, input), do: apply(module, function, [input | arguments])
    defp call(value, _input), do: value

    defp wait(ms, result) do
      receive do
      after
        ms -> result
      end
    end
  end

  @doc """
  What an agent answers, `{:say, {MabeamAgents, :waits, [key, answer]}}`, when this node is told `go/2` for the key and the
  round of what it was asked (1 when that says none). An answer that is a list has one for each round.
  """
  def waits(input, key, answer) do
    round = if is_map(input), do: Map.get(input, :round, 1), else: 1
    :persistent_term.put({__MODULE__, :waits, key, round}, true)
    wait({__MODULE__, :go, key, round}, if(is_list(answer), do: Enum.at(answer, round - 1), else: answer))
  end

  defp wait(term, answer) do
    if :persistent_term.get(term, false) do
      answer
    else
      receive do
      after
        5 -> wait(term, answer)
      end
    end
  end

  def go(key, round \\ 1), do: :persistent_term.put({__MODULE__, :go, key, round}, true)

  @doc "From now on agents of this node with `restore: key` do not come to an end of their beginning from a snapshot."
  def hold(key), do: :persistent_term.put({__MODULE__, :held, key}, true)

  @doc "Whether an agent of this node waits so."
  def waits?(key, round \\ 1), do: :persistent_term.get({__MODULE__, :waits, key, round}, false)

  @doc "Registers and starts an agent that does as it is told."
  def start(id, script \\ %{}, attributes \\ []) do
    :ok = AgentRegistry.register_agent(id, [module: Scripted, args: script] ++ attributes)
    :ok = AgentRegistry.start_agent(id)
    id
  end

  @doc "That many, with names of their own."
  def start_many(count, script_of \\ fn _ -> %{} end, attributes \\ []) do
    for n <- 1..count, do: start("agent-#{n}", script_of.(n), attributes)
  end

  @doc "One on each of these nodes of a cluster, from `prefix-0` on, with as much time as it takes."
  def start_each(cluster, nodes, prefix, script_of) do
    for {node, n} <- Enum.with_index(nodes) do
      arguments = ["#{prefix}-#{n}", script_of.(n), [callback_timeout: :infinity]]
      ConsensusNodes.rpc(cluster, node, __MODULE__, :start, arguments)
    end
  end

  @doc "Ends MABEAM without waiting for agents that stall."
  def stop do
    for id <- AgentRegistry.list_agents(),
        {:ok, %{pid: pid}} when is_pid(pid) <- [AgentRegistry.Table.entry(id)],
        do: Process.exit(pid, :kill)

    Foundation.MABEAM.stop()
  end

  @doc "The process of an agent; nil while it has none."
  def pid(id) do
    with {:ok, pid, _gate, _limit} <- AgentRegistry.Table.live(id), do: pid, else: (_ -> nil)
  end

  @doc "Adds a part to a variable that has parts."
  def add_part(name, part, value) do
    {:ok, _version} = Foundation.MABEAM.Core.change_variable(name, &Map.put(&1, part, value), :ann)
  end

  @doc "The status of an agent."
  def status(id) do
    {:ok, info} = AgentRegistry.get_agent_info(id)
    info.status
  end
end
