defmodule Foundation.MABEAM.Coordination.Averaging.Server do
  @moduledoc false
  # This node's part in the averages that are under way: has its own agents asked, exchanges with another node at each
  # step, and keeps what came of it for a minute.

  use GenServer

  alias Foundation.Distributed.Context
  alias Foundation.MABEAM.Comms.Delivery
  alias Foundation.MABEAM.Coordination
  alias Foundation.MABEAM.Coordination.Averaging.Flow

  @keep_ms 60_000
  @most 1_000

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Begins this node's part. Answers when its agents have said what they have: how many, and who did not."
  @spec begin(map, [term], timeout) :: {:ok, map} | {:error, term}
  def begin(run, agents, timeout), do: call({:begin, run, agents}, timeout)

  @doc "Goes on for so many steps, and tells what it has come to."
  @spec finish(String.t(), timeout) :: {:ok, map} | {:error, term}
  def finish(id, timeout), do: call({:finish, id}, timeout)

  @spec result(String.t()) :: {:ok, map} | {:error, term}
  def result(id), do: call({:result, id}, 5_000)

  defp call(request, timeout) do
    GenServer.call(__MODULE__, request, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :not_running}
  end

  @impl true
  def init(nil), do: {:ok, %{runs: %{}}}

  @impl true
  def handle_call({:begin, run, _agents}, _from, state)
      when is_map_key(state.runs, run.id) or map_size(state.runs) >= @most,
      do: {:reply, {:error, if(is_map_key(state.runs, run.id), do: :already_begun, else: :busy)}, state}

  def handle_call({:begin, run, agents}, from, state) do
    carrier = Context.carry()
    task = Task.Supervisor.async_nolink(Foundation.TaskSupervisor, fn -> gather(run, agents, carrier) end)
    due = now() + run.timeout

    own = %{
      id: run.id,
      options: run.options,
      step_ms: run.step_ms,
      steps: run.steps,
      flow: Flow.empty(length(run.options || [:number])),
      peers: watch(run.nodes -- [node()]),
      task: task.ref,
      gathering: from,
      gathered: %{votes: 0, failed: %{}, sums: nil},
      # Nobody may tell it to come to an end.
      ends: due + run.steps * run.step_ms,
      finishing: [],
      messages: 0,
      done: false
    }

    {:noreply, put(state, step(own))}
  end

  def handle_call({:finish, id}, from, state) do
    case state.runs do
      %{^id => %{done: true} = run} ->
        {:reply, {:ok, seen(run)}, state}

      %{^id => run} ->
        ends = min(run.ends, now() + run.steps * run.step_ms)
        {:noreply, put(state, %{run | ends: ends, finishing: [from | run.finishing]})}

      _ ->
        {:reply, {:error, :not_found}, state}
    end
  end

  def handle_call({:result, id}, _from, state) do
    case state.runs do
      %{^id => run} -> {:reply, {:ok, seen(run)}, state}
      _ -> {:reply, {:error, :not_found}, state}
    end
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info({:step, id}, state) do
    case state.runs do
      %{^id => run} -> {:noreply, put(state, step(run))}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:forget, id}, state) do
    {run, runs} = Map.pop(state.runs, id)
    if run, do: for({_peer, monitor} <- run.peers, do: Process.demonitor(monitor, [:flush]))
    {:noreply, %{state | runs: runs}}
  end

  # A part that has not begun here, or is forgotten, takes nothing: who asks has lost nothing by it.
  def handle_info({:average, id, peer, message}, state) do
    with %{^id => %{peers: peers} = run} when is_map_key(peers, peer) <- state.runs,
         {:ok, answer, flow} <- taken(run.flow, peer, message) do
      if answer, do: send_to(peer, id, answer)
      {:noreply, put(state, %{run | flow: flow, messages: run.messages + if(answer, do: 1, else: 0)})}
    else
      _ -> {:noreply, state}
    end
  end

  def handle_info({task, {:gathered, found}}, state) when is_reference(task) do
    Process.demonitor(task, [:flush])
    {:noreply, gathered(state, task, found)}
  end

  def handle_info({:DOWN, monitor, :process, _object, reason}, state) do
    state = gathered(state, monitor, none(%{{:crashed, reason} => 1}))

    runs =
      Map.new(state.runs, fn {id, run} ->
        case Enum.find(run.peers, &(elem(&1, 1) == monitor)) do
          {peer, _} -> {id, %{run | peers: Map.delete(run.peers, peer), flow: Flow.drop(run.flow, peer)}}
          nil -> {id, run}
        end
      end)

    {:noreply, %{state | runs: runs}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # Messages are of nodes of the cluster, and still must be some.
  defp taken(flow, peer, {kind, count, flown, has} = message)
       when kind in [:ask, :answer] and is_integer(count) do
    if Flow.amount?(flow, flown) and Flow.amount?(flow, has) do
      {answer, flow} = Flow.take(flow, peer, message)
      {:ok, answer, flow}
    else
      :error
    end
  end

  defp taken(_flow, _peer, _message), do: :error

  defp watch(nodes), do: Map.new(nodes, &{&1, Process.monitor({__MODULE__, &1})})

  defp put(state, run), do: put_in(state.runs[run.id], run)

  defp step(%{done: true} = run), do: run

  defp step(run) do
    cond do
      now() >= run.ends ->
        Process.send_after(self(), {:forget, run.id}, @keep_ms)
        run = %{run | done: true}
        for from <- run.finishing, do: GenServer.reply(from, {:ok, seen(run)})
        %{run | finishing: []}

      run.peers == %{} ->
        wait(run)

      true ->
        {peer, message, flow} = Flow.ask(run.flow, fn -> run.peers |> Map.keys() |> Enum.random() end)
        send_to(peer, run.id, message)
        wait(%{run | flow: flow, messages: run.messages + 1})
    end
  end

  # A little earlier or later, so that not all ask at once.
  defp wait(run) do
    Process.send_after(self(), {:step, run.id}, max(div(run.step_ms, 2) + :rand.uniform(run.step_ms) - 1, 1))
    run
  end

  defp send_to(peer, id, message), do: Delivery.to_process(__MODULE__, peer, {:average, id, node(), message})

  defp gathered(state, task, found) do
    case Enum.find(state.runs, fn {_id, run} -> run.task == task end) do
      {_id, run} ->
        GenServer.reply(run.gathering, {:ok, found})
        flow = if found.sums, do: Flow.add(run.flow, found.sums ++ [found.votes * 1.0]), else: run.flow
        put(state, %{run | task: nil, gathered: found, flow: flow})

      nil ->
        state
    end
  end

  # What the agents of this node say: `:counter` of a proposal, or a vote for one of the options.
  defp gather(_run, [], _carrier), do: {:gathered, none(%{})}

  defp gather(run, agents, carrier) do
    Context.attach(carrier, {:average, node()})
    opts = [timeout: run.timeout, round_timeout: run.timeout, rounds: 1, quorum: 1]
    protocol = if run.options, do: :majority, else: :refinement

    found =
      case Coordination.coordinate(protocol, agents, run.problem, opts) do
        {:ok, outcome} -> counted(outcome, run.options)
        {:error, {_reason, %{answers: _} = outcome}} -> counted(outcome, run.options)
        {:error, reason} -> none(%{reason => length(agents)})
      end

    {:gathered, found}
  end

  defp none(failed), do: %{votes: 0, sums: nil, failed: failed}

  defp counted(outcome, options) do
    numbers = for {_id, answer} <- outcome.answers, number = number(answer, options), do: number
    failed = outcome.failures |> Map.values() |> Enum.frequencies()
    sums = if numbers != [], do: Enum.zip_with(numbers, &Enum.sum/1)
    %{votes: length(numbers), sums: sums, failed: failed}
  end

  defp number({:counter, number}, nil), do: [number * 1.0]

  defp number({:vote, choice}, options) when options != nil,
    do:
      if(Enum.any?(options, &(&1 === choice)), do: Enum.map(options, &if(&1 === choice, do: 1.0, else: 0.0)))

  defp number(_abstained, _options), do: nil

  defp seen(run) do
    %{
      averages: Flow.estimate(run.flow),
      options: run.options,
      messages: run.messages,
      done: run.done,
      votes: run.gathered.votes,
      failed: run.gathered.failed
    }
  end

  defp now, do: System.monotonic_time(:millisecond)
end
